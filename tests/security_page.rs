//! docs/security.md lists every action of the audit log as the source has them, and the tests that it calls as proof exist.

use std::fs;
use std::path::Path;

use pushline::model::audit::Action;

const PAGE: &str = include_str!("../docs/security.md");

/// The rows of the table under a heading, without its head.
fn rows(heading: &str) -> Vec<&'static str> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading));
    let lines = section.unwrap_or_else(|| panic!("no section {heading}")).lines();
    lines.filter(|line| line.starts_with('|')).skip(2).collect()
}

#[test]
fn every_action_is_listed() {
    let row = |action: &Action| format!("| `{}` | {} |", action.as_str(), action.meaning().trim());
    let expected: Vec<String> = Action::ALL.iter().map(row).collect();
    assert_eq!(rows("Audit log"), expected, "the table should be:\n{}\n", expected.join("\n"));
}

/// A proof is written `path/to/file.rs::name_of_the_test`; `name_of*` stands for all that begin so.
#[test]
fn every_test_that_is_called_as_proof_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proofs: Vec<_> = PAGE.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::")).collect();
    assert!(proofs.len() > 20, "{proofs:?}");
    for (file, name) in proofs {
        let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let found = match name.strip_suffix('*') {
            Some(prefix) => text.contains(&format!("fn {prefix}")),
            None => text.contains(&format!("fn {name}(")),
        };
        assert!(found, "{file} has no test {name}");
    }
}
