//! What is fuzzed: one plain function for each target, which takes any bytes and must return.
//!
//! The binaries in `fuzz_targets/` hand them what libFuzzer makes up; `tests/bounded.rs` runs a
//! bounded number of random and mutated inputs on any toolchain. `README.md` tells how to do both.

mod group_records;
mod journal_recover;
mod kafka_decode;
mod pending_responses_ops;
mod record_lookup;

pub use group_records::group_records;
pub use journal_recover::journal_recover;
pub use kafka_decode::kafka_decode;
pub use pending_responses_ops::pending_responses_ops;
pub use record_lookup::record_lookup;

/// Takes numbers off the front of an input. An input that has ended goes on with zeros.
pub(crate) struct Numbers<'a>(pub &'a [u8]);

impl Numbers<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide =
            u64::from_le_bytes(std::array::from_fn(|at| if at < 4 { self.byte() } else { 0 }));
        wide % bound
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
