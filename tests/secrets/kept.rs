//! What must not be seen, and where it is looked for.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// All that must stay unseen, in all forms that a careless line might give it.
#[derive(Default)]
pub(crate) struct Kept {
    forms: Vec<(String, String)>,
}

/// As far as what a type prints of bytes is looked at.
const BYTES_SHOWN: usize = 12;

impl Kept {
    /// Keeps a text, and gives it back.
    pub(crate) fn text(&mut self, what: &str, secret: &str) -> String {
        self.bytes(what, secret.as_bytes());
        secret.to_owned()
    }

    /// Keeps bytes.
    pub(crate) fn bytes(&mut self, what: &str, secret: &[u8]) {
        assert!(secret.len() >= 8, "{what} is too short to be found by: {secret:?}");
        let short = &secret[..secret.len().min(BYTES_SHOWN)];
        let listed: Vec<_> = short.iter().map(u8::to_string).collect();
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            String::from_utf8(secret.to_vec()).ok(),
            Some(STANDARD_NO_PAD.encode(secret)),
            Some(URL_SAFE_NO_PAD.encode(secret)),
            Some(hex),
            Some(listed.join(", ")),
            Some(secret.escape_ascii().to_string()),
        ];
        self.forms.extend(forms.into_iter().flatten().map(|form| (what.to_owned(), form)));
        // The part that is the secret: of a key without its id, of a token what it says and its signature.
        if let Some(parts) = std::str::from_utf8(secret).ok().and_then(parts) {
            self.forms.extend(parts.into_iter().map(|form| (what.to_owned(), form)));
        }
    }

    /// Keeps a code as people type it.
    pub(crate) fn code(&mut self, what: &str, code: &str) -> String {
        self.text(what, &code.replace('-', ""));
        self.text(what, code)
    }

    /// What of it is in a text, and the line in which it is.
    pub(crate) fn seen<'a>(&'a self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let find = |(what, form): &'a (String, String)| {
            let at = text.find(form.as_str())?;
            let from = text[..at].rfind('\n').map_or(0, |end| end + 1);
            Some((what.as_str(), text[from..].lines().next().unwrap_or_default()))
        };
        self.forms.iter().find_map(find)
    }

    /// Nothing of it may be there.
    pub(crate) fn assert_unseen(&self, place: &str, text: &str) {
        if let Some((what, line)) = self.seen(text) {
            panic!("{what} is in {place}: {line}");
        }
    }
}

/// The parts of a credential that must not be seen either.
fn parts(secret: &str) -> Option<Vec<String>> {
    if let Some(rest) = secret.strip_prefix("plk_") {
        let (_, own) = rest.split_once('_')?;
        return Some(vec![own.to_owned()]);
    }
    if let Some(own) = secret.strip_prefix("whsec_") {
        let raw = STANDARD.decode(own).ok()?;
        let listed: Vec<_> = raw.iter().take(BYTES_SHOWN).map(u8::to_string).collect();
        return Some(vec![own.to_owned(), listed.join(", ")]);
    }
    let own: Vec<_> = secret.split('.').skip(1).map(str::to_owned).collect();
    (secret.starts_with("eyJ") && own.len() == 2).then_some(own)
}
