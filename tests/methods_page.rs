//! docs/api.md lists every method with its twins and what a caller needs for it, no more and no less.

use pushline::rpc::{METHODS, Method, Needs};

const PAGE: &str = include_str!("../docs/api.md");

#[test]
fn every_method_is_listed() {
    let row = |method: &Method| {
        let grpc = method.grpc.trim_start_matches("/pushline.v1.");
        let http: Vec<_> = method.http.iter().map(|call| format!("`{call}`")).collect();
        let needs = match method.needs {
            Needs::Scope(scope) => scope.as_str(),
            Needs::AdminKey => "admin key",
        };
        format!("| `{grpc}` | {} | {needs} |", http.join(", "))
    };
    let expected: Vec<String> = METHODS.iter().map(row).collect();
    let table = PAGE.lines().skip_while(|line| *line != "| gRPC | HTTP | Scope |").skip(2);
    let listed: Vec<_> = table.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(listed, expected, "the table should be:\n{}\n", expected.join("\n"));
}
