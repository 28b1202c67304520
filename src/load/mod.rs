//! A crowd of devices and backends that drives a gateway from outside and verifies what it receives. It knows the wire,
//! not the gateway.
//!
//! ```text
//!   scenario ── orders ──▶ crew ──▶ worker (a thread: poll, timers) ──▶ device, driver ──▶ http, frame, pipe
//!      ▲                               │                                   │
//!      └── leader ◀────── notes ───────┘                                ledger (verifies), tally (counts)
//! ```
//!
//! It is far cheaper than a server: HTTP/2 of its own on TLS without buffers, one read buffer a thread, no task a
//! connection. Stand-alone clients in real programs use [`crate::client`].

pub mod plan;
pub mod report;

mod core;
mod crew;
mod device;
mod driver;
mod frame;
mod hpack;
mod http;
mod leader;
mod ledger;
mod message;
mod order;
mod pipe;
mod proc;
mod producer;
mod scenario;
mod schedule;
mod stamp;
mod tally;
mod tokens;
mod words;
mod worker;

pub(crate) use crew::serve_child;
pub use scenario::run;
