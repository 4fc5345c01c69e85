//! Any bytes as what a journal and a checkpoint say about consumer groups, and as what their
//! members say to each other.

use hutong::coordinator::modern::embedded;
use hutong::coordinator::{Record, Store};

/// Reads `data` as records and applies them, as a store, and as consumers' own words.
pub fn group_records(data: &[u8]) {
    let mut store = Store::default();
    for record in Record::decode_all(data).flatten() {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let again: Vec<_> = Record::decode_all(&bytes).collect();
        assert_eq!(again, [Ok(record.clone())], "what is read can be written and read again");
        store.apply(record);
    }
    check_store(&store);
    if let Ok(store) = Store::decode(data) {
        check_store(&store);
    }
    if let Some(said) = embedded::subscription(data) {
        assert!(said.topics.len() * 2 <= data.len());
    }
    if let Some(given) = embedded::assignment(data) {
        let partitions: usize = given.iter().map(|(_, partitions)| partitions.len()).sum();
        assert!(partitions * 4 <= data.len());
    }
}

/// A checkpoint of it says the same as one of what it makes.
fn check_store(store: &Store) {
    let mut bytes = Vec::new();
    store.encode(&mut bytes);
    let again = Store::decode(&bytes).expect("what was written can be read");
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(bytes, twice);
}
