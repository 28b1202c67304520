//! The `pushline` binary: a push gateway, and the tools to try and operate it.

use std::process::ExitCode;

fn main() -> ExitCode {
    pushline::tls::install();
    pushline::cli::run(std::env::args_os())
}
