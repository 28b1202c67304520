//! Compiles `proto/` to Rust with a pure-Rust compiler, so that building needs no `protoc`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["device", "backend", "audience", "receipts", "access", "admin", "business"]
        .map(|file| format!("pushline/v1/{file}.proto"));
    let files = protox::compile(files, ["proto"])?;
    let methods: String = files
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
        .flat_map(|(package, service)| service.method.iter().map(move |method| (package, service, method)))
        .map(|(package, service, method)| format!("    \"/{package}.{}/{}\",\n", service.name(), method.name()))
        .collect();
    // What is asked of every method can be checked for every method.
    let methods = format!("/// The paths of all methods.\npub const METHODS: &[&str] = &[\n{methods}];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("methods.rs"), methods)?;
    tonic_prost_build::configure()
        .bytes(".pushline.v1")
        // A map with a stable order makes equal pushes encode to equal bytes, which idempotency compares.
        .btree_map(".pushline.v1")
        // They hold secrets; `wire/unshown.rs` prints their names alone.
        .skip_debug(UNSHOWN.map(|name| format!(".pushline.v1.{name}")))
        .compile_fds(files)?;
    Ok(())
}

/// Messages that hold secrets.
const UNSHOWN: [&str; 11] = [
    "OpenRequest",
    "RenewRequest",
    "LoginRequest",
    "LoginResponse",
    "CheckLoginRequest",
    "IssueTokenResponse",
    "CreateEnrolmentResponse",
    "CreateShareResponse",
    "CreateKeyResponse",
    "BusinessLogin",
    "Webhook",
];
