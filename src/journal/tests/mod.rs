//! The journal as a whole: what is appended, written and recovered.

mod recovery;
