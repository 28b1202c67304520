//! Tokens of providers: those that are taken, and every way to be refused. Signed without the library that checks them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use aws_lc_rs::{encoding::AsDer, encoding::PublicKeyX509Der, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{AUDIENCES_MAX, IDENTITY_BYTES_MAX, Refusal, Rules, RulesError, as_name, check};
use crate::auth::key_set::{ALGORITHMS, KeySet};
use crate::model::clock::Timestamp;
use crate::model::tenant::JwtLogin;

const SECONDS: u64 = 1_800_000_000;
const NOW: Timestamp = Timestamp::from_millis(SECONDS * 1000);

/// A provider with a key of each kind.
struct Provider {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Provider {
    fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            p384: EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match kid {
            "rsa" => {
                let key = self.rsa.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                let [n, e] = [n, e].map(|number| text(number.big_endian_without_leading_zero()));
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": n, "e": e})
            }
            "p256" | "p384" => {
                let (key, curve) = if kid == "p256" { (&self.p256, "P-256") } else { (&self.p384, "P-384") };
                let (x, y) = key.public_key().as_ref()[1..].split_at(if kid == "p256" { 32 } else { 48 });
                json!({"kty": "EC", "crv": curve, "kid": kid, "x": text(x), "y": text(y)})
            }
            _ => json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(self.ed.public_key().as_ref())}),
        }
    }

    fn keys(&self) -> KeySet {
        set(&["rsa", "p256", "p384", "ed"].map(|kid| self.jwk(kid)))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn RsaEncoding| {
            let mut made = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, message, &mut made).unwrap();
            made
        };
        match algorithm {
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, message).unwrap().as_ref().to_vec(),
            _ => self.ed.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header, signed with the key that its algorithm is for.
    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token that would be good with these claims.
    fn good(&self, claims: &Value) -> String {
        self.token(&json!({"alg": "EdDSA", "kid": "ed"}), claims)
    }
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": "app", "sub": "ada", "iat": SECONDS - 5, "exp": SECONDS + 300})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn way() -> JwtLogin {
    JwtLogin {
        issuer: "https://id.example".into(),
        audiences: vec!["app".into(), "other".into()],
        leeway_seconds: 60,
        ..JwtLogin::default()
    }
}

fn rules() -> Rules {
    Rules::new(&way()).unwrap()
}

fn all_algorithms() -> Rules {
    let algorithms = ALGORITHMS.iter().map(|(word, _)| (*word).to_owned()).collect();
    Rules::new(&JwtLogin { algorithms, ..way() }).unwrap()
}

/// P2.8: what a stock provider signs is taken.
#[test]
fn each_algorithm_is_taken_with_the_key_it_is_for() {
    let provider = Provider::new();
    let keys = provider.keys();
    let kid = |word: &str| match &word[..2] {
        "RS" | "PS" => "rsa",
        "Ed" => "ed",
        _ => {
            if word == "ES256" {
                "p256"
            } else {
                "p384"
            }
        }
    };
    for (word, algorithm) in ALGORITHMS {
        let token = provider.token(&json!({"alg": word, "kid": kid(word), "typ": "JWT"}), &claims());
        let identity = check(&token, &all_algorithms(), &keys, NOW).unwrap();
        assert_eq!(identity.user.as_str(), "ada", "{word}");
        assert_eq!(identity.issued_at, Some(Timestamp::from_millis((SECONDS - 5) * 1000)));
        let by_default = super::ALGORITHMS_DEFAULT.contains(algorithm);
        assert_eq!(check(&token, &rules(), &keys, NOW).is_ok(), by_default, "{word}");
        // The key of another id does not do, whatever the token says.
        for other in ["rsa", "p256", "p384", "ed"].into_iter().filter(|other| *other != kid(word)) {
            let token = provider.token(&json!({"alg": word, "kid": other}), &claims());
            assert_eq!(
                check(&token, &all_algorithms(), &keys, NOW).unwrap_err(),
                Refusal::UnknownKey,
                "{word} {other}"
            );
        }
    }
}

#[test]
fn the_token_does_not_choose_how_it_is_checked() {
    let provider = Provider::new();
    let (keys, rules) = (provider.keys(), all_algorithms());
    // Nothing signed it.
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = format!("{}.{}.", part(&json!({"alg": none, "kid": "ed"})), part(&claims()));
        assert_eq!(check(&unsigned, &rules, &keys, NOW).unwrap_err(), Refusal::Algorithm, "{none}");
    }
    // Key confusion: what anybody may know of a public key, as the secret of an HMAC, in every form it comes in.
    let der = AsDer::<PublicKeyX509Der<'_>>::as_der(provider.rsa.public_key()).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()));
    let modulus = provider.rsa.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let json = provider.jwk("rsa").to_string().into_bytes();
    let forms = [der.as_ref().to_vec(), pem.into_bytes(), modulus, json, provider.ed.public_key().as_ref().to_vec()];
    for (kid, secret) in ["rsa", "ed"].iter().flat_map(|kid| forms.iter().map(move |form| (kid, form))) {
        for (word, hash) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
            let signed = format!("{}.{}", part(&json!({"alg": word, "kid": kid})), part(&claims()));
            let tag = hmac::sign(&hmac::Key::new(hash, secret), signed.as_bytes());
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
            assert_eq!(check(&token, &rules, &keys, NOW).unwrap_err(), Refusal::Algorithm, "{word} {kid}");
        }
    }
    // Not even a published secret is one.
    let oct = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode([7; 32])});
    let keys = set(&[oct, provider.jwk("ed")]);
    let signed = format!("{}.{}", part(&json!({"alg": "HS256", "kid": "s"})), part(&claims()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
    assert_eq!(check(&token, &rules, &keys, NOW).unwrap_err(), Refusal::Algorithm);
    for word in ["ES256K", "Ed448", "RSA1_5", "A128KW", "rs256", "eddsa"] {
        let token = provider.token(&json!({"alg": word, "kid": "ed"}), &claims());
        assert_eq!(check(&token, &rules, &keys, NOW).unwrap_err(), Refusal::Algorithm, "{word}");
    }
}

#[test]
fn keys_that_a_token_brings_along_count_for_nothing() {
    let (ours, theirs) = (Provider::new(), Provider::new());
    let (jwk, keys) = (theirs.jwk("ed"), ours.keys());
    for header in [
        json!({"alg": "EdDSA", "kid": "ed", "jwk": jwk}),
        json!({"alg": "EdDSA", "kid": "ed", "jku": "https://evil.example/keys"}),
        json!({"alg": "EdDSA", "kid": "ed", "x5u": "https://evil.example/keys"}),
    ] {
        assert_eq!(check(&theirs.token(&header, &claims()), &rules(), &keys, NOW).unwrap_err(), Refusal::Signature);
        assert!(check(&ours.token(&header, &claims()), &rules(), &keys, NOW).is_ok(), "they are passed over");
    }
    let header = json!({"alg": "EdDSA", "jwk": jwk});
    assert_eq!(check(&theirs.token(&header, &claims()), &rules(), &keys, NOW).unwrap_err(), Refusal::UnknownKey);
}

#[test]
fn a_changed_or_cut_token_is_refused() {
    let provider = Provider::new();
    let keys = provider.keys();
    let token = provider.good(&claims());
    let parts: Vec<_> = token.split('.').collect();
    let eve = format!("{}.{}.{}", parts[0], part(&with("sub", json!("eve"))), parts[2]);
    let zeros = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64]));
    for forged in [&eve, &zeros, &format!("{}.{}.", parts[0], parts[1])] {
        assert_eq!(check(forged, &rules(), &keys, NOW).unwrap_err(), Refusal::Signature);
    }
    for cut in 0..token.len() {
        assert!(check(&token[..cut], &rules(), &keys, NOW).is_err(), "{cut}");
    }
    for garbage in ["", ".", "..", "...", "a.b.c", "é.é.é", "{}.{}.{}", &format!(" {token}"), &format!("a.{token}")]
    {
        assert_eq!(check(garbage, &rules(), &keys, NOW).unwrap_err(), Refusal::Malformed, "{garbage}");
    }
    let twice = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","alg":"none"}"#), parts[1]);
    assert_eq!(check(&format!("{twice}.x"), &rules(), &keys, NOW).unwrap_err(), Refusal::Malformed);
    let no_object = provider.good(&json!(["ada"]));
    assert_eq!(check(&no_object, &rules(), &keys, NOW).unwrap_err(), Refusal::Malformed);
    let oversize = provider.good(&with("more", json!("x".repeat(IDENTITY_BYTES_MAX))));
    assert_eq!(check(&oversize, &rules(), &keys, NOW).unwrap_err(), Refusal::TooLarge);
    let large = provider.good(&with("more", json!("x".repeat(10_000))));
    assert!(check(&large, &rules(), &keys, NOW).is_ok());
}

#[test]
fn tokens_for_other_purposes_are_refused() {
    let provider = Provider::new();
    let keys = provider.keys();
    for (typ, good) in [
        ("JWT", true),
        ("jwt", true),
        ("at+jwt", true),
        ("application/at+JWT", true),
        ("logout+jwt", false),
        ("secevent+jwt", false),
        ("dpop+jwt", false),
        ("pushline+jwt", false),
        ("", false),
    ] {
        let token = provider.token(&json!({"alg": "EdDSA", "kid": "ed", "typ": typ}), &claims());
        let expected = if good { None } else { Some(Refusal::Type) };
        assert_eq!(check(&token, &rules(), &keys, NOW).err(), expected, "{typ}");
    }
    for crit in [json!(["b64"]), json!([]), json!("b64")] {
        let token = provider.token(&json!({"alg": "EdDSA", "kid": "ed", "b64": false, "crit": crit}), &claims());
        assert_eq!(check(&token, &rules(), &keys, NOW).unwrap_err(), Refusal::Type);
    }
}

#[test]
fn claims_must_be_there_and_right() {
    let provider = Provider::new();
    let keys = provider.keys();
    for (claims, why) in [
        (without("iss"), Refusal::Issuer),
        (with("iss", json!("https://id.example/")), Refusal::Issuer),
        (with("iss", json!("https://evil.example")), Refusal::Issuer),
        (with("iss", json!(["https://id.example"])), Refusal::Issuer),
        (without("aud"), Refusal::Audience),
        (with("aud", json!("")), Refusal::Audience),
        (with("aud", json!("App")), Refusal::Audience),
        (with("aud", json!(["app2", 7])), Refusal::Audience),
        (with("aud", json!({"app": true})), Refusal::Audience),
        (without("exp"), Refusal::Times),
        (with("exp", json!("soon")), Refusal::Times),
        (with("exp", json!(-1)), Refusal::Times),
        (with("exp", json!(null)), Refusal::Times),
        (with("nbf", json!("now")), Refusal::Times),
        (with("iat", json!([1])), Refusal::Times),
        (without("sub"), Refusal::User),
        (with("sub", json!("")), Refusal::User),
        (with("sub", json!(null)), Refusal::User),
        (with("sub", json!(["ada"])), Refusal::User),
        (with("sub", json!("x".repeat(129))), Refusal::User),
    ] {
        assert_eq!(check(&provider.good(&claims), &rules(), &keys, NOW).unwrap_err(), why, "{claims}");
    }
    for good in [with("aud", json!(["x", "other"])), with("aud", json!("other")), without("iat")] {
        assert!(check(&provider.good(&good), &rules(), &keys, NOW).is_ok(), "{good}");
    }
}

/// Clocks may be a minute apart, and not a second more.
#[test]
fn clock_skew_is_forgiven_within_the_leeway() {
    let provider = Provider::new();
    let keys = provider.keys();
    let strict = Rules::new(&JwtLogin { leeway_seconds: 0, ..way() }).unwrap();
    for (name, seconds, lax, exact) in [
        ("exp", json!(SECONDS + 1), None, None),
        ("exp", json!(SECONDS), None, Some(Refusal::Expired)),
        ("exp", json!(SECONDS - 59), None, Some(Refusal::Expired)),
        ("exp", json!(SECONDS - 60), Some(Refusal::Expired), Some(Refusal::Expired)),
        ("exp", json!(0), Some(Refusal::Expired), Some(Refusal::Expired)),
        ("exp", json!(SECONDS as f64 + 0.5), None, None),
        ("exp", json!(u64::MAX), None, None),
        ("exp", json!(1e300), None, None),
        ("nbf", json!(SECONDS), None, None),
        ("nbf", json!(SECONDS + 60), None, Some(Refusal::Early)),
        ("nbf", json!(SECONDS + 61), Some(Refusal::Early), Some(Refusal::Early)),
        ("nbf", json!(u64::MAX), Some(Refusal::Early), Some(Refusal::Early)),
        ("iat", json!(SECONDS + 60), None, Some(Refusal::Early)),
        ("iat", json!(SECONDS + 61), Some(Refusal::Early), Some(Refusal::Early)),
    ] {
        let token = provider.good(&with(name, seconds.clone()));
        assert_eq!(check(&token, &rules(), &keys, NOW).err(), lax, "{name} {seconds}");
        assert_eq!(check(&token, &strict, &keys, NOW).err(), exact, "{name} {seconds}, no leeway");
    }
}

#[test]
fn tokens_without_a_key_id_and_ids_that_are_there_twice() {
    let (provider, other) = (Provider::new(), Provider::new());
    let unnamed = provider.token(&json!({"alg": "EdDSA"}), &claims());
    assert!(check(&unnamed, &rules(), &provider.keys(), NOW).is_ok(), "one key fits");
    let two = set(&[provider.jwk("a"), other.jwk("b")]);
    assert_eq!(check(&unnamed, &rules(), &two, NOW).unwrap_err(), Refusal::UnknownKey, "two fit: none is guessed");
    // The one key was replaced: newer keys may help, and an id would have told.
    assert_eq!(check(&unnamed, &rules(), &other.keys(), NOW).unwrap_err(), Refusal::UnknownKey);
    // The same id twice: either may have signed, and nobody else.
    let twice = set(&[other.jwk("ed"), provider.jwk("ed")]);
    for signer in [&provider, &other] {
        assert!(check(&signer.good(&claims()), &rules(), &twice, NOW).is_ok());
    }
    assert_eq!(check(&Provider::new().good(&claims()), &rules(), &twice, NOW).unwrap_err(), Refusal::Signature);
}

#[test]
fn users_and_claims_are_found_where_the_tenant_says() {
    let provider = Provider::new();
    let keys = provider.keys();
    let mut claims = with("https://app.example/level", json!(3));
    claims["realm"] = json!({"roles": ["staff"], "deep": {"name": "grace"}});
    claims["number"] = json!(17);
    let user = |claim: &str| {
        let rules = Rules::new(&JwtLogin { user_claim: claim.into(), ..way() }).unwrap();
        check(&provider.good(&claims), &rules, &keys, NOW).map(|identity| identity.user.to_string())
    };
    assert_eq!(user(""), Ok("ada".to_owned()));
    assert_eq!(user("number"), Ok("17".to_owned()));
    assert_eq!(user("realm.deep.name"), Ok("grace".to_owned()));
    for wrong in ["realm", "realm.deep", "realm.none", "none", ".", "sub.", "sub.x"] {
        assert_eq!(user(wrong), Err(Refusal::User), "{wrong}");
    }
    let identity = check(&provider.good(&claims), &rules(), &keys, NOW).unwrap();
    assert_eq!(identity.claim("https://app.example/level"), Some(&json!(3)), "a name with dots in it comes first");
    assert_eq!(identity.claim("realm.roles"), Some(&json!(["staff"])));
}

#[test]
fn words_become_names_that_differ_when_the_words_do() {
    for (word, name) in [
        ("ada@example.org", "ada@example.org"),
        ("auth0|5f7c", "auth0%7C5f7c"),
        ("/staff/admins", "%2Fstaff%2Fadmins"),
        ("50%", "50%25"),
        ("a%7Cb", "a%257Cb"),
        ("é", "%C3%A9"),
        ("", ""),
    ] {
        assert_eq!(as_name(word), name);
    }
}

#[test]
fn settings_that_would_take_anything_are_refused() {
    let refused = |change: &dyn Fn(&mut JwtLogin)| {
        let mut way = way();
        change(&mut way);
        Rules::new(&way).unwrap_err()
    };
    assert_eq!(refused(&|way| way.issuer.clear()), RulesError::NoIssuer);
    assert_eq!(refused(&|way| way.audiences.clear()), RulesError::Audiences);
    assert_eq!(refused(&|way| way.audiences.push(String::new())), RulesError::Audiences);
    assert_eq!(refused(&|way| way.audiences = vec!["a".into(); AUDIENCES_MAX + 1]), RulesError::Audiences);
    assert_eq!(refused(&|way| way.leeway_seconds = 301), RulesError::Leeway);
    for word in ["HS256", "HS512", "none", "", "rs256", "ES512"] {
        let found = refused(&|way| way.algorithms = vec!["RS256".into(), word.into()]);
        assert_eq!(found, RulesError::Algorithm(word.into()));
    }
}
