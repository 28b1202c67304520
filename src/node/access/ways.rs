//! Login ways as they are taken in: checked, and with what was left out filled in. It asks nobody whether they work.

use crate::hook::{Place, Secret};
use crate::model::fault::{Code, Fault};
use crate::model::tenant::{BusinessLogin, JwtLogin, LoginWays};
use crate::node::access::checks::check_ways;

/// Checks login ways. A secret that is left out is the known one, or made.
///
/// # Errors
/// `invalid_option`, with the field.
pub(super) fn checked(mut ways: LoginWays, known: &LoginWays) -> Result<LoginWays, Fault> {
    if let Some(business) = &mut ways.business {
        let known = known.business.as_ref().map_or("", |known| &known.secret);
        fill_business(business, known)?;
    }
    if let Some(jwt) = &mut ways.jwt {
        fill_jwt(jwt)?;
    }
    let life = ways.token_ttl_seconds;
    if life != 0 && !(TOKEN_TTL_MIN..=TOKEN_TTL_MAX).contains(&life) {
        return Err(refuse("token_ttl_seconds", &format!("give {TOKEN_TTL_MIN} to {TOKEN_TTL_MAX}, or 0 for an hour")));
    }
    // As those who will follow them read them.
    check_ways(&ways)?;
    Ok(ways)
}

fn fill_business(business: &mut BusinessLogin, known_secret: &str) -> Result<(), Fault> {
    check_place("business.url", &business.url)?;
    let secret = match (business.secret.as_str(), known_secret) {
        ("", "") => Secret::make().map_err(|_| Fault::new(Code::Internal, "the system gives no random bytes"))?,
        ("", text) | (text, _) => Secret::parse(text).map_err(|error| refuse("business.secret", &error.to_string()))?,
    };
    business.secret = secret.to_text();
    match business.timeout_ms {
        0 => business.timeout_ms = TIMEOUT_MS_DEFAULT,
        TIMEOUT_MS_MIN..=TIMEOUT_MS_MAX => {}
        _ => {
            let words = format!("give {TIMEOUT_MS_MIN} to {TIMEOUT_MS_MAX}, or 0 for {TIMEOUT_MS_DEFAULT}");
            return Err(refuse("business.timeout_ms", &words));
        }
    }
    Ok(())
}

/// A URL of a webhook, or `grpc://` or `grpcs://` with host and port.
fn check_place(field: &str, url: &str) -> Result<(), Fault> {
    let is_fit = |error: crate::hook::PlaceError| refuse(field, &error.to_string());
    let server = url.strip_prefix("grpc://").or_else(|| url.strip_prefix("grpcs://"));
    let Some(server) = server else {
        return Place::parse(url).map(|_| ()).map_err(is_fit);
    };
    if server.trim_end_matches('/').contains(['/', '?']) {
        return Err(refuse(field, "a gRPC server has no path; give `grpcs://host:port`"));
    }
    Place::parse(&format!("http://{server}")).map(|_| ()).map_err(is_fit)
}

fn fill_jwt(jwt: &mut JwtLogin) -> Result<(), Fault> {
    if jwt.issuer.is_empty() || jwt.issuer.len() > TEXT_BYTES_MAX {
        return Err(refuse("jwt.issuer", "name the issuer as its tokens do (`iss`), in at most 2048 bytes"));
    }
    let keys = if jwt.jwks_url.is_empty() { ("jwt.issuer", &jwt.issuer) } else { ("jwt.jwks_url", &jwt.jwks_url) };
    Place::parse(keys.1).map_err(|error| refuse(keys.0, &error.to_string()))?;
    let is_fit = |text: &String| !text.is_empty() && text.len() <= TEXT_BYTES_MAX;
    if !(1..=AUDIENCES_MAX).contains(&jwt.audiences.len()) || !jwt.audiences.iter().all(is_fit) {
        let words =
            format!("name 1 to {AUDIENCES_MAX}; a token for another service of the issuer must not be good here");
        return Err(refuse("jwt.audiences", &words));
    }
    if jwt.algorithms.is_empty() {
        jwt.algorithms = ALGORITHMS_DEFAULT.map(str::to_owned).to_vec();
    }
    jwt.algorithms.sort();
    jwt.algorithms.dedup();
    if let Some(other) = jwt.algorithms.iter().find(|name| !ALGORITHMS.contains(&name.as_str())) {
        let words = format!("{other:?} is none of {}", ALGORITHMS.join(", "));
        return Err(refuse("jwt.algorithms", &words));
    }
    if jwt.user_claim.is_empty() {
        jwt.user_claim = "sub".to_owned();
    }
    let claims = jwt.attributes.values().chain([&jwt.user_claim]);
    if jwt.attributes.len() > ATTRIBUTES_MAX || jwt.attributes.keys().chain(claims).any(|text| !is_claim(text)) {
        let words = format!("at most {ATTRIBUTES_MAX}, with names and claims of 1 to {CLAIM_BYTES_MAX} bytes");
        return Err(refuse("jwt.attributes", &words));
    }
    if !jwt.groups_claim.is_empty() && !is_claim(&jwt.groups_claim) {
        return Err(refuse("jwt.groups_claim", &format!("a claim has at most {CLAIM_BYTES_MAX} bytes")));
    }
    if jwt.leeway_seconds > LEEWAY_MAX {
        return Err(refuse("jwt.leeway_seconds", &format!("clocks may be {LEEWAY_MAX} s apart at most")));
    }
    Ok(())
}

fn is_claim(text: &str) -> bool {
    (1..=CLAIM_BYTES_MAX).contains(&text.len())
}

fn refuse(field: &str, why: &str) -> Fault {
    Fault::new(Code::InvalidOption, format!("login.{field}: {why}"))
}

/// Life of a token in seconds.
const TOKEN_TTL_MIN: u32 = 60;
const TOKEN_TTL_MAX: u32 = 30 * 86_400;
/// Wait for the business server in milliseconds.
const TIMEOUT_MS_MIN: u32 = 100;
const TIMEOUT_MS_MAX: u32 = 30_000;
const TIMEOUT_MS_DEFAULT: u32 = 3_000;
const AUDIENCES_MAX: usize = 16;
/// Attributes that are taken from claims. A guess.
const ATTRIBUTES_MAX: usize = 32;
/// Longest name of a claim. A guess: some providers use URLs.
const CLAIM_BYTES_MAX: usize = 256;
/// Longest issuer or audience: that of a URL.
const TEXT_BYTES_MAX: usize = 2048;
/// Clocks that are further apart want to be set, not borne with.
const LEEWAY_MAX: u32 = 300;

/// Signatures that are taken: with `HS...` the key that checks could also sign.
const ALGORITHMS: [&str; 9] = ["ES256", "ES384", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// Those of a provider of which nothing is said.
const ALGORITHMS_DEFAULT: [&str; 3] = ["RS256", "ES256", "EdDSA"];

#[cfg(test)]
mod tests {
    use super::checked;
    use crate::model::fault::Code;
    use crate::model::tenant::{BusinessLogin, JwtLogin, LoginWays};

    fn business(url: &str, secret: &str, timeout_ms: u32) -> LoginWays {
        let business = BusinessLogin { url: url.to_owned(), secret: secret.to_owned(), timeout_ms };
        LoginWays { business: Some(business), ..LoginWays::default() }
    }

    fn jwt(change: impl FnOnce(&mut JwtLogin)) -> LoginWays {
        let (issuer, audiences) = ("https://id.example".to_owned(), vec!["pushline".to_owned()]);
        let mut jwt = JwtLogin { issuer, audiences, leeway_seconds: 60, ..JwtLogin::default() };
        change(&mut jwt);
        LoginWays { jwt: Some(jwt), ..LoginWays::default() }
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let nothing = LoginWays::default();
        let made = checked(business("https://shop.example/login", "", 0), &nothing).unwrap();
        let made_business = made.business.as_ref().unwrap();
        assert!(made_business.secret.starts_with("whsec_") && made_business.timeout_ms == 3_000);
        let moved = checked(business("grpcs://shop.example:443", "", 100), &made).unwrap();
        assert_eq!(moved.business.unwrap().secret, made_business.secret, "it is kept");
        let given = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        assert_eq!(checked(business("http://a", given, 0), &made).unwrap().business.unwrap().secret, given);
        let jwt = checked(jwt(|_| {}), &nothing).unwrap().jwt.unwrap();
        assert_eq!((jwt.algorithms.join(" "), jwt.user_claim.as_str()), ("ES256 EdDSA RS256".to_owned(), "sub"));
        assert_eq!(checked(nothing.clone(), &made).unwrap(), nothing, "none is a choice, too");
    }

    #[test]
    fn what_cannot_work_or_would_be_unsafe_is_refused() {
        let check = |field: &str, ways: LoginWays| {
            let fault = checked(ways, &LoginWays::default()).unwrap_err();
            assert_eq!(fault.code, Code::InvalidOption);
            assert!(fault.to_string().contains(field), "{field}: {fault}");
        };
        for url in [
            "",
            "shop.example",
            "ftp://a",
            "https://u:p@a/",
            "grpc://a/path",
            "grpcs://",
            "grpc://u@a:1",
            "https://a#b",
        ] {
            check("business.url", business(url, "", 0));
        }
        check("business.secret", business("https://a", "whsec_c2hvcnQ=", 0));
        check("business.timeout_ms", business("https://a", "", 99));
        check("business.timeout_ms", business("https://a", "", 30_001));
        check("jwt.issuer", jwt(|jwt| jwt.issuer.clear()));
        check("jwt.issuer", jwt(|jwt| jwt.issuer = "accounts.example".to_owned()));
        check("jwt.jwks_url", jwt(|jwt| jwt.jwks_url = "file:///keys".to_owned()));
        check("jwt.audiences", jwt(|jwt| jwt.audiences.clear()));
        check("jwt.audiences", jwt(|jwt| jwt.audiences = vec!["a".to_owned(); 17]));
        for algorithm in ["none", "HS256", "hs256", "rs256", ""] {
            check("jwt.algorithms", jwt(|jwt| jwt.algorithms = vec![algorithm.to_owned()]));
        }
        check("jwt.attributes", jwt(|jwt| jwt.attributes = [("plan".to_owned(), String::new())].into()));
        check("jwt.groups_claim", jwt(|jwt| jwt.groups_claim = "g".repeat(257)));
        check("jwt.leeway_seconds", jwt(|jwt| jwt.leeway_seconds = 301));
        for life in [1, 59, 2_592_001] {
            check("token_ttl_seconds", LoginWays { token_ttl_seconds: life, ..LoginWays::default() });
        }
        // An issuer that is no URL is good when it is said where its keys are.
        let odd = jwt(|jwt| (jwt.issuer, jwt.jwks_url) = ("accounts".to_owned(), "https://a/jwks".to_owned()));
        assert!(checked(odd, &LoginWays::default()).is_ok());
    }
}
