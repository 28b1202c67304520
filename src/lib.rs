//! Pushline: a self-hosted push gateway, and the client library for it.
//!
//! A native client holds one long TLS connection on HTTP/2: one persistent push stream plus short request and ack
//! streams. A backend enqueues a push with one call and learns what became of it. Programs that receive pushes use
//! [`client`]; everything else here serves the `pushline` binary. ARCHITECTURE.md draws the rooms.

pub mod assign;
pub mod audience;
pub mod auth;
pub mod bus;
#[doc(hidden)]
pub mod cli;
pub mod client;
pub mod config;
pub mod delivery;
pub mod file;
pub mod hook;
pub mod load;
pub mod metrics;
pub mod model;
pub mod node;
pub mod pool;
pub mod rate;
pub mod rpc;
pub mod server;
pub mod store;
pub mod tls;
pub mod transport;
pub mod wire;
pub mod zone;
