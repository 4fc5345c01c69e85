//! The answer to a fetch: what the protocol wants around the pieces of pages that were found.

use bytes::Bytes;

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetch::{FetchPartitionHeader, FetchResponseEncoder};
use crate::kafka::leader_hint::NodeEndpoint;
use crate::partition::Partition;
use crate::shard::fetch::Parts;
use crate::shard::fetch::job::{Fetch, Job, JobPart};
use crate::shard::fetch::reader::Piece;
use crate::shard::output::Part;

/// The answer to a job that is done.
pub fn fetch_response<P: Page>(job: &Job<P>, fetch: &Fetch, parts: &Parts<'_, P>) -> Vec<Part<P>> {
    let (version, correlation_id) = (job.header.api_version, job.header.correlation_id);
    let topics = fetch.topics.len();
    let code = ErrorCode::NONE;
    let mut encoder = FetchResponseEncoder::begin(version, correlation_id, 0, code, 0, topics);
    let mut hints: Vec<NodeEndpoint<'_>> = Vec::new();
    let mut rest = job.parts.iter();
    for (name, id, count) in &fetch.topics {
        encoder.topic(name, id.0, *count);
        for part in rest.by_ref().take(*count) {
            let header = partition_header(part, parts);
            hints.extend(parts.cluster.hint(header.current_leader));
            encoder.partition(&header);
        }
    }
    hints.sort_unstable_by_key(|hint| hint.node_id);
    hints.dedup();
    let frame = encoder.finish(&hints);
    let bytes = Bytes::from(frame.bytes);
    let mut response = Response { parts: Vec::new(), tail: Vec::new() };
    let mut at = 0;
    for splice in frame.splices {
        response.bytes(&bytes[at..splice.at]);
        at = splice.at;
        let reader = job.parts[splice.partition_index].reader.as_ref();
        for piece in reader.map_or(&[][..], |reader| &reader.pieces) {
            response.piece(piece);
        }
    }
    response.bytes(&bytes[at..]);
    response.finish()
}

fn partition_header<P: Page>(part: &JobPart<P>, parts: &Parts<'_, P>) -> FetchPartitionHeader {
    let partition: Option<&Partition> = part
        .group
        .and_then(|group| parts.groups.get(group))
        .and_then(|group| group.partitions.by_key(part.asked.key));
    let mut header = FetchPartitionHeader::failed(part.partition, part.error);
    if let Some(partition) = partition {
        header.high_watermark = partition.high_watermark().0;
        header.last_stable_offset = partition.high_watermark().0;
        header.log_start_offset = partition.log_start().0;
    }
    match part.error {
        ErrorCode::NONE => {
            header.records_bytes = part.reader.as_ref().map_or(0, |reader| reader.bytes);
        }
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH => {
            header.current_leader = part.group.and_then(|group| parts.cluster.leader(group));
        }
        _ => {}
    }
    header
}

/// A response in the making: large pieces of pages go out as they are, small ones are copied, as
/// that costs less than sending them one by one.
struct Response<P> {
    parts: Vec<Part<P>>,
    tail: Vec<u8>,
}

/// Pieces below this size are copied.
const COPY_BELOW_BYTES: usize = 4096;

impl<P: Page> Response<P> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    fn piece(&mut self, piece: &Piece<P>) {
        if piece.end - piece.start < COPY_BELOW_BYTES {
            return self.bytes(&piece.page.bytes()[piece.start..piece.end]);
        }
        self.settle();
        self.parts.push(Part::Page {
            page: piece.page.clone(),
            start: piece.start,
            end: piece.end,
        });
    }

    fn settle(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push(Part::Bytes(std::mem::take(&mut self.tail).into()));
        }
    }

    fn finish(mut self) -> Vec<Part<P>> {
        self.settle();
        self.parts
    }
}
