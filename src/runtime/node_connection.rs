//! A connection to a node from outside of any shard: one question, then its answer. Blocking: for
//! tools, and for a node that hasn't started yet.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::duplex::{self, Frames, Kind, Outstanding};
use crate::limits::FRAME_BYTES_MAX;

/// A connection over which questions of the peer protocol are asked.
pub struct NodeConnection {
    address: String,
    stream: TcpStream,
    outstanding: Outstanding<()>,
}

impl NodeConnection {
    /// Connects to a shard. Whatever is asked is answered within `patience`, or fails.
    ///
    /// # Errors
    /// A sentence that names the address.
    pub fn open(host: &str, port: u16, patience: Duration) -> Result<NodeConnection> {
        let address = format!("{host}:{port}");
        let unreachable = || format!("can't reach {address}: does a node run there?");
        let places = (host, port).to_socket_addrs().with_context(unreachable)?;
        let mut problem = anyhow!("the host has no address");
        for place in places {
            match TcpStream::connect_timeout(&place, patience) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(patience)).with_context(unreachable)?;
                    stream.set_write_timeout(Some(patience)).with_context(unreachable)?;
                    stream.set_nodelay(true).with_context(unreachable)?;
                    return Ok(NodeConnection {
                        address,
                        stream,
                        outstanding: Outstanding::new(1),
                    });
                }
                Err(error) => problem = error.into(),
            }
        }
        Err(problem.context(unreachable()))
    }

    /// Where it leads, for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks what is in `payload`, and waits for the answer's.
    ///
    /// # Errors
    /// A sentence that names the address: nothing comes in time, or what comes is no answer.
    pub fn ask(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let address = &self.address;
        let serial = self.outstanding.ask(()).context("one question at a time")?;
        let mut frame = Vec::new();
        duplex::put(&mut frame, Kind::Request, serial, payload);
        let lost = || format!("lost the connection to {address}");
        self.stream.write_all(&frame).with_context(lost)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).with_context(lost)?;
        let bytes = u32::from_be_bytes(length) as usize;
        if bytes > FRAME_BYTES_MAX {
            bail!("{address} announces a frame of {bytes} bytes: it is no node of this release");
        }
        let mut received = length.to_vec();
        received.resize(length.len() + bytes, 0);
        self.stream.read_exact(&mut received[length.len()..]).with_context(lost)?;
        let nonsense = || format!("{address} says nonsense");
        let answer = Frames::new(&received, FRAME_BYTES_MAX).cut().with_context(nonsense)?;
        let answer = answer.filter(|frame| frame.kind == Kind::Answer).with_context(nonsense)?;
        self.outstanding.answered(answer.serial).with_context(nonsense)?;
        Ok(answer.payload.to_vec())
    }
}
