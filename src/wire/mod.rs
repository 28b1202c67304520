//! Bytes to frames and back, without I/O: gRPC framing and the messages of `proto/`. It decides nothing.

pub mod body;
pub mod device;
pub mod grpc;
pub mod pb;
mod unshown;
