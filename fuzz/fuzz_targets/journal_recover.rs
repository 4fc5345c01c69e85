//! See `hutong_fuzz::journal_recover`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hutong_fuzz::journal_recover(data));
