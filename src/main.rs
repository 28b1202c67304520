//! The `pushline` binary: a push gateway, and the tools to try and operate it.

use std::process::ExitCode;

/// Frees memory of idle connections sooner than the system's allocator. Its feature `no_thp` is on because transparent
/// huge pages cost every idle connection 17 KB more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pushline::tls::install();
    pushline::cli::run(std::env::args_os())
}
