//! Latency histograms kept as HdrHistogram interval logs (`.hlog`): read, written, summed up and
//! shown.
//!
//! Read in this order: the words (`units`), a histogram in numbers (`summary`), the file (`log`),
//! and then what the program does with it. Tools that measure use the first three. Nothing here
//! knows the broker.

pub mod log;
pub mod summary;
pub mod units;
