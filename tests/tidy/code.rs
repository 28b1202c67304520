//! Reads Rust text well enough to find words and paths in it: no compiler, no meaning.

/// Where a word stands by itself.
pub(crate) fn positions<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

/// Every path that begins with `start::`, with its position; groups in braces are taken apart.
pub(crate) fn paths_from(code: &str, start: &str) -> Vec<(usize, Vec<String>)> {
    let mut all = Vec::new();
    for at in positions(code, start).filter(|at| !code[..*at].ends_with("::")) {
        if let Some(mut rest) = code[at + start.len()..].trim_start().strip_prefix("::") {
            let mut paths = Vec::new();
            expand(&mut rest, &[], &mut paths);
            all.extend(paths.into_iter().map(|path| (at, path)));
        }
    }
    all
}

/// Reads one tree of an import, such as `a::{b, c::*}`, and adds its paths.
fn expand(rest: &mut &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    loop {
        *rest = rest.trim_start();
        if let Some(mut inner) = rest.strip_prefix('{') {
            while !inner.trim_start().starts_with('}') && !inner.trim_start().is_empty() {
                expand(&mut inner, &path, paths);
                let next = inner.find([',', '}']).unwrap_or(inner.len());
                inner = inner[next..].strip_prefix(',').unwrap_or(&inner[next..]);
            }
            *rest = inner.trim_start().strip_prefix('}').unwrap_or("");
            return;
        }
        let length = match rest.strip_prefix('*') {
            Some(_) => 1,
            None => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        path.extend((length > 0).then(|| rest[..length].to_owned()));
        *rest = &rest[length..];
        match rest.trim_start().strip_prefix("::") {
            Some(after) if length > 0 => *rest = after,
            _ => break,
        }
    }
    paths.push(path);
}

/// The name in `mod name`.
pub(crate) fn declared(code: &str) -> Option<&str> {
    let name = code.strip_prefix("mod")?.trim_start();
    Some(&name[..name.find([';', ' ', '{'])?]).filter(|name| !name.is_empty())
}

/// Files that a file declares as test code: `#[cfg(test)] mod name;`.
pub(crate) fn test_children(path: &str, text: &str) -> Vec<String> {
    let code = without_comments_and_strings(text);
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs")) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let gated = code.split(TEST).skip(1).map(str::trim_start);
    let names = gated.filter_map(|item| declared(item.strip_prefix("pub ").unwrap_or(item)));
    names.flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]).collect()
}

const TEST: &str = "#[cfg(test)]";

/// Blanks every item that is gated by [`TEST`]; positions stay.
pub(crate) fn without_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for (start, _) in code.match_indices(TEST) {
        let mut depth = 0_usize;
        for (at, byte) in code.bytes().enumerate().skip(start + TEST.len()) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(byte, b'}' | b';' | b',') {
                bytes[start..=at].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
                break;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Blanks comments and the insides of strings; positions and lines stay. Characters beyond ASCII there become blanks too.
pub(crate) fn without_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let hashes = rest.strip_prefix('r').map_or(0, |rest| rest.bytes().take_while(|byte| *byte == b'#').count());
        let is_word =
            at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') && bytes[at - 1] != b'b';
        let (length, blank) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), true)
        } else if !is_word && rest.starts_with('r') && rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            (rest[2 + hashes..].find(&end).map_or(rest.len(), |at| 2 + hashes + at + end.len()), true)
        } else if rest.starts_with('"') {
            (end_of(rest, '"'), true)
        } else if rest.starts_with("'\\") {
            (end_of(rest, '\''), true)
        } else if rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
            (2 + rest[1..].chars().next().map_or(1, char::len_utf8), true)
        } else {
            (rest.chars().next().map_or(1, char::len_utf8), false)
        };
        let span = &mut code[at..at + length];
        span.iter_mut().filter(|byte| blank && **byte != b'\n').for_each(|byte| *byte = b' ');
        at += length;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// The length of a literal with escapes.
fn end_of(literal: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in literal.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    literal.len()
}
