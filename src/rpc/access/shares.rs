//! Shares: what backends ask about them and what they are answered, in the protocol's messages and in JSON.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::model::access::Caller;
use crate::model::audit::Actor;
use crate::model::fault::{Code, Fault};
use crate::node::access::shares::{NewShare, Share};
use crate::rpc::groups::next_shown;
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{count, members as fields, string, strings};
use crate::rpc::{bounds, names};
use crate::wire::pb;

/// Topics of one share (proto).
const TOPICS: RangeInclusive<usize> = 1..=10;
/// How long a share may be good, in seconds (proto).
const TTL: RangeInclusive<u64> = 60..=31_536_000;
/// Viewers at the same time (proto).
const VIEWERS: RangeInclusive<u32> = 1..=10_000;

/// Makes a share.
pub(super) async fn create(
    intake: &Intake,
    caller: &Caller,
    request: pb::CreateShareRequest,
) -> Result<pb::CreateShareResponse, Fault> {
    let share = check(request)?;
    let (token, share) = intake.node.create_share(&caller.tenant, share, Actor::Key(caller.key.clone())).await?;
    Ok(pb::CreateShareResponse { token, share: Some(to_pb(share)) })
}

/// A page of the shares.
pub(super) async fn list(
    intake: &Intake,
    caller: &Caller,
    request: pb::ListSharesRequest,
) -> Result<pb::ListSharesResponse, Fault> {
    let after = names::after(&request.after, names::share)?;
    let (shares, more) = intake.node.shares(&caller.tenant, after, names::page(request.limit)?).await?;
    let next = shares.last().filter(|_| more).map(|share| share.id.to_string()).unwrap_or_default();
    Ok(pb::ListSharesResponse { shares: shares.into_iter().map(to_pb).collect(), next })
}

/// Takes a share back.
pub(super) async fn revoke(
    intake: &Intake,
    caller: &Caller,
    request: pb::RevokeShareRequest,
) -> Result<pb::RevokeShareResponse, Fault> {
    let id = names::share("id", &request.id)?;
    let sessions = intake.node.revoke_share(&caller.tenant, &id, Actor::Key(caller.key.clone())).await?;
    Ok(pb::RevokeShareResponse { sessions })
}

fn check(request: pb::CreateShareRequest) -> Result<NewShare, Fault> {
    if !TOPICS.contains(&request.topics.len()) {
        let (least, most, given) = (TOPICS.start(), TOPICS.end(), request.topics.len());
        let words = format!("topics: there are {given}; name {least} to {most}");
        return Err(Fault::new(Code::InvalidOption, words));
    }
    Ok(NewShare {
        topics: names::each("topics", &request.topics, names::topic)?,
        ttl: bounds::span("ttl_seconds", request.ttl_seconds.into(), &TTL)?,
        viewers_max: bounds::wish("viewers_max", request.viewers_max, &VIEWERS)?,
        note: bounds::note("note", request.note)?,
    })
}

fn to_pb(share: Share) -> pb::Share {
    pb::Share {
        id: share.id.to_string(),
        topics: share.topics.iter().map(ToString::to_string).collect(),
        created_at_ms: share.created_at.as_millis(),
        expires_at_ms: share.expires_at.as_millis(),
        viewers_max: share.viewers_max,
        viewers: share.viewers,
        note: share.note,
    }
}

/// Reads the body of `POST /v1/shares`.
pub(super) fn read(body: &[u8]) -> Result<pb::CreateShareRequest, Fault> {
    let mut request = pb::CreateShareRequest::default();
    for (name, raw) in fields("the share", body, &["topics", "ttl_seconds", "viewers_max", "note"])? {
        match name.as_str() {
            "topics" => request.topics = strings("topics", raw)?,
            "ttl_seconds" => request.ttl_seconds = count("ttl_seconds", raw)?,
            "viewers_max" => request.viewers_max = count("viewers_max", raw)?,
            _ => request.note = string("note", raw)?,
        }
    }
    Ok(request)
}

/// A share in JSON.
fn shown(share: &pb::Share) -> Value {
    json!({
        "id": share.id,
        "topics": share.topics,
        "created_at_ms": share.created_at_ms,
        "expires_at_ms": share.expires_at_ms,
        "viewers_max": share.viewers_max,
        "viewers": share.viewers,
        "note": share.note,
    })
}

/// A new share in JSON.
pub(super) fn created_shown(created: &pb::CreateShareResponse) -> Value {
    json!({ "token": created.token, "share": created.share.as_ref().map(shown) })
}

/// A page of shares in JSON.
pub(super) fn list_shown(page: &pb::ListSharesResponse) -> Value {
    json!({ "shares": page.shares.iter().map(shown).collect::<Vec<_>>(), "next": next_shown(&page.next) })
}

/// What was taken back in JSON.
pub(super) fn revoked_shown(revoked: &pb::RevokeShareResponse) -> Value {
    json!({ "sessions": revoked.sessions })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{check, read};
    use crate::model::fault::Code;

    #[test]
    fn a_wish_for_a_share_is_read_and_checked() {
        let body = br#"{"topics": ["a", "b", "a"], "ttl_seconds": 60, "viewers_max": 10000, "note": "the match"}"#;
        let share = read(body).and_then(check).expect("a share");
        assert_eq!(share.topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((share.ttl, share.viewers_max), (Some(Duration::from_secs(60)), Some(10_000)));
        let plain = read(br#"{"topics": ["a"]}"#).and_then(check).expect("a share");
        assert_eq!((plain.ttl, plain.viewers_max, plain.note.as_str()), (None, None, ""));
        for (body, code) in [
            (&br#"{"topics": []}"#[..], Code::InvalidOption),
            (br#"{"topics": ["a","b","c","d","e","f","g","h","i","j","k"]}"#, Code::InvalidOption),
            (br#"{"topics": ["a b"]}"#, Code::InvalidName),
            (br#"{"topics": ["a"], "ttl_seconds": 59}"#, Code::InvalidOption),
            (br#"{"topics": ["a"], "ttl_seconds": 31536001}"#, Code::InvalidOption),
            (br#"{"topics": ["a"], "viewers_max": 10001}"#, Code::InvalidOption),
            (br#"{"topics": ["a"], "note": "a\nb"}"#, Code::InvalidOption),
            (br#"{"topic": "a"}"#, Code::Malformed),
        ] {
            let fault = read(body).and_then(check).expect_err("unfit");
            assert_eq!(fault.code, code, "{}: {fault}", String::from_utf8_lossy(body));
        }
    }
}
