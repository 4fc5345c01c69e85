//! See `hutong_fuzz::kafka_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hutong_fuzz::kafka_decode(data));
