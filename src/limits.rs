//! Every bound and size in one place, asserted against each other at compile time.
//!
//! Each queue of the broker has its bound here. Memory a client can make us hold is the product
//! of these and of the flags of `hutong serve`, nothing else.

/// The largest Kafka frame taken from a client, without its length prefix. Kafka calls it
/// `socket.request.max.bytes`.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// The largest frame of any request but Produce. Array counts are bounded by it, too.
pub const SMALL_FRAME_BYTES_MAX: usize = 1 << 20;

/// The largest record batch a topic may allow (`max.message.bytes`).
pub const RECORD_BATCH_BYTES_MAX: usize = 16 << 20;

/// The largest record batch a topic allows by default, as Kafka has it.
pub const RECORD_BATCH_BYTES_DEFAULT: usize = 1_048_588;

/// Journal writes are multiples of this, at multiples of this: the unit of O_DIRECT everywhere.
pub const ENTRY_ALIGN_BYTES: usize = 4096;

/// The bytes of one journal entry that the writer aims for: more requests go into the next.
pub const ENTRY_BYTES_TARGET: usize = 1 << 20;

/// The largest journal entry, header and padding included.
pub const ENTRY_BYTES_MAX: usize = 20 << 20;

/// Journal writes of one group that are out at the same time. Recovery leans on it: of two
/// entries further apart than this, the first was on disk before the second was begun.
pub const JOURNAL_WRITES_IN_FLIGHT_MAX: usize = 8;

/// Payload of one message to a follower, but for a single entry that is larger by itself.
pub const RAFT_MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Entries in one message.
pub const RAFT_ENTRIES_PER_MESSAGE_MAX: usize = 4096;
/// Messages with entries on their way to one follower of a group.
pub const RAFT_MESSAGES_IN_FLIGHT_MAX: usize = 64;

/// Requests to one shard of another node that wait for their answers.
pub const PEER_REQUESTS_MAX: u32 = 4096;
/// Bytes given to a connection to another node and not taken by its socket. What comes beyond is
/// not sent: Raft tries again.
pub const PEER_UNSENT_BYTES_MAX: usize = 96 << 20;
/// Reads of a shard that are under way for members that lack what the journal cache doesn't hold,
/// all together: what clients read and write comes between them.
pub const MEMBER_READS_MAX: usize = 4;
/// The largest checkpoint that a member takes over from another node. It is held in memory.
pub const SNAPSHOT_CHECKPOINT_BYTES_MAX: u64 = 4 << 30;
/// Bytes of a leader's messages that wait for the writer of a follower. What comes beyond is
/// dropped: Raft sends it again.
pub const PEER_QUEUE_BYTES_MAX: usize = 96 << 20;

/// The size of a segment file.
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 << 20;
/// Its smallest size: an entry of the largest size must fit behind the header.
pub const SEGMENT_BYTES_MIN: u64 = 32 << 20;
/// Its largest size.
pub const SEGMENT_BYTES_MAX: u64 = 4 << 30;

/// Segments made ahead of need.
pub const SEGMENTS_AHEAD: u64 = 2;

/// Bytes of requests that wait for the writer of a shard. When there are more, the shard reads no
/// more from the connections that send.
pub const REQUEST_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Reading resumes when no more than this is left.
pub const REQUEST_QUEUE_BYTES_RESUME: usize = REQUEST_QUEUE_BYTES_MAX / 2;

/// Produce requests of a shard that wait for a position or a deadline.
pub const PENDING_RESPONSES_MAX: usize = 1 << 20;

/// Bytes of responses that a connection may leave unread before we read no more from it.
pub const CONNECTION_UNSENT_BYTES_MAX: usize = 4 << 20;

/// Bytes of responses that all clients of a shard may leave unread before consumers get no more
/// than `FETCH_RESPONSE_BYTES_SHORT` at a time.
pub const SHARD_UNSENT_BYTES_MAX: usize = 64 << 20;
/// What a Fetch response holds at most while so much is unread.
pub const FETCH_RESPONSE_BYTES_SHORT: usize = 64 << 10;

/// The journal cache of a shard.
pub const JOURNAL_CACHE_BYTES_DEFAULT: usize = 48 << 20;

/// A chunk read from the journal for a consumer who is behind.
pub const READ_CHUNK_BYTES: usize = 1 << 20;

/// A Fetch that has something has no more than this many chunks read before it is answered.
pub const FETCH_CHUNKS_MAX: u32 = 8;

/// The most a Fetch response holds, whatever the client asks for.
pub const FETCH_RESPONSE_BYTES_MAX: usize = 16 << 20;

/// What one ListOffsets request has decompressed to find records by their timestamps. Lookups
/// beyond it name a batch's first record instead of the exact one.
pub const LOOKUP_BYTES_MAX: u64 = 128 << 20;

/// What is decompressed of one Produce request to see whether its records are as many as it says:
/// eight times the largest batch. More is refused. It bounds how long one request keeps a shard
/// busy; `docs/ARCHITECTURE.md` has the figures.
pub const PRODUCE_DECOMPRESSED_BYTES_MAX: u64 = 128 << 20;

/// Once so much was decompressed in a turn, what other requests want waits for the next.
pub const TURN_DECOMPRESSED_BYTES: u64 = 8 << 20;

/// Long polls are cut to this.
pub const FETCH_WAIT_MS_MAX: i32 = 600_000;

/// A topic's longest name, as in Kafka.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Partitions a topic may have.
pub const TOPIC_PARTITIONS_MAX: i32 = 100_000;

/// Partitions of all topics.
pub const PARTITIONS_MAX: usize = 1_000_000;

/// Nodes of a cluster, those included that are on their way out.
pub const NODES_MAX: usize = 128;

/// The name or address of a host, in bytes.
pub const HOST_BYTES_MAX: usize = 255;

/// Groups a data directory may have.
pub const GROUPS_MAX: u32 = 1024;

/// Shards of one node. Broker ids leave room for 1000.
pub const SHARDS_MAX: u16 = 512;

/// Batches of an idempotent producer that are remembered for each partition, as in Kafka.
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

/// Idempotent producers remembered for each partition; the one longest silent is forgotten first.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 10_000;

/// Journal bytes after which a group's indexes are written to a checkpoint. A restart reads no
/// more than about this much of the journal.
pub const CHECKPOINT_JOURNAL_BYTES: u64 = 256 << 20;

/// Chunks of the journal kept for consumers who are behind, for each shard.
pub const READ_CHUNKS_KEPT: usize = 16;

/// Chunks that are read ahead of the one in use.
pub const READ_AHEAD_CHUNKS: u32 = 3;

/// Damaged entries of one group that other nodes are asked for at the same time.
pub const REPAIRS_IN_FLIGHT_MAX: usize = 4;

/// Damaged places of one shard that are remembered. Readers of further ones get an error.
pub const DAMAGED_PLACES_MAX: usize = 1024;

/// Of these, the ones of one group that a node which isn't open is told of in one answer.
pub const DAMAGED_PLACES_TOLD_MAX: usize = 64;

/// Questions of other nodes and of tools about the journals of one shard that wait for its disk.
/// What comes beyond gets no for an answer.
pub const JOURNAL_QUESTIONS_MAX: usize = 16;

/// What the scrub reads of a journal at a time.
pub const SCRUB_READ_BYTES: usize = 256 << 10;

/// What the scrub of a node reads in a second, unless told otherwise.
pub const SCRUB_BYTES_PER_SECOND_DEFAULT: u64 = 4 << 20;

/// Producer ids that a shard takes from the catalog at a time.
pub const PRODUCER_IDS_PER_BLOCK: u32 = 1000;

/// Consumer groups of one Raft group, with members or without.
pub const CONSUMER_GROUPS_MAX: usize = 100_000;

/// What the members of one consumer group say of themselves and were assigned, all together. Its
/// state is one record, which must fit into a journal entry beside others.
pub const CONSUMER_GROUP_BYTES_MAX: usize = 8 << 20;

/// The longest id of a consumer group, and of a static member; and the longest name of a protocol.
pub const CONSUMER_GROUP_NAME_BYTES_MAX: usize = 1024;

/// What a consumer may store beside an offset, as in Kafka (`offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4096;

/// Committed offsets of one shard that the metrics tell of, group by group.
pub const METRICS_OFFSETS_MAX: usize = 10_000;

/// Partitions of one shard whose ends are told to the metrics, so that they can say how far
/// consumer groups are behind.
pub const METRICS_WATERMARKS_MAX: usize = 100_000;

/// Bytes of records about consumer groups that wait to be applied before a client that commits is
/// held until its commit is answered.
pub const COORDINATOR_UNAPPLIED_BYTES_MAX: usize = 1 << 20;

/// Members a consumer group may have, whatever `group.max.size` says.
pub const CONSUMER_GROUP_MEMBERS_MAX: usize = 10_000;

/// The longest member id, instance id and rack of a consumer group's member. Client ids and hosts
/// are cut to it.
pub const MEMBER_STRING_BYTES_MAX: usize = 1024;

/// What all different subscriptions of one consumer group may take, in bytes. Members that
/// subscribe to the same share one.
pub const CONSUMER_GROUP_SUBSCRIPTION_BYTES_MAX: usize = 16 << 20;

/// Protocols that a classic member offers, and the bytes of their metadata all together.
pub const CLASSIC_PROTOCOLS_MAX: usize = 64;
/// See [`CLASSIC_PROTOCOLS_MAX`].
pub const CLASSIC_PROTOCOL_BYTES_MAX: usize = SMALL_FRAME_BYTES_MAX;

/// The longest regular expression that a member may subscribe with.
pub const TOPIC_REGEX_BYTES_MAX: usize = 4096;

/// What a compiled regular expression may take: what explodes is refused.
pub const TOPIC_REGEX_COMPILED_BYTES_MAX: usize = 256 << 10;

/// Different regular expressions in one consumer group.
pub const CONSUMER_GROUP_REGEXES_MAX: usize = 32;

/// Records of a consumer group's state that are written as one: a group of the largest size that
/// is switched to the new protocol, and everybody's target with it.
pub const CONSUMER_GROUP_RECORDS_MAX: usize = 4 * CONSUMER_GROUP_MEMBERS_MAX + 64;

/// The bytes of those records. They must fit into a journal entry beside others.
pub const CONSUMER_GROUP_BATCH_BYTES_MAX: usize = 2 * CONSUMER_GROUP_BYTES_MAX;

const _: () = {
    assert!(2 * CONSUMER_GROUP_BYTES_MAX + 2 * ENTRY_BYTES_TARGET <= ENTRY_BYTES_MAX);
    assert!(RECORD_BATCH_BYTES_DEFAULT <= RECORD_BATCH_BYTES_MAX);
    assert!(RECORD_BATCH_BYTES_MAX + ENTRY_ALIGN_BYTES <= ENTRY_BYTES_MAX);
    assert!(RECORD_BATCH_BYTES_MAX <= FRAME_BYTES_MAX);
    assert!(ENTRY_BYTES_TARGET <= ENTRY_BYTES_MAX);
    assert!(ENTRY_BYTES_MAX.is_multiple_of(ENTRY_ALIGN_BYTES));
    assert!((ENTRY_BYTES_MAX + ENTRY_ALIGN_BYTES) as u64 <= SEGMENT_BYTES_MIN);
    assert!(
        SEGMENT_BYTES_MIN <= SEGMENT_BYTES_DEFAULT && SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX
    );
    assert!(FRAME_BYTES_MAX <= REQUEST_QUEUE_BYTES_MAX);
    assert!(ENTRY_BYTES_MAX + SMALL_FRAME_BYTES_MAX <= FRAME_BYTES_MAX);
    assert!(RAFT_MESSAGE_BYTES_MAX as usize + SMALL_FRAME_BYTES_MAX <= FRAME_BYTES_MAX);
    let window = RAFT_MESSAGES_IN_FLIGHT_MAX as u64 * RAFT_MESSAGE_BYTES_MAX;
    assert!(window < PEER_UNSENT_BYTES_MAX as u64 && window < PEER_QUEUE_BYTES_MAX as u64);
    assert!(READ_CHUNK_BYTES.is_multiple_of(ENTRY_ALIGN_BYTES));
    assert!(SMALL_FRAME_BYTES_MAX <= FRAME_BYTES_MAX);
    assert!(PRODUCE_DECOMPRESSED_BYTES_MAX >= RECORD_BATCH_BYTES_MAX as u64);
    assert!(FETCH_RESPONSE_BYTES_SHORT <= FETCH_RESPONSE_BYTES_MAX);
    assert!(FETCH_RESPONSE_BYTES_MAX <= SHARD_UNSENT_BYTES_MAX);
    assert!(TOPIC_REGEX_BYTES_MAX <= TOPIC_REGEX_COMPILED_BYTES_MAX);
};
