//! What it costs to count the records of compressed batches on their way in, and what a batch that
//! is large only inside can cost. Docs: "Compressed batches are counted" in `docs/ARCHITECTURE.md`.
//!
//! `cargo bench --bench record_check`

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use hutong::kafka::record_batch::{self, Producer, build_batch, check_records};
use hutong::limits::PRODUCE_DECOMPRESSED_BYTES_MAX;

type Compress = fn(&[u8]) -> Vec<u8>;
const CODECS: [(u8, &str, Compress); 5] = [
    (0, "none", <[u8]>::to_vec),
    (1, "gzip", gzip),
    (2, "snappy", snappy),
    (3, "lz4", lz4),
    (4, "zstd", zstd),
];
/// Records in batches that are about 64 KiB when they are sent.
const BATCH_BYTES: usize = 64 << 10;

fn main() {
    println!("Batches of {} KiB, as they are sent, of records of 100 bytes:", BATCH_BYTES >> 10);
    for (codec, name, compress) in CODECS {
        let batch = of_size(codec, compress);
        let (header, whole) = (header(&batch), batch.len());
        let records = header.record_count;
        // What any batch costs besides: its checksum, and its way into the journal's page.
        let mut page = vec![0; whole];
        let path = best_of(|| {
            record_batch::check(black_box(&batch), usize::MAX, true).expect("it is good");
            page.copy_from_slice(black_box(&batch));
            black_box(&mut page);
        });
        let count = best_of(|| {
            check_records(&header, black_box(&batch), &mut (1 << 30)).expect("it is good");
        });
        let rate = whole as f64 / count.as_secs_f64() / 1e6;
        println!(
            "  {name:6} {records:6} records, {whole:6} bytes: checksum and copy {path:8.1?}, \
             counting {count:9.1?} = {rate:6.0} MB/s of what is sent, {:5.1} ns a record",
            count.as_nanos() as f64 / f64::from(records),
        );
    }
    println!(
        "The most that is decompressed for one request, {PRODUCE_DECOMPRESSED_BYTES_MAX} bytes:"
    );
    let size = PRODUCE_DECOMPRESSED_BYTES_MAX as usize;
    let text: Vec<u8> = lines(1 << 16).concat().into_iter().cycle().take(size).collect();
    for (what, value) in [("zeros", &vec![0; size]), ("text", &text)] {
        for (codec, name, compress) in &CODECS[1..] {
            let batch = compressed(*codec, *compress, &[(None, value.as_slice())]);
            let start = Instant::now();
            let result = check_records(&header(&batch), &batch, &mut (size as u64));
            let took = start.elapsed();
            assert!(result.is_err(), "it is a little more than is allowed");
            println!("  {what} in {:9} bytes of {name:6}: refused after {took:7.1?}", batch.len());
        }
    }
}

fn header(batch: &[u8]) -> record_batch::BatchHeader {
    record_batch::BatchHeader::read(batch).expect("a header")
}

fn best_of(mut work: impl FnMut()) -> Duration {
    let once = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..500).map(|_| once(&mut work)).min().expect("some")
}

/// A batch of about `BATCH_BYTES`.
fn of_size(codec: u8, compress: Compress) -> Vec<u8> {
    let lines = lines(20_000);
    let records: Vec<_> = lines.iter().map(|line| (None, line.as_slice())).collect();
    let whole = compressed(codec, compress, &records).len();
    let count = records.len() * BATCH_BYTES / whole;
    compressed(codec, compress, &records[..count])
}

fn compressed(codec: u8, compress: Compress, records: &[(Option<&[u8]>, &[u8])]) -> Vec<u8> {
    let plain = build_batch(records, 1, Producer::NONE);
    let mut batch = [&plain[..61], &compress(&plain[61..])].concat();
    batch[22] = codec;
    let length = batch.len() as u32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = hutong::kafka::crc::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Lines of JSON of 100 bytes, which compress as such lines do.
fn lines(count: usize) -> Vec<Vec<u8>> {
    let mut seed = 1u64;
    (0..count)
        .map(|n| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (user, page) = (seed >> 44, seed >> 30 & 0xff_ffff);
            let line = format!("{{\"time\":17000{n},\"user\":{user},\"page\":\"/item/{page:x}\"");
            format!("{line:<99}}}").into_bytes()
        })
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("into memory")
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("into memory")
}
