//! Device-facing sockets: each transport turns its protocol into a link for the node.

pub mod native;
