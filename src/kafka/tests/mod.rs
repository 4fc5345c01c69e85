//! Tests of the protocol against the `kafka_protocol` crate, which was written by others.
