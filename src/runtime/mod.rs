//! THE ONLY I/O: files, sockets, threads, clocks. Carries events to the core and does what it
//! says; decides nothing that the simulator would have to know.
//!
//! Read [`driver`] first: it is the whole of what happens, turn by turn. Then what surrounds it:
//! [`inbox`] (what happened), [`connection`] with [`frames`] (clients), [`dial`] (other nodes),
//! [`flush_task`] and [`read_task`] (the journal), [`mesh`] (other threads), [`metrics`] (what is
//! told of it all), [`node`] (start and stop). Below it all is [`executor`], with [`socket`],
//! [`direct_file`] and [`disk_memory`] for what tasks wait for.

pub mod alarm;
pub mod aligned;
pub mod answer_at_start;
pub mod buffers;
pub mod clock;
pub mod connection;
pub mod counters;
pub mod data_dir;
pub mod dial;
pub mod direct_file;
pub mod disk_memory;
pub mod driver;
pub mod executor;
pub mod flush_task;
pub mod frames;
pub mod group_dirs;
mod heartbeats;
pub mod host;
pub mod inbox;
pub mod join;
pub mod journal_client;
pub mod journal_files;
pub mod journal_page;
pub mod known_nodes;
pub mod listener;
pub mod logging;
#[cfg(test)]
mod measure;
pub mod mend_at_start;
pub mod mesh;
pub mod metrics;
pub mod node;
pub mod node_connection;
pub mod read_task;
pub mod segment_files;
pub mod segment_source;
pub mod shard_io;
pub mod socket;
pub mod solo;
pub mod sync_probe;
#[cfg(test)]
mod test_core;
#[cfg(test)]
mod tests;
pub mod visitor;
pub mod zero_pace;
mod zeros_ahead;
