//! docs/errors.md lists every code and every close reason as the source has them, no more and no less.

use std::time::Duration;

use pushline::model::close::CloseReason;
use pushline::model::fault::{Code, Grpc};

const PAGE: &str = include_str!("../docs/errors.md");

/// The rows of the table under a heading, without its head.
fn rows(heading: &str) -> Vec<&'static str> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading));
    let lines = section.unwrap_or_else(|| panic!("no section {heading}")).lines();
    lines.filter(|line| line.starts_with('|')).skip(2).collect()
}

/// The name as the gRPC specification writes it.
fn specification_name(status: Grpc) -> String {
    let mut name = String::new();
    for c in format!("{status:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn every_code_is_listed() {
    let row = |code: &Code| {
        let (errno, name, http, meaning) = (code.errno(), code.name(), code.http(), code.meaning().trim());
        let grpc = code.grpc();
        format!("| {errno} | `{name}` | {} ({}) | {http} | {meaning} |", specification_name(grpc), grpc as u32)
    };
    let expected: Vec<String> = Code::ALL.iter().map(row).collect();
    assert_eq!(rows("Codes"), expected, "the table should be:\n{}\n", expected.join("\n"));
}

#[test]
fn every_close_reason_is_listed() {
    let seconds = |span: Duration| span.as_secs_f64();
    let row = |reason: &CloseReason| {
        let (least, most) = reason.return_within();
        let returns = match reason.may_return() {
            true => format!("after {} to {} s", seconds(least), seconds(most)),
            false => "not by itself".to_owned(),
        };
        format!("| {} | `{}` | {returns} | {reason} |", reason.code(), reason.name())
    };
    let expected: Vec<String> = CloseReason::ALL.iter().map(row).collect();
    assert_eq!(rows("Close reasons"), expected, "the table should be:\n{}\n", expected.join("\n"));
}
