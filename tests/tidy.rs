//! Reads the sources and fails on a breach of the house rules: floors, walls around libraries, names, sizes. It judges
//! words, not meaning; what the compiler and clippy can check is left to them.

#[path = "tidy/code.rs"]
mod code;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use code::{declared, paths_from, positions, test_children, without_comments_and_strings, without_tests};

/// Room, and what it may name besides itself; lowest floor first. `room::*Options` allows the room's options only.
/// Change it only with a reason in the commit.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("file", &[]),
    ("metrics", &["model"]),
    // Token buckets: how much may come in how much time.
    ("rate", &["model"]),
    ("pool", &["metrics"]),
    // Who follows what and is like what, as bitmaps: conditions are evaluated on it.
    ("audience", &["model"]),
    // Which node a device is assigned to.
    ("assign", &["model"]),
    // Time zones: when quiet hours begin and end.
    ("zone", &["model"]),
    // Posts signed requests to the webhooks of tenants, and asks business servers in the words of business.proto.
    ("hook", &["model", "tls", "wire"]),
    ("wire", &["model", "pool"]),
    ("delivery", &["model", "zone"]),
    ("auth", &["model", "file"]),
    ("tls", &["model", "file", "pool"]),
    ("store", &["model", "audience"]),
    ("bus", &["model"]),
    (
        "node",
        &["model", "metrics", "delivery", "store", "bus", "auth", "pool", "audience", "zone", "hook", "rate", "assign"],
    ),
    ("transport", &["model", "metrics", "wire", "delivery::*Options", "node", "tls", "auth", "pool"]),
    ("rpc", &["model", "metrics", "wire", "node", "auth", "tls", "pool", "zone"]),
    ("client", &["model", "wire", "delivery::heartbeat", "tls"]),
    // A crowd of devices and backends that drives any gateway from outside: it knows the wire, not the gateway.
    ("load", &["model", "file", "metrics", "wire", "auth", "tls", "client"]),
    (
        "config",
        &[
            "model",
            "assign",
            "metrics",
            "wire",
            "delivery",
            "auth",
            "tls",
            "store",
            "bus",
            "node",
            "transport",
            "rpc",
            "client",
            "hook",
            "rate",
        ],
    ),
    (
        "server",
        &[
            "model",
            "file",
            "metrics",
            "wire",
            "delivery",
            "auth",
            "tls",
            "store",
            "bus",
            "node",
            "transport",
            "rpc",
            "client",
            "pool",
            "hook",
            "rate",
            "config",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "file",
            "metrics",
            "wire",
            "delivery",
            "auth",
            "tls",
            "store",
            "bus",
            "node",
            "transport",
            "rpc",
            "client",
            "load",
            "pool",
            "hook",
            "config",
            "server",
        ],
    ),
];

/// Libraries that stand behind a type of ours, and the only places that may name them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("fjall", &["src/store/embedded"]),
    ("h2", &["src/transport/native", "src/client"]),
    ("tonic", &["src/rpc", "src/cli/push.rs", "src/client/backend"]),
    ("axum", &["src/rpc"]),
    ("rustls", &["src/tls"]),
    ("tokio_rustls", &["src/tls"]),
    ("rustls_native_certs", &["src/tls"]),
    ("rcgen", &["src/tls"]),
    ("aws_lc_rs", &["src/tls", "src/auth", "src/hook"]),
    ("jsonwebtoken", &["src/auth"]),
    ("prometheus_client", &["src/metrics"]),
    ("toml", &["src/config"]),
    ("clap", &["src/cli"]),
    ("hdrhistogram", &["src/load"]),
    ("mio", &["src/load"]),
    ("roaring", &["src/model/set.rs"]),
    ("jiff", &["src/zone"]),
    ("indicatif", &["src/cli"]),
    ("terminal_size", &["src/cli"]),
];

/// Contracts: they import none of their implementations.
const CONTRACTS: &[&str] = &["src/store/mod.rs", "src/bus/mod.rs"];

/// Children of contracts that are part of the contract: plain values, no implementation.
const CONTRACT_WORDS: &[&str] = &["journal", "message", "people", "record"];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "manager", "base"];

/// Past this a file wants to be two.
const LINES_MAX: usize = 500;

/// Longer files, each with the reason why it is still one noun.
const LONG_FILES: &[(&str, &str)] = &[];

/// Folders of one machine. In pieces, so that this file does not breach its own rule.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/tmp/", "wt"), concat!("/ro", "ot/")];

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, root, &mut files);
    let sources = || files.iter().filter(|(path, _)| path.starts_with("src/") && path.ends_with(".rs"));
    assert!(sources().count() > 20, "the sources were not found below {}", root.display());
    let test_roots: BTreeSet<String> = sources().flat_map(|(path, text)| test_children(path, text)).collect();
    // What a test file declares in a folder of its own is test code too.
    let is_test = |path: &str| {
        let folders = test_roots.iter().filter_map(|root| root.strip_suffix("/mod.rs"));
        test_roots.contains(path) || folders.into_iter().any(|folder| is_within(path, folder))
    };
    let mut breaches: Vec<String> = files.iter().flat_map(|(path, text)| check_paths(path, text)).collect();
    for (path, text) in sources() {
        breaches.extend(check_source(path, text, is_test(path)));
    }
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

/// Every text file of the repository, with its path from the root; built and ignored things are left out.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the repository can be read") {
        let path = entry.expect("the repository can be read").path();
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let skipped = ["target", "data", "__pycache__"].contains(&&*name) || (name.starts_with('.') && name != ".ci");
        if path.is_dir() && !skipped {
            collect(root, &path, files);
        } else if path.is_file() && !relative.ends_with(".pem") {
            files.extend(fs::read_to_string(&path).ok().map(|text| (relative, text)));
        }
    }
}

/// Rules for every file of the repository.
fn check_paths(path: &str, text: &str) -> Vec<String> {
    let found = text.lines().enumerate().flat_map(|(index, line)| {
        MACHINE_PATHS.iter().filter(move |folder| line.contains(*folder)).map(move |folder| (index + 1, folder))
    });
    found.map(|(line, folder)| format!("{path}:{line}: names `{folder}`, a folder of one machine")).collect()
}

/// A source file as the rules see it.
struct Source<'t> {
    /// From the repository's root.
    path: &'t str,
    /// As it is.
    text: &'t str,
    /// Without comments and strings; positions as in `text`.
    code: String,
    /// Without test code, too.
    product: String,
}

/// A breach: where in the file, and what is wrong.
type Breach = (usize, String);

/// Rules for a source file. All of it is test code when `is_test`.
fn check_source(path: &str, text: &str, is_test: bool) -> Vec<String> {
    let code = without_comments_and_strings(text);
    let product = if is_test { " ".repeat(code.len()) } else { without_tests(&code) };
    let source = Source { path, text, code, product };
    let rules =
        [check_shape, check_numbers, check_unwraps, check_libraries, check_floors, check_supers, check_contract];
    let mut found: Vec<_> = rules.iter().flat_map(|rule| rule(&source)).collect();
    found.sort();
    found.dedup();
    let line = |at: usize| 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    found.into_iter().map(|(at, words)| format!("{path}:{}: {words}", line(at))).collect()
}

fn check_shape(source: &Source<'_>) -> Vec<Breach> {
    let mut found = Vec::new();
    if !source.text.starts_with("//! ") {
        found.push((0, "the first line must be `//!` and say what the file is".to_owned()));
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX && !LONG_FILES.iter().any(|(file, _)| *file == source.path) {
        let words =
            format!("{lines} lines, more than {LINES_MAX}: split it by meaning, or give a reason in LONG_FILES");
        found.push((0, words));
    }
    let stem = source.path.rsplit('/').next().unwrap_or(source.path).trim_end_matches(".rs");
    if let Some(word) = stem.split('_').find(|word| EMPTY_NAMES.contains(word)) {
        found.push((0, format!("`{word}` says nothing of what is inside; name the noun")));
    }
    found
}

fn check_numbers(source: &Source<'_>) -> Vec<Breach> {
    let promises = ["TODO", "FIXME", "XXX"].into_iter().flat_map(|word| positions(source.text, word));
    let is_numbered = |at: usize| {
        let line = source.text[at..].lines().next().unwrap_or_default();
        line.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let missing = promises.filter(|at| !is_numbered(*at));
    missing.map(|at| (at, "give the number of an issue, such as #12".to_owned())).collect()
}

fn check_unwraps(source: &Source<'_>) -> Vec<Breach> {
    let words = "`unwrap()` outside tests: handle it, or `expect` with the guarantee as text";
    let calls = positions(&source.product, "unwrap").filter(|at| source.product[at + 6..].starts_with("()"));
    calls.map(|at| (at, words.to_owned())).collect()
}

fn check_libraries(source: &Source<'_>) -> Vec<Breach> {
    let mut found = Vec::new();
    let code = &source.code;
    for (library, places) in LIBRARIES {
        if places.iter().any(|place| is_within(source.path, place)) {
            continue;
        }
        for at in positions(code, library) {
            // Only paths: a variable or a field may be called like a library.
            let before = code[..at].trim_end();
            let is_path = code[at + library.len()..].trim_start().starts_with("::") && !before.ends_with("::");
            if is_path || before.ends_with("use") {
                found.push((at, format!("`{library}` may be named in {} only", places.join(", "))));
            }
        }
    }
    found
}

fn check_floors(source: &Source<'_>) -> Vec<Breach> {
    let mut found = Vec::new();
    for (at, named) in paths_from(&source.code, "crate") {
        if named.last().is_some_and(|last| last == "*") {
            found.push((at, "import by name, not by `*`".to_owned()));
        }
        found.extend(breach_of_floors(source.path, &named).map(|words| (at, words)));
    }
    found
}

/// `super` must not be a way around [`check_floors`].
fn check_supers(source: &Source<'_>) -> Vec<Breach> {
    let (path, code) = (source.path, &source.code);
    let depth = path.split('/').count() - 1 - usize::from(path.ends_with("/mod.rs"));
    let leaves = |at: usize| {
        let supers = code[at..].split("::").take_while(|part| part.trim() == "super").count();
        // A test module is one deeper.
        let is_tested = source.product.as_bytes()[at] == b' ';
        !code[..at].ends_with("super::") && supers >= depth + usize::from(is_tested)
    };
    let leaving = positions(code, "super").filter(|at| room_of(path).is_some() && leaves(*at));
    leaving.map(|at| (at, "leaves the room by `super`; write `crate::room`".to_owned())).collect()
}

fn check_contract(source: &Source<'_>) -> Vec<Breach> {
    let (path, product) = (source.path, &source.product);
    let Some(room) = room_of(path).filter(|_| CONTRACTS.contains(&path)) else {
        return Vec::new();
    };
    let children = positions(product, "mod").filter_map(|at| declared(&product[at..]));
    let children: Vec<_> = children.filter(|child| !CONTRACT_WORDS.contains(child)).collect();
    let mut named = paths_from(product, "self");
    for (at, path) in paths_from(product, "crate") {
        named.extend(path.strip_prefix(&[room.to_owned()]).map(|path| (at, path.to_vec())));
    }
    for child in &children {
        let paths = positions(product, child).filter(|at| product[at + child.len()..].starts_with("::"));
        let bare = paths.filter(|at| !product[..*at].ends_with("::"));
        named.extend(bare.map(|at| (at, vec![(*child).to_owned()])));
    }
    let ours = named.iter().filter_map(|(at, path)| {
        Some((at, children.iter().find(|child| path.first() == Some(&(**child).to_owned()))?))
    });
    ours.map(|(at, child)| (*at, format!("a contract imports no implementation, and `{child}` is one"))).collect()
}

/// What is wrong with naming `crate::named` in this file, if anything.
fn breach_of_floors(path: &str, named: &[String]) -> Option<String> {
    let room = room_of(path)?;
    let target = named.first()?;
    if target == room {
        return None;
    }
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return Some(format!("`{room}` is a new room: give it a floor in ROOMS of tests/tidy.rs"));
    };
    let fits = |entry: &&&str| match entry.split_once("::") {
        None => *entry == target,
        Some((room, "*Options")) => room == target && named.iter().any(|part| part.ends_with("Options")),
        Some((room, child)) => room == target && named.get(1).is_some_and(|part| part == child),
    };
    if allowed.iter().find(fits).is_some() {
        return None;
    }
    Some(format!("`{room}` may not name `{}`; it may name {}", named.join("::"), allowed.join(", ")))
}

/// The room a file belongs to; the crate's own files and the binary belong to none.
fn room_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    let room = below.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&room)).then_some(room)
}

fn is_within(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with(".rs"))
}

#[cfg(test)]
mod self_tests {
    use super::code::test_children;
    use super::{LINES_MAX, MACHINE_PATHS, check_paths, check_source};

    fn breaches(path: &str, code: &str) -> Vec<String> {
        check_source(path, &format!("//! A noun.\n{code}"), false)
    }

    #[test]
    fn every_planted_breach_is_caught() {
        let long = "\n".repeat(LINES_MAX);
        for (path, code, words) in [
            ("src/model/id.rs", "use crate::store::Error;", "`model` may not name `store::Error`"),
            ("src/wire/native.rs", "use crate::delivery::session::Input;", "`wire` may not name"),
            ("src/delivery/session.rs", "fn f(x: crate::wire::Frame) {}", "`delivery` may not name `wire::Frame`"),
            ("src/delivery/session.rs", "use crate::{model::id, wire};", "`delivery` may not name `wire`"),
            ("src/transport/native/mod.rs", "use crate::{store, node};", "`transport` may not name `store`"),
            (
                "src/transport/native/mod.rs",
                "use crate::delivery::{Options, session::Session};",
                "`delivery::session::Session`",
            ),
            ("src/client/mod.rs", "use crate::delivery::window::Window;", "`client` may not name"),
            ("src/store/embedded/mod.rs", "#[cfg(test)]\nmod tests { use crate::node::Hub; }", "`store` may not name"),
            ("src/config/mod.rs", "use crate::server::Server;", "`config` may not name"),
            ("src/lounge/mod.rs", "use crate::model::id;", "`lounge` is a new room"),
            ("src/auth/mod.rs", "use super::tls;", "leaves the room"),
            ("src/auth/key.rs", "use super::super::tls;", "leaves the room"),
            ("src/store/mod.rs", "pub mod embedded;\nuse embedded::Store;", "`embedded` is one"),
            ("src/store/mod.rs", "pub mod embedded;\nuse self::embedded::Store;", "`embedded` is one"),
            ("src/bus/mod.rs", "pub mod local;\nfn f() { crate::bus::local::Local::new() }", "`local` is one"),
            ("src/node/hub.rs", "use fjall::Keyspace;", "`fjall` may be named in src/store/embedded only"),
            ("src/transport/sse.rs", "fn f() { h2::client::handshake(x) }", "`h2` may be named"),
            ("src/rpc/mod.rs", "use tokio_rustls :: TlsAcceptor;", "`tokio_rustls` may be named in src/tls only"),
            ("src/store/embedder.rs", "use fjall;", "`fjall` may be named"),
            ("src/cli/token.rs", "use crate::model::id::*;", "import by name"),
            ("src/cli/token.rs", "use crate::model::{id::*, log};", "import by name"),
            ("src/cli/token.rs", long.as_str(), "more than 500"),
            ("src/cli/token.rs", "// TODO: later", "number of an issue"),
            (
                "src/cli/token.rs",
                "fn f() { g().unwrap(); }\n#[cfg(test)]\nmod tests {}",
                "src/cli/token.rs:2: `unwrap()`",
            ),
            ("src/cli/token.rs", "#[cfg(test)]\nuse x::Y;\nfn f() { g().unwrap(); }", "src/cli/token.rs:4: `unwrap()`"),
            ("src/node/frame_helper.rs", "", "`helper` says nothing"),
            ("src/node/util.rs", "", "`util` says nothing"),
        ] {
            let found = breaches(path, code);
            assert!(found.len() == 1 && found[0].contains(words), "{path}: {code}: {found:?}");
        }
        assert_eq!(check_source("src/model/id.rs", "use std::fmt;\n", false).len(), 1, "no first line");
        for folder in MACHINE_PATHS {
            assert_eq!(check_paths("README.md", &format!("see\n{folder}x")).len(), 1);
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        for (path, code) in [
            (
                "src/model/id.rs",
                "// use crate::store::Error; x.unwrap()\n/* fjall:: */ const A: &str = \"fjall::x.unwrap()\";",
            ),
            (
                "src/model/id.rs",
                "const A: &str = r#\"\" crate::store::x .unwrap() \"#; const B: char = '\"'; fn f<'a>() {}",
            ),
            (
                "src/model/id.rs",
                "const A: char = '\\''; const B: &[u8] = b\"\\\" crate::wire::x\"; // TODO #12: shorter",
            ),
            ("src/model/id.rs", "#[cfg(test)]\nmod tests { use super::A; fn f() { a().unwrap() } }"),
            ("src/model/id.rs", "fn f() { a.unwrap_or_default(); }"),
            ("src/transport/native/mod.rs", "use crate::delivery::{Options, session::SessionOptions}; use h2::server;"),
            ("src/client/mod.rs", "use crate::delivery::heartbeat::{Plan, Timer};"),
            ("src/store/mod.rs", "pub mod embedded;\n#[cfg(test)]\nmod contract;\nuse crate::model::id;"),
            ("src/store/open.rs", "use crate::store::embedded::Embedded;"),
            ("src/tls/mod.rs", "use rustls::crypto::aws_lc_rs;"),
            ("src/rpc/mod.rs", "fn f(h2: bool, toml: u8) -> bool { h2 && self.h2 }"),
            ("src/auth/key.rs", "use super::Claims;\n#[cfg(test)]\nmod tests { use super::super::Claims; }"),
            ("src/lib.rs", "pub mod store;"),
        ] {
            assert_eq!(breaches(path, code), [""; 0], "{path}: {code}");
        }
        assert!(check_source("src/store/contract.rs", "//! A noun.\nfn f() { g().unwrap(); }", true).is_empty());
        let children = test_children("src/store/mod.rs", "#[cfg(test)]\nmod contract;");
        assert_eq!(children, ["src/store/contract.rs", "src/store/contract/mod.rs"]);
    }
}
