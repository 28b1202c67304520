//! Access tokens: what backends ask about them and what they are answered, in the protocol's messages and in JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::model::access::{Caller, TokenId};
use crate::model::audit::Actor;
use crate::model::fault::{Code, Fault};
use crate::model::id::Receiver;
use crate::node::access::tokens::Which;
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{count, members as fields, string, switch};
use crate::rpc::names;
use crate::wire::pb;
use crate::wire::pb::revoke_tokens_request::Which as Asked;

/// Makes an access token.
pub(super) async fn issue(
    intake: &Intake,
    caller: &Caller,
    request: pb::IssueTokenRequest,
) -> Result<pb::IssueTokenResponse, Fault> {
    let receiver = Receiver {
        tenant: caller.tenant.clone(),
        user: names::user("user", &request.user)?,
        device: names::device("device", &request.device)?,
    };
    let ttl = (request.ttl_seconds > 0).then(|| Duration::from_secs(request.ttl_seconds.into()));
    let issued = intake.node.issue_token(receiver, ttl, Actor::Key(caller.key.clone())).await?;
    Ok(pb::IssueTokenResponse {
        id: issued.id.to_string(),
        expires_at_ms: issued.expires_at.as_millis(),
        nodes: issued.nodes.to_vec(),
        token: issued.token,
    })
}

/// Takes tokens back.
pub(super) async fn revoke(
    intake: &Intake,
    caller: &Caller,
    request: pb::RevokeTokensRequest,
) -> Result<pb::RevokeTokensResponse, Fault> {
    let which = match request.which {
        Some(Asked::Id(id)) => {
            let words = "id: it is not the id of a token, which is a UUID as it was answered with the token";
            Which::Token(TokenId::parse(&id).ok_or_else(|| Fault::new(Code::Malformed, words))?)
        }
        Some(Asked::User(user)) => Which::User(names::user("user", &user)?),
        Some(Asked::Device(device)) => {
            Which::Device(names::user("user", &device.user)?, names::device("device", &device.device)?)
        }
        Some(Asked::All(true)) => Which::All,
        Some(Asked::All(false)) | None => {
            let words = "say which tokens: one by its id, those of a user, of a device, or all with true";
            return Err(Fault::new(Code::Malformed, words));
        }
    };
    let sessions = intake.node.revoke_tokens(&caller.tenant, which, Actor::Key(caller.key.clone())).await?;
    Ok(pb::RevokeTokensResponse { sessions })
}

/// Reads the body of `POST /v1/tokens`.
pub(super) fn read_issue(body: &[u8]) -> Result<pb::IssueTokenRequest, Fault> {
    let mut request = pb::IssueTokenRequest::default();
    for (name, raw) in fields("the request", body, &["user", "device", "ttl_seconds"])? {
        match name.as_str() {
            "user" => request.user = string("user", raw)?,
            "device" => request.device = string("device", raw)?,
            _ => request.ttl_seconds = count("ttl_seconds", raw)?,
        }
    }
    Ok(request)
}

/// Reads the body of `POST /v1/tokens/revoke`.
pub(super) fn read_revoke(body: &[u8]) -> Result<pb::RevokeTokensRequest, Fault> {
    let (mut id, mut user, mut device, mut all) = (None, None, None, false);
    for (name, raw) in fields("the request", body, &["id", "user", "device", "all"])? {
        match name.as_str() {
            "id" => id = Some(string("id", raw)?),
            "user" => user = Some(string("user", raw)?),
            "device" => device = Some(string("device", raw)?),
            _ => all = switch("all", raw)?,
        }
    }
    let which = match (id, user, device, all) {
        (Some(id), None, None, false) => Some(Asked::Id(id)),
        (None, Some(user), None, false) => Some(Asked::User(user)),
        (None, Some(user), Some(device), false) => Some(Asked::Device(pb::DeviceName { user, device })),
        (None, None, None, true) => Some(Asked::All(true)),
        (None, None, None, false) => None,
        // A call that means less than it says would be hard to undo.
        _ => {
            let words = "name one of id, user, user and device, all";
            return Err(Fault::new(Code::Malformed, words));
        }
    };
    Ok(pb::RevokeTokensRequest { which })
}

/// A token in JSON.
pub(super) fn issued_shown(issued: &pb::IssueTokenResponse) -> Value {
    json!({
        "token": issued.token,
        "id": issued.id,
        "expires_at_ms": issued.expires_at_ms,
        "nodes": issued.nodes,
    })
}

/// What was taken back in JSON.
pub(in crate::rpc) fn revoked_shown(revoked: &pb::RevokeTokensResponse) -> Value {
    json!({ "sessions": revoked.sessions })
}

#[cfg(test)]
mod tests {
    use super::{Asked, read_issue, read_revoke};
    use crate::model::fault::Code;
    use crate::wire::pb;

    #[test]
    fn what_is_taken_back_is_said_once() {
        let device = pb::DeviceName { user: "u".into(), device: "d".into() };
        for (body, which) in [
            (&br#"{"id": "x"}"#[..], Some(Asked::Id("x".into()))),
            (br#"{"user": "u"}"#, Some(Asked::User("u".into()))),
            (br#"{"user": "u", "device": "d"}"#, Some(Asked::Device(device))),
            (br#"{"all": true}"#, Some(Asked::All(true))),
            (br#"{"all": false, "user": null}"#, None),
            (b"{}", None),
        ] {
            assert_eq!(read_revoke(body).map(|read| read.which), Ok(which), "{}", String::from_utf8_lossy(body));
        }
        for body in [
            &br#"{"id": "x", "user": "u"}"#[..],
            br#"{"device": "d"}"#,
            br#"{"all": true, "user": "u"}"#,
            br#"{"all": 1}"#,
            br#"{"usr": "u"}"#,
        ] {
            let fault = read_revoke(body).expect_err("ambiguous");
            assert_eq!(fault.code, Code::Malformed, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_wish_for_a_token_is_read() {
        let read = read_issue(br#"{"user": "u", "device": "d", "ttl_seconds": 60}"#).expect("a wish");
        assert_eq!((read.user.as_str(), read.device.as_str(), read.ttl_seconds), ("u", "d", 60));
        assert_eq!(read_issue(br#"{"ttl_seconds": 4294967296}"#).map(|read| read.ttl_seconds), Ok(u32::MAX));
        assert!(read_issue(br#"{"ttl_seconds": "1h"}"#).is_err());
    }
}
