//! One process: starts the shards, says when they serve, and stops them.
//!
//! The main thread starts everything and then waits for news. Signals are blocked in every thread
//! and taken by one that does nothing else. Shards are never joined: once all is on disk the
//! process ends, which is the one clean-up that can't hang.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{SigSet, Signal};

use crate::config::peers::Peer;
use crate::config::{Config, CpuPlacement};
use crate::journal::source::GroupFiles;
use crate::limits::CHECKPOINT_JOURNAL_BYTES;
use crate::model::ids::{NodeId, ShardId, shard_of_group};
use crate::runtime::clock::Clock;
use crate::runtime::data_dir::{DataDir, random};
use crate::runtime::driver::{Milestone, drive};
use crate::runtime::executor::{spawn_local, start_executor};
use crate::runtime::host;
use crate::runtime::join;
use crate::runtime::journal_files::{Durability, JournalFiles};
use crate::runtime::journal_page::JournalPage;
use crate::runtime::listener::{accept_clients, bind_all};
use crate::runtime::mend_at_start::{AtStart, mend_at_start};
use crate::runtime::mesh::{ShardMail, receive_mail};
use crate::runtime::metrics::{self, NodeFacts};
use crate::runtime::segment_files::FileHelper;
use crate::runtime::segment_source::DirSource;
use crate::runtime::shard_io::ShardIo;
use crate::runtime::sync_probe;
use crate::shard::{NodeAddress, Shard, ShardConfig};

/// How long shards may take to have all on disk after a signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A signal that follows the first within this time is the same one.
const SIGNAL_PAUSE: Duration = Duration::from_secs(1);

/// What the main thread waits for.
enum News {
    Shard(ShardId, Milestone),
    Signal(Signal),
}

/// All that one shard's thread is started with.
struct ShardStart {
    config: ShardConfig,
    groups: Vec<GroupFiles>,
    data_dir: std::path::PathBuf,
    durability: Durability,
    connections_max: usize,
    clock: Clock,
    socket: OwnedFd,
    mail: flume::Receiver<ShardMail>,
    mailboxes: Vec<flume::Sender<ShardMail>>,
    helper: FileHelper,
    news: flume::Sender<News>,
    /// Is cut off when the node is to stop, for a shard that isn't open yet.
    running: flume::Receiver<Infallible>,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// A sentence: why it could not start, or why it could not go on.
pub fn run(config: &Config) -> Result<()> {
    // Before any thread: what they inherit.
    let signals = block_signals()?;
    end_process_on_panic();
    host::keep_large_blocks();
    host::raise_open_files();
    host::check_io_uring()?;

    let (news, inbox) = flume::unbounded();
    start_signals(signals, news.clone())?;
    // Never dropped: its lock must outlive every thread that writes, and those end with the
    // process.
    let opened = DataDir::open(config, |config| join::formation(config, || !inbox.is_empty()))?;
    let dir: &DataDir = Box::leak(Box::new(opened));
    let (sockets, first) = bind_all(config.listen, config.shards)?;
    let metrics = config.metrics.map(metrics::bind).transpose()?;
    let (durability, how) = sync_probe::choose(config.journal_sync, dir.path());
    tracing::info!("journal: {how}");
    tell_of_peers(config, dir);
    let (running, until_dropped) = flume::bounded(0);
    let mailboxes = start_shards(config, dir, sockets, first, durability, &news, &until_dropped)?;
    if let Some((listener, address)) = metrics {
        let (node, data_dir) = (config.node_id.0, dir.path().to_path_buf());
        metrics::start(listener, NodeFacts { node, data_dir, shards: mailboxes.clone() })?;
        tracing::info!("metrics at http://{address}/metrics");
    }
    wait(config, &inbox, &mailboxes, first, running)
}

/// A node that waits for others says for whom.
fn tell_of_peers(config: &Config, dir: &DataDir) {
    if config.peers.len() < 2 {
        return;
    }
    let nodes: Vec<String> = config.peers.iter().map(Peer::to_string).collect();
    tracing::info!(
        "node {} of the cluster {}: {}; it serves once a majority of them runs",
        config.node_id,
        dir.facts().cluster_id,
        nodes.join(", ")
    );
    if config.peers.len() == 2 {
        tracing::warn!(
            "a cluster of two nodes stops when either is gone, since one is no majority: form it \
             of three"
        );
    }
}

fn start_shards(
    config: &Config,
    dir: &DataDir,
    sockets: Vec<OwnedFd>,
    first: SocketAddr,
    durability: Durability,
    news: &flume::Sender<News>,
    running: &flume::Receiver<Infallible>,
) -> Result<Vec<flume::Sender<ShardMail>>> {
    let helper = FileHelper::start(dir.path(), dir.facts().segment_bytes)
        .context("can't start the file threads")?;
    let io_memory = host::io_memory(config.io_memory_bytes, config.shards)?;
    let clock = Clock::start();
    let (mailboxes, mails): (Vec<_>, Vec<_>) =
        (0..config.shards).map(|_| flume::unbounded()).unzip();
    for (shard, (socket, mail)) in sockets.into_iter().zip(mails).enumerate() {
        let shard = ShardId(shard as u16);
        let start = ShardStart {
            config: shard_config(config, dir, shard, first)?,
            groups: groups_of(config, dir, shard)?,
            data_dir: dir.path().to_path_buf(),
            durability,
            connections_max: config.connections_max as usize,
            clock,
            socket,
            mail,
            mailboxes: mailboxes.clone(),
            helper: helper.clone(),
            news: news.clone(),
            running: running.clone(),
        };
        start_shard(&config.cpus, io_memory, start)?;
    }
    Ok(mailboxes)
}

fn start_shard(cpus: &CpuPlacement, io_memory: usize, start: ShardStart) -> Result<()> {
    let shard = start.config.shard;
    let cpu = match cpus {
        CpuPlacement::Pinned(cpus) => Some(cpus[usize::from(shard.0)]),
        CpuPlacement::Unpinned => None,
    };
    let name = format!("shard-{shard}");
    start_executor(&name, cpu, io_memory, move || run_shard(start))
        .with_context(|| format!("can't start shard {shard}"))?;
    Ok(())
}

/// The main task of a shard's executor. Never returns: the process ends it.
async fn run_shard(mut start: ShardStart) {
    let shard = start.config.shard;
    let (core, end) = match open_shard(&mut start) {
        Ok(core) => (core, Milestone::Stopped),
        Err(reason) => (None, Milestone::Fatal(reason)),
    };
    let Some(core) = core else {
        let _ = start.news.send(News::Shard(shard, end));
        return futures_lite::future::pending().await;
    };
    let news = start.news;
    let io = ShardIo::new(
        shard,
        start.clock,
        start.connections_max,
        JournalFiles::new(&start.data_dir, start.durability),
        start.helper,
        start.mailboxes,
    );
    spawn_local(receive_mail(io.clone(), start.mail)).detach();
    // Before it can serve anybody: it may become able to only with other nodes, who come in by the
    // same door. Clients wait.
    spawn_local(accept_clients(io.clone(), start.socket)).detach();
    drive(io, core, move |milestone| {
        let _ = news.send(News::Shard(shard, milestone));
    })
    .await;
    futures_lite::future::pending().await
}

/// Recovers a shard's groups; what is damaged is fetched from other nodes, if there are any. `None`
/// if the node is to stop before they have it.
fn open_shard(start: &mut ShardStart) -> Result<Option<Shard<JournalPage>>, String> {
    let ShardStart { config, groups, data_dir, clock, socket, running, .. } = start;
    loop {
        let mut source = DirSource::new(data_dir);
        let opened = Shard::open(config.clone(), groups.clone(), &mut source, clock.now());
        if opened.is_ok() {
            return opened.map(Some);
        }
        match mend_at_start(config, groups, data_dir, socket, running) {
            AtStart::AsItWas => return opened.map(Some),
            AtStart::Mended => {}
            AtStart::Stopping => return Ok(None),
        }
    }
}

fn shard_config(
    config: &Config,
    dir: &DataDir,
    shard: ShardId,
    first: SocketAddr,
) -> Result<ShardConfig> {
    Ok(ShardConfig {
        node: config.node_id,
        shard,
        shards: config.shards,
        groups: dir.facts().groups,
        cluster_id: dir.facts().cluster_id.clone(),
        formed: dir.facts().formed(),
        nodes: nodes(config, dir, first),
        directory: dir.facts().directory,
        advertised_host: config.advertise_host.clone(),
        base_port: first.port(),
        data_directory: config.data_dir.display().to_string(),
        segment_bytes: dir.facts().segment_bytes,
        journal_cache_bytes: config.journal_cache_bytes,
        scrub_bytes_per_second: config.scrub_bytes_per_second.div_ceil(u64::from(config.shards)),
        checkpoint_bytes: CHECKPOINT_JOURNAL_BYTES,
        auto_create_topics: config.auto_create_topics,
        default_partitions: config.default_partitions,
        seed: u64::from_ne_bytes(random()?),
    })
}

/// The nodes of the cluster and where they are: what this node last knew, and over it what it is
/// told now. This one is where it has just been bound.
fn nodes(config: &Config, dir: &DataDir, first: SocketAddr) -> Vec<NodeAddress> {
    let known = dir.known_nodes().unwrap_or_default();
    let mut nodes: BTreeMap<NodeId, NodeAddress> =
        known.iter().map(|address| (address.node, address.clone())).collect();
    let own =
        Peer { node: config.node_id, host: config.advertise_host.clone(), port: first.port() };
    for peer in config.peers.iter().chain([&own]) {
        // One that isn't known any more was removed.
        let directory = match nodes.get(&peer.node) {
            Some(known) => known.directory,
            None if known.is_empty() || peer.node == own.node => 0,
            None => continue,
        };
        let (host, port) = (peer.host.clone(), peer.port);
        nodes.insert(peer.node, NodeAddress { node: peer.node, host, port, directory });
    }
    nodes.into_values().collect()
}

fn groups_of(config: &Config, dir: &DataDir, shard: ShardId) -> Result<Vec<GroupFiles>> {
    dir.groups_here()?
        .into_iter()
        .filter(|group| shard_of_group(*group, config.shards) == shard)
        .map(|group| dir.group_files(group))
        .collect()
}

/// Follows the shards from start to stop.
fn wait(
    config: &Config,
    inbox: &flume::Receiver<News>,
    mailboxes: &[flume::Sender<ShardMail>],
    first: SocketAddr,
    until_stop: flume::Sender<Infallible>,
) -> Result<()> {
    let mut until_stop = Some(until_stop);
    let (mut ready, mut running) = (0, mailboxes.len());
    let mut stop_by: Option<Instant> = None;
    while running > 0 {
        let news = match stop_by {
            None => inbox.recv().map_err(|_| anyhow!("all threads are gone"))?,
            Some(by) => match inbox.recv_deadline(by) {
                Ok(news) => news,
                Err(_) => bail!(
                    "{running} of {} shards were not done within {STOP_TIMEOUT:?}; what was \
                     acknowledged is on disk",
                    mailboxes.len()
                ),
            },
        };
        match news {
            News::Shard(_, Milestone::Ready) => {
                ready += 1;
                if ready == mailboxes.len() {
                    eprintln!("{}", ready_line(config, first));
                }
            }
            News::Shard(_, Milestone::Stopped) => running -= 1,
            News::Shard(shard, Milestone::Fatal(reason)) => bail!("shard {shard}: {reason}"),
            News::Signal(signal) if stop_by.is_some() => {
                // Some supervisors send it twice, to the process and to its group.
                if stop_by.is_some_and(|by| Instant::now() + STOP_TIMEOUT > by + SIGNAL_PAUSE) {
                    bail!("{signal} again: stopped at once");
                }
            }
            News::Signal(signal) => {
                tracing::info!("{signal}: stopping");
                stop_by = Some(Instant::now() + STOP_TIMEOUT);
                drop(until_stop.take());
                for mailbox in mailboxes {
                    let _ = mailbox.send(ShardMail::Shutdown);
                }
            }
        }
    }
    tracing::info!("stopped: all is on disk");
    Ok(())
}

fn ready_line(config: &Config, first: SocketAddr) -> String {
    let shards = config.shards;
    let last = first.port() + (shards - 1);
    let ports = if shards == 1 { first.to_string() } else { format!("{first}-{last}") };
    format!(
        "hutong ready: node {}, {shards} {} at {ports}, data in {}",
        config.node_id,
        if shards == 1 { "shard" } else { "shards" },
        config.data_dir.display()
    )
}

/// SIGTERM and SIGINT wait until they are asked for, in this thread and those it starts.
fn block_signals() -> Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().context("can't block signals")?;
    Ok(signals)
}

fn start_signals(signals: SigSet, news: flume::Sender<News>) -> Result<()> {
    std::thread::Builder::new()
        .name("signals".to_string())
        .spawn(move || {
            while let Ok(signal) = signals.wait() {
                if news.send(News::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .context("can't start the signal thread")?;
    Ok(())
}

/// A panic is a broken invariant: no thread of the node may go on as if nothing had happened.
fn end_process_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::exit(1);
    }));
}
