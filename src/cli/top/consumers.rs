//! Consumer groups in a report: their members, and how far they are behind.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::output::{Table, human_count, printable};
use crate::cli::top::page::Page;
use crate::runtime::metrics::families;

/// Partitions of a group that people are shown: those that are furthest behind.
const PARTITIONS_SHOWN: usize = 5;

/// A consumer group.
pub struct ConsumerRates {
    pub id: String,
    pub members: f64,
    pub partitions: Vec<PartitionLag>,
}

/// A partition that a group has committed an offset of.
pub struct PartitionLag {
    pub topic: String,
    pub partition: String,
    /// Records that the group has not read, and by how much that grew, per second.
    pub lag: f64,
    pub growth: f64,
}

impl ConsumerRates {
    /// All groups, by their ids. `before` is a page of the same process, so many seconds ago.
    pub fn between(before: Option<&Page>, now: &Page, seconds: f64) -> Vec<ConsumerRates> {
        const PARTITION: [&str; 3] = ["consumer_group", "topic", "partition"];
        let old: BTreeMap<[&str; 3], f64> = before
            .into_iter()
            .flat_map(|page| page.labelled(families::CONSUMER_LAG, PARTITION))
            .collect();
        let mut partitions: BTreeMap<&str, Vec<PartitionLag>> = BTreeMap::new();
        for (labels, lag) in now.labelled(families::CONSUMER_LAG, PARTITION) {
            let growth = old.get(&labels).map_or(0.0, |old| (lag - old) / seconds);
            let [group, topic, partition] = labels;
            let (topic, partition) = (topic.to_owned(), partition.to_owned());
            let lag = PartitionLag { topic, partition, lag, growth };
            partitions.entry(group).or_default().push(lag);
        }
        let groups = now.labelled(families::CONSUMER_MEMBERS, ["consumer_group"]);
        let groups: BTreeMap<[&str; 1], f64> = groups.collect();
        groups
            .into_iter()
            .map(|([id], members)| ConsumerRates {
                id: id.to_owned(),
                members,
                partitions: partitions.remove(id).unwrap_or_default(),
            })
            .collect()
    }

    fn lag(&self) -> f64 {
        self.partitions.iter().map(|partition| partition.lag).sum()
    }

    fn growth(&self) -> f64 {
        self.partitions.iter().map(|partition| partition.growth).sum()
    }
}

/// A line for each group, and under it the partitions that are furthest behind.
pub fn text(groups: &[ConsumerRates]) -> String {
    let headings = ["CONSUMER GROUP", "MEMBERS", "TOPIC", "PARTITION", "LAG", "GROWS/S"];
    let mut table = Table::new(0, &headings);
    for group in groups {
        table.row([
            printable(&group.id),
            human_count(group.members as u64),
            "all".to_owned(),
            group.partitions.len().to_string(),
            human_count(group.lag() as u64),
            signed(group.growth()),
        ]);
        let mut behind: Vec<&PartitionLag> =
            group.partitions.iter().filter(|partition| partition.lag > 0.0).collect();
        behind.sort_by(|a, b| b.lag.total_cmp(&a.lag));
        for partition in behind.into_iter().take(PARTITIONS_SHOWN) {
            table.row([
                String::new(),
                String::new(),
                printable(&partition.topic),
                printable(&partition.partition),
                human_count(partition.lag as u64),
                signed(partition.growth),
            ]);
        }
    }
    table.render()
}

fn signed(growth: f64) -> String {
    match growth {
        growth if growth <= -0.5 => format!("-{}", human_count(growth.abs().round() as u64)),
        growth => human_count(growth.round() as u64),
    }
}

/// The same for scripts, with all partitions.
pub fn json(groups: &[ConsumerRates]) -> Value {
    let each = groups.iter().map(|group| {
        let partitions = group.partitions.iter().map(|partition| {
            json!({
                "topic": partition.topic,
                "partition": partition.partition.parse::<i32>().ok(),
                "lag": partition.lag as i64,
                "lag_rate": partition.growth,
            })
        });
        json!({
            "consumer_group": group.id,
            "members": group.members as i64,
            "lag": group.lag() as i64,
            "partitions": partitions.collect::<Vec<_>>(),
        })
    });
    Value::Array(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(lags: &[(i32, i64)]) -> Page {
        let samples = lags.iter().map(|(partition, lag)| {
            let labels = json!({
                "consumer_group": "g", "topic": "t", "partition": partition.to_string()
            });
            json!({ "labels": labels, "value": lag })
        });
        let members = json!([{ "labels": { "consumer_group": "g" }, "value": 2 }]);
        let body = json!({ "metrics": {
            "hutong_consumer_group_lag_records":
                { "type": "gauge", "samples": samples.collect::<Vec<_>>() },
            "hutong_consumer_group_members": { "type": "gauge", "samples": members },
        }});
        Page::from_json(&body.to_string())
    }

    #[test]
    fn groups_are_told_with_their_lag_and_how_it_grows() {
        let (before, now) = (page(&[(0, 100), (1, 0)]), page(&[(0, 40), (1, 7), (2, 0)]));
        let groups = ConsumerRates::between(Some(&before), &now, 2.0);
        let told = json(&groups);
        assert_eq!((&told[0]["lag"], &told[0]["members"]), (&json!(47), &json!(2)));
        assert_eq!(told[0]["partitions"][0]["lag_rate"], -30.0);
        assert_eq!(told[0]["partitions"].as_array().map(Vec::len), Some(3));
        let shown = text(&groups);
        let lines: Vec<Vec<&str>> =
            shown.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let expected = [vec!["g", "2", "all", "3", "47", "-27"], vec!["t", "0", "40", "-30"]];
        assert_eq!(lines[..2], expected);
        assert_eq!(lines.len(), 3, "who isn't behind is not shown: {shown}");
    }
}
