//! What the credentials of a request let it do. Rights of different kinds are different types: a handler that wants some
//! cannot be reached without them.

use axum::extract::MatchedPath;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::model::access::{Caller, Scope};
use crate::model::fault::{Code, Fault};
use crate::node::Node;
use crate::node::access::Credential;
use crate::rpc::methods;
use crate::tls::Fingerprint;

/// Rights that were checked.
pub(super) trait Rights: Clone + Send + Sync + 'static {
    /// Those of a request.
    ///
    /// # Errors
    /// Why it has none.
    fn of(node: &Node, parts: &Parts) -> Result<Self, Fault>;
}

/// The certificate that a connection was opened with. The listener puts it into every request.
#[derive(Clone, Copy)]
pub(super) struct Certificate(pub(super) Fingerprint);

/// The operator, who has the admin key.
#[derive(Clone, Copy)]
pub(super) struct Operator;

impl Rights for Operator {
    fn of(node: &Node, parts: &Parts) -> Result<Self, Fault> {
        node.check_admin(bearer(parts)?.unwrap_or_default()).map(|()| Self)
    }
}

impl Rights for Caller {
    /// The one place where a backend's credentials, the scope of the method and the rate of its calls are checked.
    fn of(node: &Node, parts: &Parts) -> Result<Self, Fault> {
        let certificate = parts.extensions.get::<Certificate>();
        let credential = match (bearer(parts)?, certificate) {
            (Some(""), _) | (None, None) => Credential::None,
            (Some(key), _) => Credential::Key(key),
            (None, Some(Certificate(fingerprint))) => Credential::Certificate(fingerprint),
        };
        let caller = node.caller(credential)?;
        let path = parts.extensions.get::<MatchedPath>();
        // Those that lack the scope count too.
        node.admit_call(&caller, path.map_or("", MatchedPath::as_str))?;
        let needed = path.and_then(|path| methods::scope(&parts.method, path.as_str()));
        // A path that is served and not in the table must not be open to everybody.
        let forgotten = || Fault::new(Code::Internal, "nobody said what this method needs");
        check(&caller, needed.ok_or_else(forgotten)?)?;
        Ok(caller)
    }
}

fn check(caller: &Caller, needed: Scope) -> Result<(), Fault> {
    if caller.scopes.has(needed) {
        return Ok(());
    }
    let has: Vec<_> = caller.scopes.iter().map(Scope::as_str).collect();
    let words = format!(
        "the key {} has the scopes {}; this method needs {}, which another key may have",
        caller.key,
        has.join(", "),
        needed.as_str(),
    );
    Err(Fault::new(Code::ScopeMissing, words))
}

/// The key that stands in the header; `None` when no header came.
fn bearer(parts: &Parts) -> Result<Option<&str>, Fault> {
    let refuse = |words| Err(Fault::new(Code::InvalidCredentials, words));
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return refuse("authorization came several times; send one key");
    }
    let Some((scheme, key)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return refuse("authorization is not of the form `Bearer KEY`");
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return refuse("authorization is not of the form `Bearer KEY`");
    }
    Ok(Some(key.trim()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{bearer, check};
    use crate::model::access::{Caller, Scope, Scopes};
    use crate::model::fault::Code;
    use crate::model::id::{KeyId, TenantId};

    #[test]
    fn a_key_has_its_scopes_and_no_others() {
        let caller = |scopes: &[Scope]| Caller {
            tenant: TenantId::new("shop").expect("a name"),
            key: KeyId::new("k1").expect("a name"),
            scopes: Scopes::of(scopes.iter().copied()),
        };
        for needed in Scope::ALL {
            assert_eq!(check(&caller(&[needed]), needed), Ok(()));
            assert_eq!(check(&caller(&Scope::ALL), needed), Ok(()));
            let others: Vec<_> = Scope::ALL.into_iter().filter(|scope| *scope != needed).collect();
            let fault = check(&caller(&others), needed).expect_err("not this one");
            assert!(fault.code == Code::ScopeMissing && fault.words.contains(needed.as_str()), "{fault}");
        }
    }

    #[test]
    fn one_header_with_one_key_is_taken() {
        let read = |values: &[&str]| {
            let request =
                values.iter().fold(Request::get("/"), |request, value| request.header("authorization", *value));
            let parts = request.body(()).expect("a request").into_parts().0;
            bearer(&parts).map(|key| key.map(str::to_owned)).map_err(|fault| fault.code)
        };
        assert_eq!(read(&[]), Ok(None));
        for value in ["Bearer plk_x", "bearer plk_x", "BEARER   plk_x "] {
            assert_eq!(read(&[value]), Ok(Some("plk_x".to_owned())), "{value}");
        }
        for values in [&["plk_x"][..], &["Basic plk_x"], &["Bearer"], &["Bearer a", "Bearer a"], &["Bearer \u{e9}"]] {
            assert_eq!(read(values), Err(Code::InvalidCredentials), "{values:?}");
        }
    }
}
