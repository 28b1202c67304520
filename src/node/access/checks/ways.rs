//! Whether a tenant's login ways can be used, asked when they are set: what is stored was checked.

use crate::auth::identity::Rules;
use crate::hook::{BusinessServer, Secret};
use crate::model::attributes::{ATTRIBUTES_MAX, check_attribute};
use crate::model::fault::{Code, Fault};
use crate::model::tenant::{BusinessLogin, JwtLogin, LoginWays};
use crate::node::access::checks::issuer::Source;

/// Refuses login ways that no login could go.
///
/// # Errors
/// `invalid_option` with words that say which setting, and never repeat a secret.
pub fn check_ways(ways: &LoginWays) -> Result<(), Fault> {
    if !(ways.token_ttl_seconds == 0 || (60..=TTL_SECONDS_MAX).contains(&ways.token_ttl_seconds)) {
        return refuse(&format!("token_ttl_seconds: give 60 to {TTL_SECONDS_MAX}, or 0 for an hour"));
    }
    ways.business.as_ref().map_or(Ok(()), check_business)?;
    ways.jwt.as_ref().map_or(Ok(()), check_jwt)
}

fn check_business(way: &BusinessLogin) -> Result<(), Fault> {
    if let Err(why) = BusinessServer::parse(&way.url) {
        return refuse(&format!("business.url: {why}; a gRPC server is named as `grpc://HOST:PORT`"));
    }
    if let Err(why) = Secret::parse(&way.secret) {
        return refuse(&format!("business.secret: {why}"));
    }
    if !(way.timeout_ms == 0 || (100..=30_000).contains(&way.timeout_ms)) {
        return refuse("business.timeout_ms: give 100 to 30000, or 0 for 3000");
    }
    Ok(())
}

fn check_jwt(way: &JwtLogin) -> Result<(), Fault> {
    if let Err(why) = Rules::new(way) {
        return refuse(&format!("jwt.{why}"));
    }
    if let Err(why) = Source::of(way).first_page() {
        let which = if way.jwks_url.is_empty() { "issuer (jwt.jwks_url is empty)" } else { "jwks_url" };
        return refuse(&format!("jwt.{which}: {why}"));
    }
    if way.attributes.len() > ATTRIBUTES_MAX {
        return refuse(&format!("jwt.attributes: a device has at most {ATTRIBUTES_MAX}"));
    }
    way.attributes.iter().try_for_each(|(name, claim)| match claim.as_str() {
        "" => refuse(&format!("jwt.attributes: name the claim of {name:?}")),
        _ => check_attribute(name, ""),
    })
}

fn refuse(words: &str) -> Result<(), Fault> {
    Err(Fault::new(Code::InvalidOption, words.to_owned()))
}

/// Thirty days: an access token that lives longer is none.
const TTL_SECONDS_MAX: u32 = 2_592_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::check_ways;
    use crate::model::tenant::{BusinessLogin, JwtLogin, LoginWays};

    fn business() -> BusinessLogin {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        BusinessLogin { url: "https://shop.example/login".into(), secret, timeout_ms: 0 }
    }

    fn jwt() -> JwtLogin {
        JwtLogin { issuer: "https://id.example".into(), audiences: vec!["app".into()], ..JwtLogin::default() }
    }

    fn words(ways: &LoginWays) -> Option<String> {
        check_ways(ways).err().map(|fault| fault.words.into_owned())
    }

    #[test]
    fn ways_that_can_be_gone_are_taken() {
        let none = LoginWays::default();
        let both = LoginWays { business: Some(business()), jwt: Some(jwt()), token_ttl_seconds: 60, ..none.clone() };
        assert_eq!((words(&none), words(&both)), (None, None));
        let named = JwtLogin { issuer: "accounts.example".into(), jwks_url: "https://a.example/keys".into(), ..jwt() };
        assert_eq!(
            words(&LoginWays { jwt: Some(named), ..none }),
            None,
            "an issuer need be no URL when the keys have one"
        );
    }

    #[test]
    fn others_are_refused_with_the_setting_named() {
        let with_business = |change: &dyn Fn(&mut BusinessLogin)| {
            let mut way = business();
            change(&mut way);
            LoginWays { business: Some(way), ..LoginWays::default() }
        };
        let with_jwt = |change: &dyn Fn(&mut JwtLogin)| {
            let mut way = jwt();
            change(&mut way);
            LoginWays { jwt: Some(way), ..LoginWays::default() }
        };
        let attribute = |name: &str, claim: &str| BTreeMap::from([(name.to_owned(), claim.to_owned())]);
        for (ways, setting) in [
            (LoginWays { token_ttl_seconds: 59, ..LoginWays::default() }, "token_ttl_seconds"),
            (LoginWays { token_ttl_seconds: u32::MAX, ..LoginWays::default() }, "token_ttl_seconds"),
            (with_business(&|way| way.url.clear()), "business.url"),
            (with_business(&|way| way.url = "grpc://nowhere".into()), "business.url"),
            (with_business(&|way| way.secret = "hunter2".into()), "business.secret"),
            (with_business(&|way| way.timeout_ms = 99), "business.timeout_ms"),
            (with_jwt(&|way| way.issuer = "accounts.example".into()), "jwt.issuer"),
            (with_jwt(&|way| way.audiences.clear()), "jwt.audiences"),
            (with_jwt(&|way| way.jwks_url = "ftp://x/".into()), "jwt.jwks_url"),
            (with_jwt(&|way| way.algorithms = vec!["HS256".into()]), "jwt.algorithms"),
            (with_jwt(&|way| way.leeway_seconds = 301), "jwt.leeway_seconds"),
            (with_jwt(&|way| way.attributes = attribute("plan", "")), "jwt.attributes"),
            (with_jwt(&|way| way.attributes = attribute("a b", "plan")), "attributes"),
        ] {
            let words = words(&ways).unwrap_or_else(|| panic!("{setting} was taken"));
            assert!(words.starts_with(setting) && !words.contains("hunter2"), "{words}");
        }
    }
}
