//! Bytes that are no frames, frames that are no requests, and counts that can't be true.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use hutong::kafka::api::{API_VERSIONS_KEY, APIS};
use hutong::limits::FRAME_BYTES_MAX;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, ProduceRequest};
use kafka_protocol::protocol::Decodable;

use crate::bystander::Arena;
use crate::raw::{Answer, PRODUCE, RawClient, frame_around, frame_of, one_record, produce};

/// Noise, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Sends bytes after which the connection must be closed.
fn must_close(arena: &Arena, what: &str, bytes: &[u8]) {
    let mut client = arena.client();
    client.send(bytes);
    assert_eq!(client.answer(), Answer::Closed, "{what}");
}

#[test]
fn bytes_that_are_no_frames_close_the_connection() {
    let arena = Arena::new(&[]);
    for length in [i32::MAX, 0x4000_0000, FRAME_BYTES_MAX as i32 + 1, 0, -1, i32::MIN] {
        must_close(&arena, &format!("length {length}"), &length.to_be_bytes());
    }
    must_close(&arena, "HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    must_close(&arena, "TLS", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0]);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for round in 0..300 {
        let len = 1 + noise.next() as usize % 5000;
        let mut client = arena.client();
        client.send(&noise.bytes(len));
        // What looks like the start of a long frame is waited for, so the client gives up.
        let _ = client.stream.shutdown(Shutdown::Write);
        assert_eq!(client.answer(), Answer::Closed, "noise {round}");
    }
    // The same in frames: the length is true, the rest isn't.
    for round in 0..300 {
        let len = 1 + noise.next() as usize % 300;
        let mut frame = (len as u32).to_be_bytes().to_vec();
        frame.extend(noise.bytes(len));
        let mut client = arena.client();
        client.send(&frame);
        let _ = client.stream.shutdown(Shutdown::Write);
        assert_eq!(client.answer(), Answer::Closed, "framed noise {round}");
    }
    arena.finish("bytes that are no frames");
}

#[test]
fn frames_cut_off_or_begun_or_in_single_bytes_cost_the_others_nothing() {
    let arena = Arena::new(&[]);
    let request = frame_of(PRODUCE, 1, &produce("bystander", 7, -1, one_record(3000)));
    for cut in [1, 3, 4, 5, 8, 20, 100, request.len() - 1] {
        let mut client = arena.client();
        client.send(&request[..cut]);
        drop(client);
    }
    // Half a frame, then silence, from hundreds: each announced the largest frame there is.
    let announced = (FRAME_BYTES_MAX as u32).to_be_bytes();
    let silent: Vec<RawClient> = (0..300)
        .map(|_| {
            let mut client = arena.client();
            client.send(&[&announced[..], &request[4..]].concat());
            client
        })
        .collect();
    // One byte at a time is slow, and right.
    let mut client = arena.client();
    for byte in &request[..] {
        client.send(&[*byte]);
    }
    let answer = client.try_receive::<ProduceRequest>(PRODUCE, 1);
    // There is no partition 7.
    assert_eq!(answer.unwrap().responses[0].partition_responses[0].error_code, 3);
    arena.check_memory();
    let mut large = arena.client();
    let began = Instant::now();
    let answer = large.produce("bystander", 7, one_record(100_000));
    println!("a large frame beside {} begun: {:?}", silent.len(), began.elapsed());
    assert_eq!(answer.0, 3);
    drop(silent);
    arena.finish("frames cut off or begun");
}

#[test]
fn what_is_half_sent_is_not_waited_for_forever() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
    client.send(&[0, 0, 1, 0, 1, 2, 3]);
    assert_eq!(client.answer(), Answer::Closed);
    arena.finish("half a frame");
}

#[test]
fn unknown_apis_and_versions_are_closed_and_api_versions_is_answered() {
    let arena = Arena::new(&[]);
    for key in [-1, 127, 128, 1000, i16::MAX, i16::MIN] {
        must_close(&arena, &format!("API {key}"), &frame_around(key, 0, false, &[0; 20]));
    }
    for api in APIS.iter().filter(|api| api.key != API_VERSIONS_KEY) {
        for version in [-1, api.accepted_min - 1, api.max + 1, i16::MAX] {
            let what = format!("{} v{version}", api.name);
            must_close(&arena, &what, &frame_around(api.key, version, true, &[0; 20]));
        }
    }
    for version in [5, 99, i16::MAX] {
        let mut client = arena.client();
        client.send(&frame_around(API_VERSIONS_KEY, version, true, &[0; 3]));
        let Answer::Frame(mut frame) = client.answer() else { panic!("ApiVersions v{version}") };
        assert_eq!(frame.split_to(4)[..], 7i32.to_be_bytes(), "no tagged fields in its header");
        let response = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
        assert!(frame.is_empty(), "a body of version 0");
        assert_eq!(response.error_code, 35);
        assert!(response.api_keys.iter().any(|api| api.api_key == API_VERSIONS_KEY));
        // And the connection goes on.
        assert_eq!(client.call(2, &ApiVersionsRequest::default()).error_code, 0);
    }
    arena.finish("unknown APIs and versions");
}

#[test]
fn counts_of_two_thousand_million_allocate_nothing() {
    let arena = Arena::new(&[]);
    // Kafka's own crate died of this one.
    let known = [0, 0xff, 0xff, 0, 0, 3, 0xe8, 0xff, 0xff, 0xff, 0xff, 7];
    must_close(&arena, "Produce v9", &frame_around(0, 9, true, &known));
    for api in APIS {
        for version in api.accepted_min..=api.max {
            let flexible = version >= api.flexible_from;
            // The count stands at another place in each: so it stands at every place.
            for before in 0..28 {
                let mut body = vec![0; before];
                let count: &[u8] =
                    if flexible { &[0xff, 0xff, 0xff, 0xff, 7] } else { &[0x7f, 0xff, 0xff, 0xff] };
                body.extend_from_slice(count);
                body.extend_from_slice(&[0; 8]);
                let mut client = arena.client();
                client.send(&frame_around(api.key, version, flexible, &body));
                let _ = client.stream.shutdown(Shutdown::Write);
                // Some of them are good requests: then there is an answer. There is always an end.
                while matches!(client.answer(), Answer::Frame(_)) {}
            }
        }
    }
    arena.finish("counts of 2^31-1");
}
