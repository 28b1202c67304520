//! Decisions without I/O and without a clock: what to send, to read, to write and when, given what came in and the time.

pub mod heartbeat;
