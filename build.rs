//! Compiles `proto/` to Rust with a pure-Rust compiler, so that building needs no `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["device", "backend", "audience", "receipts", "access", "admin", "business"]
        .map(|file| format!("pushline/v1/{file}.proto"));
    let files = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".pushline.v1")
        // A map with a stable order makes equal pushes encode to equal bytes, which idempotency compares.
        .btree_map(".pushline.v1")
        .compile_fds(files)?;
    Ok(())
}
