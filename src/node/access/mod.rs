//! Who may: tenants, API keys, access tokens, shares, logins, nodes. What must last is in records of the store; what is asked
//! at every request is in memory ([`state`]), brought up to date by the store's listener before a change is answered.

pub mod audit;
pub mod device_keys;
pub mod keys;
pub mod login;
pub mod nodes;
pub mod shares;
mod state;
pub mod tenants;
pub mod tokens;

use crate::model::fault::{Code, Fault};

/// What a request of a backend came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing.
    None,
    /// An API key.
    Key(&'a str),
    /// The SHA-256 of the client certificate that the connection was opened with.
    Certificate(&'a [u8; 32]),
}

fn not_yet<T>() -> Result<T, Fault> {
    Err(Fault::new(Code::Internal, "not built yet"))
}
