//! The error codes inside of responses, wherever each kind of response has them, to be counted.

use kafka_protocol::messages::{
    AlterConfigsResponse, ApiVersionsResponse, ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatResponse, CreatePartitionsResponse, CreateTopicsResponse,
    DeleteGroupsResponse, DeleteRecordsResponse, DeleteTopicsResponse, DescribeClusterResponse,
    DescribeConfigsResponse, DescribeGroupsResponse, DescribeLogDirsResponse,
    DescribeQuorumResponse, DescribeTopicPartitionsResponse, FindCoordinatorResponse,
    HeartbeatResponse, IncrementalAlterConfigsResponse, InitProducerIdResponse, JoinGroupResponse,
    LeaveGroupResponse, ListGroupsResponse, ListOffsetsResponse, MetadataResponse,
    OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchResponse, OffsetForLeaderEpochResponse,
    SyncGroupResponse,
};

/// A response that says what went wrong, as a whole or in its parts.
pub trait ErrorCodes {
    /// Hands out every error code of the response. Those that are 0 may be among them.
    fn error_codes(&self, found: &mut dyn FnMut(i16));
}

/// `$top`: fields of the response. `$list / $list => $field`: fields of the items of a list, or
/// of the lists of a list.
macro_rules! error_codes {
    ($($type:ident { $($top:ident)* $(; $list:ident $(/ $inner:ident)? => $field:ident)* })*) => {
        $(impl ErrorCodes for $type {
            fn error_codes(&self, found: &mut dyn FnMut(i16)) {
                $(found(self.$top);)*
                $(error_codes!(@ self.$list, found, $field $(, $inner)?);)*
            }
        })*
    };
    (@ $list:expr, $found:ident, $field:ident) => {
        $list.iter().for_each(|item| $found(item.$field))
    };
    (@ $list:expr, $found:ident, $field:ident, $inner:ident) => {
        $list.iter().flat_map(|item| &item.$inner).for_each(|item| $found(item.$field))
    };
}

error_codes! {
    AlterConfigsResponse { ; responses => error_code }
    ApiVersionsResponse { error_code }
    ConsumerGroupDescribeResponse { ; groups => error_code }
    ConsumerGroupHeartbeatResponse { error_code }
    CreatePartitionsResponse { ; results => error_code }
    CreateTopicsResponse { ; topics => error_code }
    DeleteGroupsResponse { ; results => error_code }
    DeleteRecordsResponse { ; topics / partitions => error_code }
    DeleteTopicsResponse { ; responses => error_code }
    DescribeClusterResponse { error_code }
    DescribeConfigsResponse { ; results => error_code }
    DescribeGroupsResponse { ; groups => error_code }
    DescribeLogDirsResponse { error_code; results => error_code }
    DescribeQuorumResponse { error_code; topics / partitions => error_code }
    DescribeTopicPartitionsResponse {
        ; topics => error_code
        ; topics / partitions => error_code
    }
    FindCoordinatorResponse { error_code; coordinators => error_code }
    HeartbeatResponse { error_code }
    IncrementalAlterConfigsResponse { ; responses => error_code }
    InitProducerIdResponse { error_code }
    JoinGroupResponse { error_code }
    LeaveGroupResponse { error_code; members => error_code }
    ListGroupsResponse { error_code }
    ListOffsetsResponse { ; topics / partitions => error_code }
    MetadataResponse { ; topics => error_code; topics / partitions => error_code }
    OffsetCommitResponse { ; topics / partitions => error_code }
    OffsetDeleteResponse { error_code; topics / partitions => error_code }
    OffsetFetchResponse {
        error_code
        ; topics / partitions => error_code
        ; groups => error_code
    }
    OffsetForLeaderEpochResponse { ; topics / partitions => error_code }
    SyncGroupResponse { error_code }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{
        MetadataResponsePartition, MetadataResponseTopic,
    };

    use super::*;

    #[test]
    fn codes_are_found_at_each_depth() {
        let partition = |code| MetadataResponsePartition::default().with_error_code(code);
        let topic = |code, partitions| {
            MetadataResponseTopic::default().with_error_code(code).with_partitions(partitions)
        };
        let response = MetadataResponse::default()
            .with_topics(vec![topic(3, vec![]), topic(0, vec![partition(5), partition(6)])]);
        let mut codes = Vec::new();
        response.error_codes(&mut |code| codes.push(code));
        assert_eq!(codes, [3, 0, 5, 6]);
        let mut codes = Vec::new();
        let response = FindCoordinatorResponse::default().with_error_code(15);
        response.error_codes(&mut |code| codes.push(code));
        assert_eq!(codes, [15]);
    }
}
