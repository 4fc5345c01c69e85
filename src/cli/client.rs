//! One blocking connection to a Kafka broker: a request out, its answer back.
//!
//! Small on purpose. It speaks each request in the highest version that both sides know. What
//! comes back is bounded by the frame's size; `kafka-protocol` trusts the counts inside it, which
//! will do for a tool that its user points at a server.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange,
};

/// The largest answer we take.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Kafka's code for "I don't know this version", which `ApiVersions` gives in its oldest form.
const UNSUPPORTED_VERSION: i16 = 35;

/// The longest we wait for a TCP connection; more than one address may have to be tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        let wrong = || format!("'{text}' is not of the form HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        Ok(Endpoint { host: bare.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a request got no answer. Each names the broker, because a command may talk to several.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no connection to be had.
    #[error("can't reach {at}: {cause}")]
    Unreachable { at: Endpoint, cause: io::Error },
    /// The connection broke.
    #[error("{at} broke off while we asked for {what}: {cause}")]
    Broken { at: Endpoint, what: &'static str, cause: io::Error },
    /// No answer came in time.
    #[error("{at} did not answer {what} within {} seconds", .timeout.as_secs())]
    TimedOut { at: Endpoint, what: &'static str, timeout: Duration },
    /// The broker knows no version of the request that we know.
    #[error("{at} doesn't know {what} in a version that we know")]
    Unsupported { at: Endpoint, what: &'static str },
    /// What came back is not an answer.
    #[error("{at} sent an answer to {what} that can't be read: {cause}; is it a Kafka broker?")]
    Unreadable { at: Endpoint, what: &'static str, cause: String },
    /// The request can't be written in the version the broker knows.
    #[error("{at} is too old for this {what} request: {cause}")]
    Unwritable { at: Endpoint, what: &'static str, cause: String },
}

/// A connection, and the versions its broker knows.
pub struct Connection {
    at: Endpoint,
    stream: TcpStream,
    timeout: Duration,
    versions: Vec<ApiVersion>,
    correlation_id: i32,
}

impl Connection {
    /// Connects and asks for the versions. Each later answer must come within `timeout`.
    pub fn open(at: &Endpoint, timeout: Duration) -> Result<Connection, ClientError> {
        let stream = dial(at, timeout.min(CONNECT_TIMEOUT))
            .map_err(|cause| ClientError::Unreachable { at: at.clone(), cause })?;
        let versions = Vec::new();
        let mut connection =
            Connection { at: at.clone(), stream, timeout, versions, correlation_id: 0 };
        connection.versions = connection.ask_versions()?;
        Ok(connection)
    }

    /// The version in which a request will be sent.
    pub fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let ours = <R as Message>::VERSIONS;
        let theirs = self.versions.iter().find(|api| api.api_key == R::KEY);
        theirs
            .map(|api| VersionRange { min: api.min_version, max: api.max_version }.intersect(&ours))
            .filter(|both| !both.is_empty())
            .map(|both| both.max)
            .ok_or_else(|| ClientError::Unsupported { at: self.at.clone(), what: name::<R>() })
    }

    /// Sends a request and waits for its answer.
    pub fn send<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>()?;
        let mut body = self.exchange(request, version)?;
        R::Response::decode(&mut body, version).map_err(|cause| self.unreadable::<R>(cause))
    }

    fn ask_versions(&mut self) -> Result<Vec<ApiVersion>, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("hutong"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut answer = self.ask_versions_in(&request, 3)?;
        if answer.error_code == UNSUPPORTED_VERSION {
            answer = self.ask_versions_in(&ApiVersionsRequest::default(), 0)?;
        }
        if answer.error_code != 0 {
            let cause = format!("error code {}", answer.error_code);
            return Err(self.unreadable::<ApiVersionsRequest>(cause));
        }
        Ok(answer.api_keys)
    }

    fn ask_versions_in(
        &mut self,
        request: &ApiVersionsRequest,
        version: i16,
    ) -> Result<ApiVersionsResponse, ClientError> {
        let mut body = self.exchange(request, version)?;
        // A broker that doesn't know the version answers in version 0, whatever was asked.
        let refused = body.get(..2) == Some(&UNSUPPORTED_VERSION.to_be_bytes()[..]);
        let version = if refused { 0 } else { version };
        ApiVersionsResponse::decode(&mut body, version)
            .map_err(|cause| self.unreadable::<ApiVersionsRequest>(cause))
    }

    /// Sends a request and gives back the answer without its header.
    fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<Bytes, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode(request, version, self.correlation_id).map_err(|cause| {
            let (at, what, cause) = (self.at.clone(), name::<R>(), cause.to_string());
            ClientError::Unwritable { at, what, cause }
        })?;
        let deadline = Instant::now() + self.timeout;
        let answer = self
            .stream
            .write_all(&frame)
            .and_then(|()| read_frame(&mut self.stream, deadline))
            .map_err(|cause| self.failed::<R>(cause))?;
        let mut body = answer;
        let header = ResponseHeader::decode(&mut body, R::Response::header_version(version))
            .map_err(|cause| self.unreadable::<R>(cause))?;
        if header.correlation_id != self.correlation_id {
            let (got, sent) = (header.correlation_id, self.correlation_id);
            return Err(self.unreadable::<R>(format!("it belongs to request {got}, not {sent}")));
        }
        Ok(body)
    }

    fn failed<R: Request>(&self, cause: io::Error) -> ClientError {
        let (at, what, timeout) = (self.at.clone(), name::<R>(), self.timeout);
        match cause.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                ClientError::TimedOut { at, what, timeout }
            }
            ErrorKind::InvalidData => self.unreadable::<R>(cause),
            ErrorKind::UnexpectedEof => {
                let cause = io::Error::other("it closed the connection");
                ClientError::Broken { at, what, cause }
            }
            _ => ClientError::Broken { at, what, cause },
        }
    }

    fn unreadable<R: Request>(&self, cause: impl fmt::Display) -> ClientError {
        let (at, what, cause) = (self.at.clone(), name::<R>(), cause.to_string());
        ClientError::Unreadable { at, what, cause }
    }
}

/// The request's name in the protocol.
fn name<R: Request>() -> &'static str {
    let full = std::any::type_name::<R>();
    let last = full.rsplit("::").next().unwrap_or(full);
    last.strip_suffix("Request").unwrap_or(last)
}

fn dial(at: &Endpoint, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (at.host.as_str(), at.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn encode<R: Request>(request: &R, version: i16, correlation_id: i32) -> anyhow::Result<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("hutong")));
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    header.encode(&mut frame, R::header_version(version))?;
    request.encode(&mut frame, version)?;
    let length = u32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

fn read_frame(stream: &mut TcpStream, deadline: Instant) -> io::Result<Bytes> {
    let mut prefix = [0; 4];
    read_until(stream, &mut prefix, deadline)?;
    let length = prefix.as_slice().get_u32() as usize;
    if length > RESPONSE_BYTES_MAX {
        let cause = format!("it has {length} bytes, and we take {RESPONSE_BYTES_MAX} at most");
        return Err(io::Error::new(ErrorKind::InvalidData, cause));
    }
    let mut frame = vec![0; length];
    read_until(stream, &mut frame, deadline)?;
    Ok(Bytes::from(frame))
}

/// Fills the buffer before the deadline, also against a peer that sends a byte now and then.
fn read_until(stream: &mut TcpStream, mut into: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !into.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => into = &mut into[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Kafka's name of an error code, as its documentation spells it.
pub fn error_name(code: i16) -> String {
    use kafka_protocol::ResponseError;
    let Some(error) = ResponseError::try_from_code(code) else {
        return "NONE".to_owned();
    };
    if let ResponseError::Unknown(code) = error {
        return format!("error code {code}");
    }
    let mut name = String::new();
    for letter in error.to_string().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
