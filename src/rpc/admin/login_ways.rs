//! How a tenant's devices log in, in the protocol's messages, in the model and in JSON. Whether a way can work is the
//! node's to say.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::model::fault::Fault;
use crate::model::tenant::{BusinessLogin, JwtLogin, LoginWays};
use crate::rpc::json_reader::{count, inner, string, strings, switch, texts};
use crate::wire::pb;

/// How far clocks may be apart when nothing is said, in seconds (proto).
const LEEWAY_SECONDS: u32 = 60;

/// Login ways as the protocol carries them.
pub(super) fn from_pb(ways: pb::LoginWays) -> LoginWays {
    let business =
        |way: pb::BusinessLogin| BusinessLogin { url: way.url, secret: way.secret, timeout_ms: way.timeout_ms };
    let jwt = |way: pb::JwtLogin| JwtLogin {
        issuer: way.issuer,
        audiences: way.audiences,
        jwks_url: way.jwks_url,
        algorithms: way.algorithms,
        user_claim: way.user_claim,
        attributes: way.attributes,
        groups_claim: way.groups_claim,
        leeway_seconds: way.leeway_seconds.unwrap_or(LEEWAY_SECONDS),
    };
    LoginWays {
        business: ways.business.map(business),
        jwt: ways.jwt.map(jwt),
        device_key: ways.device_key.is_some(),
        token_ttl_seconds: ways.token_ttl_seconds,
    }
}

/// The same, the other way.
pub(super) fn to_pb(ways: LoginWays) -> pb::LoginWays {
    let business =
        |way: BusinessLogin| pb::BusinessLogin { url: way.url, secret: way.secret, timeout_ms: way.timeout_ms };
    let jwt = |way: JwtLogin| pb::JwtLogin {
        issuer: way.issuer,
        audiences: way.audiences,
        jwks_url: way.jwks_url,
        algorithms: way.algorithms,
        user_claim: way.user_claim,
        attributes: way.attributes,
        groups_claim: way.groups_claim,
        leeway_seconds: Some(way.leeway_seconds),
    };
    pb::LoginWays {
        business: ways.business.map(business),
        jwt: ways.jwt.map(jwt),
        device_key: ways.device_key.then_some(pb::DeviceKeyLogin {}),
        token_ttl_seconds: ways.token_ttl_seconds,
    }
}

/// Reads `login` of a body.
pub(super) fn read(raw: &RawValue) -> Result<pb::LoginWays, Fault> {
    let mut ways = pb::LoginWays::default();
    for (name, raw) in inner("login.", raw, &["business", "jwt", "device_key", "token_ttl_seconds"])? {
        match name.as_str() {
            "business" => ways.business = Some(read_business(raw)?),
            "jwt" => ways.jwt = Some(read_jwt(raw)?),
            "device_key" => ways.device_key = switch("login.device_key", raw)?.then_some(pb::DeviceKeyLogin {}),
            _ => ways.token_ttl_seconds = count("login.token_ttl_seconds", raw)?,
        }
    }
    Ok(ways)
}

fn read_business(raw: &RawValue) -> Result<pb::BusinessLogin, Fault> {
    let mut way = pb::BusinessLogin::default();
    for (name, raw) in inner("login.business.", raw, &["url", "secret", "timeout_ms"])? {
        let field = format!("login.business.{name}");
        match name.as_str() {
            "url" => way.url = string(&field, raw)?,
            "secret" => way.secret = string(&field, raw)?,
            _ => way.timeout_ms = count(&field, raw)?,
        }
    }
    Ok(way)
}

fn read_jwt(raw: &RawValue) -> Result<pb::JwtLogin, Fault> {
    const FIELDS: [&str; 8] =
        ["issuer", "audiences", "jwks_url", "algorithms", "user_claim", "attributes", "groups_claim", "leeway_seconds"];
    let mut way = pb::JwtLogin::default();
    for (name, raw) in inner("login.jwt.", raw, &FIELDS)? {
        let field = format!("login.jwt.{name}");
        match name.as_str() {
            "issuer" => way.issuer = string(&field, raw)?,
            "audiences" => way.audiences = strings(&field, raw)?,
            "jwks_url" => way.jwks_url = string(&field, raw)?,
            "algorithms" => way.algorithms = strings(&field, raw)?,
            "user_claim" => way.user_claim = string(&field, raw)?,
            "attributes" => way.attributes = texts(&field, raw)?,
            "groups_claim" => way.groups_claim = string(&field, raw)?,
            _ => way.leeway_seconds = Some(count(&field, raw)?),
        }
    }
    Ok(way)
}

/// Login ways in JSON. A secret is there only in the answer that made it.
pub(super) fn shown(ways: &pb::LoginWays) -> Value {
    let business = |way: &pb::BusinessLogin| {
        let mut value = json!({ "url": way.url, "timeout_ms": way.timeout_ms });
        if !way.secret.is_empty() {
            value["secret"] = way.secret.as_str().into();
        }
        value
    };
    let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    let jwt = |way: &pb::JwtLogin| {
        json!({
            "issuer": way.issuer,
            "audiences": way.audiences,
            "jwks_url": text(&way.jwks_url),
            "algorithms": way.algorithms,
            "user_claim": way.user_claim,
            "attributes": way.attributes,
            "groups_claim": text(&way.groups_claim),
            "leeway_seconds": way.leeway_seconds,
        })
    };
    json!({
        "business": ways.business.as_ref().map(business),
        "jwt": ways.jwt.as_ref().map(jwt),
        "device_key": ways.device_key.is_some(),
        "token_ttl_seconds": ways.token_ttl_seconds,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::{from_pb, read, shown, to_pb};
    use crate::model::fault::Code;
    use crate::model::tenant::LoginWays;

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).expect("JSON")
    }

    #[test]
    fn every_way_comes_back_as_it_was_said() {
        let said = json!({
            "business": {"url": "https://shop.example/login", "secret": "whsec_x", "timeout_ms": 500},
            "jwt": {
                "issuer": "https://id.example", "audiences": ["app"], "jwks_url": "https://id.example/keys",
                "algorithms": ["ES256"], "user_claim": "email", "attributes": {"plan": "tier"},
                "groups_claim": "roles", "leeway_seconds": 0,
            },
            "device_key": true,
            "token_ttl_seconds": 600,
        });
        let ways = read(&raw(&said)).map(from_pb).expect("ways");
        assert_eq!(shown(&to_pb(ways)), said);
    }

    #[test]
    fn what_is_left_out_is_off_or_the_default() {
        let ways = read(&raw(&json!({"device_key": false, "business": null}))).map(from_pb);
        assert_eq!(ways, Ok(LoginWays::default()));
        let jwt = read(&raw(&json!({"jwt": {"issuer": "i"}}))).map(from_pb).expect("a way").jwt.expect("it");
        assert_eq!(jwt.leeway_seconds, 60);
        let known = json!({"business": {"url": "https://x.example"}});
        let known = shown(&to_pb(read(&raw(&known)).map(from_pb).expect("a way")));
        assert!(known["business"].get("secret").is_none(), "{known}");
        for (said, words) in [
            (json!({"device_key": {}}), "login.device_key must be true or false"),
            (json!({"jwt": {"issuers": "i"}}), "unknown field `login.jwt.issuers`; did you mean `issuer`?"),
            (json!({"jwt": {"attributes": {"plan": 1}}}), "login.jwt.attributes.plan must be a string"),
            (json!({"business": {"timeout_ms": "1s"}}), "login.business.timeout_ms must be a whole number"),
            (json!([]), "login must be a JSON object"),
        ] {
            let fault = read(&raw(&said)).expect_err(words);
            assert!(fault.code == Code::Malformed && fault.words.contains(words), "{fault}");
        }
    }
}
