//! The backend's side of a gateway, for programs that push: the services `Backend`, `Audience` and `Receipts` of
//! `pushline.v1` over gRPC. It retries nothing; a push that may be repeated carries an idempotency key, and what is not a
//! push may be repeated as it is.

mod connection;
mod error;
mod events;
mod people;
mod place;

pub use self::connection::{Answer, Backend};
pub use self::error::Error;
pub use self::events::{Presence, Receipts};
pub use self::people::{MemberChanges, Progress};
