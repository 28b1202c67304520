//! Lists of users as they are typed: names, a file with one a line, or standard input. It sends nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, ensure};

use crate::model::id::UserId;

/// Most users in one request; the gateway takes no more.
pub(super) const USERS_PER_REQUEST: usize = 1_000;

/// Reads what one argument names: `-` is standard input, what has a comma is names, what has a slash or is the name of a
/// file here is that file, anything else is one name.
pub(super) fn named(argument: &str) -> anyhow::Result<Vec<UserId>> {
    let is_file = argument.contains('/') || Path::new(argument).is_file();
    match argument {
        "-" => from(io::stdin().lock(), "standard input"),
        names if names.contains(',') => {
            let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(|name| user(name, "--users")).collect::<anyhow::Result<_>>().map(once)
        }
        path if is_file => file(Path::new(path)),
        name => Ok(vec![user(name, "--users")?]),
    }
}

/// Reads a file.
pub(super) fn file(path: &Path) -> anyhow::Result<Vec<UserId>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    from(BufReader::new(file), &path.display().to_string())
}

/// Reads standard input.
pub(super) fn stdin() -> anyhow::Result<Vec<UserId>> {
    from(io::stdin().lock(), "standard input")
}

/// One user a line; blank lines and the blanks around a name do not matter. All are checked before any is used.
fn from(lines: impl BufRead, place: &str) -> anyhow::Result<Vec<UserId>> {
    let mut users = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line.with_context(|| format!("cannot read {place}, line {number}"))?;
        if !line.trim().is_empty() {
            users.push(user(line.trim(), &format!("{place}, line {number}"))?);
        }
    }
    ensure!(!users.is_empty(), "{place} names no user; one a line is expected");
    Ok(once(users))
}

/// Each user once, where it is named first. The gateway looks at one request only, and a long list is several.
pub(super) fn once(mut users: Vec<UserId>) -> Vec<UserId> {
    let mut known = HashSet::with_capacity(users.len());
    users.retain(|user| known.insert(user.clone()));
    users
}

fn user(name: &str, place: &str) -> anyhow::Result<UserId> {
    UserId::new(name).with_context(|| format!("{place}: {:?} is no name of a user", shortened(name)))
}

fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::{file, from, named};

    #[test]
    fn an_argument_is_names_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::fs::write(&path, "ada\n\n  bob \r\ncleo").unwrap();
        let names = |argument: &str| named(argument).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("ada"), ["ada"]);
        assert_eq!(names("ada, bob,"), ["ada", "bob"]);
        assert_eq!(names("bob,ada,bob"), ["bob", "ada"]);
        assert_eq!(names(path.to_str().unwrap()), ["ada", "bob", "cleo"]);
        assert_eq!(file(&path).unwrap().len(), 3);
        std::fs::write(&path, "ada\nbob\n ada\n").unwrap();
        assert_eq!(names(path.to_str().unwrap()), ["ada", "bob"]);
    }

    #[test]
    fn a_name_that_is_none_is_told_with_its_place() {
        for (text, words) in [
            ("ada\nb b\n", "x, line 2: \"b b\" is no name of a user"),
            (" \n\n", "x names no user"),
            ("a\nb\u{0}\n", "x, line 2"),
        ] {
            let why = format!("{:#}", from(text.as_bytes(), "x").unwrap_err());
            assert!(why.starts_with(words), "{why}");
        }
        assert!(format!("{:#}", named("a,b/c").unwrap_err()).contains("'/' at byte 1"));
        assert!(format!("{:#}", named("./none").unwrap_err()).contains("cannot read ./none"));
    }
}
