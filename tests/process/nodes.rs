//! Several nodes as processes, each with a directory of its own.

use std::time::Duration;

use crate::broker::{Broker, PORT_TRIES, free_ports, wait_until};

/// Dev builds beside busy neighbours.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// The nodes of a cluster of one shard each; the one at index i has id i + 1.
pub struct Nodes {
    pub all: Vec<Broker>,
}

impl Nodes {
    /// Starts them, and waits until all of them serve.
    pub fn start(count: usize, flags: &[&str]) -> Nodes {
        for _ in 0..PORT_TRIES {
            // All nodes are told all ports, so these are found before and may be taken meanwhile.
            let ports: Vec<u16> = (0..count).map(|_| free_ports(1)).collect();
            let nodes = (0..count).map(|number| Broker::member(number, &ports).with_flags(flags));
            let mut all: Vec<Broker> = nodes.collect();
            all.iter_mut().for_each(Broker::spawn);
            let mut taken = false;
            wait_until("all nodes serve", READY_TIMEOUT, || {
                let said = all.iter().map(Broker::said);
                let said: Vec<String> = said.collect();
                taken = said.iter().any(|said| said.contains("the port is in use"));
                taken || said.iter().all(|said| said.contains("hutong ready:"))
            });
            if !taken {
                return Nodes { all };
            }
        }
        panic!("found no free ports");
    }
}
