//! Consumer groups of KIP-848 through a shard, by cases in a small language: `script` has its
//! words. A file for each scenario.

#[path = "cluster/rig.rs"]
#[allow(dead_code, reason = "it can do more than groups need")]
mod rig;
#[path = "consumer_protocol/script.rs"]
mod script;

#[path = "consumer_protocol/admin.rs"]
mod admin;
#[path = "consumer_protocol/failover.rs"]
mod failover;
#[path = "consumer_protocol/limits.rs"]
mod limits;
#[path = "consumer_protocol/offsets.rs"]
mod offsets;
#[path = "consumer_protocol/property.rs"]
mod property;
#[path = "consumer_protocol/reconciliation.rs"]
mod reconciliation;
#[path = "consumer_protocol/static_members.rs"]
mod static_members;
#[path = "consumer_protocol/switching.rs"]
mod switching;
