//! See `hutong_fuzz::group_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hutong_fuzz::group_records(data));
