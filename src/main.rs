//! The `pushline` binary: a push gateway, and the tools to try and operate it.

fn main() {}
