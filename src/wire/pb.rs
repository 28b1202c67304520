//! The types generated from `proto/`; their documentation stands there.
#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::nursery, unreachable_pub, reason = "generated code")]
#![allow(unused_qualifications, clippy::wildcard_imports, clippy::unwrap_used, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/pushline.v1.rs"));
include!(concat!(env!("OUT_DIR"), "/methods.rs"));
