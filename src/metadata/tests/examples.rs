//! One example for each command and each refusal.

use super::*;
use crate::limits::{PARTITIONS_MAX, TOPIC_PARTITIONS_MAX};
use crate::metadata::command::PRODUCER_IDS_PER_BLOCK_MAX;
use crate::metadata::{ConfigChange, DecodeError};
use crate::model::ids::{GroupId, PartitionKey};

fn refusal(catalog: &mut Catalog, command: &Command) -> CatalogError {
    let mut expected = catalog.clone();
    expected.version += 1;
    let error = apply(catalog, command).unwrap_err();
    assert_eq!(*catalog, expected, "refused commands count, and change nothing else");
    error
}

#[test]
fn a_topic_lives_and_dies() {
    let mut catalog = Catalog::new(2, &[NodeId(0)]);
    let keys = vec![PartitionKey(1), PartitionKey(2), PartitionKey(3)];
    let created = apply(&mut catalog, &create("orders", 1, 3)).unwrap();
    assert_eq!(created, Applied::TopicCreated { id: id(1), keys: keys.clone() });
    let topic = catalog.topic(b"orders").unwrap();
    assert_eq!(catalog.topic_by_id(&id(1)), Some(topic));
    assert_eq!(topic.partitions.iter().map(|p| p.group.0).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(topic.replication_factor, 1);
    assert_eq!(catalog.partition(PartitionKey(2)), Some((topic, 1)));
    assert_eq!((catalog.partition_count(), catalog.topic_count()), (3, 1));

    let deleted = apply(&mut catalog, &Command::DeleteTopic { id: id(1) }).unwrap();
    assert_eq!(deleted, Applied::TopicDeleted { id: id(1), name: "orders".to_owned(), keys });
    assert_eq!(catalog.topic(b"orders"), None);
    assert_eq!(catalog.partition(PartitionKey(2)), None);
    assert_eq!((catalog.partition_count(), catalog.topic_count()), (0, 0));

    let again = apply(&mut catalog, &create("orders", 2, 1)).unwrap();
    assert_eq!(again, Applied::TopicCreated { id: id(2), keys: vec![PartitionKey(4)] });
    assert_eq!(catalog.version, 3);
}

#[test]
fn topics_come_in_name_order_and_spread_over_groups() {
    let mut catalog = Catalog::new(3, &[NodeId(0)]);
    for (number, name) in (1..).zip(["c", "a", "b"]) {
        apply(&mut catalog, &create(name, number, 1)).unwrap();
    }
    let seen: Vec<_> = catalog.topics().map(|t| (&*t.name, t.partitions[0].group.0)).collect();
    assert_eq!(seen, [("a", 1), ("b", 2), ("c", 0)]);
}

#[test]
fn partitions_grow_on_the_next_groups() {
    let mut catalog = Catalog::new(3, &[NodeId(0)]);
    apply(&mut catalog, &create("other", 1, 1)).unwrap();
    apply(&mut catalog, &create("t", 2, 1)).unwrap();
    let grow = |total| Command::CreatePartitions { id: id(2), total };
    let grown = apply(&mut catalog, &grow(3)).unwrap();
    let keys = vec![PartitionKey(3), PartitionKey(4)];
    assert_eq!(grown, Applied::PartitionsCreated { id: id(2), first: 1, keys });
    let topic = catalog.topic(b"t").unwrap();
    let groups: Vec<_> = topic.partitions.iter().map(|p| p.group).collect();
    assert_eq!(groups, [1, 2, 0].map(GroupId));
    assert_eq!(catalog.partition(PartitionKey(4)), Some((topic, 2)));
    for total in [3, 2, 0, i32::MIN, TOPIC_PARTITIONS_MAX + 1] {
        let error = refusal(&mut catalog, &grow(total));
        assert!(matches!(error, CatalogError::InvalidPartitions(_)), "{total}");
    }
}

#[test]
fn creation_is_refused_for_what_is_wrong() {
    let mut catalog = Catalog::new(2, &[NodeId(0)]);
    apply(&mut catalog, &create("a_b", 1, 1)).unwrap();
    let mut refused = |command: &Command| refusal(&mut catalog, command);
    assert_eq!(refused(&create("a_b", 2, 1)), CatalogError::TopicExists("a_b".to_owned()));
    let collision = "Topic 'a.b' collides with existing topics: a_b".to_owned();
    assert_eq!(refused(&create("a.b", 2, 1)), CatalogError::InvalidName(collision));
    assert!(matches!(refused(&create("a b", 2, 1)), CatalogError::InvalidName(_)));
    assert_eq!(refused(&create("c", 1, 1)), CatalogError::InvalidTopicId(id(1)));
    assert_eq!(refused(&create("c", 0, 1)), CatalogError::InvalidTopicId(id(0)));
    for partitions in [0, -1, TOPIC_PARTITIONS_MAX + 1] {
        let error = refused(&create("c", 2, partitions));
        assert!(matches!(error, CatalogError::InvalidPartitions(_)));
    }
    for factor in [0, 2, -2, i16::MIN] {
        let mut command = create("c", 2, 1);
        let Command::CreateTopic { replication_factor, .. } = &mut command else { unreachable!() };
        *replication_factor = factor;
        assert!(matches!(refused(&command), CatalogError::InvalidReplicationFactor(_)));
    }
    let mut command = create("c", 2, 1);
    let Command::CreateTopic { config, .. } = &mut command else { unreachable!() };
    config.insert("retention.ms".to_owned(), "soon".to_owned());
    assert!(matches!(refused(&command), CatalogError::InvalidConfig(_)));
}

#[test]
fn a_deleted_name_collides_no_more() {
    let mut catalog = Catalog::new(2, &[NodeId(0)]);
    apply(&mut catalog, &create("a_b", 1, 1)).unwrap();
    apply(&mut catalog, &Command::DeleteTopic { id: id(1) }).unwrap();
    // Takes the slot that the deleted topic had.
    apply(&mut catalog, &create("other", 2, 1)).unwrap();
    apply(&mut catalog, &create("a.b", 3, 1)).unwrap();
    assert!(matches!(refusal(&mut catalog, &create("a_b", 4, 1)), CatalogError::InvalidName(_)));
}

#[test]
fn partitions_of_all_topics_are_bounded_and_keys_run_out_politely() {
    let mut catalog = Catalog::new(2, &[NodeId(0)]);
    let largest = TOPIC_PARTITIONS_MAX;
    for number in 1..=(PARTITIONS_MAX / largest as usize) as u8 {
        catalog.apply(&create(&format!("t{number}"), number, largest)).unwrap();
    }
    let error = catalog.apply(&create("more", 200, 1)).unwrap_err();
    assert!(matches!(error, CatalogError::TooManyPartitions(_)));
    let mut catalog = Catalog::new(2, &[NodeId(0)]);
    catalog.next_key = u32::MAX - 1;
    assert!(apply(&mut catalog, &create("two", 1, 2)).is_err());
    apply(&mut catalog, &create("one", 1, 1)).unwrap();
    assert!(apply(&mut catalog, &create("another", 2, 1)).is_err());
    assert_eq!(Catalog::decode(&bytes(&catalog)).unwrap(), catalog);
}

#[test]
fn unknown_topics_are_named() {
    let mut catalog = Catalog::new(1, &[NodeId(0)]);
    let unknown = CatalogError::UnknownTopic(id(9));
    let alter = Command::AlterTopicConfig { id: id(9), changes: Vec::new(), replace_all: false };
    let grow = Command::CreatePartitions { id: id(9), total: 2 };
    for command in [Command::DeleteTopic { id: id(9) }, grow, alter] {
        assert_eq!(refusal(&mut catalog, &command), unknown);
    }
}

#[test]
fn settings_change() {
    let mut catalog = Catalog::new(1, &[NodeId(0)]);
    apply(&mut catalog, &create("t", 1, 1)).unwrap();
    let set =
        |name: &str, value: &str| vec![(name.to_owned(), ConfigChange::Set(value.to_owned()))];
    let alter = |changes| Command::AlterTopicConfig { id: id(1), changes, replace_all: false };
    let applied = apply(&mut catalog, &alter(set("max.message.bytes", "99"))).unwrap();
    assert_eq!(applied, Applied::ConfigAltered { id: id(1) });
    assert_eq!(catalog.topic(b"t").unwrap().config.max_message_bytes, 99);
    let error = refusal(&mut catalog, &alter(set("cleanup.policy", "compact")));
    assert!(matches!(error, CatalogError::InvalidConfig(_)));

    let changes = set("num.partitions", "5");
    let alter_broker = Command::AlterBrokerConfig { changes, replace_all: false };
    assert_eq!(apply(&mut catalog, &alter_broker), Ok(Applied::BrokerConfigAltered));
    assert_eq!(catalog.broker_config().num_partitions, Some(5));
}

#[test]
fn producer_ids_are_given_once() {
    let mut catalog = Catalog::new(1, &[NodeId(0)]);
    let take = |count| Command::AllocateProducerIds { count };
    let first = apply(&mut catalog, &take(1000)).unwrap();
    assert_eq!(first, Applied::ProducerIds { first: 0, count: 1000 });
    let second = apply(&mut catalog, &take(1)).unwrap();
    assert_eq!(second, Applied::ProducerIds { first: 1000, count: 1 });
    for count in [0, PRODUCER_IDS_PER_BLOCK_MAX + 1] {
        let error = refusal(&mut catalog, &take(count));
        assert!(matches!(error, CatalogError::InvalidProducerIds(_)));
    }
    catalog.next_producer_id = i64::MAX;
    refusal(&mut catalog, &take(1));
}

#[test]
fn snapshots_that_contradict_themselves_are_refused() {
    let mut catalog = Catalog::new(2, &[NodeId(0)]);
    apply(&mut catalog, &create("t", 1, 2)).unwrap();
    let good = bytes(&catalog);
    let group_of_last = good.len() - 4;
    let key_of_last = good.len() - 8;
    for (at, value) in [(0, 9), (17, 0), (group_of_last, 2), (key_of_last, 1), (key_of_last, 3)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(Catalog::decode(&bad).is_err(), "byte {at} as {value}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(Catalog::decode(&longer), Err(DecodeError::LeftOver(1)));
}
