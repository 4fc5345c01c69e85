//! Latency histograms kept as HdrHistogram interval logs (`.hlog`): read, written, summed up and
//! shown.
//!
//! Read in this order: the words (`units`), a histogram in numbers (`summary`), the file (`log`),
//! and then what the program does with it: all intervals of a log as one (`totals`), and the
//! commands. Tools that measure use the first three. Nothing here knows the broker.

pub mod args;
pub mod diff;
pub mod error;
pub mod log;
pub mod merge;
pub mod plot;
pub mod show;
pub mod summary;
pub mod totals;
pub mod units;
