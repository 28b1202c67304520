//! docs/limits.md names the options that there are, with the defaults they have. What happens when a limit is reached is
//! tested in `limits.rs`.

use std::process::Command;

use serde_json::Value;

const PAGE: &str = include_str!("../docs/limits.md");

/// Sections whose options are all limits, but for the one below.
const SECTIONS: &[&str] = &["limits.", "backend.", "message.", "store.", "rate."];
const NO_LIMIT: &str = "store.data";

/// All options as the binary prints them.
fn options() -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushline"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PUSHLINE_")) {
        command.env_remove(name);
    }
    let output = command.args(["config", "--json"]).output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The cells of each row: what, default, options, answer.
fn rows() -> Vec<Vec<&'static str>> {
    let lines = PAGE.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    lines.map(cells).filter(|row: &Vec<_>| row[1] != "Default").collect()
}

/// The words between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// A number, a size in bytes or a time in milliseconds, however it is written: `15,000`, `64 KiB`, `24 h`, `1day`.
fn amount(text: &str) -> Option<u128> {
    let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != ',').collect();
    for (unit, bytes) in [("KiB", 1 << 10), ("MiB", 1 << 20)] {
        if let Some(number) = plain.strip_suffix(unit) {
            return Some(number.parse::<u128>().ok()? * bytes);
        }
    }
    plain.parse().ok().or_else(|| Some(humantime::parse_duration(&plain).ok()?.as_millis()))
}

#[test]
fn every_option_of_the_page_exists_and_has_the_default_it_tells() {
    let options = options();
    for row in rows() {
        let Some(key) = quoted(row[2]).next() else { continue };
        let option = options.iter().find(|option| option["key"] == key).unwrap_or_else(|| panic!("no option {key}"));
        let default = option["default"].as_str().map_or_else(|| option["default"].to_string(), str::to_owned);
        let told = row[1].split(", at most").next().and_then(|cell| amount(cell.trim_end_matches(" each")));
        let same = told.map_or(row[1] == default, |told| amount(&default) == Some(told));
        assert!(same, "{key} is {default}; the page tells {:?}", row[1]);
        for other in quoted(row[2]) {
            assert!(options.iter().any(|option| option["key"] == other), "no option {other}");
        }
    }
}

#[test]
fn every_option_that_is_a_limit_is_on_the_page() {
    let listed: Vec<&str> = rows().iter().flat_map(|row| quoted(row[2])).collect();
    assert!(listed.len() > 20, "{listed:?}");
    for option in options() {
        let key = option["key"].as_str().expect("a key");
        let limits = SECTIONS.iter().any(|section| key.starts_with(section)) && key != NO_LIMIT;
        assert!(!limits || listed.contains(&key), "{key} is not in docs/limits.md");
    }
}
