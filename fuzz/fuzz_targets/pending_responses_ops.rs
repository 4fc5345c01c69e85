//! See `hutong_fuzz::pending_responses_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hutong_fuzz::pending_responses_ops(data));
