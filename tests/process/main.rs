//! The real process and real clients: started, loaded, killed, crowded, fed garbage, filled up.
//!
//! Each test starts a broker of its own on free ports of the loopback, in a directory of its own,
//! and leaves nothing behind. What takes a minute says so in its name.

mod broker;
mod bystander;
mod group_members;
mod network;
mod nodes;
mod raw;
mod records;
mod scrape;

mod amplifiers;
mod bad_batches;
mod bad_bytes;
mod beside_a_hog;
mod cluster;
mod cluster_status;
mod codecs_and_levels;
mod consumer_groups;
mod crowds;
mod damage;
mod full_disk;
mod kills;
mod membership;
mod metrics;
mod repair;
mod restart_time;
mod retention;
mod snapshots;
mod stops_and_refusals;
mod verified;
