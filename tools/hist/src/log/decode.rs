//! From the bytes of a V2 histogram to the histogram, for bytes that nobody vouches for.
//!
//! The crate does the decoding, but trusts lengths: it would take 4 GiB of memory on the word of a
//! broken line. So what the header claims is checked against what is there before the crate sees it.

use std::io::Read;

use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{DeserializeError, Deserializer};

use crate::log::{V2, V2_COMPRESSED};

/// Before the counts: cookie, length of counts, normalizing offset, digits, lowest and highest
/// value, ratio of integers to doubles.
const HEADER_BYTES: usize = 40;
/// Six million counts of nine bytes: five digits over the whole range of 64 bits.
const HISTOGRAM_BYTES_MAX: u64 = 64 << 20;

/// These bits of a first word say how wide counts are in older encodings.
const WORD_SIZE: u32 = 0xf0;

/// First words of older and of other encodings, to be told by name.
const V0: u32 = 0x1c84_9308;
const V0_COMPRESSED: u32 = 0x1c84_9309;
const V1: u32 = 0x1c84_9301;
const V1_COMPRESSED: u32 = 0x1c84_9302;
const DOUBLE: u32 = 0x0c72_120e;
const DOUBLE_COMPRESSED: u32 = 0x0c72_120f;

/// Decodes a histogram, compressed or not.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(crate) fn histogram(bytes: &[u8]) -> Result<Histogram<u64>, String> {
    match word(bytes, 0)? & !WORD_SIZE {
        V2 => plain(bytes),
        V2_COMPRESSED => {
            let length = word(bytes, 4)? as usize;
            let body = bytes.get(8..8 + length).ok_or("its histogram is cut off")?;
            plain(&inflate(body)?)
        }
        V0 | V0_COMPRESSED | V1 | V1_COMPRESSED => {
            Err("its histogram has the old encoding V0 or V1; only V2 is read".to_string())
        }
        DOUBLE | DOUBLE_COMPRESSED => {
            Err("its histogram is one of doubles; only those of integers are read".to_string())
        }
        _ => Err("it has something else than a V2 histogram".to_string()),
    }
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    ZlibDecoder::new(body)
        .take(HISTOGRAM_BYTES_MAX + 1)
        .read_to_end(&mut plain)
        .map_err(|why| format!("its histogram can't be decompressed: {why}"))?;
    if plain.len() as u64 > HISTOGRAM_BYTES_MAX {
        return Err("its histogram is larger than any can be".to_string());
    }
    Ok(plain)
}

fn plain(bytes: &[u8]) -> Result<Histogram<u64>, String> {
    let length = word(bytes, 4)? as usize;
    let counts = bytes.get(HEADER_BYTES..).ok_or("its histogram is cut off")?;
    if word(bytes, 0)? & !WORD_SIZE != V2 || length != counts.len() {
        return Err("its histogram's length is not that of its header".to_string());
    }
    // The one number that the crate can't negate. No count and no gap is anywhere near it.
    if counts.windows(9).any(|bytes| bytes == [0xff; 9]) {
        return Err("its histogram has a count that can't be".to_string());
    }
    Deserializer::new().deserialize(&mut &bytes[..]).map_err(|error| match error {
        DeserializeError::UnsupportedFeature => {
            "its histogram is shifted or one of doubles, which isn't read".to_string()
        }
        DeserializeError::IoError(_) => "its histogram ends in the middle of a count".to_string(),
        DeserializeError::InvalidParameters => {
            "its histogram has a range or a number of digits that can't be".to_string()
        }
        DeserializeError::EncodedArrayTooLong => {
            "its histogram has counts beyond its range".to_string()
        }
        other => format!("its histogram can't be decoded: {other}"),
    })
}

fn word(bytes: &[u8], at: usize) -> Result<u32, String> {
    let word = bytes.get(at..at + 4).ok_or("its histogram is cut off")?;
    Ok(u32::from_be_bytes(word.try_into().expect("four bytes")))
}
