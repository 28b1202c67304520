//! The query of a path (`?after=x&limit=10`): names and types are checked, unknown names refused. What they mean is not
//! known here.

use axum::extract::Query as Pairs;
use http::Uri;

use crate::model::fault::{Code, Fault};
use crate::rpc::draft::shortened;
use crate::rpc::json_reader::check_known;

/// What a query says.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query whose names are among `known`, each at most once.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Fault> {
        let refuse = |words: String| Err(Fault::new(Code::Malformed, words));
        let Ok(Pairs(pairs)) = Pairs::<Vec<(String, String)>>::try_from_uri(uri) else {
            return refuse("the query of the path is not of the form `name=value&name=value`".to_owned());
        };
        for (at, (name, _)) in pairs.iter().enumerate() {
            check_known("?", name, known)?;
            if pairs[..at].iter().any(|(before, _)| before == name) {
                return refuse(format!("the query of the path has `{}` twice", shortened(name)));
            }
        }
        Ok(Self(pairs))
    }

    /// A text; `None` when it is not there.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// A whole number; `None` when it is not there.
    ///
    /// # Errors
    /// When it is no number, or one that is too large.
    pub(super) fn whole<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, Fault> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let words = || format!("?{name} must be a whole number, and not beyond all bounds");
        number.ok_or_else(|| Fault::new(Code::Malformed, words())).map(Some)
    }

    /// True or false; false when it is not there, true when it has no value.
    ///
    /// # Errors
    /// When it is neither.
    pub(super) fn switch(&mut self, name: &str) -> Result<bool, Fault> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Fault::new(Code::Malformed, format!("?{name} must be true or false"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Query;
    use crate::model::fault::Code;

    fn read(path: &'static str) -> Result<Query, crate::model::fault::Fault> {
        Query::read(&http::Uri::from_static(path), &["after", "limit", "silently"])
    }

    #[test]
    fn what_is_asked_is_read_and_unescaped() {
        let mut query = read("/v1/x?after=a%2Bb%20c&limit=10&silently").expect("a query");
        assert_eq!(query.text("after").as_deref(), Some("a+b c"));
        assert_eq!((query.whole::<u32>("limit"), query.switch("silently")), (Ok(Some(10)), Ok(true)));
        let mut none = read("/v1/x").expect("no query");
        assert_eq!(
            (none.text("after"), none.whole::<u32>("limit"), none.switch("silently")),
            (None, Ok(None), Ok(false))
        );
    }

    #[test]
    fn what_is_not_known_or_no_value_is_refused() {
        for (path, words) in
            [("/?afer=x", "unknown field `?afer`; did you mean `after`?"), ("/?limit=1&limit=2", "has `limit` twice")]
        {
            let fault = read(path).err().expect(path);
            assert!(fault.code == Code::Malformed && fault.words.contains(words), "{path}: {fault}");
        }
        for path in ["/?limit=", "/?limit=-1", "/?limit=1.5", "/?limit=99999999999", "/?limit=x"] {
            let refused = read(path).expect(path).whole::<u32>("limit").expect_err(path);
            assert!(refused.words.starts_with("?limit must be a whole number"), "{path}: {refused}");
        }
        assert!(read("/?silently=perhaps").expect("a query").switch("silently").is_err());
    }
}
