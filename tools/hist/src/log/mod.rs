//! The interval log of HdrHistogram, version 1.3, with histograms in the V2 encoding.
//!
//! A text file. Each interval is a line; lines that begin with `#` are comments, two of which mean
//! something:
//!
//! ```text
//! #[Histogram log format version 1.3]
//! #[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 08:24:39 PDT 2015]
//! #[BaseTime: 1441812279.474 (seconds since epoch)]
//! "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
//! Tag=produce,0.127,1.007,2.769,HISTFAAAAEV42pNpmSzMwCDBwMDAxAABTAgag6oA...
//! ```
//!
//! A start is in seconds: since the base time if one is given; else since the start time if it is
//! more than a year before that; else since the epoch. That is what HdrHistogram's own reader does.
//! The largest value is there for people, in any unit, and not used. Then the histogram in base64.

mod decode;
pub mod read;
pub mod write;

pub use read::{Interval, LogReader, ReadError};
pub use write::{LogWriter, WriteError};

/// The first words of a V2 histogram, uncompressed and compressed, without the size of a count.
const V2: u32 = 0x1c84_9303;
const V2_COMPRESSED: u32 = 0x1c84_9304;

/// What a writer says above the intervals.
const VERSION: &str = "#[Histogram log format version 1.3]";
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
                      \"Interval_Compressed_Histogram\"";
