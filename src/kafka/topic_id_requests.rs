//! OffsetCommit and OffsetFetch version 10, which name topics by their ids.
//!
//! The crate has their answers and not yet their requests, so these are read by hand, after the
//! walk of `bounds`: all counts have been checked.

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::decode_error::DecodeError;
use super::wire::Reader;

/// From this version on, both name topics by their ids.
pub const TOPIC_IDS_FROM: i16 = 10;

/// An OffsetCommit request of version 10, and the bytes it takes.
pub(super) fn offset_commit(body: &[u8]) -> Result<(OffsetCommitRequest, usize), DecodeError> {
    let reader = &mut Reader::new(body, 0);
    let mut request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(reader)?))
        .with_generation_id_or_member_epoch(reader.i32()?)
        .with_member_id(text(reader)?)
        .with_group_instance_id(nullable_text(reader)?);
    for _ in 0..reader.array(true, 1)? {
        let mut topic = OffsetCommitRequestTopic::default().with_topic_id(uuid(reader)?);
        for _ in 0..reader.array(true, 1)? {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(reader.i32()?)
                .with_committed_offset(i64_of(reader)?)
                .with_committed_leader_epoch(reader.i32()?)
                .with_committed_metadata(nullable_text(reader)?);
            reader.skip_tagged_fields()?;
            topic.partitions.push(partition);
        }
        reader.skip_tagged_fields()?;
        request.topics.push(topic);
    }
    reader.skip_tagged_fields()?;
    Ok((request, reader.at()))
}

/// An OffsetFetch request of version 10, and the bytes it takes.
pub(super) fn offset_fetch(body: &[u8]) -> Result<(OffsetFetchRequest, usize), DecodeError> {
    let reader = &mut Reader::new(body, 0);
    let mut request = OffsetFetchRequest::default();
    for _ in 0..reader.array(true, 1)? {
        let mut group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(reader)?))
            .with_member_id(nullable_text(reader)?)
            .with_member_epoch(reader.i32()?);
        let count = reader.count(true)?;
        let mut topics = Vec::new();
        for _ in 0..count.max(0) {
            let mut topic = OffsetFetchRequestTopics::default().with_topic_id(uuid(reader)?);
            for _ in 0..reader.array(true, 4)? {
                topic.partition_indexes.push(reader.i32()?);
            }
            reader.skip_tagged_fields()?;
            topics.push(topic);
        }
        group.topics = (count >= 0).then_some(topics);
        reader.skip_tagged_fields()?;
        request.groups.push(group);
    }
    request.require_stable = reader.i8()? != 0;
    reader.skip_tagged_fields()?;
    Ok((request, reader.at()))
}

fn text(reader: &mut Reader<'_>) -> Result<StrBytes, DecodeError> {
    nullable_text(reader)?.ok_or(DecodeError::Malformed("a string is null that may not be"))
}

fn nullable_text(reader: &mut Reader<'_>) -> Result<Option<StrBytes>, DecodeError> {
    let Some(bytes) = reader.nullable_string(true)? else { return Ok(None) };
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| DecodeError::Malformed("a string is not UTF-8"))?;
    Ok(Some(StrBytes::from_string(text.to_owned())))
}

fn uuid(reader: &mut Reader<'_>) -> Result<Uuid, DecodeError> {
    let bytes = reader.take(16)?.try_into().expect("sixteen bytes");
    Ok(Uuid::from_bytes(bytes))
}

fn i64_of(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    Ok(i64::from_be_bytes(reader.take(8)?.try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_read_as_it_is_drawn() {
        let mut body = b"\x02g\0\0\0\x07\x02m\0\x02".to_vec();
        body.extend([9; 16]);
        body.extend(b"\x02\0\0\0\x03\0\0\0\0\0\0\0\x2a\0\0\0\x05\x03ab\0\0\0");
        let (request, bytes) = offset_commit(&body).expect("it is whole");
        assert_eq!(bytes, body.len());
        assert_eq!((request.group_id.as_str(), request.member_id.as_str()), ("g", "m"));
        assert_eq!(request.generation_id_or_member_epoch, 7);
        assert_eq!(request.group_instance_id, None);
        assert_eq!(request.topics[0].topic_id, Uuid::from_bytes([9; 16]));
        let partition = &request.topics[0].partitions[0];
        assert_eq!((partition.partition_index, partition.committed_offset), (3, 42));
        assert_eq!(partition.committed_leader_epoch, 5);
        assert_eq!(partition.committed_metadata.as_deref(), Some("ab"));
    }

    #[test]
    fn a_fetch_is_read_as_it_is_drawn() {
        let mut body = b"\x03\x02g\0\xff\xff\xff\xff\0\0\x02h\x02m\0\0\0\x01\x02".to_vec();
        body.extend([9; 16]);
        body.extend(b"\x03\0\0\0\0\0\0\0\x04\0\0\x01\0");
        let (request, bytes) = offset_fetch(&body).expect("it is whole");
        assert_eq!(bytes, body.len());
        assert!(request.require_stable);
        assert_eq!(request.groups[0].topics, None);
        assert_eq!(request.groups[1].member_id.as_deref(), Some("m"));
        let topics = request.groups[1].topics.as_ref().expect("they are named");
        assert_eq!(topics[0].topic_id, Uuid::from_bytes([9; 16]));
        assert_eq!(topics[0].partition_indexes, [0, 4]);
    }
}
