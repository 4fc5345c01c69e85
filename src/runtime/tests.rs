//! The runtime from socket to disk and back, with a core that journals and echoes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::{Config, ConfigError, JournalSync, RawConfig};
use crate::model::ids::{GroupId, NodeId, ShardId};
use crate::runtime::clock::Clock;
use crate::runtime::data_dir::DataDir;
use crate::runtime::driver::{Milestone, drive};
use crate::runtime::executor::{spawn_local, start_executor};
use crate::runtime::journal_files::{Durability, JournalFiles};
use crate::runtime::listener::{accept_clients, bind_all};
use crate::runtime::mesh::{ShardMail, receive_mail};
use crate::runtime::segment_files::FileHelper;
use crate::runtime::shard_io::ShardIo;
use crate::runtime::sync_probe;
use crate::runtime::test_core::EchoCore;
use crate::runtime::{group_dirs, known_nodes};
use crate::shard::NodeAddress;
use crate::shard::peers::visit::Formation;

const SEGMENT_BYTES: u64 = 32 << 20;

/// One shard with an [`EchoCore`], in a directory of its own.
pub struct EchoShard {
    pub address: SocketAddr,
    dir: PathBuf,
    mail: flume::Sender<ShardMail>,
    milestones: flume::Receiver<Milestone>,
}

fn config(dir: &std::path::Path) -> Result<Config, ConfigError> {
    let raw = RawConfig {
        data_dir: Some(dir.to_path_buf()),
        listen: Some("127.0.0.1:0".into()),
        segment_bytes: Some(crate::config::ByteSize(SEGMENT_BYTES)),
        shards: Some(1),
        ..RawConfig::default()
    };
    Config::new(raw, &[0])
}

fn temp_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hutong-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

impl EchoShard {
    pub fn start(name: &str, durability: Durability, connections_max: usize) -> EchoShard {
        let dir = temp_dir(name);
        let (mail, receiver) = flume::unbounded();
        let (news, milestones) = flume::unbounded();
        let (told_address, address) = flume::bounded(1);
        let (mailbox, at) = (mail.clone(), dir.clone());
        start_executor("echo", Some(0), 16 << 20, move || async move {
            let dir = open_dir(&config(&at).unwrap()).unwrap();
            let (mut sockets, first) = bind_all("127.0.0.1:0".parse().unwrap(), 1).unwrap();
            told_address.send(first).unwrap();
            let io = ShardIo::new(
                ShardId(0),
                Clock::start(),
                connections_max,
                JournalFiles::new(dir.path(), durability),
                FileHelper::start(dir.path(), SEGMENT_BYTES).unwrap(),
                vec![mailbox],
            );
            spawn_local(receive_mail(io.clone(), receiver)).detach();
            let (listener_io, mut socket) = (io.clone(), sockets.pop());
            drive(io.clone(), EchoCore::new(SEGMENT_BYTES), |milestone| {
                if matches!(milestone, Milestone::Ready) {
                    let socket = socket.take().unwrap();
                    spawn_local(accept_clients(listener_io.clone(), socket)).detach();
                }
                news.send(milestone).unwrap();
            })
            .await;
        })
        .unwrap();
        let shard = EchoShard { address: address.recv().unwrap(), dir, mail, milestones };
        let ready = shard.milestones.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(matches!(ready, Milestone::Ready), "{ready:?}");
        shard
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// A connection that is answered: those that were closed count until the shard has seen it.
    fn connect_when_there_is_room(&self) -> TcpStream {
        for _ in 0..1000 {
            let mut stream = self.connect();
            let _ = stream.write_all(&frame(b"hello"));
            if stream.read_exact(&mut [0; 9]).is_ok() {
                return stream;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no client is taken in ten seconds");
    }

    pub fn stop(self) {
        self.mail.send(ShardMail::Shutdown).unwrap();
        let stopped = self.milestones.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(matches!(stopped, Milestone::Stopped), "{stopped:?}");
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}

fn order(stream: &mut TcpStream, order: &str, answer: &[u8]) {
    stream.write_all(&frame(order.as_bytes())).unwrap();
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, answer);
}

/// Whether the other side ends the connection within ten seconds, saying nothing more.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 8]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Sends frames of many sizes and reads them back, with a thread for each direction.
fn echo(mut stream: TcpStream, sizes: Vec<usize>) {
    let bytes: Vec<u8> =
        sizes.iter().flat_map(|size| frame(&vec![*size as u8 | 128; *size])).collect();
    let mut sender = stream.try_clone().unwrap();
    let sent = bytes.clone();
    let thread = std::thread::spawn(move || sender.write_all(&sent).unwrap());
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    thread.join().unwrap();
    assert!(got == bytes, "the echo differs");
}

#[test]
fn what_is_sent_comes_back_once_it_is_on_disk() {
    for durability in [Durability::Dsync, Durability::Fdatasync] {
        let shard = EchoShard::start(&format!("echo-{durability:?}"), durability, 100);
        let clients: Vec<_> = (0..4)
            .map(|n| {
                let stream = shard.connect();
                let sizes = vec![1, 100, 5_000, 70_000, 3, 300_000, 2_000_000 + n, 40_000, 9];
                std::thread::spawn(move || echo(stream, sizes))
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        shard.stop();
    }
}

#[test]
fn many_that_say_that_they_live_are_all_heard_and_so_is_what_they_say_after_that() {
    let shard = EchoShard::start("heartbeats", Durability::Fdatasync, 100);
    let heartbeat = frame(&[0, 12, 0, 4, 1, 2, 3]);
    let mut members: Vec<_> = (0..20).map(|_| shard.connect()).collect();
    let mut got = vec![0; heartbeat.len()];
    let began = Instant::now();
    // Longer than it takes the shard to see that they are many, if they are.
    while began.elapsed() < Duration::from_millis(400) {
        for member in &mut members {
            member.write_all(&heartbeat).unwrap();
        }
        for member in &mut members {
            member.read_exact(&mut got).unwrap();
            assert_eq!(got, heartbeat);
        }
    }
    for mut member in members {
        member.write_all(&heartbeat[..5]).unwrap();
        member.write_all(&heartbeat[5..]).unwrap();
        member.read_exact(&mut got).unwrap();
        echo(member, vec![1, 100_000, 9]);
    }
    shard.stop();
}

#[test]
fn the_core_can_pause_close_read_vote_and_change_segments() {
    let shard = EchoShard::start("orders", Durability::Dsync, 100);
    let mut stream = shard.connect();
    order(&mut stream, "!read", b"header\0\0\0\0");
    order(&mut stream, "!vote", b"voted");
    order(&mut stream, "!again", b"again");
    order(&mut stream, "!read", b"header of ");
    let vote = std::fs::read(shard.dir.join("group-0/vote")).unwrap();
    assert!(vote.len() == 8192 && vote[..4096] == [0; 4096] && vote[4096..] == [7; 4096]);
    let checkpoint = shard.dir.join("group-0/checkpoint");
    let written = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        std::fs::read(&checkpoint).is_ok_and(|bytes| bytes == b"checkpoint")
    });
    assert!(written);
    let began = Instant::now();
    stream.write_all(&frame(b"!pause")).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    echo(stream.try_clone().unwrap(), vec![5]);
    assert!(began.elapsed() >= Duration::from_millis(50), "reading went on: {:?}", began.elapsed());
    stream.write_all(&frame(b"!close")).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    shard.stop();
}

#[test]
fn the_core_can_dial_others_beside_all_the_clients_it_may_have() {
    let shard = EchoShard::start("dial", Durability::Dsync, 1);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let mut client = shard.connect();
    let mut dialed = Vec::new();
    for host in ["127.0.0.1", "localhost"] {
        order(&mut client, &format!("!dial {host} {port}"), b"dialed");
        let (mut stream, _) = other.accept().unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"hello");
        echo(stream.try_clone().unwrap(), vec![7, 100_000, 3_000_000, 1]);
        dialed.push(stream);
    }
    // Who was dialed takes nobody's place, nor leaves one behind.
    assert!(is_closed(&mut shard.connect()), "one client is allowed");
    dialed[0].write_all(&frame(b"!close")).unwrap();
    assert!(is_closed(&mut dialed[0]));
    assert!(is_closed(&mut shard.connect()), "one client is allowed");
    echo(dialed.remove(1), vec![9]);
    echo(client, vec![9]);
    shard.stop();
}

#[test]
fn a_dial_that_fails_says_why_once() {
    let shard = EchoShard::start("dial-fails", Durability::Dsync, 10);
    let mut client = shard.connect();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Too long for a name, so nobody is asked about it.
    let no_name = "n".repeat(70);
    for (host, why) in [("127.0.0.1", "refused"), (no_name.as_str(), "")] {
        client.write_all(&frame(format!("!dial {host} {gone}").as_bytes())).unwrap();
        let mut said = [0; 1000];
        let length = client.read(&mut said).unwrap();
        let said = std::str::from_utf8(&said[..length]).unwrap();
        assert!(said.starts_with(&format!("can't connect to port {gone} of {host}: ")), "{said}");
        assert!(said.contains(why), "{said}");
        println!("{said}");
    }
    echo(client, vec![5]);
    shard.stop();
}

#[test]
fn bad_lengths_and_too_many_clients_are_turned_away() {
    let shard = EchoShard::start("bad", Durability::Dsync, 2);
    for bad in [-1i32, 0, i32::MAX] {
        let mut stream = shard.connect();
        stream.write_all(&bad.to_be_bytes()).unwrap();
        assert!(is_closed(&mut stream));
        drop(stream);
    }
    let (one, two) = (shard.connect_when_there_is_room(), shard.connect_when_there_is_room());
    let mut three = shard.connect();
    assert!(is_closed(&mut three), "the third is turned away");
    drop(one);
    drop(shard.connect_when_there_is_room());
    drop(two);
    shard.stop();
}

#[test]
fn silence_in_the_middle_of_a_frame_and_unread_answers_end_a_connection() {
    let shard = EchoShard::start("silence", Durability::Dsync, 10);
    let whole = shard.connect();
    let mut half = shard.connect();
    half.write_all(&frame(b"half of this")[..7]).unwrap();
    let mut deaf = shard.connect();
    let lots = frame(&vec![b'x'; 1 << 20]);
    // More than the two kernels hold for a client that doesn't read.
    for _ in 0..32 {
        deaf.write_all(&lots).unwrap();
    }
    assert!(is_closed(&mut half), "closed for its silence");
    std::thread::sleep(Duration::from_secs(5));
    let mut got = 0;
    while let Ok(more @ 1..) = deaf.read(&mut [0; 1 << 16]) {
        got += more;
    }
    assert!(got < 32 << 20, "closed for not reading");
    echo(whole.try_clone().unwrap(), vec![10]);
    shard.stop();
}

#[test]
fn a_port_in_use_is_named_with_the_flag_to_change_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let said = bind_all(address, 1).unwrap_err().to_string();
    assert!(said.contains(&address.to_string()) && said.contains("--listen"), "{said}");
}

#[test]
fn a_data_dir_serves_one_process_of_one_node() {
    let dir = temp_dir("lock");
    let first = open_dir(&config(&dir).unwrap()).unwrap();
    let cluster = first.facts().cluster_id.clone();
    let said = open_dir(&config(&dir).unwrap()).err().unwrap().to_string();
    assert!(said.contains("in use") && said.contains("--data-dir"), "{said}");
    drop(first);
    let mut other = config(&dir).unwrap();
    other.groups = Some(7);
    let again = open_dir(&other).unwrap();
    assert_eq!((again.facts().groups, &again.facts().cluster_id), (1, &cluster));
    let files = again.group_files(crate::model::ids::GroupId(0)).unwrap();
    assert!(files.segments.is_empty() && files.vote.is_empty() && files.checkpoint.is_none());
    drop(again);
    other.node_id = crate::model::ids::NodeId(3);
    let said = open_dir(&other).err().unwrap().to_string();
    assert!(said.contains("--node-id 0"), "{said}");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// A node of a cluster whose groups are on three nodes each.
fn config_of_one_of(dir: &std::path::Path, cluster_id: &str, peers: &str) -> Config {
    let raw = RawConfig {
        data_dir: Some(dir.to_path_buf()),
        node_id: Some(4),
        cluster_id: Some(cluster_id.into()),
        peers: Some(peers.parse().unwrap()),
        shards: Some(1),
        groups: Some(6),
        ..RawConfig::default()
    };
    Config::new(raw, &[0]).unwrap()
}

#[test]
fn a_data_dir_has_the_groups_of_its_node_and_stays_with_its_cluster() {
    let dir = temp_dir("nodes");
    let peers = "1@a:9092,2@b:9092,3@c:9092,4@127.0.0.1:9092,5@e:9092";
    let open = |config: &Config| open_dir(config).map_err(|error| error.to_string());
    let made = open(&config_of_one_of(&dir, "c1", peers)).unwrap();
    assert_eq!((made.facts().cluster_id.as_str(), made.facts().groups), ("c1", 6));
    assert_eq!(made.facts().nodes, [1, 2, 3, 4, 5]);
    let here: Vec<u32> = made.groups_here().unwrap().iter().map(|group| group.0).collect();
    assert_eq!(here, [0, 1, 2, 3]);
    for group in 0..6 {
        assert_eq!(dir.join(format!("group-{group}/vote")).exists(), here.contains(&group));
    }
    drop(made);
    let moved = peers.replace("a:9092", "elsewhere:9192");
    assert_eq!(open(&config_of_one_of(&dir, "c1", &moved)).unwrap().facts().nodes.len(), 5);

    let more = format!("{peers},6@f:9092");
    let fewer = peers.replace("2@b:9092,", "");
    for (cluster_id, peers, parts) in [
        ("c2", peers, ["cluster c1", "--cluster-id says c2"]),
        ("c1", &more, ["names node 6", "'hutong cluster add'"]),
        ("c1", &fewer, ["lacks node 2", "nodes 1, 2, 3, 4, 5"]),
    ] {
        let said = open(&config_of_one_of(&dir, cluster_id, peers)).err().unwrap();
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    let alone = Config { peers: vec![], ..config_of_one_of(&dir, "c1", peers) };
    let said = open(&alone).err().unwrap();
    assert!(said.contains("nodes 1, 2, 3, 4, 5") && said.contains("--peers"), "{said}");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Opens a directory that joins no cluster.
fn open_dir(config: &Config) -> anyhow::Result<DataDir> {
    DataDir::open(config, |_| unreachable!("it doesn't join"))
}

#[test]
fn a_data_dir_that_joins_has_the_catalog_s_group_and_what_it_is_given() {
    let dir = temp_dir("joins");
    let peers = "1@a:9092,2@b:9092,4@127.0.0.1:9092";
    let config = Config { join: true, ..config_of_one_of(&dir, "c1", peers) };
    let formation =
        Formation { nodes: [1, 2, 3].map(NodeId).to_vec(), groups: 3, segment_bytes: 64 << 20 };
    let joined = DataDir::open(&config, |_| Ok(formation)).unwrap();
    let facts = joined.facts();
    assert_eq!((facts.node_id, &facts.nodes[..], facts.groups), (4, &[1, 2, 3][..], 3));
    assert_eq!((facts.segment_bytes, facts.directory == 0), (64 << 20, false));
    assert_eq!(joined.groups_here().unwrap(), [GroupId(0)]);
    group_dirs::create(joined.path(), GroupId(2), b"checkpoint").unwrap();
    assert_eq!(joined.groups_here().unwrap(), [0, 2].map(GroupId));
    group_dirs::remove(joined.path(), GroupId(0), b"gone").unwrap();
    let address =
        |node: u32| NodeAddress { node: NodeId(node), host: "a".into(), port: 9092, directory: 7 };
    known_nodes::write(joined.path(), &[1, 2, 4, 5].map(address)).unwrap();
    drop(joined);
    // It joins once: from then on it is of the cluster, wherever the others are by then.
    let peers = "1@elsewhere:9092,4@127.0.0.1:9092,5@e:9092";
    let again = open_dir(&config_of_one_of(&dir, "c1", peers)).unwrap();
    assert_eq!(again.groups_here().unwrap(), [GroupId(2)]);
    assert_eq!(again.known_nodes().unwrap().len(), 4);
    drop(again);
    let said = open_dir(&config_of_one_of(&dir, "c1", "4@127.0.0.1:9092,6@f:9092"));
    assert!(said.err().unwrap().to_string().contains("names node 6"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_data_dir_of_another_format_is_left_alone() {
    let dir = temp_dir("format");
    drop(open_dir(&config(&dir).unwrap()).unwrap());
    let file = dir.join("hutong.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let older = text.replace("\"format_version\": 2", "\"format_version\": 1");
    assert_ne!(older, text);
    std::fs::write(&file, &older).unwrap();
    let said = open_dir(&config(&dir).unwrap()).err().unwrap().to_string();
    assert!(said.contains("has format 1") && said.contains("reads format 2"), "{said}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_probe_measures_or_says_why_not() {
    let (_, how) = sync_probe::choose(JournalSync::Auto, &std::env::temp_dir());
    assert!(how.contains("O_DSYNC") && !how.contains("could not"), "{how}");
}
