//! Compressing a record batch as a producer does.

use std::io::Write;

use hutong::kafka::crc::crc32c;

/// Where the records begin, and what stands in front of them.
const RECORDS_AT: usize = 61;
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;

/// What clients use unless told otherwise.
const ZSTD_LEVEL: i32 = 3;

/// A codec, with Kafka's number for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Codec {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// The same batch with its records compressed.
pub fn compress(batch: Vec<u8>, codec: Codec) -> Vec<u8> {
    if codec == Codec::None {
        return batch;
    }
    let records = &batch[RECORDS_AT..];
    // Writing to memory doesn't fail.
    let packed = match codec {
        Codec::None => unreachable!("is returned above"),
        Codec::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(records).and_then(|()| encoder.finish()).expect("memory takes it")
        }
        // Raw: what every client but the Java one writes, and all read.
        Codec::Snappy => snap::raw::Encoder::new().compress_vec(records).expect("fits in memory"),
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).expect("memory takes it");
            encoder.finish().expect("memory takes it")
        }
        Codec::Zstd => zstd::bulk::compress(records, ZSTD_LEVEL).expect("memory takes it"),
    };
    let mut out = batch;
    out.truncate(RECORDS_AT);
    out.extend_from_slice(&packed);
    let length = (out.len() - LENGTH_AT - 4) as i32;
    out[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    out[ATTRIBUTES_AT + 1] |= codec as u8;
    let crc = crc32c(&out[ATTRIBUTES_AT..]);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    out
}
