//! The client against a scripted peer on the loopback.
