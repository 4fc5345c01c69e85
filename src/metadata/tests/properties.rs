//! Random commands: determinism, round trips, keys, and bytes that are damaged.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::metadata::ConfigChange;

fn setting() -> impl Strategy<Value = String> {
    let names = ["retention.ms", "cleanup.policy", "hutong.acks.one", "num.partitions", "what"];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    let values = ["1", "-1", "delete", "compact", "durable", "received"];
    prop_oneof![prop::sample::select(values.to_vec()).prop_map(str::to_owned), "\\PC{0,20}"]
}

fn change() -> impl Strategy<Value = ConfigChange> {
    prop_oneof![
        value().prop_map(ConfigChange::Set),
        Just(ConfigChange::Delete),
        value().prop_map(ConfigChange::Append),
        value().prop_map(ConfigChange::Subtract),
    ]
}

fn changes() -> impl Strategy<Value = Vec<(String, ConfigChange)>> {
    vec((setting(), change()), 0..3)
}

/// Most creations succeed. Ids are few, so that commands meet; names collide in all the ways they
/// can.
fn command() -> impl Strategy<Value = Command> {
    let topic = || (0u8..12).prop_map(id);
    let name = prop_oneof![8 => "[a-c]{1,2}", 4 => "[ab][._][ab]", 1 => "\\PC{0,3}"];
    let replicas = prop::sample::select(vec![-1i16, -1, -1, 1, 1, 1, 1, 1, 0, 2]);
    let config = prop_oneof![5 => Just(BTreeMap::new()), 1 => btree_map(setting(), value(), 0..3)];
    let creation = (name, (0u8..20).prop_map(id), 0..9i32, replicas, config);
    prop_oneof![
        6 => creation.prop_map(|(name, id, partitions, replication_factor, config)| {
            Command::CreateTopic { name, id, partitions, replication_factor, config }
        }),
        2 => topic().prop_map(|id| Command::DeleteTopic { id }),
        2 => (topic(), -1..9i32).prop_map(|(id, total)| Command::CreatePartitions { id, total }),
        2 => (topic(), changes(), any::<bool>()).prop_map(|(id, changes, replace_all)| {
            Command::AlterTopicConfig { id, changes, replace_all }
        }),
        1 => (changes(), any::<bool>()).prop_map(|(changes, replace_all)| {
            Command::AlterBrokerConfig { changes, replace_all }
        }),
        1 => (0..2000u32).prop_map(|count| Command::AllocateProducerIds { count }),
    ]
}

fn catalog_after(commands: &[Command]) -> Catalog {
    let mut catalog = Catalog::new(3, &[NodeId(0)]);
    for command in commands {
        let _ = apply(&mut catalog, command);
    }
    catalog
}

fn encoded(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn commands_round_trip(command in command()) {
        prop_assert_eq!(Command::decode(&encoded(&command)), Ok(command));
    }

    #[test]
    fn same_commands_make_same_catalogs(commands in vec(command(), 0..60), split in 0usize..60) {
        let one = catalog_after(&commands);
        // The other is restored from a snapshot half way, so its slots lie differently.
        let (before, after) = commands.split_at(split.min(commands.len()));
        let mut other = Catalog::decode(&bytes(&catalog_after(before))).unwrap();
        for command in after {
            let _ = apply(&mut other, command);
        }
        prop_assert_eq!(one.version, commands.len() as u64);
        prop_assert_eq!(bytes(&one), bytes(&other));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn keys_and_producer_ids_are_never_given_again(commands in vec(command(), 0..60)) {
        let mut catalog = Catalog::new(3, &[NodeId(0)]);
        let (mut given, mut producers) = (BTreeSet::new(), 0);
        for command in &commands {
            match apply(&mut catalog, command) {
                Ok(
                    Applied::TopicCreated { keys, .. } | Applied::PartitionsCreated { keys, .. },
                ) => {
                    prop_assert!(!keys.is_empty());
                    prop_assert!(keys.into_iter().all(|key| given.insert(key)));
                }
                Ok(Applied::ProducerIds { first, count }) => {
                    prop_assert_eq!(first, producers);
                    producers += i64::from(count);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn lookups_agree_with_the_list(commands in vec(command(), 0..60)) {
        let catalog = catalog_after(&commands);
        let mut partitions = 0;
        let mut last_topic = 0;
        for topic in catalog.topics() {
            prop_assert_eq!(catalog.topic(topic.name.as_bytes()), Some(topic));
            let found = catalog.topic_again(topic.name.as_bytes(), &mut last_topic);
            prop_assert_eq!(found, Some(topic), "whichever was asked for before");
            prop_assert_eq!(catalog.topic_again(b"no such", &mut last_topic), None);
            prop_assert_eq!(catalog.topic_by_id(&topic.id), Some(topic));
            for (number, placement) in (0..).zip(&topic.partitions) {
                prop_assert_eq!(catalog.partition(placement.key), Some((topic, number)));
                prop_assert!(placement.group.0 < catalog.groups());
            }
            partitions += topic.partitions.len();
        }
        prop_assert_eq!(partitions, catalog.partition_count());
        prop_assert!(catalog.topics().map(|topic| &topic.name).is_sorted());
    }

    #[test]
    fn damaged_commands_never_panic(command in command(), at in 0usize..80, byte: u8) {
        let mut bytes = encoded(&command);
        let at = at % bytes.len();
        prop_assert!(Command::decode(&bytes[..at]).is_err());
        bytes[at] = byte;
        // What still decodes is a command, and every command has a canonical form or is refused.
        if let Ok(other) = Command::decode(&bytes) {
            prop_assert_eq!(encoded(&other), bytes);
        }
    }

    #[test]
    fn damaged_snapshots_never_panic(
        commands in vec(command(), 0..20),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = bytes(&catalog_after(&commands));
        let at = at.index(bytes.len());
        prop_assert!(Catalog::decode(&bytes[..at]).is_err());
        bytes[at] = byte;
        let _ = Catalog::decode(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..200)) {
        let _ = (Command::decode(&bytes), Catalog::decode(&bytes));
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let _ = (Command::decode(&bytes), Catalog::decode(&bytes));
    }
}
