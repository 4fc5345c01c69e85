//! As typed -> as meant, validated once.
//!
//! [`RawConfig`] is what a person wrote, as flags or in a TOML file with the same names; a flag
//! beats the file, the file beats the default. [`Config`] is what it means: nothing behind this
//! module looks at arguments, asks "was it set?", or checks a range again.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::config::peers::{Peer, PeerList};
use crate::limits::{
    ENTRY_ALIGN_BYTES, GROUPS_MAX, JOURNAL_CACHE_BYTES_DEFAULT, SCRUB_BYTES_PER_SECOND_DEFAULT,
    SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SHARDS_MAX, TOPIC_PARTITIONS_MAX,
};
use crate::model::ids::NodeId;

pub mod peers;

/// The largest node id: every broker id must fit an `i32`.
const NODE_ID_MAX: u32 = 2_000_000;
/// Clients of one shard, unless told otherwise.
const CONNECTIONS_MAX_DEFAULT: u32 = 20_000;
/// The smallest journal cache that still holds the entries being written.
const JOURNAL_CACHE_BYTES_MIN: u64 = 8 << 20;
/// What the disk buffers hold besides the cache: entries being built and chunks being read.
pub const IO_MEMORY_BESIDE_CACHE: u64 = 16 << 20;
/// The most disk buffers a shard may be told to set aside.
const IO_MEMORY_BYTES_MAX: u64 = 16 << 30;

/// The arguments of `hutong serve`.
#[derive(Args, Debug, Default)]
#[command(about = "Run a node until a signal stops it", long_about = None)]
pub struct ServeArgs {
    /// Read settings from this TOML file. It takes the names of the options below (`data-dir =
    /// "/var/lib/hutong"`); an option given on the command line beats the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub settings: RawConfig,
}

/// Every setting as a person wrote it, on the command line or in the file.
#[derive(Args, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RawConfig {
    /// Number of this node in its cluster; a data directory belongs to one node for good
    /// [default: 0]
    #[arg(long, value_name = "N")]
    pub node_id: Option<u32>,

    /// Name of the cluster, the same for all of its nodes; a data directory belongs to one cluster
    /// for good [default: a random one, if the node is alone]
    #[arg(long, value_name = "TEXT")]
    pub cluster_id: Option<String>,

    /// All nodes of the cluster with the address of shard 0 of each, the same for all of them:
    /// 1@host:port,2@host:port,3@host:port [default: this node is alone]
    #[arg(long, value_name = "LIST")]
    pub peers: Option<PeerList>,

    /// Join a cluster that is there, instead of forming one with --peers: waits until 'hutong
    /// cluster add' has made this node one of it. Only an empty data directory is asked for it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", hide_possible_values = true)]
    pub join: Option<bool>,

    /// Directory of the journals; made if it isn't there. Put it on a local disk: ext4 or XFS
    /// [default: ./hutong-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address and port of shard 0; shard s listens on port + s. Port 0 lets the system choose
    /// [default: what --peers says of this node, or 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,

    /// Host name that clients are told to connect to; must lead here from where they are [default:
    /// the host of this node in --peers, or of --listen]
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,

    /// Shards, each with a CPU, a port and journals of its own [default: one for each CPU allowed]
    #[arg(long, value_name = "N")]
    pub shards: Option<u16>,

    /// Groups (journals) of the cluster; fixed when it is made, and the same for all nodes. More
    /// groups than shards let nodes grow onto more CPUs later [default: nodes times shards]
    #[arg(long, value_name = "N")]
    pub groups: Option<u32>,

    /// CPUs to pin the shards to, one each, such as 0-3,8 [default: the CPUs allowed]
    #[arg(long, value_name = "LIST", conflicts_with = "no_pin")]
    pub cpus: Option<String>,

    /// Don't pin shards to CPUs; for machines shared with other work
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", hide_possible_values = true)]
    pub no_pin: Option<bool>,

    /// Size of a journal segment file, such as 128MiB; fixed when the data directory is made
    /// [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    pub segment_bytes: Option<ByteSize>,

    /// Memory of each shard for the newest part of its journals, from which consumers that keep
    /// up are served [default: 48MiB]
    #[arg(long, value_name = "SIZE")]
    pub journal_cache: Option<ByteSize>,

    /// How fast journals are read in the background to find what has rotted on the disk, for all
    /// shards together; 0 turns that off [default: 4MiB]
    #[arg(long, value_name = "SIZE")]
    pub scrub_per_second: Option<ByteSize>,

    /// Disk buffers of each shard, registered with the kernel; wants three times as much locked
    /// memory (ulimit -l) unless root [default: the journal cache and 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub io_memory: Option<ByteSize>,

    /// How journal writes reach the disk: dsync (each write is durable by itself), fdatasync (one
    /// sync for all writes done meanwhile), or auto (measure at start, take the faster)
    /// [default: auto]
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    pub journal_sync: Option<JournalSync>,

    /// Answer unknown topics with an error instead of creating them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", hide_possible_values = true)]
    pub no_auto_create_topics: Option<bool>,

    /// Partitions of a topic that is created without a number [default: 1]
    #[arg(long, value_name = "N")]
    pub default_partitions: Option<i32>,

    /// Clients of each shard; those beyond are turned away [default: 20000]
    #[arg(long, value_name = "N")]
    pub connections_max: Option<u32>,

    /// Tell numbers about the broker over HTTP at this address, for Prometheus and for 'hutong top'
    /// (127.0.0.1:9644). Whoever reaches it can read them [default: don't]
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<String>,

    /// Log lines as text or as json, on standard error [default: text]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    pub log_format: Option<LogFormat>,

    /// The least important log lines to print: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
    pub log_level: Option<LogLevel>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Which log lines are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// How journal writes are made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalSync {
    /// Measure both at start.
    #[default]
    Auto,
    /// `O_DIRECT|O_DSYNC`: a write that has returned is on disk.
    Dsync,
    /// `O_DIRECT`, and one fdatasync for the writes that were done meanwhile.
    Fdatasync,
}

/// A number of bytes, written as `134217728`, `128MiB`, `128M` or `128MB` (all powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Where shards run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuPlacement {
    /// Shard s is pinned to the s-th of these.
    Pinned(Vec<usize>),
    /// The system moves shards about.
    Unpinned,
}

/// What the settings mean, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_id: NodeId,
    /// `None`: as the data directory says, or a random one if it is new.
    pub cluster_id: Option<String>,
    /// All nodes of the cluster in ascending order; none if this one was told of no cluster.
    pub peers: Vec<Peer>,
    /// An empty data directory joins the cluster of the others.
    pub join: bool,
    pub data_dir: PathBuf,
    /// Where shard 0 listens. With port 0 the system chooses.
    pub listen: SocketAddr,
    pub advertise_host: String,
    pub shards: u16,
    /// `None`: as the data directory says, or nodes times shards if it is new.
    pub groups: Option<u32>,
    pub cpus: CpuPlacement,
    /// `None`: as the data directory says, or the default if it is new.
    pub segment_bytes: Option<u64>,
    pub journal_cache_bytes: usize,
    /// Of all shards together; 0: none.
    pub scrub_bytes_per_second: u64,
    /// Disk buffers wanted for each shard; what the system grants may be less.
    pub io_memory_bytes: usize,
    pub journal_sync: JournalSync,
    pub auto_create_topics: bool,
    pub default_partitions: i32,
    pub connections_max: u32,
    /// Where numbers are told over HTTP. With port 0 the system chooses.
    pub metrics: Option<SocketAddr>,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
}

/// Something in the settings can't be meant. The CLI exits with code 2 for these.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Config {
    /// Reads the file that `args` names, if any, and turns both into what they mean.
    ///
    /// # Errors
    /// One sentence: what is wrong and what to do.
    pub fn from_args(args: &ServeArgs) -> Result<Config, ConfigError> {
        let file = args.config.as_deref().map(RawConfig::from_file).transpose()?;
        let raw = args.settings.clone().over(file.unwrap_or_default());
        Config::new(raw, &allowed_cpus()?)
    }

    /// Validates settings, given the CPUs this process may run on.
    ///
    /// # Errors
    /// One sentence: what is wrong and what to do.
    pub fn new(raw: RawConfig, allowed: &[usize]) -> Result<Config, ConfigError> {
        let node_id = NodeId(within("--node-id", raw.node_id, 0, 0, NODE_ID_MAX)?);
        let (shards, cpus) =
            placement(raw.shards, raw.cpus.as_deref(), raw.no_pin == Some(true), allowed)?;
        let peers = peers::checked(raw.peers, node_id, shards)?;
        let own = peers.iter().find(|peer| peer.node == node_id);
        let (listen, advertise_host) = reach(raw.listen, raw.advertise, own, shards)?;
        let cache = within(
            "--journal-cache",
            raw.journal_cache.map(|size| size.0),
            JOURNAL_CACHE_BYTES_DEFAULT as u64,
            JOURNAL_CACHE_BYTES_MIN,
            u64::from(u32::MAX) * 16,
        )?;
        Ok(Config {
            node_id,
            cluster_id: peers::cluster_id(raw.cluster_id, &peers)?,
            join: joins(raw.join, &peers)?,
            peers,
            data_dir: raw.data_dir.unwrap_or_else(|| PathBuf::from("./hutong-data")),
            listen,
            advertise_host,
            shards,
            groups: groups(raw.groups)?,
            cpus,
            segment_bytes: segment_bytes(raw.segment_bytes)?,
            journal_cache_bytes: cache as usize,
            scrub_bytes_per_second: raw
                .scrub_per_second
                .map_or(SCRUB_BYTES_PER_SECOND_DEFAULT, |size| size.0),
            io_memory_bytes: within(
                "--io-memory",
                raw.io_memory.map(|size| size.0),
                cache + IO_MEMORY_BESIDE_CACHE,
                64 << 10,
                IO_MEMORY_BYTES_MAX,
            )? as usize,
            journal_sync: raw.journal_sync.unwrap_or_default(),
            auto_create_topics: raw.no_auto_create_topics != Some(true),
            default_partitions: within(
                "--default-partitions",
                raw.default_partitions,
                1,
                1,
                TOPIC_PARTITIONS_MAX,
            )?,
            connections_max: within(
                "--connections-max",
                raw.connections_max,
                CONNECTIONS_MAX_DEFAULT,
                1,
                1_000_000,
            )?,
            metrics: raw.metrics.as_deref().map(metrics_address).transpose()?,
            log_format: raw.log_format.unwrap_or_default(),
            log_level: raw.log_level.unwrap_or_default(),
        })
    }

    /// The segment size of a new data directory.
    pub fn segment_bytes_of_new_dir(&self) -> u64 {
        self.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT)
    }

    /// The number of groups of a new data directory.
    pub fn groups_of_new_dir(&self) -> u32 {
        let all_shards = self.peers.len().max(1) as u32 * u32::from(self.shards);
        self.groups.unwrap_or(all_shards.min(GROUPS_MAX))
    }
}

impl RawConfig {
    /// Reads a TOML file. Names may be written with dashes or underscores.
    ///
    /// # Errors
    /// One sentence that names the file and, where there is one, the key.
    pub fn from_file(path: &Path) -> Result<RawConfig, ConfigError> {
        let file = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("can't read the settings in {file}: {error}.")))?;
        let table: toml::Table = toml::from_str(&text).map_err(|error| {
            ConfigError(format!("{file} is not valid TOML: {}.", one_line(error.message())))
        })?;
        let known = RawConfig::names();
        let mut settings = toml::Table::new();
        for (key, value) in table {
            let name = key.replace('_', "-");
            if !known.contains(&name) {
                return Err(ConfigError(format!(
                    "{file} has a setting {key:?} that doesn't exist; there are: {}.",
                    known.join(", ")
                )));
            }
            // One at a time, so that an error can name the setting.
            let mut alone = toml::Table::new();
            alone.insert(name.clone(), value.clone());
            if let Err(error) = alone.try_into::<RawConfig>() {
                return Err(ConfigError(format!(
                    "{key} in {file} can't be used: {}.",
                    one_line(error.message())
                )));
            }
            if settings.insert(name, value).is_some() {
                return Err(ConfigError(format!(
                    "{file} has {key} twice, with a dash and with an underscore: remove one."
                )));
            }
        }
        settings.try_into().map_err(|error: toml::de::Error| {
            ConfigError(format!("{file} can't be used: {}.", one_line(error.message())))
        })
    }

    /// The names of all settings, as they are written in the file.
    fn names() -> Vec<String> {
        let command = RawConfig::augment_args(clap::Command::new("serve"));
        command
            .get_arguments()
            .map(|argument| argument.get_id().as_str().replace('_', "-"))
            .collect()
    }

    /// These settings, and those of `below` where these say nothing.
    fn over(self, below: RawConfig) -> RawConfig {
        // To say where on the command line is to overrule where in the file, in either way.
        let placed = self.cpus.is_some() || self.no_pin.is_some();
        RawConfig {
            node_id: self.node_id.or(below.node_id),
            cluster_id: self.cluster_id.or(below.cluster_id),
            peers: self.peers.or(below.peers),
            join: self.join.or(below.join),
            data_dir: self.data_dir.or(below.data_dir),
            listen: self.listen.or(below.listen),
            advertise: self.advertise.or(below.advertise),
            shards: self.shards.or(below.shards),
            groups: self.groups.or(below.groups),
            cpus: if placed { self.cpus } else { below.cpus },
            no_pin: if placed { self.no_pin } else { below.no_pin },
            segment_bytes: self.segment_bytes.or(below.segment_bytes),
            journal_cache: self.journal_cache.or(below.journal_cache),
            scrub_per_second: self.scrub_per_second.or(below.scrub_per_second),
            io_memory: self.io_memory.or(below.io_memory),
            journal_sync: self.journal_sync.or(below.journal_sync),
            no_auto_create_topics: self.no_auto_create_topics.or(below.no_auto_create_topics),
            default_partitions: self.default_partitions.or(below.default_partitions),
            connections_max: self.connections_max.or(below.connections_max),
            metrics: self.metrics.or(below.metrics),
            log_format: self.log_format.or(below.log_format),
            log_level: self.log_level.or(below.log_level),
        }
    }
}

/// `value` or the default, if it lies within the bounds.
fn within<T: PartialOrd + fmt::Display>(
    flag: &str,
    value: Option<T>,
    default: T,
    min: T,
    max: T,
) -> Result<T, ConfigError> {
    let value = value.unwrap_or(default);
    if value < min || value > max {
        return Err(ConfigError(format!(
            "{flag} is {value}; it must be from {min} to {max}: choose a number in between."
        )));
    }
    Ok(value)
}

fn segment_bytes(size: Option<ByteSize>) -> Result<Option<u64>, ConfigError> {
    let Some(ByteSize(bytes)) = size else { return Ok(None) };
    if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes)
        || bytes % ENTRY_ALIGN_BYTES as u64 != 0
    {
        return Err(ConfigError(format!(
            "--segment-bytes is {}; it must be a multiple of 4KiB from {} to {}.",
            ByteSize(bytes),
            ByteSize(SEGMENT_BYTES_MIN),
            ByteSize(SEGMENT_BYTES_MAX)
        )));
    }
    Ok(Some(bytes))
}

fn groups(groups: Option<u32>) -> Result<Option<u32>, ConfigError> {
    groups.map(|groups| within("--groups", Some(groups), 1, 1, GROUPS_MAX)).transpose()
}

/// Whether an empty data directory joins a cluster.
fn joins(join: Option<bool>, peers: &[Peer]) -> Result<bool, ConfigError> {
    if join == Some(true) && peers.len() < 2 {
        return Err(ConfigError(
            "--join needs --peers with this node and others of the cluster that it joins.".into(),
        ));
    }
    Ok(join == Some(true))
}

/// Where to listen, and the host that clients are told. `own` is this node in --peers.
fn reach(
    listen: Option<String>,
    advertise: Option<String>,
    own: Option<&Peer>,
    shards: u16,
) -> Result<(SocketAddr, String), ConfigError> {
    let (typed_at, text) = match (listen, own) {
        (Some(listen), _) => ("--listen", listen),
        (None, Some(own)) => ("--peers", own.address()),
        (None, None) => ("--listen", "127.0.0.1:9092".to_string()),
    };
    let advertise_host = advertise.or(own.map(|own| own.host.clone()));
    let (listen, advertise_host) = addresses(typed_at, &text, advertise_host)?;
    if let Some(own) = own.filter(|own| own.port != listen.port()) {
        return Err(ConfigError(format!(
            "--listen {text} and {own} in --peers have different ports: this node must listen \
             where the others look for it."
        )));
    }
    let last = u32::from(listen.port()) + u32::from(shards) - 1;
    if listen.port() != 0 && last > 65535 {
        return Err(ConfigError(format!(
            "{shards} shards need the ports {} to {last}, and ports end at 65535: choose a lower \
             port with {typed_at}.",
            listen.port()
        )));
    }
    Ok((listen, advertise_host))
}

fn addresses(
    typed_at: &str,
    listen: &str,
    advertise: Option<String>,
) -> Result<(SocketAddr, String), ConfigError> {
    let wrong = |why: &str| {
        ConfigError(format!(
            "{typed_at} {listen} is not an address to listen on: {why}. Write it as \
             127.0.0.1:9092, [::1]:9092 or name:9092."
        ))
    };
    let (host, _) = listen.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
    let found: Vec<SocketAddr> =
        listen.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?.collect();
    // A name like localhost has both, and clients that try only one try IPv4.
    let address = *found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .ok_or_else(|| wrong("the name has no address"))?;
    if let Some(advertise) = advertise {
        if advertise.is_empty() || advertise.parse::<SocketAddr>().is_ok() {
            return Err(ConfigError(format!(
                "--advertise takes a host name or an address without a port, not \
                 {advertise:?}: the port of each shard is added to it."
            )));
        }
        return Ok((address, advertise));
    }
    if address.ip().is_unspecified() || host.is_empty() {
        let any: IpAddr = address.ip();
        return Err(ConfigError(format!(
            "--listen {any} takes connections on every address, and clients can't be told to \
             connect to {any}: name the host they reach this node by with --advertise HOST."
        )));
    }
    Ok((address, host))
}

/// Where to tell numbers.
fn metrics_address(text: &str) -> Result<SocketAddr, ConfigError> {
    let wrong = |why: String| {
        ConfigError(format!(
            "--metrics {text} is not an address to listen on: {why}. Write it as 127.0.0.1:9644, \
             [::1]:9644 or name:9644."
        ))
    };
    let mut found = text.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("the name has no address".to_string()))
}

/// How many shards there are, and where they run.
fn placement(
    shards: Option<u16>,
    cpus: Option<&str>,
    no_pin: bool,
    allowed: &[usize],
) -> Result<(u16, CpuPlacement), ConfigError> {
    let chosen = match cpus {
        Some(list) => cpu_list(list, allowed)?,
        None => allowed.to_vec(),
    };
    let default = chosen.len().min(usize::from(SHARDS_MAX)) as u16;
    let shards = within("--shards", shards, default, 1, SHARDS_MAX)?;
    if no_pin {
        return Ok((shards, CpuPlacement::Unpinned));
    }
    if chosen.len() < usize::from(shards) {
        return Err(ConfigError(format!(
            "{shards} shards need a CPU each, and there are {}: {}. Ask for fewer with --shards, \
             or add --no-pin to let them share.",
            chosen.len(),
            list(&chosen)
        )));
    }
    Ok((shards, CpuPlacement::Pinned(chosen[..usize::from(shards)].to_vec())))
}

/// Reads `0-3,8`.
pub fn cpu_list(text: &str, allowed: &[usize]) -> Result<Vec<usize>, ConfigError> {
    let wrong = |part: &str| {
        ConfigError(format!(
            "--cpus {text} can't be read at {part:?}: write numbers and ranges, such as 0-3,8."
        ))
    };
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| wrong(part))?;
        let last: usize = last.parse().map_err(|_| wrong(part))?;
        if first > last || last > 1 << 20 {
            return Err(wrong(part));
        }
        for cpu in first..=last {
            if !allowed.contains(&cpu) {
                return Err(ConfigError(format!(
                    "--cpus names CPU {cpu}, on which this process may not run; allowed are {}.",
                    list(allowed)
                )));
            }
            if cpus.contains(&cpu) {
                return Err(ConfigError(format!(
                    "--cpus names CPU {cpu} twice; each shard needs one of its own."
                )));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// The CPUs this process may run on.
pub fn allowed_cpus() -> Result<Vec<usize>, ConfigError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|error| {
        ConfigError(format!("can't ask which CPUs this process may run on: {error}."))
    })?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

fn one_line(text: &str) -> String {
    text.trim().trim_end_matches('.').replace('\n', " ")
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(format!("{text:?} is not a size; write it as 128MiB or 1GiB")),
        };
        let number: u64 = text[..digits]
            .parse()
            .map_err(|_| format!("{text:?} is not a size; write it as 128MiB or 1GiB"))?;
        number
            .checked_mul(1 << shift)
            .map(ByteSize)
            .ok_or_else(|| format!("{text} is more than any disk holds"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a size, such as \"128MiB\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(ByteSize(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(raw: RawConfig, allowed: &[usize]) -> String {
        Config::new(raw, allowed).expect_err("must be refused").to_string()
    }

    #[test]
    fn defaults_are_one_shard_per_cpu_on_loopback() {
        let config = Config::new(RawConfig::default(), &[2, 5]).unwrap();
        assert_eq!(config.shards, 2);
        assert_eq!(config.cpus, CpuPlacement::Pinned(vec![2, 5]));
        assert_eq!(config.listen.to_string(), "127.0.0.1:9092");
        assert_eq!(config.advertise_host, "127.0.0.1");
        assert_eq!(config.groups_of_new_dir(), 2);
        assert!(config.auto_create_topics);
    }

    #[test]
    fn a_cpu_that_is_not_allowed_is_named_with_those_that_are() {
        let raw = RawConfig { cpus: Some("0-3,8".into()), ..RawConfig::default() };
        let said = sentence(raw, &[0, 1, 2]);
        assert!(said.contains("CPU 3") && said.contains("0,1,2"), "{said}");
    }

    #[test]
    fn more_shards_than_cpus_need_no_pin() {
        let raw = RawConfig { shards: Some(4), ..RawConfig::default() };
        assert!(sentence(raw.clone(), &[0]).contains("--no-pin"));
        let config = Config::new(RawConfig { no_pin: Some(true), ..raw }, &[0]).unwrap();
        assert_eq!((config.shards, config.cpus), (4, CpuPlacement::Unpinned));
    }

    #[test]
    fn listening_everywhere_needs_an_advertised_host() {
        let raw = RawConfig { listen: Some("0.0.0.0:9092".into()), ..RawConfig::default() };
        assert!(sentence(raw.clone(), &[0]).contains("--advertise"));
        let config = Config::new(RawConfig { advertise: Some("b1".into()), ..raw }, &[0]).unwrap();
        assert_eq!(config.advertise_host, "b1");
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [("128MiB", 128 << 20), ("1g", 1 << 30), ("4096", 4096)] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes);
        }
        assert!("12 parsecs".parse::<ByteSize>().is_err());
        assert!("99999999999T".parse::<ByteSize>().is_err());
        assert_eq!(ByteSize(128 << 20).to_string(), "128MiB");
    }

    #[test]
    fn the_file_takes_either_spelling_and_names_what_it_does_not_know() {
        let dir = std::env::temp_dir().join(format!("hutong-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.toml");
        std::fs::write(&path, "data_dir = \"/d\"\nsegment-bytes = \"64MiB\"\nshards = 1\n")
            .unwrap();
        let file = RawConfig::from_file(&path).unwrap();
        let flags = RawConfig { shards: Some(2), ..RawConfig::default() };
        let config = Config::new(flags.over(file), &[0, 1]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/d"));
        assert_eq!((config.shards, config.segment_bytes), (2, Some(64 << 20)));

        std::fs::write(&path, "shrads = 1\n").unwrap();
        let said = RawConfig::from_file(&path).unwrap_err().to_string();
        assert!(said.contains("shrads") && said.contains("a.toml"), "{said}");
        std::fs::write(&path, "journal-sync = \"maybe\"\n").unwrap();
        let said = RawConfig::from_file(&path).unwrap_err().to_string();
        assert!(said.contains("journal-sync") && said.contains("maybe"), "{said}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
