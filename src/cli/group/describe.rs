//! `hutong group describe`.

use std::collections::BTreeSet;

use anyhow::Context;
use clap::Args;
use kafka_protocol::messages::TopicName;
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::output::{Table, plural, print, print_json, printable};
use super::super::topic::offsets::{Offsets, offsets};
use super::coordinator::{Committed, committed, coordinator};
use super::list::or_dash;
use super::members::{Group, group};

#[derive(Debug, Args)]
#[command(
    about = "Show consumer groups: members, assignments, offsets and lag",
    long_about = "Show consumer groups: their members, what each was assigned, how far they have \
                  read, and how far behind they are.\n\n\
                  COMMITTED is the offset that the group reads next, LATEST the one after the last \
                  record, LAG what lies between: none where nothing is committed.\n\n\
                  Examples:\n\n  \
                  hutong group describe billing\n  \
                  hutong group describe billing --json | jq '[.[].partitions[].lag] | add'"
)]
pub struct DescribeArgs {
    /// The groups' ids
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// Print JSON: an array with an object for each group
    #[arg(long)]
    json: bool,
}

/// A group with all that is to be told of it.
struct Told {
    coordinator: i32,
    group: Group,
    committed: Committed,
    ends: Offsets,
}

/// Shows the groups in the order in which they were asked for.
pub fn run(cluster: &mut Cluster, args: &DescribeArgs) -> anyhow::Result<()> {
    let mut told = Vec::new();
    for id in &args.groups {
        let why = || format!("can't describe group {}", printable(id));
        told.push(tell(cluster, id).with_context(why)?);
    }
    if args.json {
        return print_json(&told.iter().map(to_json).collect());
    }
    print(&told.iter().map(to_text).collect::<Vec<_>>().join("\n"))
}

fn tell(cluster: &mut Cluster, id: &str) -> anyhow::Result<Told> {
    let coordinator = coordinator(cluster, id)?;
    let group = group(cluster, id)?;
    let committed = committed(cluster, id)?;
    let owned = group.owners();
    let topics: BTreeSet<String> =
        committed.keys().chain(owned.keys()).map(|(topic, _)| topic.0.to_string()).collect();
    let ends = if topics.is_empty() {
        Offsets::new()
    } else {
        let topics: Vec<String> = topics.into_iter().collect();
        let topics = cluster.metadata(Some(&topics))?.topics;
        offsets(cluster, &topics)
    };
    drop(owned);
    Ok(Told { coordinator, group, committed, ends })
}

/// A partition that the group has read, or reads.
struct Row<'a> {
    topic: &'a TopicName,
    partition: i32,
    committed: Option<i64>,
    latest: Option<i64>,
    lag: Option<i64>,
    member: Option<&'a str>,
}

fn rows(told: &Told) -> Vec<Row<'_>> {
    let owners = told.group.owners();
    let keys: BTreeSet<(TopicName, i32)> =
        told.committed.keys().chain(owners.keys()).cloned().collect();
    let row = |key: &(TopicName, i32)| {
        let committed = told.committed.get(key).copied();
        let latest = told.ends.get(key).and_then(|ends| Some(ends.as_ref().ok()?.latest));
        // As the metric and Kafka's tool have it: none where nothing is committed, for where such a
        // group begins is the client's to say.
        let lag = latest.zip(committed).map(|(latest, read)| (latest - read).max(0));
        (committed, latest, lag)
    };
    // Names come from what lives as long as the answer.
    let names = told.committed.keys().chain(told.ends.keys());
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    for (topic, partition) in names {
        let key = (topic.clone(), *partition);
        if !keys.contains(&key) || !seen.insert(key.clone()) {
            continue;
        }
        let (committed, latest, lag) = row(&key);
        let member = owners.get(&key).map(|member| member.id.as_str());
        rows.push(Row { topic, partition: *partition, committed, latest, lag, member });
    }
    rows.sort_by(|a, b| (a.topic, a.partition).cmp(&(b.topic, b.partition)));
    rows
}

fn to_text(told: &Told) -> String {
    let group = &told.group;
    let rows = rows(told);
    let lag: Option<i64> = rows.iter().filter_map(|row| row.lag).reduce(|sum, lag| sum + lag);
    let epoch = group.epoch.map_or(String::new(), |epoch| format!("  epoch {epoch}"));
    let mut text = format!(
        "{}  {}  {} {}{epoch}  {}  coordinator {}  lag {}\n",
        printable(&group.id),
        or_dash(&group.state),
        or_dash(&group.protocol_type),
        or_dash(&group.assignor),
        plural(group.members.len(), "member"),
        told.coordinator,
        number(lag),
    );
    if !group.members.is_empty() {
        let headings = ["MEMBER", "INSTANCE", "CLIENT", "HOST", "PROTOCOL", "PARTITIONS"];
        let mut table = Table::new(2, &headings);
        for member in &group.members {
            table.row([
                printable(&member.id),
                or_dash(member.instance.as_deref().unwrap_or_default()),
                or_dash(&member.client),
                or_dash(&member.host),
                member.kind.to_owned(),
                member.partitions.len().to_string(),
            ]);
        }
        text.push_str(&table.render());
    }
    if !rows.is_empty() {
        let headings = ["TOPIC", "PARTITION", "COMMITTED", "LATEST", "LAG", "MEMBER"];
        let mut table = Table::new(2, &headings);
        for row in rows {
            table.row([
                printable(row.topic),
                row.partition.to_string(),
                number(row.committed),
                number(row.latest),
                number(row.lag),
                or_dash(row.member.unwrap_or_default()),
            ]);
        }
        text.push_str(&table.render());
    }
    text
}

fn number(n: Option<i64>) -> String {
    n.map_or("-".to_owned(), |n| n.to_string())
}

fn to_json(told: &Told) -> Value {
    let group = &told.group;
    let members = group.members.iter().map(|member| {
        json!({
            "member": member.id,
            "instance": member.instance,
            "client": member.client,
            "host": member.host,
            "protocol": member.kind,
            "epoch": member.epoch,
            "partitions": member.partitions.iter().map(|(topic, partition)| {
                json!({ "topic": topic.0.to_string(), "partition": partition })
            }).collect::<Vec<_>>(),
        })
    });
    let partitions = rows(told).into_iter().map(|row| {
        json!({
            "topic": row.topic.0.to_string(),
            "partition": row.partition,
            "committed": row.committed,
            "latest": row.latest,
            "lag": row.lag,
            "member": row.member,
        })
    });
    json!({
        "group": group.id,
        "state": group.state,
        "type": group.kind,
        "protocol_type": group.protocol_type,
        "protocol": group.assignor,
        "epoch": group.epoch,
        "coordinator": told.coordinator,
        "members": members.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;

    use super::super::super::topic::offsets::Ends;
    use super::super::members::Member;
    use super::*;

    #[test]
    fn what_is_behind_counts_from_what_is_committed() {
        let topic = |name: &'static str| TopicName(StrBytes::from_static_str(name));
        let member = Member {
            id: "m".into(),
            instance: None,
            client: "c".into(),
            host: "/127.0.0.1".into(),
            epoch: None,
            kind: "classic",
            partitions: vec![(topic("t"), 0), (topic("t"), 1), (topic("t"), 2)],
        };
        let group = Group {
            id: "g".into(),
            state: "Stable".into(),
            kind: "classic",
            protocol_type: "consumer".into(),
            assignor: "range".into(),
            epoch: None,
            members: vec![member],
        };
        let ends = |latest| Ok(Ends { earliest: 5, latest });
        let ends = (0..4).map(|p| ((topic("t"), p), ends(10 * i64::from(p) + 10)));
        let mut told =
            Told { coordinator: 0, group, committed: Committed::new(), ends: ends.collect() };
        assert!(
            to_text(&told)
                .starts_with("g  Stable  consumer range  1 member  coordinator 0  lag -\n")
        );
        assert!(rows(&told).iter().all(|row| row.lag.is_none()));

        // One is behind, one isn't, one has committed nothing yet, and nobody reads the last.
        told.committed = [(0, 3), (1, 20), (3, 30)].map(|(p, at)| ((topic("t"), p), at)).into();
        let lags: Vec<_> = rows(&told).iter().map(|row| (row.member, row.lag)).collect();
        let m = Some("m");
        assert_eq!(lags, [(m, Some(7)), (m, Some(0)), (m, None), (None, Some(10))]);
        assert!(to_text(&told).contains("  lag 17\n"));
    }
}
