//! Writing Fetch responses without copying record data.
//!
//! The encoder writes all bytes of the frame but the records, and notes where those belong. The
//! frame's length counts them, so whoever sends the frame must splice in exactly the bytes that
//! were announced, in order:
//!
//! ```text
//! bytes:    [length header topic partition|rest of partition, partition|rest, ...]
//! splices:                                ^ at, bytes                  ^ at, bytes
//! ```

use super::error_code::ErrorCode;
use super::leader_hint::{NodeEndpoint, put_current_leader, put_endpoints};
use super::wire::{begin_frame, end_frame, put_count, put_string, put_unsigned_varint};

/// Fetch's API key.
pub const FETCH_KEY: i16 = 1;
/// The first version in the flexible encoding.
const FETCH_FLEXIBLE_FROM: i16 = 12;
/// The first version that names topics by id.
pub const FETCH_TOPIC_IDS_FROM: i16 = 13;
/// The first version that can carry endpoints (KIP-951).
const ENDPOINTS_FROM: i16 = 16;

/// A place in a frame where record data belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice {
    /// The records go in front of the byte at this index of [`FetchFrame::bytes`].
    pub at: usize,
    /// How many bytes of records. Never zero.
    pub bytes: usize,
    /// Which partition of the response, counted from 0 over all topics.
    pub partition_index: usize,
}

/// A response frame, whole but for its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchFrame {
    /// Length prefix, header and body without records.
    pub bytes: Vec<u8>,
    /// Where records go in, ascending. Partitions without records have none.
    pub splices: Vec<Splice>,
}

impl FetchFrame {
    /// The frame's bytes on the wire: its own and those of its records.
    pub fn wire_bytes(&self) -> usize {
        self.bytes.len() + self.splices.iter().map(|splice| splice.bytes).sum::<usize>()
    }
}

/// What a response says of a partition.
#[derive(Clone, Copy, Debug)]
pub struct FetchPartitionHeader {
    /// The partition's number.
    pub partition: i32,
    /// `NONE` on success.
    pub error: ErrorCode,
    /// The end of what consumers may see; -1 if unknown.
    pub high_watermark: i64,
    /// The end of what consumers of committed transactions may see; -1 if unknown.
    pub last_stable_offset: i64,
    /// The first offset the partition still has; -1 if unknown. Goes out from version 5.
    pub log_start_offset: i64,
    /// Who leads instead: broker id and leader epoch. Goes out from version 12.
    pub current_leader: Option<(i32, i32)>,
    /// The bytes of records that will be spliced in; 0 for none, which is never null.
    pub records_bytes: usize,
}

impl FetchPartitionHeader {
    /// An error, and nothing else.
    pub fn failed(partition: i32, error: ErrorCode) -> FetchPartitionHeader {
        FetchPartitionHeader {
            partition,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            current_leader: None,
            records_bytes: 0,
        }
    }
}

/// Writes a response piece by piece. The calls must come in the order `begin`, then for each
/// topic `topic` and its `partition`s, then `finish`, and as many as was announced.
#[derive(Debug)]
pub struct FetchResponseEncoder {
    frame: FetchFrame,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
    partitions_written: usize,
    spliced_bytes: usize,
    leader_named: bool,
}

impl FetchResponseEncoder {
    /// Begins a frame. Versions 4 to 16; `error` and `session_id` go out from version 7.
    pub fn begin(
        version: i16,
        correlation_id: i32,
        throttle_time_ms: i32,
        error: ErrorCode,
        session_id: i32,
        topic_count: usize,
    ) -> FetchResponseEncoder {
        let flexible = version >= FETCH_FLEXIBLE_FROM;
        let mut bytes = Vec::with_capacity(256);
        begin_frame(&mut bytes, correlation_id, flexible);
        bytes.extend_from_slice(&throttle_time_ms.to_be_bytes());
        if version >= 7 {
            bytes.extend_from_slice(&error.code().to_be_bytes());
            bytes.extend_from_slice(&session_id.to_be_bytes());
        }
        put_count(&mut bytes, flexible, topic_count);
        FetchResponseEncoder {
            frame: FetchFrame { bytes, splices: Vec::new() },
            version,
            topics_left: topic_count,
            partitions_left: 0,
            partitions_written: 0,
            spliced_bytes: 0,
            leader_named: false,
        }
    }

    fn flexible(&self) -> bool {
        self.version >= FETCH_FLEXIBLE_FROM
    }

    /// Begins a topic. Up to version 12 its name goes out, from 13 on its id.
    ///
    /// # Panics
    /// If the calls don't add up to what was announced.
    pub fn topic(&mut self, name: &str, id: [u8; 16], partition_count: usize) {
        assert!(self.partitions_left == 0 && self.topics_left > 0, "topics as announced");
        let flexible = self.flexible();
        self.topics_left -= 1;
        self.partitions_left = partition_count;
        if self.version >= FETCH_TOPIC_IDS_FROM {
            self.frame.bytes.extend_from_slice(&id);
        } else {
            put_string(&mut self.frame.bytes, flexible, name.as_bytes());
        }
        put_count(&mut self.frame.bytes, flexible, partition_count);
        if partition_count == 0 {
            self.end_struct();
        }
    }

    /// Adds a partition to the topic begun last, and a splice if it has records.
    ///
    /// # Panics
    /// If the topic has all its partitions already.
    pub fn partition(&mut self, header: &FetchPartitionHeader) {
        assert!(self.partitions_left > 0, "partitions as announced");
        self.partitions_left -= 1;
        self.put_fixed_fields(header);
        self.put_records(header.records_bytes);
        if self.flexible() {
            put_current_leader(&mut self.frame.bytes, 1, header.current_leader);
            self.leader_named |= header.current_leader.is_some();
        }
        self.partitions_written += 1;
        if self.partitions_left == 0 {
            self.end_struct();
        }
    }

    /// Ends the frame. The endpoints go out only from version 16 and only if some partition named
    /// its leader.
    ///
    /// # Panics
    /// If the calls don't add up to what was announced, or the frame has 2 GiB or more.
    pub fn finish(mut self, endpoints: &[NodeEndpoint<'_>]) -> FetchFrame {
        assert!(self.partitions_left == 0 && self.topics_left == 0, "all that was announced");
        if self.version >= ENDPOINTS_FROM && self.leader_named {
            put_endpoints(&mut self.frame.bytes, endpoints);
        } else {
            self.end_struct();
        }
        end_frame(&mut self.frame.bytes, 0, self.spliced_bytes);
        self.frame
    }

    fn put_fixed_fields(&mut self, header: &FetchPartitionHeader) {
        let flexible = self.flexible();
        let out = &mut self.frame.bytes;
        out.extend_from_slice(&header.partition.to_be_bytes());
        out.extend_from_slice(&header.error.code().to_be_bytes());
        out.extend_from_slice(&header.high_watermark.to_be_bytes());
        out.extend_from_slice(&header.last_stable_offset.to_be_bytes());
        if self.version >= 5 {
            out.extend_from_slice(&header.log_start_offset.to_be_bytes());
        }
        // Aborted transactions: null, as Kafka answers readers of uncommitted records.
        if flexible {
            out.push(0);
        } else {
            out.extend_from_slice(&(-1i32).to_be_bytes());
        }
        if self.version >= 11 {
            // No other replica is preferred for reading.
            out.extend_from_slice(&(-1i32).to_be_bytes());
        }
    }

    fn put_records(&mut self, records_bytes: usize) {
        // A frame is shorter than 2 GiB, which `finish` makes sure of.
        let length = records_bytes.min(i32::MAX as usize - 1) as u32;
        if self.flexible() {
            put_unsigned_varint(&mut self.frame.bytes, length + 1);
        } else {
            self.frame.bytes.extend_from_slice(&length.to_be_bytes());
        }
        if records_bytes > 0 {
            let at = self.frame.bytes.len();
            let partition_index = self.partitions_written;
            self.frame.splices.push(Splice { at, bytes: records_bytes, partition_index });
            self.spliced_bytes += records_bytes;
        }
    }

    fn end_struct(&mut self) {
        if self.flexible() {
            self.frame.bytes.push(0);
        }
    }
}
