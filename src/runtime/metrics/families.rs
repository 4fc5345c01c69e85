//! Every metric there is: its name, its kind, its labels and what it means.
//!
//! `docs/metrics.md` and `docs/grafana-dashboard.json` are compared with this list by a test. Names
//! follow Prometheus: base units, `_total` at the end of what only grows.

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations, counted in nanoseconds and told in seconds.
    Durations,
    /// Sizes in bytes.
    Sizes,
}

impl Kind {
    /// Prometheus' word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Durations | Kind::Sizes => "histogram",
        }
    }
}

/// One metric, of which there is a sample for each combination of its labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident $name:literal $kind:ident [$($label:literal),*] $help:literal)*) => {
        $(
            #[doc = $help]
            pub const $constant: &Family = &Family {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All of them, in the order they are told.
        pub const FAMILIES: &[&Family] = &[$($constant),*];
    };
}

families! {
    BUILD_INFO "hutong_build_info" Gauge ["version", "node"]
        "Always 1; says what runs."
    START_TIME "process_start_time_seconds" Gauge []
        "When the process began, in seconds since 1970."
    CPU "process_cpu_seconds_total" Counter []
        "CPU time of all threads of the process."
    RESIDENT "process_resident_memory_bytes" Gauge []
        "Memory that the process has in RAM."
    OPEN_FDS "process_open_fds" Gauge []
        "Files and sockets that are open."
    DISK_FREE "hutong_data_dir_free_bytes" Gauge []
        "Space left for us on the file system of the data directory."
    DISK_SIZE "hutong_data_dir_size_bytes" Gauge []
        "Size of the file system of the data directory."

    SHARD_UP "hutong_shard_up" Gauge ["shard"]
        "Whether the shard answered within a second; if not, its other metrics are missing."
    SHARD_SERVING "hutong_shard_serving" Gauge ["shard"]
        "Whether the shard takes requests: 0 while it starts and stops."
    SHARD_CPU "hutong_shard_cpu_seconds_total" Counter ["shard"]
        "CPU time of the shard's thread."
    TURN "hutong_turn_seconds" Durations ["shard"]
        "Turns of the shard: from its beginning to the last answer handed over."

    CONNECTIONS "hutong_connections" Gauge ["shard"]
        "Clients that are connected."
    HELD "hutong_connections_held" Gauge ["shard"]
        "Clients not read from because the request queue is full."
    OPENED "hutong_connections_opened_total" Counter ["shard"]
        "Clients that connected."
    CLOSED "hutong_connections_closed_total" Counter ["shard"]
        "Clients that are gone, for whatever reason."
    REFUSED "hutong_connections_refused_total" Counter ["shard"]
        "Clients turned away because of --connections-max."
    TIMED_OUT "hutong_connections_timed_out_total" Counter ["shard"]
        "Connections closed because half a frame came and then nothing, or nothing was read."
    BAD_FRAMES "hutong_bad_frames_total" Counter ["shard"]
        "Connections closed because the length in front of a frame can't be one."
    BAD_REQUESTS "hutong_bad_requests_total" Counter ["shard"]
        "Connections closed because of a request that can't be read, or refused with acks=0."
    RECEIVED_BYTES "hutong_received_bytes_total" Counter ["shard"]
        "Bytes read from clients and other nodes."
    SENT_BYTES "hutong_sent_bytes_total" Counter ["shard"]
        "Bytes that sockets have taken for clients and other nodes."
    SOCKET_READS "hutong_socket_reads_total" Counter ["shard"]
        "Reads of sockets that gave something."
    SOCKET_WRITES "hutong_socket_writes_total" Counter ["shard"]
        "Writes to sockets."
    UNSENT_BYTES "hutong_unsent_bytes" Gauge ["shard"]
        "Bytes of answers that clients have not read yet."

    REQUESTS "hutong_requests_total" Counter ["shard", "api"]
        "Requests taken."
    REQUEST_BYTES "hutong_request_bytes_total" Counter ["shard", "api"]
        "Bytes of those requests."
    RESPONSE_BYTES "hutong_response_bytes_total" Counter ["shard", "api"]
        "Bytes of the answers to them."
    ERRORS "hutong_errors_total" Counter ["shard", "api", "error"]
        "Error codes in answers: one for each partition, topic or setting that failed."

    FETCHED_RECORDS "hutong_fetched_records_total" Counter ["shard"]
        "Records given to consumers."
    FETCHED_BYTES "hutong_fetched_bytes_total" Counter ["shard"]
        "Bytes of record batches given to consumers."
    CACHE_HITS "hutong_fetch_cache_hits_total" Counter ["shard"]
        "Partitions in Fetch answers that came from the journal cache alone."
    CACHE_MISSES "hutong_fetch_cache_misses_total" Counter ["shard"]
        "Partitions in Fetch answers that needed the journal on disk."
    READS_UNDER_WAY "hutong_fetches_under_way" Gauge ["shard"]
        "Fetch and ListOffsets requests that wait for records, the disk or their time."
    DAMAGED "hutong_damaged_entries_total" Counter ["shard"]
        "Journal entries that were found damaged or missing on disk, by whomever."
    REPAIRED "hutong_repaired_entries_total" Counter ["shard"]
        "Damaged journal entries that were fetched from another node and written again."
    SCRUB_ROUNDS "hutong_scrub_rounds_total" Counter ["shard"]
        "How often the scrub has read all journals of the shard."
    SCRUB_BYTES "hutong_scrub_read_bytes_total" Counter ["shard"]
        "Bytes of journals that the scrub has read."

    STAGE "hutong_stage_seconds" Durations ["shard", "stage"]
        "Time that produce requests spend in each stage, from the queue to the socket."
    WRITE_SECONDS "hutong_journal_write_seconds" Durations ["shard"]
        "Journal writes: from the request to the disk until it is done, sync included."
    WRITE_BYTES "hutong_journal_write_size_bytes" Sizes ["shard"]
        "Sizes of journal writes."
    SYNCS "hutong_journal_syncs_total" Counter ["shard"]
        "Calls of fdatasync; none with O_DSYNC."
    JOURNAL_READS "hutong_journal_reads_total" Counter ["shard"]
        "Reads of journals on disk, for consumers who are behind."

    PEERS "hutong_peers_connected" Gauge ["shard"]
        "Shards of other nodes that this one has a connection to."
    PEER_REQUESTS "hutong_peer_requests_unanswered" Gauge ["shard"]
        "Requests to other nodes that wait for an answer."
    PEER_RECEIVED "hutong_peer_received_bytes_total" Counter ["shard"]
        "Bytes that came from other nodes."
    PEER_SENT "hutong_peer_sent_bytes_total" Counter ["shard"]
        "Bytes that sockets have taken for other nodes."

    LEADS "hutong_group_leader" Gauge ["shard", "group"]
        "Whether this node leads the group."
    TERM "hutong_group_term" Gauge ["shard", "group"]
        "The group's Raft term; goes up when leadership changes, and at each start."
    WON "hutong_group_elections_won_total" Counter ["shard", "group"]
        "Elections that this node won; the one at its start is among them if it is alone."
    LOST "hutong_group_leaderships_lost_total" Counter ["shard", "group"]
        "How often this node stopped leading the group, or led it again in a later term."
    REPLICA_LAG "hutong_group_replica_lag_entries" Gauge ["shard", "group", "node"]
        "Journal entries that aren't on a replica's disk, as its leader knows; told by the leader."
    CATCH_UP "hutong_group_catch_up_bytes_total" Counter ["shard", "group"]
        "Bytes read from the disk and sent to replicas that lack what the cache no longer holds."
    SNAPSHOTS "hutong_group_snapshots_total" Counter ["shard", "group", "direction"]
        "Snapshots that brought up a replica which lacked what was trimmed, sent and received."
    SNAPSHOT_BYTES "hutong_group_snapshot_bytes_total" Counter ["shard", "group", "direction"]
        "Bytes of such snapshots, sent and received, those that were not finished included."
    FILLING "hutong_group_filling" Gauge ["shard", "group"]
        "Whether this node's replica is being brought up by a snapshot, and takes no part yet."
    DAMAGED_MESSAGES "hutong_group_damaged_messages_total" Counter ["shard", "group"]
        "Messages of other nodes whose entries were not what they said, and were dropped."
    POSITION "hutong_group_position_bytes" Gauge ["shard", "group", "position"]
        "How far the group's journal is: a byte address that is the same on every replica."
    LAG "hutong_group_lag_bytes" Gauge ["shard", "group", "position"]
        "Bytes by which a position is behind append."
    JOURNAL_BYTES "hutong_group_journal_bytes" Gauge ["shard", "group"]
        "Bytes of journal kept, from start to append."
    PARTITIONS "hutong_group_partitions" Gauge ["shard", "group"]
        "Partitions of the group."
    QUEUED "hutong_group_queue_batches" Gauge ["shard", "group"]
        "Produce batches that wait for the writer."
    QUEUED_BYTES "hutong_group_queue_bytes" Gauge ["shard", "group"]
        "Bytes of those batches."
    PENDING "hutong_group_pending_responses" Gauge ["shard", "group", "level"]
        "Answers that wait for their acknowledgement level."
    IN_FLIGHT "hutong_group_writes_in_flight" Gauge ["shard", "group"]
        "Journal writes that are out, at most 8."
    EXPIRED "hutong_group_expired_total" Counter ["shard", "group"]
        "Produce batches whose level was not reached within their time-out."
    ENTRIES "hutong_group_entries_total" Counter ["shard", "group"]
        "Journal entries with records or commands; each is one disk write."
    ENTRY_BYTES "hutong_group_entry_bytes_total" Counter ["shard", "group"]
        "Bytes of those entries, padding included."
    BATCHES "hutong_group_batches_total" Counter ["shard", "group"]
        "Produce batches that the writer took."
    RECORDS "hutong_group_records_total" Counter ["shard", "group"]
        "Records appended."
    RECORD_BYTES "hutong_group_record_bytes_total" Counter ["shard", "group"]
        "Bytes of record batches appended."

    CONSUMER_MEMBERS "hutong_consumer_group_members" Gauge ["consumer_group"]
        "Members of a consumer group that is coordinated by this node."
    CONSUMER_LAG "hutong_consumer_group_lag_records" Gauge
        ["consumer_group", "topic", "partition"]
        "Records behind a group's committed offset, as far as this node knows the partition's end."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = BTreeSet::new();
        for family in FAMILIES {
            let name = family.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("hutong_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            assert_eq!(
                name.ends_with("_seconds"),
                name == START_TIME.name || family.kind == Kind::Durations,
                "{name}"
            );
            assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        }
    }
}
