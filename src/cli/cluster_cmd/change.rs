//! Changing a cluster: a node is told what shall be, and then it is watched until it is so.
//!
//! The change itself is one entry of group 0's journal, made or refused at once. What follows takes
//! its time: groups move, a member at a time, and go on taking records while they do.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;

use super::found::{Found, Led};
use super::look;
use crate::cli::client::Endpoint;
use crate::cli::output::{plural, print};
use crate::config::peers::Peer;
use crate::model::ids::{GroupId, NodeId};
use crate::runtime::visitor;
use crate::shard::peers::visit::{Change, Visit};

/// Between two looks at how far a change is.
const PAUSE: Duration = Duration::from_millis(500);

/// How long to wait for what follows a change.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// How long to wait until it is done; 0 to return when it is decided, and to look later with
    /// 'hutong cluster status'
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u64).range(0..=604_800))]
    wait: u64,
}

#[derive(Debug, Args)]
#[command(
    about = "Add a node: it gets a copy of the catalog and its share of the groups",
    long_about = "Add a node: it gets a copy of the catalog and its share of the groups.\n\n\
                  Start it with an empty data directory and --join; it waits until it is added. It \
                  first gets all there is of its groups, without a vote; then it gets its votes, \
                  and those whose places it takes go. Groups that have fewer copies than they \
                  should get one more. New topics spread over the groups there are: 'hutong \
                  cluster add-groups' gives more to a cluster that has grown. Give each node a \
                  number that was never used. Named again with another address, a node has \
                  moved.\n\n\
                  Example:\n\n  \
                  hutong cluster add 4@10.0.0.10:9092\n  \
                  hutong serve --node-id 4 --cluster-id c --join \
                  --peers 1@10.0.0.7:9092,2@10.0.0.8:9092,3@10.0.0.9:9092,4@10.0.0.10:9092"
)]
pub struct AddArgs {
    /// The node's number, and where its shard 0 is reached by all others
    #[arg(value_name = "NODE@HOST:PORT")]
    node: Peer,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
#[command(
    about = "Remove a node, running or dead: others take its groups first",
    long_about = "Remove a node, running or dead: others take its groups first.\n\n\
                  Where there are too few nodes to take them, groups have fewer copies from then \
                  on. Refused if a group would be left without a majority. To replace a node whose \
                  disk is lost, add one with a new number, then remove the old one. When it is \
                  done the node can be stopped, and its data directory deleted; if this command \
                  is stopped before, run it again.\n\n\
                  Example:\n\n  hutong cluster remove 3"
)]
pub struct RemoveArgs {
    /// The node's number
    #[arg(value_name = "NODE")]
    node: u32,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
#[command(
    about = "Have a node lead nothing, before its host is worked on",
    long_about = "Have a node lead nothing, before its host is worked on.\n\n\
                  Clients go to the new leaders and lose no more than a retry. The node keeps its \
                  copies and its votes, also through a restart, until it is told '--undo'. A node \
                  that is stopped with SIGTERM hands over by itself; draining keeps it from \
                  leading when it is back.\n\n\
                  Examples:\n\n  hutong cluster drain 2\n  hutong cluster drain 2 --undo"
)]
pub struct DrainArgs {
    /// The node's number
    #[arg(value_name = "NODE")]
    node: u32,
    /// It may lead again
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
#[command(
    about = "Have another of its nodes lead a group",
    long_about = "Have another of its nodes lead a group, from now on.\n\n\
                  Example:\n\n  hutong cluster transfer 5 2"
)]
pub struct TransferArgs {
    /// The group's number
    #[arg(value_name = "GROUP")]
    group: u32,
    /// The node that shall lead it
    #[arg(value_name = "NODE")]
    node: u32,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
#[command(
    about = "Give more groups to a cluster that has grown",
    long_about = "Give more groups to a cluster that has grown.\n\n\
                  A group is a journal and a leader: as many as nodes times shards keep all of \
                  them busy. Partitions stay where they are; new ones go where there \
                  are fewest.\n\n\
                  Example:\n\n  hutong cluster add-groups 2"
)]
pub struct AddGroupsArgs {
    /// How many
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Copies of each [default: 3, or one on each node if there are fewer]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    replicas: u16,
    #[command(flatten)]
    wait: WaitArgs,
}

/// The nodes that can be asked.
pub struct Cluster<'a> {
    pub bootstrap: &'a [Endpoint],
    pub timeout: Duration,
}

impl Cluster<'_> {
    /// `hutong cluster add`.
    ///
    /// # Errors
    /// One sentence: it was refused, or isn't done in time.
    pub fn add(&self, args: &AddArgs) -> anyhow::Result<()> {
        let Peer { node, host, port } = args.node.clone();
        self.change(Change::Add { node, host, port })?;
        print(&format!("node {node} is of the cluster now; it gets its groups\n"))?;
        self.wait(&args.wait, "it has its groups", |found| {
            let holds = |led: &Led| led.replicas.iter().any(|it| it.node == node.0 as i32);
            let has_some = leaders(found).any(holds);
            has_some && leaders(found).all(|led| led.replicas.iter().all(|replica| replica.votes))
        })
    }

    /// `hutong cluster remove`.
    ///
    /// # Errors
    /// One sentence: it was refused, or isn't done in time.
    pub fn remove(&self, args: &RemoveArgs) -> anyhow::Result<()> {
        let node = NodeId(args.node);
        match self.change(Change::Remove { node }) {
            // Begun by somebody who didn't see it to its end.
            Err(error) if error.to_string().contains("is being removed already") => {}
            removed => removed?,
        }
        print(&format!("node {node} holds no group from now on; others take what it has\n"))?;
        let is_out = |found: &Found| {
            let without = |led: &Led| led.replicas.iter().all(|it| it.node != node.0 as i32);
            found.groups.iter().all(|group| group.led.as_ref().is_some_and(without))
        };
        self.wait(&args.wait, "others have all it had", is_out)?;
        if args.wait.wait == 0 {
            return Ok(());
        }
        self.change(Change::Forget { node })?;
        print(&format!("node {node} is of the cluster no more: stop it, if it runs\n"))
    }

    /// `hutong cluster drain`.
    ///
    /// # Errors
    /// One sentence: it was refused, or isn't done in time.
    pub fn drain(&self, args: &DrainArgs) -> anyhow::Result<()> {
        let node = NodeId(args.node);
        self.change(Change::Drain { node, drains: !args.undo })?;
        if args.undo {
            return print(&format!("node {node} may lead groups again\n"));
        }
        print(&format!("node {node} shall lead nothing\n"))?;
        // What has no other copy stays where it is.
        let may_stay = |led: &Led| led.replicas.iter().filter(|replica| replica.votes).count() == 1;
        self.wait(&args.wait, "it leads nothing that another could lead", |found| {
            found.groups.iter().all(|group| group.led.is_some())
                && leaders(found).all(|led| led.node != node.0 as i32 || may_stay(led))
        })
    }

    /// `hutong cluster transfer`.
    ///
    /// # Errors
    /// One sentence: it was refused, or isn't done in time.
    pub fn transfer(&self, args: &TransferArgs) -> anyhow::Result<()> {
        let (group, to) = (GroupId(args.group), NodeId(args.node));
        self.change(Change::Transfer { group, to })?;
        print(&format!("node {to} shall lead group {group}\n"))?;
        self.wait(&args.wait, "it leads it", |found| {
            let group = found.groups.iter().find(|it| it.group == group.0 as i32);
            let led = group.and_then(|group| group.led.as_ref());
            led.is_some_and(|led| led.node == to.0 as i32)
        })
    }

    /// `hutong cluster add-groups`.
    ///
    /// # Errors
    /// One sentence: it was refused, or isn't done in time.
    pub fn add_groups(&self, args: &AddGroupsArgs) -> anyhow::Result<()> {
        let before = look::look(self.bootstrap, self.timeout)?.groups.len();
        self.change(Change::AddGroups { count: args.count, copies: args.replicas })?;
        let count = args.count as usize;
        print(&format!("{} more\n", plural(count, "group")))?;
        self.wait(&args.wait, "each has a leader", |found| {
            found.groups.len() >= before + count
                && found.groups.iter().all(|group| group.led.is_some())
        })
    }

    /// Asks the first node that can be asked.
    fn change(&self, change: Change) -> anyhow::Result<()> {
        let question = Visit::Change(change);
        let mut problem = anyhow!("no node was named");
        for at in self.bootstrap {
            match visitor::ask((&at.host, at.port), &question, self.timeout) {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(why)) => bail!("{why}"),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// Looks until it is so.
    fn wait(
        &self,
        args: &WaitArgs,
        what: &str,
        is_so: impl Fn(&Found) -> bool,
    ) -> anyhow::Result<()> {
        if args.wait == 0 {
            return Ok(());
        }
        let until = Instant::now() + Duration::from_secs(args.wait);
        let mut problem = None;
        while Instant::now() < until {
            match look::look(self.bootstrap, self.timeout) {
                Ok(found) if is_so(&found) => return print(&format!("done: {what}\n")),
                Ok(_) => problem = None,
                Err(error) => problem = Some(error),
            }
            std::thread::sleep(PAUSE);
        }
        match problem {
            Some(error) => Err(error),
            None => bail!(
                "after {} s it isn't so yet that {what}: it goes on by itself, and 'hutong cluster \
                 status' shows how far it is",
                args.wait
            ),
        }
    }
}

fn leaders(found: &Found) -> impl Iterator<Item = &Led> {
    found.groups.iter().filter_map(|group| group.led.as_ref())
}
