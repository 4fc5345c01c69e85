//! Nodes with a network between them that can be cut. Each has a network namespace of its own, and
//! a wire to the one of the test, which passes packets on, or drops them without a word: as when a
//! switch fails, and unlike a socket that is shut, of which both ends learn. Nothing is left
//! behind: namespaces, wires and rules go with the threads and processes that are in them.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use crate::broker::wait_until;

/// Of addresses that are given to nobody (RFC 5737), four for each wire: none, the test's end, the
/// node's end, all.
const NETWORK: [u8; 3] = [192, 0, 2];

/// Between two packets.
const PAUSE: Duration = Duration::from_millis(100);
/// Until one gets through.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a node's process can run.
#[derive(Clone)]
pub struct Namespace(Arc<File>);

/// As many nodes as it was made for.
pub struct Network {
    nodes: Vec<Namespace>,
    /// How to undo what was cut.
    mends: Vec<String>,
}

impl Namespace {
    fn new() -> io::Result<Namespace> {
        // Who makes a namespace is in it; the file keeps it when that thread is gone.
        let make = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        Ok(Namespace(Arc::new(make.join().expect("it doesn't panic")?)))
    }

    /// Moves the calling thread, or the process between fork and exec.
    ///
    /// # Errors
    /// What the system said.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&*self.0, CloneFlags::CLONE_NEWNET)?)
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

impl Network {
    /// Moves the calling thread into a new namespace as well, and so all threads and processes
    /// that it starts from now on: they are the clients, and reach all nodes.
    ///
    /// # Errors
    /// Namespaces aren't permitted here, or something that they need is missing: a sentence that
    /// says what. Then the thread is where it was.
    pub fn new(nodes: usize) -> Result<Network, String> {
        let home = File::open("/proc/thread-self/ns/net").map_err(|error| error.to_string())?;
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("no network namespace can be made: {error}"))?;
        Network::around_this_thread(nodes).inspect_err(|_| {
            Namespace(Arc::new(home)).enter().expect("it came from there");
        })
    }

    fn around_this_thread(nodes: usize) -> Result<Network, String> {
        ip("link set lo up")?;
        // Of the namespace of the thread that writes.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .map_err(|error| format!("packets can't be passed on: {error}"))?;
        let nodes = (0..nodes).map(connect).collect::<Result<_, _>>()?;
        Ok(Network { nodes, mends: Vec::new() })
    }

    /// Where this node's process is to run.
    pub fn namespace(&self, node: usize) -> Namespace {
        self.nodes[node].clone()
    }

    /// What a node listens on.
    pub fn address(node: usize) -> Ipv4Addr {
        end(node, 2)
    }

    /// From now on nothing gets from one node to another, on connections that are there or new
    /// ones. Clients reach both.
    pub fn cut(&mut self, from: usize, to: usize) {
        let rule = format!("iif wire-{from} to {} blackhole", Network::address(to));
        self.break_by(format!("rule add {rule}"), format!("rule del {rule}"));
    }

    /// From now on nothing gets to or from a node, from clients neither.
    pub fn unplug(&mut self, node: usize) {
        let wire = format!("link set wire-{node}");
        self.break_by(format!("{wire} down"), format!("{wire} up"));
    }

    /// All is well again.
    pub fn mend(&mut self) {
        for mend in self.mends.drain(..) {
            ip(&mend).unwrap();
        }
    }

    fn break_by(&mut self, line: String, mend: String) {
        ip(&line).unwrap();
        self.mends.push(mend);
    }
}

fn end(node: usize, number: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, 4 * u8::try_from(node).expect("few nodes") + number)
}

/// A new namespace with a wire to this one.
fn connect(node: usize) -> Result<Namespace, String> {
    let namespace =
        Namespace::new().map_err(|error| format!("no namespace for a node: {error}"))?;
    let path = namespace.path();
    ip(&format!("link add wire-{node} type veth peer name wire netns {path}"))?;
    let (here, there) = (end(node, 1), end(node, 2));
    ip(&format!("address add {here}/30 dev wire-{node}"))?;
    ip(&format!("link set wire-{node} up"))?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            namespace.enter().map_err(|error| format!("a namespace can't be entered: {error}"))?;
            ip("link set lo up")?;
            ip(&format!("address add {there}/30 dev wire"))?;
            ip("link set wire up")?;
            ip(&format!("route add default via {here}"))
        });
        inside.join().expect("it doesn't panic")
    })?;
    Ok(namespace)
}

fn ip(line: &str) -> Result<(), String> {
    let output = Command::new("ip").args(line.split(' ')).output();
    let output = output.map_err(|error| format!("ip can't be run: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

#[test]
fn what_is_cut_lets_nothing_through_in_that_direction_and_nothing_else_is_cut() {
    // The network moves its thread elsewhere, and other tests may run on this one.
    std::thread::spawn(|| match Network::new(3) {
        Ok(network) => cut_and_mend(network),
        Err(why) => println!("{why}: nothing to be tested"),
    })
    .join()
    .unwrap();
}

fn cut_and_mend(mut network: Network) {
    // The last one is a client.
    let sockets: Vec<UdpSocket> = (0..4)
        .map(|at| {
            let namespace = network.nodes.get(at).cloned();
            let bind = move || {
                namespace.map_or(Ok(()), |it| it.enter()).unwrap();
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()
            };
            std::thread::spawn(bind).join().unwrap()
        })
        .collect();
    // What was sent before something was cut may still lie about.
    let round = Cell::new(0);
    let send = |from: usize, to: usize| {
        let message = [from as u8, round.get()];
        let port = sockets[to].local_addr().unwrap().port();
        // What is lost for want of a wire is an error for who sends on it, and nothing for others.
        let _ = sockets[from].send_to(&message, (Network::address(to), port));
        sockets[to].set_read_timeout(Some(PAUSE)).unwrap();
        let mut came = [0; 2];
        sockets[to].recv(&mut came).is_ok_and(|_| came == message)
    };
    let check = |stopped: &[(usize, usize)]| {
        round.set(round.get() + 1);
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0), (3, 0), (3, 1), (3, 2)] {
            match stopped.contains(&(from, to)) {
                true => assert!((0..3).all(|_| !send(from, to)), "{from} to {to} is cut"),
                false => wait_until("it gets there", PATIENCE, || send(from, to)),
            }
        }
    };
    check(&[]);
    network.cut(0, 1);
    check(&[(0, 1)]);
    network.cut(1, 0);
    check(&[(0, 1), (1, 0)]);
    network.mend();
    network.unplug(2);
    check(&[(1, 2), (2, 1), (0, 2), (2, 0), (3, 2)]);
    network.mend();
    check(&[]);
}
