//! The records that the sink pretends to hold: one batch, shown at every offset that is asked for.

use bytes::Bytes;
use hutong::kafka::error_code::ErrorCode;
use hutong::kafka::fetch::{FetchPartitionHeader, FetchResponseEncoder};
use hutong::kafka::header::RequestHeader;
use hutong::kafka::record_batch::{Producer, build_batch};
use hutong::runtime::journal_page::JournalPage;
use hutong::shard::output::Part;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest, ListOffsetsResponse};

/// The size of the batch, about: what brokers give a consumer that is behind.
const BATCH_BYTES: usize = 512 << 10;
/// What stands before the batch's length: its base offset, which the crc doesn't cover.
const OFFSET_BYTES: usize = 8;
/// How ListOffsets calls the first record there is.
const EARLIEST: i64 = -2;

/// See the module.
pub struct Records {
    /// Records of each partition.
    count: i64,
    batch_records: i64,
    /// Without its base offset.
    batch: Bytes,
}

impl Records {
    /// So many records in each partition, with values of so many bytes.
    pub fn new(count: u64, record_bytes: usize) -> Records {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let batch_records = (BATCH_BYTES / (record_bytes + 12)).clamp(1, count.max(1) as usize);
        let mut values = vec![0; record_bytes];
        fastrand::Rng::with_seed(1).fill(&mut values);
        let batch = build_batch(&vec![(None, &values[..]); batch_records], 0, Producer::NONE);
        let batch = Bytes::from(batch).slice(OFFSET_BYTES..);
        Records { count, batch_records: batch_records as i64, batch }
    }

    /// Appends the answer to a Fetch request.
    pub fn fetch(
        &self,
        header: &RequestHeader,
        request: &FetchRequest,
        parts: &mut Vec<Part<JournalPage>>,
    ) {
        let (version, correlation) = (header.api_version, header.correlation_id);
        let topics = request.topics.len();
        let mut encoder =
            FetchResponseEncoder::begin(version, correlation, 0, ErrorCode::NONE, 0, topics);
        let batch_bytes = OFFSET_BYTES + self.batch.len();
        let mut left = request.max_bytes.max(1) as usize;
        let mut offsets = Vec::new();
        for topic in &request.topics {
            encoder.topic(&topic.topic, [0; 16], topic.partitions.len());
            for wanted in &topic.partitions {
                let shown = left > 0 && wanted.fetch_offset < self.count;
                if shown {
                    left = left.saturating_sub(batch_bytes);
                    offsets.push(wanted.fetch_offset.min(self.count - self.batch_records));
                }
                let mut partition = FetchPartitionHeader::failed(wanted.partition, ErrorCode::NONE);
                partition.high_watermark = self.count;
                partition.last_stable_offset = self.count;
                partition.log_start_offset = 0;
                partition.records_bytes = if shown { batch_bytes } else { 0 };
                encoder.partition(&partition);
            }
        }
        let frame = encoder.finish(&[]);
        let bytes = Bytes::from(frame.bytes);
        let mut from = 0;
        for (splice, offset) in frame.splices.iter().zip(offsets) {
            parts.push(Part::Bytes(bytes.slice(from..splice.at)));
            parts.push(Part::Bytes(Bytes::copy_from_slice(&offset.to_be_bytes())));
            parts.push(Part::Bytes(self.batch.clone()));
            from = splice.at;
        }
        if from < bytes.len() {
            parts.push(Part::Bytes(bytes.slice(from..)));
        }
    }

    /// Where partitions begin and end.
    pub fn offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let offset = if partition.timestamp == EARLIEST { 0 } else { self.count };
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(partition.partition_index)
                    .with_offset(offset)
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }
}
