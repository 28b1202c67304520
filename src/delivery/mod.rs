//! Decisions without I/O and without a clock: what to send, to read, to write and when, given what came in and the time.

mod feed;
pub mod handshake;
pub mod heartbeat;
pub mod lease;
pub mod options;
pub mod session;
mod window;

#[cfg(test)]
mod worlds;
