//! API keys: what operators ask about them and what they are answered, in the protocol's messages and in JSON.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::access::{Scope, Scopes};
use crate::model::audit::Actor;
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::node::access::keys::{Key, NewKey};
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{count, members as fields, string, strings, unknown_word, whole};
use crate::rpc::{bounds, names};
use crate::tls::Fingerprint;
use crate::wire::pb;

/// How long a key may be good, in seconds (proto).
const TTL: RangeInclusive<u64> = 60..=315_360_000;
/// How long the old secret may be good after a rotation, in seconds (proto).
const OVERLAP: RangeInclusive<u32> = 0..=2_592_000;
/// How long it is when nothing is said: a day, in which whatever uses it can be restarted (proto).
const OVERLAP_DEFAULT: u32 = 86_400;

/// Makes a key.
pub(super) async fn create(intake: &Intake, request: pb::CreateKeyRequest) -> Result<pb::CreateKeyResponse, Fault> {
    let tenant = names::tenant("tenant", &request.tenant)?;
    let key = check(request)?;
    intake.node.create_key(&tenant, key, Actor::Admin).await.map(made)
}

/// All keys of a tenant.
pub(super) fn list(intake: &Intake, request: &pb::ListKeysRequest) -> Result<pb::ListKeysResponse, Fault> {
    let keys = intake.node.keys(&names::tenant("tenant", &request.tenant)?)?;
    Ok(pb::ListKeysResponse { keys: keys.into_iter().map(to_pb).collect() })
}

/// Gives a key a new secret.
pub(super) async fn rotate(intake: &Intake, request: pb::RotateKeyRequest) -> Result<pb::CreateKeyResponse, Fault> {
    let (tenant, id) = (names::tenant("tenant", &request.tenant)?, names::key("id", &request.id)?);
    let overlap = bounds::number("overlap_seconds", request.overlap_seconds.unwrap_or(OVERLAP_DEFAULT), &OVERLAP)?;
    let overlap = Duration::from_secs(overlap.into());
    intake.node.rotate_key(&tenant, &id, overlap, Actor::Admin).await.map(made)
}

/// Removes a key.
pub(super) async fn remove(intake: &Intake, request: pb::RemoveKeyRequest) -> Result<pb::RemoveKeyResponse, Fault> {
    let (tenant, id) = (names::tenant("tenant", &request.tenant)?, names::key("id", &request.id)?);
    let removed = intake.node.remove_key(&tenant, &id, Actor::Admin).await?;
    Ok(pb::RemoveKeyResponse { removed })
}

fn check(request: pb::CreateKeyRequest) -> Result<NewKey, Fault> {
    let scope =
        |word: &String| Scope::parse(word).ok_or_else(|| unknown_word("scopes", word, &Scope::ALL.map(Scope::as_str)));
    let scopes = match &request.scopes[..] {
        [] => Scopes::ALL,
        words => Scopes::of(words.iter().map(scope).collect::<Result<Vec<_>, _>>()?),
    };
    Ok(NewKey {
        scopes,
        ttl: bounds::span("ttl_seconds", request.ttl_seconds, &TTL)?,
        note: bounds::note("note", request.note)?,
        certificate: match request.certificate_sha256.as_str() {
            "" => None,
            text => Some(fingerprint(text)?),
        },
    })
}

/// Reads 64 hexadecimal digits, also with colons between the bytes, as other programs write them.
fn fingerprint(text: &str) -> Result<Fingerprint, Fault> {
    let words = "certificate_sha256: give the SHA-256 of the certificate (DER) in 64 hexadecimal digits";
    let wrong = || Fault::new(Code::InvalidOption, words);
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let mut fingerprint = Fingerprint::default();
    if digits.len() != 2 * fingerprint.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    for (byte, pair) in fingerprint.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(fingerprint)
}

fn made((key, secret): (Key, String)) -> pb::CreateKeyResponse {
    pb::CreateKeyResponse { key: Some(to_pb(key)), secret }
}

fn to_pb(key: Key) -> pb::Key {
    let certificate = key.certificate.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
    pb::Key {
        id: key.id.to_string(),
        tenant: key.tenant.to_string(),
        scopes: key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        created_at_ms: key.created_at.as_millis(),
        expires_at_ms: key.expires_at.map_or(0, Timestamp::as_millis),
        note: key.note,
        certificate_sha256: certificate,
        old_secret_until_ms: key.old_secret_until.map_or(0, Timestamp::as_millis),
        fixed: key.fixed,
    }
}

/// Reads the body of `POST /v1/tenants/{tenant}/keys`, which may be empty.
pub(super) fn read_new(body: &[u8], tenant: String) -> Result<pb::CreateKeyRequest, Fault> {
    let mut request = pb::CreateKeyRequest { tenant, ..Default::default() };
    if body.is_empty() {
        return Ok(request);
    }
    for (name, raw) in fields("the key", body, &["scopes", "ttl_seconds", "note", "certificate_sha256"])? {
        match name.as_str() {
            "scopes" => {
                request.scopes = strings("scopes", raw)?;
                if request.scopes.is_empty() {
                    // What may do nothing would be taken for what may do everything.
                    let words = "scopes: there are none; leave the field out for a key that may do everything";
                    return Err(Fault::new(Code::InvalidOption, words));
                }
            }
            "ttl_seconds" => request.ttl_seconds = whole("ttl_seconds", raw)?,
            "note" => request.note = string("note", raw)?,
            _ => request.certificate_sha256 = string("certificate_sha256", raw)?,
        }
    }
    Ok(request)
}

/// Reads the body of `POST /v1/tenants/{tenant}/keys/{id}/rotate`, which may be empty.
pub(super) fn read_rotation(body: &[u8], tenant: String, id: String) -> Result<pb::RotateKeyRequest, Fault> {
    let mut request = pb::RotateKeyRequest { tenant, id, overlap_seconds: None };
    if body.is_empty() {
        return Ok(request);
    }
    for (_, raw) in fields("the rotation", body, &["overlap_seconds"])? {
        request.overlap_seconds = Some(count("overlap_seconds", raw)?);
    }
    Ok(request)
}

/// A key in JSON, without its secret.
fn shown(key: &pb::Key) -> Value {
    let time = |millis: u64| (millis > 0).then_some(millis);
    json!({
        "id": key.id,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "created_at_ms": time(key.created_at_ms),
        "expires_at_ms": time(key.expires_at_ms),
        "note": key.note,
        "certificate_sha256": (!key.certificate_sha256.is_empty()).then_some(&key.certificate_sha256),
        "old_secret_until_ms": time(key.old_secret_until_ms),
        "fixed": key.fixed,
    })
}

/// A key that was made or rotated, in JSON: with its secret, this once.
pub(super) fn made_shown(made: &pb::CreateKeyResponse) -> Value {
    let secret = (!made.secret.is_empty()).then_some(&made.secret);
    json!({ "key": made.key.as_ref().map(shown), "secret": secret })
}

/// All keys in JSON.
pub(super) fn list_shown(list: &pb::ListKeysResponse) -> Value {
    json!({ "keys": list.keys.iter().map(shown).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{check, fingerprint, read_new, read_rotation, shown, to_pb};
    use crate::model::access::{Scope, Scopes};
    use crate::model::clock::Timestamp;
    use crate::model::fault::Code;
    use crate::model::id::{KeyId, TenantId};
    use crate::node::access::keys::Key;

    #[test]
    fn a_wish_for_a_key_is_read_and_checked() {
        let all = read_new(b"", "shop".into()).and_then(check).expect("a key");
        assert_eq!((all.scopes, all.ttl, all.certificate), (Scopes::ALL, None, None));
        let body = br#"{"scopes": ["read", "push"], "ttl_seconds": 60, "note": "the shop"}"#;
        let some = read_new(body, "shop".into()).and_then(check).expect("a key");
        assert_eq!((some.scopes, some.ttl), (Scopes::of([Scope::Push, Scope::Read]), Some(Duration::from_secs(60))));
        for (body, code) in [
            (&br#"{"scopes": []}"#[..], Code::InvalidOption),
            (br#"{"scopes": ["write"]}"#, Code::InvalidOption),
            (br#"{"ttl_seconds": 59}"#, Code::InvalidOption),
            (br#"{"certificate_sha256": "00"}"#, Code::InvalidOption),
            (br#"{"scope": "read"}"#, Code::Malformed),
        ] {
            let fault = read_new(body, "shop".into()).and_then(check).expect_err("unfit");
            assert_eq!(fault.code, code, "{}", String::from_utf8_lossy(body));
        }
        let rotation = |body: &[u8]| read_rotation(body, "t".into(), "k".into()).map(|read| read.overlap_seconds);
        assert_eq!((rotation(b""), rotation(br#"{"overlap_seconds": 0}"#)), (Ok(None), Ok(Some(0))));
    }

    #[test]
    fn fingerprints_are_read_as_programs_write_them_and_written_in_one_way() {
        let plain = "00ff".repeat(16);
        let colons = vec!["00:FF"; 16].join(":");
        assert_eq!(fingerprint(&plain), fingerprint(&colons));
        for wrong in ["", "00", &"0g".repeat(32), &"\u{e9}".repeat(32), &"0".repeat(66)] {
            assert_eq!(fingerprint(wrong).expect_err("wrong").code, Code::InvalidOption, "{wrong}");
        }
        let key = Key {
            id: KeyId::new("k1").expect("a name"),
            tenant: TenantId::new("shop").expect("a name"),
            scopes: Scopes::of([Scope::Read]),
            created_at: Timestamp::from_millis(5),
            expires_at: None,
            note: String::new(),
            certificate: fingerprint(&plain).ok(),
            old_secret_until: None,
            fixed: false,
        };
        let value = shown(&to_pb(key));
        assert_eq!(
            (value["certificate_sha256"].as_str(), value["scopes"][0].as_str()),
            (Some(&plain[..]), Some("read"))
        );
        assert!(value["expires_at_ms"].is_null() && value["old_secret_until_ms"].is_null());
    }
}
