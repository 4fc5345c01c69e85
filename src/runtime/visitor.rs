//! Someone who is no node and asks one for something: one connection, one question. Blocking: for
//! the command line, and for a node that hasn't started yet.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::duplex::{Frames, Kind, Serial, put};
use crate::limits::FRAME_BYTES_MAX;
use crate::shard::peers::visit::{self, Visit};

/// Asks the node at `address`. The inner error is what it says against it.
///
/// # Errors
/// A sentence: nobody is there, it doesn't answer in time, or it speaks another language.
pub fn ask(
    address: (&str, u16),
    question: &Visit,
    timeout: Duration,
) -> Result<std::result::Result<Vec<u8>, String>> {
    let shown = format!("{}:{}", address.0, address.1);
    let mut stream =
        connect(address, timeout).with_context(|| format!("can't connect to {shown}"))?;
    let payload = question.encode();
    let mut out = Vec::with_capacity(payload.len() + 8);
    put(&mut out, Kind::Request, Serial::default(), &payload);
    stream.write_all(&out).with_context(|| format!("can't ask {shown}"))?;
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let got = match stream.read(&mut buffer) {
            Ok(0) => {
                return Err(anyhow!(
                    "{shown} closed the connection: is a hutong node of this release there?"
                ));
            }
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(anyhow!("{shown} has not answered within {timeout:?}"));
            }
            Err(error) => return Err(error).with_context(|| format!("can't hear {shown}")),
        };
        received.extend_from_slice(&buffer[..got]);
        let mut frames = Frames::new(&received, FRAME_BYTES_MAX);
        if let Some(frame) = frames.cut().with_context(|| format!("{shown} is no hutong node"))? {
            let answer = visit::answer(frame.payload).map_err(|error| anyhow!("{error}"))?;
            return Ok(answer.map(<[u8]>::to_vec));
        }
    }
}

fn connect(address: (&str, u16), timeout: Duration) -> std::io::Result<TcpStream> {
    let mut last = ErrorKind::NotFound.into();
    for found in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&found, timeout) {
            Ok(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
