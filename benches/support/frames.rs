//! Requests as a client sends them, written by hand, so that nothing of what is measured takes
//! part in making them.

use hutong::kafka::record_batch::{Producer, build_batch};

/// The topic that all requests are for.
pub const TOPIC: &str = "topic";

/// What Produce version 7 answers for one partition of `TOPIC`, length included.
pub const PRODUCE_RESPONSE_BYTES: usize = 57;

/// A batch of one record with a value of so many bytes.
pub fn batch(value_bytes: usize) -> Vec<u8> {
    build_batch(&[(None, &vec![b'x'; value_bytes])], 1_700_000_000_000, Producer::NONE)
}

/// Produce version 7, the one librdkafka sends, with acks=all for one partition.
pub fn produce(correlation_id: i32, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0i16.to_be_bytes());
    body.extend(7i16.to_be_bytes());
    body.extend(correlation_id.to_be_bytes());
    put_string(&mut body, "bench");
    body.extend((-1i16).to_be_bytes());
    body.extend((-1i16).to_be_bytes());
    body.extend(30_000i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    put_string(&mut body, TOPIC);
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend((batch.len() as i32).to_be_bytes());
    body.extend(batch);
    frame(&body)
}

/// CreateTopics version 2, for `TOPIC`.
pub fn create_topic(partitions: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(19i16.to_be_bytes());
    body.extend(2i16.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend((-1i16).to_be_bytes());
    body.extend(1i32.to_be_bytes());
    put_string(&mut body, TOPIC);
    body.extend(partitions.to_be_bytes());
    body.extend(1i16.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(30_000i32.to_be_bytes());
    body.push(0);
    frame(&body)
}

fn put_string(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as i16).to_be_bytes());
    body.extend(text.as_bytes());
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}
