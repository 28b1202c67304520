//! The backend's and the operator's side of a gateway, for programs that push or administer: the services `Backend`,
//! `Audience`, `Receipts` and `Access` of `pushline.v1` over gRPC, and `Admin` on the listener of its own. It retries
//! nothing; a push that may be repeated carries an idempotency key, and what is not a push may be repeated as it is.

mod access;
mod admin;
mod connection;
mod error;
mod events;
mod line;
mod people;
mod place;

pub use self::access::Tokens;
pub use self::admin::Admin;
pub use self::connection::{Answer, Backend};
pub use self::error::Error;
pub use self::events::{Presence, Receipts};
pub use self::line::Identity;
pub use self::people::{MemberChanges, Progress};
