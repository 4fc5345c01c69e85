//! Decompression of a batch's records, as a stream and within a bound.
//!
//! Batches are stored and sent as they came, so this serves the check of what producers send, and
//! lookups. What comes in was compressed by strangers: no decoder here allocates by a number it was
//! told, but for fixed block sizes and a bounded window, and what comes out is counted against the
//! caller's budget.

use std::io::{self, Error, ErrorKind, Read};

use super::record_batch::{CODEC_NONE, CODEC_ZSTD};

const CODEC_GZIP: u8 = 1;
const CODEC_SNAPPY: u8 = 2;
const CODEC_LZ4: u8 = 3;

/// What Java's snappy writes before its blocks: magic, version, compatible version.
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// Snappy's densest element makes 64 bytes of 3, so a block that claims more is a lie.
const SNAPPY_RATIO_MAX: usize = 22;

/// zstd keeps up to 2^27 bytes of its output to copy from, 128 MiB: what its level 22 asks for when
/// it is not told how much will come, as Kafka's clients don't. Its library reads no more unless
/// told to, so consumers could not read more either. Memory is touched as output fills it, so it
/// is bounded by what the caller lets come out.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What is decompressed at a time.
pub(super) const DECOMPRESSED_PIECE_BYTES: usize = 16 << 10;

/// The decompressed form of `bytes`, of which no more than `bytes_left` can be read: it is counted
/// down, and then reading fails with `FileTooLarge`. `None` if the codec is unknown or the
/// beginning is broken.
pub fn reader<'a>(
    codec: u8,
    bytes: &'a [u8],
    bytes_left: &'a mut u64,
) -> Option<impl Read + use<'a>> {
    let input: Box<dyn Read + 'a> = match codec {
        CODEC_NONE => Box::new(bytes),
        CODEC_GZIP => Box::new(flate2::read::GzDecoder::new(bytes)),
        CODEC_SNAPPY => Box::new(Snappy::new(bytes, *bytes_left)),
        CODEC_LZ4 => Box::new(lz4_flex::frame::FrameDecoder::new(bytes)),
        CODEC_ZSTD => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
            Box::new(decoder)
        }
        _ => return None,
    };
    Some(Bounded { input, bytes_left })
}

/// Counts what is read against a budget.
struct Bounded<'a> {
    input: Box<dyn Read + 'a>,
    bytes_left: &'a mut u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if *self.bytes_left == 0 {
            return match self.input.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(too_large()),
            };
        }
        let room = usize::try_from(*self.bytes_left).unwrap_or(usize::MAX).min(into.len());
        let read = self.input.read(&mut into[..room])?;
        *self.bytes_left -= read as u64;
        Ok(read)
    }
}

/// Snappy in both forms that Kafka's clients send: one raw block, or xerial's sequence of them,
/// each behind its length.
struct Snappy<'a> {
    rest: &'a [u8],
    framed: bool,
    bytes_max: u64,
    decoder: snap::raw::Decoder,
    block: Vec<u8>,
    /// How much of `block` has been read.
    read: usize,
}

impl<'a> Snappy<'a> {
    fn new(bytes: &'a [u8], bytes_max: u64) -> Snappy<'a> {
        let framed = bytes.len() >= XERIAL_HEADER_BYTES && bytes.starts_with(&XERIAL_MAGIC);
        Snappy {
            rest: if framed { &bytes[XERIAL_HEADER_BYTES..] } else { bytes },
            framed,
            bytes_max,
            decoder: snap::raw::Decoder::new(),
            block: Vec::new(),
            read: 0,
        }
    }

    /// The next block's compressed bytes. `None` at the end.
    fn next_compressed(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.framed {
            let whole = std::mem::take(&mut self.rest);
            return Ok((!whole.is_empty()).then_some(whole));
        }
        // A stream may be several, one after the other.
        while self.rest.len() >= XERIAL_HEADER_BYTES && self.rest.starts_with(&XERIAL_MAGIC) {
            self.rest = &self.rest[XERIAL_HEADER_BYTES..];
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, rest) =
            self.rest.split_first_chunk::<4>().ok_or_else(|| broken("a cut off length"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) =
            rest.split_at_checked(length).ok_or_else(|| broken("a cut off block"))?;
        self.rest = rest;
        Ok(Some(block))
    }

    fn decompress(&mut self, compressed: &[u8]) -> io::Result<()> {
        let length = snap::raw::decompress_len(compressed).map_err(Error::other)?;
        let possible = length <= compressed.len().saturating_mul(SNAPPY_RATIO_MAX);
        if !possible {
            return Err(broken("a block that can't hold what it claims"));
        }
        if length as u64 > self.bytes_max {
            return Err(too_large());
        }
        self.block.resize(length, 0);
        self.read = 0;
        let length = self.decoder.decompress(compressed, &mut self.block).map_err(Error::other)?;
        self.block.truncate(length);
        Ok(())
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() {
            let Some(compressed) = self.next_compressed()? else { return Ok(0) };
            self.decompress(compressed)?;
        }
        let read = (&self.block[self.read..]).read(into)?;
        self.read += read;
        Ok(read)
    }
}

/// Told from all that is broken by its kind.
fn too_large() -> Error {
    Error::new(ErrorKind::FileTooLarge, "more comes out than is allowed")
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
