//! A strict reader of pages, for tests: every element is closed, every attribute quoted, every name single, nothing is
//! left unescaped.

use std::collections::BTreeSet;

/// What a page is made of.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Element, attribute, value as a reader sees it.
    pub(super) attributes: Vec<(String, String, String)>,
    /// Attributes of a script and its content.
    pub(super) scripts: Vec<(String, String)>,
    /// All words between elements.
    pub(super) text: String,
}

/// Reads a page, or says where it is wrong.
pub(super) fn read(html: &str) -> Result<Page, String> {
    let mut page = Page::default();
    let mut open: Vec<&str> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut rest = html.strip_prefix("<!doctype html>\n").ok_or("no doctype")?;
    while !rest.is_empty() {
        let at = rest.find('<').unwrap_or(rest.len());
        page.text.push_str(&unescaped(&rest[..at])?);
        rest = &rest[at..];
        if rest.is_empty() {
            break;
        }
        let end = rest.find('>').ok_or_else(|| format!("a tag without an end: {}", start(rest)))?;
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(last) if last == name => continue,
                last => return Err(format!("</{name}> closes {last:?}")),
            }
        }
        let is_closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
            return Err(format!("no name of an element: {name:?}"));
        }
        for (attribute, value) in attributes_of(attributes)? {
            if attribute == "id" && !ids.insert(value.clone()) {
                return Err(format!("two elements are called {value}"));
            }
            page.attributes.push((name.to_owned(), attribute, value));
        }
        if ["script", "style"].contains(&name) {
            let close = format!("</{name}>");
            let at = rest.find(&close).ok_or_else(|| format!("no {close}"))?;
            if rest[..at].contains("<!--") {
                return Err(format!("a comment begins in {name}"));
            }
            if name == "script" {
                page.scripts.push((attributes.to_owned(), rest[..at].to_owned()));
            }
            rest = &rest[at + close.len()..];
        } else if !is_closed && !["meta", "br", "hr", "link"].contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(page) } else { Err(format!("still open: {open:?}")) }
}

fn attributes_of(mut rest: &str) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    while !rest.trim().is_empty() {
        let (name, after) =
            rest.trim_start().split_once("=\"").ok_or_else(|| format!("not quoted: {}", start(rest)))?;
        if !name.chars().all(|c| c.is_ascii_alphabetic() || c == '-') || found.iter().any(|(other, _)| other == name) {
            return Err(format!("no name of an attribute, or twice: {name:?}"));
        }
        let (value, after) = after.split_once('"').ok_or_else(|| format!("no end of {name}"))?;
        found.push((name.to_owned(), unescaped(value)?));
        rest = after;
    }
    Ok(found)
}

fn unescaped(text: &str) -> Result<String, String> {
    if let Some(c) = text.chars().find(|c| ['>', '"'].contains(c) || (c.is_control() && *c != '\n')) {
        return Err(format!("{c:?} in {}", start(text)));
    }
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        let entities = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&#39;", '\'')];
        let (entity, c) = entities
            .into_iter()
            .find(|(entity, _)| rest[at..].starts_with(entity))
            .ok_or_else(|| format!("no entity: {}", start(&rest[at..])))?;
        plain.push(c);
        rest = &rest[at + entity.len()..];
    }
    Ok(plain + rest)
}

fn start(text: &str) -> String {
    text.chars().take(60).collect()
}

#[test]
fn what_is_not_well_formed_is_refused() {
    let with = |body: &str| read(&format!("<!doctype html>\n<p>{body}</p>"));
    for good in ["a &lt; b", "<b class=\"x\">a</b>", "<svg><path d=\"M0 0\"/></svg>", "<script>if (a < b) {}</script>"]
    {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in [
        "a < b",
        "a > b",
        "a & b",
        "<b>a",
        "a</b>",
        "<b><i>a</b></i>",
        "<b class=x>a</b>",
        "<b class=\"x\" class=\"y\">a</b>",
        "<b id=\"x\"></b><b id=\"x\"></b>",
        "<script>a",
        "<script><!-- a</script>",
        "\u{1b}",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}
