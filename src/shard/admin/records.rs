//! DeleteRecords: moving log starts by hand.

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::model::ids::{GroupId, PartitionKey};
use crate::model::position::Offset;
use crate::model::time::Time;
use crate::shard::admin::{Admin, Response, deadline_after};
use crate::shard::connections::Ticket;
use crate::shard::fetch::place;
use crate::shard::group::{ControlItem, LogStartRequest};

/// Asks for everything before the high watermark.
const TO_HIGH_WATERMARK: i64 = -1;

impl<P: Page> Admin<'_, P> {
    /// Takes a DeleteRecords request.
    pub fn delete_records(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: DeleteRecordsRequest,
    ) {
        let mut moves: Vec<(usize, GroupId, PartitionKey, Offset)> = Vec::new();
        let mut part = 0;
        let mut topics = Vec::new();
        for asked in &request.topics {
            let mut partitions = Vec::new();
            for wanted in &asked.partitions {
                let mut result = DeleteRecordsPartitionResult::default()
                    .with_partition_index(wanted.partition_index)
                    .with_low_watermark(-1)
                    .with_error_code(ErrorCode::REQUEST_TIMED_OUT.code());
                match self.log_start_for(&asked.name, wanted.partition_index, wanted.offset) {
                    Ok((group, key, offset)) => moves.push((part, group, key, offset)),
                    Err(code) => result.error_code = code.code(),
                }
                partitions.push(result);
                part += 1;
            }
            topics.push(
                DeleteRecordsTopicResult::default()
                    .with_name(asked.name.clone())
                    .with_partitions(partitions),
            );
        }
        let response = DeleteRecordsResponse::default().with_topics(topics);
        let response = Response::DeleteRecords(response);
        let deadline = deadline_after(now, request.timeout_ms);
        let requests = &mut *self.requests;
        let missing = moves.len();
        let id = requests.begin(ticket, header, deadline, response, missing, self.connections);
        for (part, group, key, offset) in moves {
            let group = self.groups.get_mut(group).expect("it was just seen");
            let request = Some(LogStartRequest { request: id, part });
            group.control.push(ControlItem::LogStart { partition: key, offset, request });
        }
        self.requests.settle(id, self.connections);
    }

    fn log_start_for(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(GroupId, PartitionKey, Offset), ErrorCode> {
        let topic = self.control.catalog.topic(topic.as_bytes());
        let placement = topic.and_then(|topic| place(topic, partition));
        let placement = placement.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let group = self.groups.get(placement.group).filter(|group| group.is_serving());
        let group = group.ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        let partition = group.partitions.by_key(placement.key);
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let high_watermark = partition.high_watermark();
        let offset = match offset {
            TO_HIGH_WATERMARK => high_watermark,
            offset => Offset(offset),
        };
        if offset.0 < 0 || offset > high_watermark {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        Ok((placement.group, placement.key, offset))
    }
}

/// Puts an error in the place of a log start that could not be moved.
pub fn fail(response: &mut DeleteRecordsResponse, part: usize, code: ErrorCode) {
    let partitions = response.topics.iter_mut().flat_map(|topic| topic.partitions.iter_mut());
    if let Some(result) = partitions.into_iter().nth(part) {
        result.error_code = code.code();
    }
}

/// Puts a moved log start in its place. `None`: the partition is gone.
pub fn fill(response: &mut DeleteRecordsResponse, part: usize, log_start: Option<i64>) {
    let partitions = response.topics.iter_mut().flat_map(|topic| topic.partitions.iter_mut());
    if let Some(result) = partitions.into_iter().nth(part) {
        result.low_watermark = log_start.unwrap_or(-1);
        result.error_code = match log_start {
            Some(_) => ErrorCode::NONE.code(),
            None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.code(),
        };
    }
}
