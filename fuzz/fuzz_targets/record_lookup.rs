//! See `hutong_fuzz::record_lookup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hutong_fuzz::record_lookup(data));
