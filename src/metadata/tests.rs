//! What the catalog promises, on examples and on random sequences of commands.

mod examples;
mod properties;

use std::collections::BTreeMap;

use super::{Applied, Catalog, CatalogError, Command};
use crate::model::ids::{NodeId, TopicId};

fn id(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn create(name: &str, number: u8, partitions: i32) -> Command {
    Command::CreateTopic {
        name: name.to_owned(),
        id: id(number),
        partitions,
        replication_factor: -1,
        config: BTreeMap::new(),
    }
}

fn bytes(catalog: &Catalog) -> Vec<u8> {
    let mut bytes = Vec::new();
    catalog.encode(&mut bytes);
    bytes
}

/// Applies, and sees to it that `check` says the same.
fn apply(catalog: &mut Catalog, command: &Command) -> Result<Applied, CatalogError> {
    let checked = catalog.check(command);
    let applied = catalog.apply(command);
    assert_eq!(checked, applied.as_ref().map(drop).map_err(Clone::clone));
    applied
}
