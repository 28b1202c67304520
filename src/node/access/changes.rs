//! What a change of a tenant changed, for the audit log: by field, without secrets.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::tenant::Tenant;

/// What differs between two, by the path of the field: `FROM -> TO`. Of a secret it says only that it was changed, of URLs
/// only scheme and host, since the rest may hold what only the receiver should know.
pub(super) fn changes(before: &Tenant, after: &Tenant) -> BTreeMap<String, String> {
    let (before, after) = (fields(before), fields(after));
    let paths = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
    let changed = paths.filter(|path| before.get(*path) != after.get(*path));
    let told = changed.map(|path| {
        let (from, to) = (shown(path, before.get(path)), shown(path, after.get(path)));
        let words = if path.ends_with(".secret") { "changed".to_owned() } else { format!("{from} -> {to}") };
        (path.clone(), words)
    });
    told.collect()
}

/// All fields that have a value, by path.
fn fields(tenant: &Tenant) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let parts = [
        ("suspended", Value::Bool(tenant.suspended)),
        ("limits", serde_json::to_value(&tenant.limits).unwrap_or_default()),
        ("login", serde_json::to_value(&tenant.login).unwrap_or_default()),
    ];
    for (path, value) in parts {
        walk(path.to_owned(), value, &mut found);
    }
    found
}

fn walk(path: String, value: Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(format!("{path}.{name}"), value, found);
            }
        }
        value => drop(found.insert(path, value)),
    }
}

fn shown(path: &str, value: Option<&Value>) -> String {
    let mut text = match value {
        None => return "unset".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Some(other) => other.to_string(),
    };
    if path.ends_with("url") {
        let host = text.find("://").map_or(0, |at| at + 3);
        let end = text[host..].find(['/', '?']).map_or(text.len(), |at| host + at);
        text.truncate(end);
    }
    if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// Characters of a value that are told; longer ones are cut. A guess.
const TEXT_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::changes;
    use crate::model::tenant::{BusinessLogin, JwtLogin, Limits, LoginWays, Rate, Tenant};

    #[test]
    fn what_was_changed_is_told_and_no_secret() {
        let before = Tenant::default();
        let per_second = NonZeroU32::MIN;
        let rate = Rate { count: NonZeroU32::new(50).unwrap(), per_seconds: per_second, burst: per_second };
        let limits = Limits { topics: Some(3), pushes: Some(rate), ..Limits::default() };
        let url = "https://shop.example/hooks?key=hidden".to_owned();
        let business = BusinessLogin { url, secret: "whsec_hidden".to_owned(), timeout_ms: 3_000 };
        let audiences = vec!["a".to_owned(), "b".to_owned()];
        let jwt = JwtLogin { audiences, issuer: "i".repeat(200), ..JwtLogin::default() };
        let login = LoginWays { business: Some(business), jwt: Some(jwt), ..LoginWays::default() };
        let after = Tenant { limits, login, suspended: true, ..Tenant::default() };
        let told = changes(&before, &after);
        for (path, words) in [
            ("suspended", "false -> true"),
            ("limits.topics", "unset -> 3"),
            ("limits.pushes.count", "unset -> 50"),
            ("login.business.url", "unset -> https://shop.example"),
            ("login.business.secret", "changed"),
            ("login.jwt.audiences", "unset -> a b"),
        ] {
            assert_eq!(told.get(path).map(String::as_str), Some(words), "{path}");
        }
        assert!(!format!("{told:?}").contains("hidden"));
        assert!(told["login.jwt.issuer"].len() < 130);
        assert!(!told.contains_key("login.device_key") && !told.contains_key("limits.connections"));
        let mut rotated = after.clone();
        rotated.login.business.as_mut().unwrap().secret = "whsec_new".to_owned();
        let told = changes(&after, &rotated);
        assert_eq!(told.into_iter().collect::<Vec<_>>(), [("login.business.secret".into(), "changed".into())]);
        assert_eq!(changes(&after, &before)["limits.topics"], "3 -> unset");
        assert!(changes(&after, &after).is_empty());
    }
}
