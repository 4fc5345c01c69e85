//! Fetch requests, version 4 to 11: the last that isn't in the flexible encoding and names topics
//! by their names. Every broker since Kafka 0.11 takes one of them.

use std::io;

use anyhow::bail;

const FETCH_KEY: i16 = 1;
/// The first with record batches as they are now, and the last that we write.
const VERSION_MIN: i16 = 4;
const VERSION_MAX: i16 = 11;
const CLIENT_ID: &[u8] = b"hutong-load";
/// Where the correlation id stands in a frame, its length prefix included.
const CORRELATION_AT: usize = 8;

/// What a consumer asks for.
#[derive(Clone, Copy, Debug)]
pub struct Appetite {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
}

/// Writes requests for one topic, and reads the answers.
#[derive(Clone, Debug)]
pub struct Requests {
    version: i16,
    head: Vec<u8>,
    tail: Vec<u8>,
    partition_max_bytes: i32,
}

/// What an answer says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub partition: u32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// The end of what consumers may read.
    pub high_watermark: i64,
    /// Whole batches, and perhaps the front of one more.
    pub records: &'a [u8],
}

impl Requests {
    /// Requests for this topic, for brokers that know Fetch up to `version`.
    ///
    /// # Errors
    /// The broker is too old.
    pub fn new(topic: &str, version: i16, appetite: Appetite) -> anyhow::Result<Requests> {
        let version = version.min(VERSION_MAX);
        if version < VERSION_MIN {
            bail!("the broker is too old: it knows Fetch up to version {version} only");
        }
        let mut head = Vec::new();
        // The frame's length.
        head.extend(0i32.to_be_bytes());
        head.extend(FETCH_KEY.to_be_bytes());
        head.extend(version.to_be_bytes());
        head.extend(0i32.to_be_bytes());
        head.extend((CLIENT_ID.len() as i16).to_be_bytes());
        head.extend(CLIENT_ID);
        // We are no replica.
        head.extend((-1i32).to_be_bytes());
        for number in [appetite.max_wait_ms, appetite.min_bytes, appetite.max_bytes] {
            head.extend(number.to_be_bytes());
        }
        // Uncommitted records, too: brokers then need not look at transactions.
        head.push(0);
        if version >= 7 {
            // No session: id 0, epoch -1.
            head.extend(0i32.to_be_bytes());
            head.extend((-1i32).to_be_bytes());
        }
        head.extend(1i32.to_be_bytes());
        head.extend((topic.len() as i16).to_be_bytes());
        head.extend(topic.as_bytes());
        let mut tail = Vec::new();
        if version >= 7 {
            // Nothing is forgotten.
            tail.extend(0i32.to_be_bytes());
        }
        if version >= 11 {
            // No rack.
            tail.extend(0i16.to_be_bytes());
        }
        let partition_max_bytes = appetite.partition_max_bytes;
        Ok(Requests { version, head, tail, partition_max_bytes })
    }

    /// Appends a request for these partitions, from these offsets on.
    pub fn put(&self, out: &mut Vec<u8>, correlation_id: i32, wanted: &[(u32, i64)]) {
        let at = out.len();
        out.extend_from_slice(&self.head);
        out.extend((wanted.len() as i32).to_be_bytes());
        for &(partition, offset) in wanted {
            out.extend(partition.to_be_bytes());
            if self.version >= 9 {
                // Any leader epoch.
                out.extend((-1i32).to_be_bytes());
            }
            out.extend(offset.to_be_bytes());
            if self.version >= 5 {
                // Where our own log begins: we have none.
                out.extend((-1i64).to_be_bytes());
            }
            out.extend(self.partition_max_bytes.to_be_bytes());
        }
        out.extend_from_slice(&self.tail);
        let length = (out.len() - at - 4) as i32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        let correlation_at = at + CORRELATION_AT;
        out[correlation_at..correlation_at + 4].copy_from_slice(&correlation_id.to_be_bytes());
    }

    /// Reads an answer (a frame without its length prefix) where it lies. Returns the correlation
    /// id and the error of the whole.
    ///
    /// # Errors
    /// It isn't an answer to such a request; or whatever `take` returns.
    pub fn read<'a>(
        &self,
        frame: &'a [u8],
        mut take: impl FnMut(Part<'a>),
    ) -> io::Result<(i32, i16)> {
        let mut rest = Rest(frame);
        let correlation_id = rest.i32()?;
        let _throttled_ms = rest.i32()?;
        let mut error = 0;
        if self.version >= 7 {
            error = rest.i16()?;
            let _session = rest.i32()?;
        }
        for _ in 0..rest.i32()? {
            let name_bytes = rest.i16()?.max(0) as usize;
            rest.bytes(name_bytes)?;
            for _ in 0..rest.i32()? {
                take(self.part(&mut rest)?);
            }
        }
        Ok((correlation_id, error))
    }

    fn part<'a>(&self, rest: &mut Rest<'a>) -> io::Result<Part<'a>> {
        let partition = rest.i32()? as u32;
        let error = rest.i16()?;
        let high_watermark = rest.i64()?;
        let _last_stable = rest.i64()?;
        if self.version >= 5 {
            let _log_start = rest.i64()?;
        }
        // Aborted transactions: none, or a producer and an offset each.
        let aborted = rest.i32()?.max(0) as usize;
        rest.bytes(aborted.saturating_mul(16))?;
        if self.version >= 11 {
            let _preferred_replica = rest.i32()?;
        }
        let records_bytes = rest.i32()?.max(0) as usize;
        Ok(Part { partition, error, high_watermark, records: rest.bytes(records_bytes)? })
    }
}

/// What hasn't been read of an answer.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, count: usize) -> io::Result<&'a [u8]> {
        match self.0.split_at_checked(count) {
            Some((bytes, rest)) => {
                self.0 = rest;
                Ok(bytes)
            }
            None => {
                let what = "an answer to a Fetch request ends in the middle";
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
        }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into().expect("it has this length"))
    }

    fn i16(&mut self) -> io::Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_be_bytes)
    }
}
