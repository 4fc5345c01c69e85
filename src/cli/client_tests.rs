//! The client and the cluster against a scripted peer on the loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, CreateTopicsRequest, CreateTopicsResponse,
    MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{
    Encodable, HeaderVersion, Request, StrBytes, decode_request_header_from_buffer,
};

use super::client::{ClientError, Connection, Endpoint, error_name};
use super::cluster::{Cluster, NOT_CONTROLLER};

const TIMEOUT: Duration = Duration::from_secs(5);

/// What the peer does with a request.
enum Reply {
    /// Sends this as a frame.
    Frame(BytesMut),
    /// Sends these bytes as they are.
    Raw(Vec<u8>),
    /// Sends nothing and keeps the connection.
    Silence,
    /// Closes the connection.
    Close,
}

/// Listens, and gives each request of each connection to the script.
fn peer(script: impl FnMut(&RequestHeader) -> Reply + Send + 'static) -> Endpoint {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Arc::new(Mutex::new(script));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = script.clone();
            thread::spawn(move || serve(stream, &*script));
        }
    });
    Endpoint { host: "127.0.0.1".to_owned(), port }
}

fn serve(mut stream: TcpStream, script: &Mutex<impl FnMut(&RequestHeader) -> Reply>) {
    while let Some(mut frame) = read_frame(&mut stream) {
        let header = decode_request_header_from_buffer(&mut frame).unwrap();
        let reply = (script.lock().unwrap())(&header);
        let bytes = match reply {
            Reply::Frame(frame) => {
                let length = frame.len() as u32;
                [&length.to_be_bytes()[..], &frame].concat()
            }
            Reply::Raw(bytes) => bytes,
            Reply::Silence => continue,
            Reply::Close => return,
        };
        stream.write_all(&bytes).unwrap();
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Bytes> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame.into())
}

fn answer<R: Request>(header: &RequestHeader, version: i16, body: &R::Response) -> Reply {
    let mut frame = BytesMut::new();
    ResponseHeader::default()
        .with_correlation_id(header.correlation_id)
        .encode(&mut frame, R::Response::header_version(version))
        .unwrap();
    body.encode(&mut frame, version).unwrap();
    Reply::Frame(frame)
}

/// The usual answer: Metadata 1 to 9, CreateTopics 2 to 99.
fn versions(header: &RequestHeader) -> Reply {
    let api = |key: i16, min: i16, max: i16| {
        ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
    };
    let keys = vec![api(MetadataRequest::KEY, 1, 9), api(CreateTopicsRequest::KEY, 2, 99)];
    let body = ApiVersionsResponse::default().with_api_keys(keys);
    answer::<ApiVersionsRequest>(header, header.request_api_version, &body)
}

/// A peer that answers the first request well, and the next one like this.
fn peer_then(mut reply: impl FnMut(&RequestHeader) -> Reply + Send + 'static) -> Endpoint {
    peer(move |header| match header.request_api_key {
        ApiVersionsRequest::KEY => versions(header),
        _ => reply(header),
    })
}

fn ask(at: &Endpoint, timeout: Duration) -> Result<MetadataResponse, ClientError> {
    Connection::open(at, timeout)?.send(&MetadataRequest::default())
}

#[test]
fn each_request_goes_out_in_the_highest_common_version() {
    let at = peer_then(|header| {
        assert_eq!(header.request_api_version, 9);
        assert_eq!(header.client_id.as_deref(), Some("hutong"));
        let body = MetadataResponse::default().with_controller_id(BrokerId(7));
        answer::<MetadataRequest>(header, 9, &body)
    });
    assert_eq!(ask(&at, TIMEOUT).unwrap().controller_id, 7);
    let connection = Connection::open(&at, TIMEOUT).unwrap();
    assert_eq!(connection.version::<CreateTopicsRequest>().unwrap(), 7);
    let error = connection.version::<ApiVersionsRequest>().unwrap_err();
    assert!(error.to_string().contains("doesn't know ApiVersions"), "{error}");
}

#[test]
fn an_old_broker_is_asked_again_in_version_0() {
    let at = peer(|header| match header.request_api_version {
        3 => {
            let body = ApiVersionsResponse::default().with_error_code(35);
            answer::<ApiVersionsRequest>(header, 0, &body)
        }
        _ => versions(header),
    });
    Connection::open(&at, TIMEOUT).unwrap();
}

#[test]
fn a_frame_too_large_is_refused_before_it_is_read() {
    let at = peer_then(|_| Reply::Raw(b"HTTP/1.1 400 Bad Request\r\n".to_vec()));
    let error = ask(&at, TIMEOUT).unwrap_err().to_string();
    assert!(error.contains("is it a Kafka broker?"), "{error}");
    assert!(error.contains("67108864 at most"), "{error}");
    assert!(error.contains(&at.to_string()), "{error}");
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let at = peer_then(|header| {
        let mut header = header.clone();
        header.correlation_id += 1;
        answer::<MetadataRequest>(&header, 9, &MetadataResponse::default())
    });
    let error = ask(&at, TIMEOUT).unwrap_err().to_string();
    assert!(error.contains("belongs to request 3, not 2"), "{error}");
}

#[test]
fn a_cut_answer_is_an_error() {
    let at = peer_then(|header| {
        let Reply::Frame(mut frame) =
            answer::<MetadataRequest>(header, 9, &MetadataResponse::default())
        else {
            unreachable!()
        };
        frame.truncate(7);
        Reply::Frame(frame)
    });
    assert!(matches!(ask(&at, TIMEOUT), Err(ClientError::Unreadable { .. })));
}

#[test]
fn a_closed_connection_and_silence_are_told_apart() {
    let at = peer_then(|_| Reply::Close);
    let error = ask(&at, TIMEOUT).unwrap_err().to_string();
    assert!(error.contains("closed the connection"), "{error}");
    let at = peer_then(|_| Reply::Silence);
    let error = ask(&at, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
}

#[test]
fn nobody_there_names_the_address() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Nobody listens there, and nobody else gets that port as long as this has it.
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = client.local_addr().unwrap().port();
    let at = Endpoint { host: "127.0.0.1".to_owned(), port };
    let error = ask(&at, TIMEOUT).unwrap_err().to_string();
    assert!(error.starts_with(&format!("can't reach 127.0.0.1:{port}: ")), "{error}");
}

/// A cluster of one, whose only broker is the controller from its second answer on.
#[test]
fn a_controller_that_moved_is_looked_for_again() {
    let own_port = Arc::new(Mutex::new(0));
    let (port, mut creations, mut lookups) = (own_port.clone(), 0, 0);
    let at = peer_then(move |header| match header.request_api_key {
        MetadataRequest::KEY => {
            lookups += 1;
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(lookups))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(*port.lock().unwrap());
            let body = MetadataResponse::default()
                .with_controller_id(BrokerId(lookups))
                .with_brokers(vec![broker]);
            answer::<MetadataRequest>(header, 9, &body)
        }
        _ => {
            creations += 1;
            let code = if creations == 1 { NOT_CONTROLLER } else { 0 };
            let topic = CreatableTopicResult::default().with_error_code(code);
            let body = CreateTopicsResponse::default().with_topics(vec![topic]);
            answer::<CreateTopicsRequest>(header, 7, &body)
        }
    });
    *own_port.lock().unwrap() = i32::from(at.port);
    let mut cluster = Cluster::connect(&at, TIMEOUT).unwrap();
    let codes = |answer: &CreateTopicsResponse| {
        answer.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>()
    };
    let answer = cluster.ask_controller(&CreateTopicsRequest::default(), codes).unwrap();
    assert_eq!(codes(&answer), [0]);
}

#[test]
fn endpoints_are_read_and_shown() {
    for text in ["localhost:9092", "10.0.0.1:1", "[::1]:65535"] {
        assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
    }
    for text in ["localhost", "localhost:", ":9092", "::1:9092", "a:70000", "a:b", ""] {
        assert!(text.parse::<Endpoint>().is_err(), "{text}");
    }
}

#[test]
fn errors_are_named_as_kafka_names_them() {
    assert_eq!(error_name(36), "TOPIC_ALREADY_EXISTS");
    assert_eq!(error_name(-1), "UNKNOWN_SERVER_ERROR");
    assert_eq!(error_name(0), "NONE");
    assert_eq!(error_name(999), "error code 999");
}
