//! As much HTTP/1.1 as a scraper needs, on one thread that nobody can hold up.
//!
//! GET alone, one request to a connection. Requests and connections are bounded, and each
//! connection has a deadline whatever its client does. When there are too many the oldest goes: who
//! means well is done within milliseconds. Written by hand because small servers there are give
//! each connection a thread, or have no bound on the time a request may take.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Connections at once.
const CLIENTS_MAX: usize = 16;
/// A request with its headers.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// From the connection to the last byte of the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for a client to close after its answer, so that it isn't cut off.
const LINGER: Duration = Duration::from_secs(1);
/// When the system has no descriptor for another client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    reason: &'static str,
    content_type: &'static str,
    body: String,
}

impl Response {
    /// What was asked for.
    pub fn ok(content_type: &'static str, body: String) -> Response {
        Response { status: 200, reason: "OK", content_type, body }
    }

    /// Why there is nothing.
    pub fn error(status: u16, reason: &'static str, body: String) -> Response {
        Response { status, reason, content_type: "text/plain", body }
    }

    /// Status line and headers.
    pub fn head(&self) -> String {
        let allow = if self.status == 405 { "Allow: GET\r\n" } else { "" };
        format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Cache-Control: \
             no-store\r\nConnection: close\r\n\r\n",
            self.status,
            self.reason,
            self.content_type,
            self.body.len()
        )
    }
}

struct Client {
    stream: TcpStream,
    state: State,
    deadline: Instant,
}

enum State {
    Reading(Vec<u8>),
    Writing {
        bytes: Vec<u8>,
        sent: usize,
    },
    /// Answered: whatever still comes is read and forgotten until the client closes.
    Lingering,
    Done,
}

/// Answers requests for ever. `respond` is given the path, without its query.
pub fn serve(listener: &TcpListener, mut respond: impl FnMut(&str) -> Response) {
    if let Err(error) = listener.set_nonblocking(true) {
        return tracing::error!("the metrics socket can't be used: {error}");
    }
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let (accept, ready) = wait(listener, &clients);
        // In this order: `ready` is about the clients that were there.
        for (client, ready) in clients.iter_mut().zip(ready) {
            if ready {
                client.go_on(&mut respond);
            }
        }
        let now = Instant::now();
        clients.retain(|client| !matches!(client.state, State::Done) && client.deadline > now);
        if accept {
            take_clients(listener, &mut clients);
        }
    }
}

/// Waits until something can be done. Returns whether somebody wants in, and for each client
/// whether it can go on.
fn wait(listener: &TcpListener, clients: &[Client]) -> (bool, Vec<bool>) {
    let mut polled = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    polled.extend(clients.iter().map(|client| {
        let writing = matches!(client.state, State::Writing { .. });
        let flags = if writing { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        PollFd::new(client.stream.as_fd(), flags)
    }));
    let timeout = match clients.iter().map(|client| client.deadline).min() {
        None => PollTimeout::NONE,
        Some(deadline) => {
            // One more, or it would wake a little early again and again.
            let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
    };
    match poll(&mut polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => {
            tracing::warn!("waiting for scrapers failed: {error}");
            std::thread::sleep(ACCEPT_PAUSE);
        }
    }
    let mut ready = polled.iter().map(|fd| fd.any().unwrap_or(false));
    (ready.next().unwrap_or(false), ready.collect())
}

fn take_clients(listener: &TcpListener, clients: &mut Vec<Client>) {
    // Bounded, so that a flood of connections can't keep answers from being given.
    for _ in 0..CLIENTS_MAX {
        match listener.accept() {
            Ok((stream, _)) => {
                if stream.set_nonblocking(true).is_err() {
                    continue;
                }
                let _ = stream.set_nodelay(true);
                if clients.len() >= CLIENTS_MAX {
                    clients.remove(0);
                }
                let deadline = Instant::now() + CLIENT_TIMEOUT;
                clients.push(Client { stream, state: State::Reading(Vec::new()), deadline });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("can't take a scraper: {error}");
                return std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

impl Client {
    /// Does what can be done without waiting.
    fn go_on(&mut self, respond: &mut impl FnMut(&str) -> Response) {
        if let State::Reading(request) = &mut self.state {
            let Some(answer) = read(&mut self.stream, request, respond) else { return };
            self.state = match answer {
                Some(answer) => {
                    let mut bytes = answer.head().into_bytes();
                    bytes.extend_from_slice(answer.body.as_bytes());
                    State::Writing { bytes, sent: 0 }
                }
                None => State::Done,
            };
        }
        if let State::Writing { bytes, sent } = &mut self.state {
            match self.stream.write(&bytes[*sent..]) {
                Ok(0) => self.state = State::Done,
                Ok(more) => *sent += more,
                Err(error) if is_later(&error) => {}
                Err(_) => self.state = State::Done,
            }
        }
        if let State::Writing { bytes, sent } = &self.state
            && *sent == bytes.len()
        {
            let closed = self.stream.shutdown(Shutdown::Write);
            self.state = if closed.is_ok() { State::Lingering } else { State::Done };
            self.deadline = self.deadline.min(Instant::now() + LINGER);
        }
        if let State::Lingering = self.state {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => self.state = State::Done,
                Ok(_) => {}
                Err(error) if is_later(&error) => {}
                Err(_) => self.state = State::Done,
            }
        }
    }
}

fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Reads on. `None` while the request isn't whole; `Some(None)` when the client is gone.
fn read(
    stream: &mut TcpStream,
    request: &mut Vec<u8>,
    respond: &mut impl FnMut(&str) -> Response,
) -> Option<Option<Response>> {
    let mut piece = [0; 2048];
    match stream.read(&mut piece) {
        Ok(0) => return Some(None),
        Ok(read) => request.extend_from_slice(&piece[..read]),
        Err(error) if is_later(&error) => return None,
        Err(_) => return Some(None),
    }
    let whole = request.windows(4).any(|end| end == b"\r\n\r\n")
        || request.windows(2).any(|end| end == b"\n\n");
    if whole {
        return Some(Some(answer(request, respond)));
    }
    if request.len() > REQUEST_BYTES_MAX {
        let why = format!("a request may have {REQUEST_BYTES_MAX} bytes\n");
        return Some(Some(Response::error(431, "Request Header Fields Too Large", why)));
    }
    // What can't become a request gets its answer at once, and not when its time is up.
    let line = request.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let could_be = line.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\r');
    (!could_be).then(|| Some(bad_request()))
}

fn bad_request() -> Response {
    Response::error(400, "Bad Request", "this port speaks HTTP/1.1\n".to_string())
}

fn answer(request: &[u8], respond: &mut impl FnMut(&str) -> Response) -> Response {
    let line = request.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return bad_request() };
    let mut words = line.trim_end().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return bad_request();
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return bad_request();
    }
    if method != "GET" {
        return Response::error(405, "Method Not Allowed", "only GET is taken\n".to_string());
    }
    respond(target.split('?').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: &[u8]) -> String {
        let mut respond = |path: &str| Response::ok("text/plain", format!("path {path}"));
        let response = answer(request, &mut respond);
        format!("{} {}", response.status, response.body)
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(ask(b"GET /metrics HTTP/1.1\r\n\r\n"), "200 path /metrics");
        assert_eq!(ask(b"GET /metrics?a=b HTTP/1.0\n\n"), "200 path /metrics");
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("405 "));
        for bad in [
            &b"\r\n\r\n"[..],
            b"GET /\r\n\r\n",
            b"GET / SPDY/3\r\n\r\n",
            b"GET x HTTP/1.1\n\n",
            b"\xff\xfe\n\n",
            b"GET / x HTTP/1.1\r\n\r\n",
        ] {
            assert!(ask(bad).starts_with("400 "), "{bad:?}");
        }
    }

    #[test]
    fn the_head_says_how_long_the_body_is() {
        let head = Response::error(405, "Method Not Allowed", "ä".to_string()).head();
        assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Length: 2\r\n"), "{head}");
        assert!(head.contains("\r\nAllow: GET\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"));
    }
}
