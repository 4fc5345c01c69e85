//! What was found of a cluster, and whether that is well.

use crate::cli::client::Endpoint;
use crate::cli::output::plural;

/// So many names are told of a list; of the others only how many they are.
const NAMED_MAX: usize = 8;

/// A cluster at one moment.
#[derive(Debug, Default)]
pub struct Found {
    pub cluster_id: String,
    /// Ascending.
    pub nodes: Vec<Node>,
    /// Ascending, without a gap.
    pub groups: Vec<Group>,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    pub id: i32,
    /// Of its shard 0.
    pub address: Endpoint,
    /// How many shards it has; `None` if nobody knows now.
    pub shards: Option<usize>,
    /// Why it can't be asked, if it can't.
    pub problem: Option<String>,
}

/// A group.
#[derive(Debug)]
pub struct Group {
    pub group: i32,
    /// What its leader says; `None` if none answers.
    pub led: Option<Led>,
}

/// A group, as its leader sees it.
#[derive(Debug)]
pub struct Led {
    /// The broker that leads it, and the node that this is a shard of.
    pub leader: i32,
    pub node: i32,
    pub epoch: i32,
    /// The last entry on the disks of a majority.
    pub committed: i64,
    /// The last entry of the leader.
    pub last: i64,
    /// Ascending by node.
    pub replicas: Vec<Replica>,
}

/// A member of a group.
#[derive(Debug)]
pub struct Replica {
    pub node: i32,
    pub broker: i32,
    /// Whether it counts for a majority.
    pub votes: bool,
    /// The last entry on its disk, if the leader knows.
    pub end: Option<i64>,
    /// Whether the leader has heard it lately, or is it.
    pub heard: bool,
}

impl Led {
    /// By how many entries a replica is behind the leader, as far as that is known.
    pub fn lag(&self, replica: &Replica) -> Option<i64> {
        replica.end.map(|end| (self.last - end).max(0))
    }

    /// Whether the leader hears more than half of those who vote, itself among them.
    pub fn has_majority(&self) -> bool {
        let voters = self.replicas.iter().filter(|replica| replica.votes);
        let heard = voters.clone().filter(|replica| replica.heard).count();
        2 * heard > voters.count()
    }
}

impl Found {
    /// The groups that a node leads.
    pub fn led_by(&self, node: i32) -> impl Iterator<Item = i32> {
        let led = move |group: &&Group| group.led.as_ref().is_some_and(|led| led.node == node);
        self.groups.iter().filter(led).map(|group| group.group)
    }

    /// Whether each group has a leader and a majority, and no replica lacks anything: a sentence.
    ///
    /// # Errors
    /// Likewise a sentence: some group has no leader, or no majority.
    pub fn verdict(&self) -> Result<String, String> {
        let missing = self.missing_nodes();
        let named = |bad: &dyn Fn(&Group) -> bool| {
            let groups = self.groups.iter().filter(|group| bad(group));
            groups.map(|group| group.group).collect::<Vec<i32>>()
        };
        let leaderless = named(&|group| group.led.is_none());
        let alone = named(&|group| group.led.as_ref().is_some_and(|led| !led.has_majority()));
        let of = self.groups.len();
        if !leaderless.is_empty() {
            let advice = match missing.is_empty() {
                true => "elections take a second, so look again".to_string(),
                false => format!("{missing}, and a group needs more than half of its replicas"),
            };
            let (count, list) = (leaderless.len(), list(&leaderless));
            return Err(format!("{count} of {} without a leader ({list}): {advice}", groups(of)));
        }
        if !alone.is_empty() {
            let (count, list) = (alone.len(), list(&alone));
            let why = if missing.is_empty() { "look again".to_string() } else { missing };
            return Err(format!("{count} of {} without a majority ({list}): {why}", groups(of)));
        }
        let who = if of == 1 { "the group has".into() } else { format!("all {of} groups have") };
        let missing = if missing.is_empty() { missing } else { format!("{missing}; ") };
        Ok(format!("{missing}{who} a leader and a majority; {}", self.lag()))
    }

    /// `node 2 is not reachable`, or nothing.
    fn missing_nodes(&self) -> String {
        let missing = self.nodes.iter().filter(|node| node.problem.is_some());
        let ids: Vec<i32> = missing.map(|node| node.id).collect();
        match ids.as_slice() {
            [] => String::new(),
            [id] => format!("node {id} is not reachable"),
            ids => format!("nodes {} are not reachable", list(ids)),
        }
    }

    /// Which replicas lag: a part of a sentence.
    fn lag(&self) -> String {
        let led = self.groups.iter().filter_map(|group| Some((group.group, group.led.as_ref()?)));
        let replicas = led.flat_map(|(group, led)| {
            led.replicas.iter().map(move |replica| (led.lag(replica), replica.node, group))
        });
        let mut known: Vec<(i64, i32, i32)> = Vec::new();
        let mut unknown = 0;
        for (lag, node, group) in replicas {
            match lag {
                Some(0) => {}
                Some(lag) => known.push((lag, node, group)),
                None => unknown += 1,
            }
        }
        let count = plural(known.len() + unknown, "replica");
        let verb = if known.len() + unknown == 1 { "lags" } else { "lag" };
        match known.iter().max_by_key(|(lag, ..)| *lag) {
            Some((lag, node, group)) => {
                let by = entries(*lag);
                format!("{count} {verb}, the furthest by {by} (node {node} in group {group})")
            }
            None if unknown > 0 => format!("{count} {verb}, nobody knows how far"),
            None => "no replica lags".to_string(),
        }
    }
}

/// `1 entry`, `2 entries`.
pub fn entries(count: i64) -> String {
    if count == 1 { "1 entry".to_string() } else { format!("{count} entries") }
}

fn groups(count: usize) -> String {
    plural(count, "group")
}

/// `0, 2, 5`; a long list is cut.
pub fn list(numbers: &[i32]) -> String {
    let shown: Vec<String> = numbers.iter().take(NAMED_MAX).map(i32::to_string).collect();
    let mut text = shown.join(", ");
    if numbers.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", numbers.len() - NAMED_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(group: i32, ends: [(Option<i64>, bool); 3]) -> Group {
        let replicas = (1..).zip(ends).map(|(node, (end, heard))| Replica {
            node,
            broker: node * 1000,
            votes: true,
            end,
            heard,
        });
        let replicas = replicas.collect();
        let led = Led { leader: 1000, node: 1, epoch: 3, committed: 9, last: 10, replicas };
        Group { group, led: Some(led) }
    }

    fn found(groups: Vec<Group>, problem: Option<&str>) -> Found {
        let nodes = (1..4).map(|id| Node {
            id,
            address: Endpoint { host: "h".into(), port: 9092 },
            shards: Some(1),
            problem: problem.filter(|_| id == 3).map(str::to_string),
        });
        Found { cluster_id: "c".into(), nodes: nodes.collect(), groups }
    }

    const FINE: [(Option<i64>, bool); 3] = [(Some(10), true); 3];

    #[test]
    fn a_healthy_cluster_is_told_so() {
        let all = found(vec![group(0, FINE), group(1, FINE)], None);
        let said = "all 2 groups have a leader and a majority; no replica lags";
        assert_eq!(all.verdict(), Ok(said.to_string()));
        assert_eq!(all.led_by(1).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(all.led_by(2).count(), 0);
    }

    #[test]
    fn a_node_that_is_gone_and_one_that_lags_are_named() {
        let lags = [(Some(10), true), (Some(9), true), (Some(4), false)];
        assert_eq!(
            found(vec![group(0, FINE), group(1, lags)], Some("gone")).verdict().unwrap(),
            "node 3 is not reachable; all 2 groups have a leader and a majority; 2 replicas lag, \
             the furthest by 6 entries (node 3 in group 1)"
        );
        let silent = [(Some(10), true), (Some(10), true), (None, false)];
        assert_eq!(
            found(vec![group(0, silent)], None).verdict().unwrap(),
            "the group has a leader and a majority; 1 replica lags, nobody knows how far"
        );
    }

    #[test]
    fn groups_without_a_leader_or_a_majority_are_named() {
        let groups = vec![Group { group: 0, led: None }, group(1, FINE)];
        let said = found(groups, Some("gone")).verdict().unwrap_err();
        assert!(said.starts_with("1 of 2 groups without a leader (0): node 3 is not"), "{said}");
        let alone = [(Some(10), true), (Some(10), false), (Some(10), false)];
        let said = found(vec![group(0, FINE), group(1, alone)], None).verdict().unwrap_err();
        assert!(said.starts_with("1 of 2 groups without a majority (1)"), "{said}");
        assert_eq!(list(&(0..10).collect::<Vec<_>>()), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}
