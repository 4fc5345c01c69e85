//! Sockets of one thread: waiting for them, and cutting what comes from them into frames.
//!
//! Plain non-blocking sockets under epoll rather than an executor: a generator must know when it
//! sent what, so nothing may decide for it when its code runs.

pub mod connection;
pub mod poller;
