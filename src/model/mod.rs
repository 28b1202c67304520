//! Plain values that every room shares: ids, messages, frames, faults, close reasons, clock readings. No behaviour
//! beyond what a value can know of itself, no I/O (the one exception, reading the clocks, is [`clock::Clock`]).

pub mod access;
pub mod attributes;
pub mod audit;
pub mod clock;
pub mod close;
pub mod condition;
pub mod cursor;
pub mod fault;
pub mod frame;
pub mod id;
pub mod log;
pub mod message;
pub mod presence;
pub mod quiet;
pub mod ranges;
pub mod receipt;
pub mod rule;
pub mod set;
pub mod standing;
pub mod tenant;
pub mod webhook;
