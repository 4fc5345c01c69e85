//! Requests as frames and answers from frames, over connections that are watched together.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hutong::cli::client::Endpoint;
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::net::connection::Connection;
use crate::net::poller::Poller;

/// Where the number of a request stands in its frame, length included.
pub const CORRELATION_AT: usize = 8;

/// A whole frame.
pub fn frame<R: Request>(
    version: i16,
    correlation_id: i32,
    request: &R,
) -> anyhow::Result<Vec<u8>> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("hutong-load")));
    let mut frame = vec![0; 4];
    header.encode(&mut frame, R::header_version(version))?;
    request.encode(&mut frame, version)?;
    let bytes = i32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&bytes.to_be_bytes());
    Ok(frame)
}

/// The answer in a frame without its length.
pub fn answer<R: Request>(version: i16, frame: &[u8]) -> anyhow::Result<R::Response> {
    let mut bytes = Bytes::copy_from_slice(frame);
    ResponseHeader::decode(&mut bytes, R::Response::header_version(version))?;
    R::Response::decode(&mut bytes, version)
}

/// Connections, by their places.
pub struct Links {
    poller: Poller,
    all: Vec<Connection>,
    writing: Vec<bool>,
    ready: Vec<usize>,
}

impl Links {
    pub fn new() -> anyhow::Result<Links> {
        Ok(Links {
            poller: Poller::new()?,
            all: Vec::new(),
            writing: Vec::new(),
            ready: Vec::new(),
        })
    }

    /// Connects. Gives the connection's place.
    pub fn connect(&mut self, at: &Endpoint) -> anyhow::Result<usize> {
        let count = self.all.len();
        let stream = TcpStream::connect((at.host.as_str(), at.port)).with_context(|| {
            format!(
                "can't reach {at} with connection {count} (`ulimit -n` bounds how many there are)"
            )
        })?;
        let connection = Connection::new(stream)?;
        self.poller.add(connection.socket(), self.all.len())?;
        self.all.push(connection);
        self.writing.push(false);
        Ok(self.all.len() - 1)
    }

    /// Puts a frame behind what is to be sent.
    pub fn send(&mut self, link: usize, frame: &[u8]) {
        self.all[link].out().extend_from_slice(frame);
    }

    /// Sends what the kernel takes.
    pub fn flush(&mut self, link: usize) -> io::Result<()> {
        let all = self.all[link].flush()?;
        if self.writing[link] == all {
            self.writing[link] = !all;
            self.poller.watch_writing(self.all[link].socket(), link, !all)?;
        }
        Ok(())
    }

    /// Waits so long at most, and hands out each answer with the place of its connection.
    pub fn hear(
        &mut self,
        timeout: Duration,
        mut take: impl FnMut(usize, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.ready.clear();
        let mut writable = Vec::new();
        for ready in self.poller.wait(timeout)? {
            if ready.readable {
                self.ready.push(ready.token);
            }
            if ready.writable {
                writable.push(ready.token);
            }
        }
        for link in writable {
            self.flush(link)?;
        }
        for link in &self.ready {
            let connection = &mut self.all[*link];
            let more = connection.read().context("the broker broke off")?;
            let mut failure = None;
            connection.frames(|frame| {
                failure = failure.take().or(take(*link, frame).err());
                Ok(())
            })?;
            if let Some(error) = failure {
                return Err(error);
            }
            // What is left is there at the next wait: the poller tells of levels.
            let _ = more;
        }
        Ok(())
    }
}
