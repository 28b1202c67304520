//! The client library: receives pushes from a gateway over one long connection, and acks them. It keeps the connection
//! alive (P1.11), makes it anew when it is lost, and drops duplicates; it stores nothing on disk. It runs on a tokio runtime
//! with I/O and time enabled.
//!
//! ```no_run
//! use pushline::client::{Client, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let roots = std::fs::read("certs/ca.pem")?;
//! let mut client = Client::connect(Options::new("gateway.example:7443", roots, "TOKEN")).await?;
//! client.subscribe(["news"]).await?;
//! while let Some(push) = client.next().await {
//!     let push = push?;
//!     match std::str::from_utf8(&push.payload) {
//!         Ok(text) => {
//!             println!("{}: {text}", push.id);
//!             push.ack();
//!         }
//!         Err(_) => push.reject("the payload is not text"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A device that has no token logs in, in a way that its tenant allows; then no token is needed, now or later:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use pushline::client::{Client, Credential, Login, Options};
//! use pushline::model::id::{DeviceId, TenantId};
//!
//! # async fn example(id_token: String) -> Result<(), Box<dyn std::error::Error>> {
//! let roots = std::fs::read("certs/ca.pem")?;
//! let login = Login {
//!     tenant: TenantId::new("shop")?,
//!     device: DeviceId::new("phone-7")?,
//!     credential: Credential::Jwt(id_token),
//! };
//! let mut options = Options::new("gateway.example:7443", roots, "");
//! options.provider = Some(Arc::new(login));
//! let client = Client::connect(options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - **At least once, seen once.** The gateway delivers a push until it is acked. The client knows the ids of the last
//!   [`Options::remembered`] settled pushes and of all the program holds: a duplicate of the former is acked again, one
//!   of the latter is passed over, and neither reaches the program. A new `Client` knows nothing of an older one.
//! - **What is taken away is a push too.** A push with [`Push::dismissal`] has nothing to show: it names a message that
//!   goes. Settle it like any other; a message that this device never received is to be ignored.
//! - **Order.** Pushes come in the order of their log. A redelivery comes later than what was pushed after it.
//! - **Acks are gathered** by [`Options::ack_count`] and [`Options::ack_delay`] and sent in the background. The gateway
//!   has them for certain after [`Client::flush`] or [`Client::close`].
//! - **Back-pressure.** A program that takes no pushes costs [`Options::window`] of them in memory and what HTTP/2's
//!   window holds (about 1 MiB); the rest stays in the gateway's log.
//! - **It comes back** after temporary errors: after the pause the gateway asked for, else after a random pause of up to
//!   [`Options::reconnect_base`] that doubles with each failure up to [`Options::reconnect_max`]. [`Client::next`] gives
//!   out the error that ends it for good: another connection of the device took over, the token expired or is refused.
//!   [`Client::status`] shows everything in between.
//! - **With an [`Options::provider`] no token ends it.** The next token is got before the one at hand expires and given to
//!   the session, which goes on; after an expiry or a revocation the client logs in once and comes back. Only what refuses
//!   the login itself ends it. It goes to the nodes that the gateway names, and back to [`Options::address`] when none of
//!   them answers.
//! - **It ends** with [`Client::close`], or at once when it is dropped.

mod acks;
pub mod backend;
mod backoff;
mod connection;
mod conversation;
mod core;
mod dial;
mod error;
mod handle;
mod incoming;
mod login;
mod options;
mod outcome;
mod pass;
mod pulse;
mod push;
mod route;
mod seen;
mod status;

#[cfg(test)]
mod login_tests;
#[cfg(test)]
mod people_tests;
#[cfg(test)]
mod scripted_peer;
#[cfg(test)]
mod shell_tests;

pub use self::error::{Error, Refusal};
pub use self::handle::{Client, Handle};
pub use self::login::{Access, Accessing, Credential, Login, Provider, Signer};
pub use self::options::Options;
pub use self::push::{Dismissal, Push};
pub use self::status::{Phase, Session, Status};
pub use crate::model::frame::LoggedIn;
