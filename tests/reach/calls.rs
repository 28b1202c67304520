//! Every method as another tenant calls it, naming what the owner has.

use std::net::SocketAddr;

use prost::Message;
use pushline::wire::grpc::Deframer;
use pushline::wire::pb::{self, revoke_tokens_request::Which, target::To};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::owner::Owned;
use crate::support::soon;

/// What is sent along.
pub(crate) enum Body {
    /// As this template of the table, with this text; empty: without a body.
    Json(&'static str, String),
    /// The same, one in a line.
    Lines(&'static str, String),
    /// A message, and how to show those of the answer.
    Grpc(Vec<u8>, fn(&[u8]) -> String),
}

/// A call.
pub(crate) struct Ask {
    pub(crate) head: String,
    pub(crate) body: Body,
}

impl Ask {
    /// What the table calls it, in HTTP and JSON.
    pub(crate) fn template(&self) -> Option<&'static str> {
        match self.body {
            Body::Json(template, _) | Body::Lines(template, _) => Some(template),
            Body::Grpc(..) => None,
        }
    }

    /// Whether it is answered without an end.
    pub(crate) fn is_endless(&self) -> bool {
        ["/StreamReceipts", "/StreamPresence"].iter().any(|name| self.head.ends_with(name))
    }
}

/// The template with names in it.
pub(crate) fn fill(template: &str, names: &[String]) -> String {
    let mut names = names.iter();
    let part = |part: &str| match part.starts_with('{') {
        true => names.next().expect("a name for each place").clone(),
        false => part.to_owned(),
    };
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn named(template: &'static str, names: &[&str], query: &str, body: &str) -> Ask {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    Ask { head: fill(template, &names) + query, body: Body::Json(template, body.to_owned()) }
}

fn get(template: &'static str, names: &[&str], query: &str) -> Ask {
    named(template, names, query, "")
}

fn with(template: &'static str, names: &[&str], body: &Value) -> Ask {
    named(template, names, "", &body.to_string())
}

fn lines(template: &'static str, body: &Value) -> Ask {
    Ask { head: template.to_owned(), body: Body::Lines(template, format!("{body}\n")) }
}

fn grpc<Answer: Message + Default + std::fmt::Debug>(method: &str, request: &impl Message) -> Ask {
    let show = |body: &[u8]| {
        let mut deframer = Deframer::new(1 << 20);
        deframer.push(body);
        let mut shown = String::new();
        while let Ok(Some(message)) = deframer.next_message() {
            shown += &format!("{:?}\n", Answer::decode(message).expect("an answer"));
        }
        shown
    };
    Ask { head: format!("POST {method}"), body: Body::Grpc(request.encode_to_vec(), show) }
}

/// Pushes to, around, and in place of what the owner has.
fn pushes(owned: &Owned) -> Vec<(pb::PushRequest, Value)> {
    let whom = || pb::DeviceTarget { user: "ada".into(), device: "phone".into() };
    let condition = "'crew' in topics || 'scores' in topics";
    let targets = [
        (To::User("ada".into()), json!({"user": "ada"})),
        (To::AnyOfUser("ada".into()), json!({"any_of_user": "ada"})),
        (To::Device(whom()), json!({"user": "ada", "device": "phone"})),
        (To::Topic("scores".into()), json!({"topic": "scores"})),
        (To::Condition(condition.into()), json!({ "condition": condition })),
    ];
    let plain = |(to, json): (To, Value)| {
        let target = Some(pb::Target { to: Some(to) });
        let push = pb::PushRequest { target, payload: "beta".into(), ..Default::default() };
        (push, json!({"target": json, "payload_base64": "YmV0YQ=="}))
    };
    let mut all: Vec<_> = targets.into_iter().map(plain).collect();
    for id in [&owned.message, &owned.scheduled] {
        let (mut push, mut json) = all[0].clone();
        push.replaces.clone_from(id);
        json["replaces"] = json!(id);
        all.push((push, json));
    }
    let (mut push, mut json) = all[0].clone();
    push.idempotency_key = "once".into();
    push.tag = "summer".into();
    json["idempotency_key"] = json!("once");
    json["tag"] = json!("summer");
    all.push((push, json));
    all
}

/// All ways to call a method.
pub(crate) fn calls(method: &str, owned: &Owned) -> Vec<Ask> {
    let name = method.rsplit('/').next().expect("a name");
    if method.contains(".Backend/") { messages(method, name, owned) } else { others(method, name, owned) }
}

fn messages(method: &str, name: &str, owned: &Owned) -> Vec<Ask> {
    let mut all = Vec::new();
    let ids = [&owned.message, &owned.scheduled, &owned.broadcast];
    match name {
        "Push" => {
            for (push, json) in pushes(owned) {
                all.extend([grpc::<pb::PushResponse>(method, &push), with("POST /v1/push", &[], &json)]);
            }
        }
        "PushStream" => {
            for (push, json) in pushes(owned) {
                let request = pb::PushStreamRequest { reference: 1, push: Some(push) };
                all.extend([grpc::<pb::PushStreamResponse>(method, &request), lines("POST /v1/push/stream", &json)]);
            }
        }
        "PushUsers" => {
            let push = pb::PushRequest { payload: "beta".into(), ..Default::default() };
            let request = pb::PushUsersRequest { users: vec!["ada".into(), "eve".into()], push: Some(push) };
            all.push(grpc::<pb::PushUsersResponse>(method, &request));
            let json = json!({"users": ["ada", "eve"], "push": {"payload": "beta"}});
            all.push(with("POST /v1/push/users", &[], &json));
        }
        "GetMessage" => {
            for id in ids {
                all.push(grpc::<pb::GetMessageResponse>(method, &pb::GetMessageRequest { id: id.clone() }));
                all.push(get("GET /v1/messages/{id}", &[id], ""));
            }
        }
        "Cancel" => {
            for id in ids {
                let request = pb::CancelRequest { id: id.clone(), silently: false };
                all.push(grpc::<pb::CancelResponse>(method, &request));
                all.push(get("DELETE /v1/messages/{id}", &[id], ""));
            }
        }
        "GetTimeline" => {
            for id in ids {
                let request = pb::GetTimelineRequest { id: id.clone(), user: "ada".into() };
                all.push(grpc::<pb::GetTimelineResponse>(method, &request));
                all.push(get("GET /v1/messages/{id}/timeline", &[id], "?user=ada"));
            }
        }
        _ => panic!("{method} is not handled here"),
    }
    all
}

#[expect(clippy::too_many_lines, reason = "a table: one arm for each method")]
fn others(method: &str, name: &str, owned: &Owned) -> Vec<Ask> {
    let user = || "ada".to_owned();
    let group = || "crew".to_owned();
    match name {
        "CreateGroup" => {
            let request = pb::CreateGroupRequest { name: group(), topics: vec!["other".into()] };
            let json = json!({"topics": ["other"]});
            vec![grpc::<pb::Group>(method, &request), with("PUT /v1/groups/{group}", &["crew"], &json)]
        }
        "GetGroup" => vec![
            grpc::<pb::Group>(method, &pb::GetGroupRequest { name: group() }),
            get("GET /v1/groups/{group}", &["crew"], ""),
        ],
        "ListGroups" => vec![
            grpc::<pb::ListGroupsResponse>(method, &pb::ListGroupsRequest::default()),
            get("GET /v1/groups", &[], ""),
        ],
        "DeleteGroup" => vec![
            grpc::<pb::DeleteGroupResponse>(method, &pb::DeleteGroupRequest { name: group() }),
            get("DELETE /v1/groups/{group}", &["crew"], ""),
        ],
        "ListMembers" => vec![
            grpc::<pb::ListMembersResponse>(method, &pb::ListMembersRequest { group: group(), ..Default::default() }),
            get("GET /v1/groups/{group}/members", &["crew"], ""),
        ],
        "ChangeMembers" => {
            let request =
                pb::ChangeMembersRequest { group: group(), add: vec!["mallory".into()], remove: vec![user()] };
            let json = json!({"add": ["mallory"], "remove": ["ada"]});
            let line = json!({"group": "crew", "remove": ["mallory"]});
            vec![
                grpc::<pb::ChangeMembersResponse>(method, &request),
                with("POST /v1/groups/{group}/members", &["crew"], &json),
                lines("POST /v1/members/stream", &line),
            ]
        }
        "SetGroups" => {
            let request = pb::SetGroupsRequest { user: user(), groups: vec![], version: 3 };
            let json = json!({"groups": ["crew"], "version": 4});
            vec![grpc::<pb::User>(method, &request), with("PUT /v1/users/{user}/groups", &["ada"], &json)]
        }
        "GetUser" => vec![
            grpc::<pb::User>(method, &pb::GetUserRequest { user: user() }),
            get("GET /v1/users/{user}", &["ada"], ""),
        ],
        "SetQuietHours" => {
            let hours = json!({"from": "01:00", "to": "02:00", "time_zone": "UTC"});
            vec![
                grpc::<pb::User>(method, &pb::SetQuietHoursRequest { user: user(), quiet_hours: None }),
                with("PUT /v1/users/{user}/quiet-hours", &["ada"], &hours),
                get("DELETE /v1/users/{user}/quiet-hours", &["ada"], ""),
            ]
        }
        "SetTopic" => {
            let request = pb::SetTopicRequest { topic: "scores".into(), conflate: false };
            let json = json!({"conflate": false});
            vec![grpc::<pb::Topic>(method, &request), with("PUT /v1/topics/{topic}", &["scores"], &json)]
        }
        "GetTopic" => vec![
            grpc::<pb::Topic>(method, &pb::GetTopicRequest { topic: "scores".into() }),
            get("GET /v1/topics/{topic}", &["scores"], ""),
        ],
        "GetAudience" => {
            let of = pb::get_audience_request::Of::Condition("'scores' in topics".into());
            let request = pb::GetAudienceRequest { of: Some(of), after: String::new(), limit: 10 };
            let json = json!({"condition": "'scores' in topics", "limit": 10});
            vec![
                grpc::<pb::GetAudienceResponse>(method, &request),
                get("GET /v1/audience", &[], "?topic=scores&limit=10"),
                with("POST /v1/audience", &[], &json),
            ]
        }
        "StreamReceipts" => {
            let request = |message: &str, tag: &str| {
                let (message, tag) = (message.to_owned(), tag.to_owned());
                grpc::<pb::ReceiptBatch>(method, &pb::StreamReceiptsRequest { after: Some(0), message, tag })
            };
            let of_message = format!("?follow=false&message={}", owned.message);
            vec![
                request(&owned.message, ""),
                request("", "summer"),
                get("GET /v1/receipts", &[], &of_message),
                get("GET /v1/receipts", &[], "?follow=false&tag=summer"),
                get("GET /v1/receipts", &[], "?follow=false"),
            ]
        }
        "GetTag" => vec![
            grpc::<pb::GetTagResponse>(method, &pb::GetTagRequest { tag: "summer".into(), ..Default::default() }),
            get("GET /v1/tags/{tag}", &["summer"], ""),
        ],
        "ListOnline" => vec![
            grpc::<pb::ListOnlineResponse>(method, &pb::ListOnlineRequest { user: user(), ..Default::default() }),
            grpc::<pb::ListOnlineResponse>(method, &pb::ListOnlineRequest::default()),
            get("GET /v1/presence", &[], "?user=ada"),
            get("GET /v1/presence", &[], ""),
        ],
        "StreamPresence" => vec![
            grpc::<pb::PresenceBatch>(method, &pb::StreamPresenceRequest { after: Some(0), user: user() }),
            get("GET /v1/presence/events", &[], "?follow=false"),
            get("GET /v1/presence/events", &[], "?follow=false&user=ada"),
        ],
        "SetWebhook" => {
            let (kind, url) = ("fallback".to_owned(), "http://127.0.0.1:9/beta".to_owned());
            let json = json!({ "url": url });
            let request = pb::SetWebhookRequest { kind, url, secret: String::new() };
            vec![grpc::<pb::Webhook>(method, &request), with("PUT /v1/webhooks/{kind}", &["fallback"], &json)]
        }
        "ListWebhooks" => vec![
            grpc::<pb::ListWebhooksResponse>(method, &pb::ListWebhooksRequest {}),
            get("GET /v1/webhooks", &[], ""),
            get("GET /v1/webhooks/{kind}", &["fallback"], ""),
        ],
        "DeleteWebhook" => vec![
            grpc::<pb::DeleteWebhookResponse>(method, &pb::DeleteWebhookRequest { kind: "fallback".into() }),
            get("DELETE /v1/webhooks/{kind}", &["fallback"], ""),
        ],
        _ => access(method, name, owned),
    }
}

fn access(method: &str, name: &str, owned: &Owned) -> Vec<Ask> {
    let user = || "ada".to_owned();
    let device = || pb::DeviceName { user: user(), device: "phone".into() };
    match name {
        "IssueToken" => {
            let request = pb::IssueTokenRequest { user: user(), device: "phone".into(), ttl_seconds: 0 };
            let json = json!({"user": "ada", "device": "phone"});
            vec![grpc::<pb::IssueTokenResponse>(method, &request), with("POST /v1/tokens", &[], &json)]
        }
        "RevokeTokens" => {
            let id = &owned.token_id;
            let all = [Which::Id(id.clone()), Which::Device(device()), Which::User(user()), Which::All(true)];
            let request =
                |which| grpc::<pb::RevokeTokensResponse>(method, &pb::RevokeTokensRequest { which: Some(which) });
            let jsons = [
                json!({ "id": id }),
                json!({"user": "ada", "device": "phone"}),
                json!({"user": "ada"}),
                json!({"all": true}),
            ];
            let jsons = jsons.iter().map(|json| with("POST /v1/tokens/revoke", &[], json));
            all.into_iter().map(request).chain(jsons).collect()
        }
        "CreateEnrolment" => {
            let request = pb::CreateEnrolmentRequest { user: user(), ..Default::default() };
            vec![
                grpc::<pb::CreateEnrolmentResponse>(method, &request),
                with("POST /v1/enrolments", &[], &json!({"user": "ada"})),
            ]
        }
        "ListDeviceKeys" => vec![
            grpc::<pb::ListDeviceKeysResponse>(method, &pb::ListDeviceKeysRequest { user: user() }),
            get("GET /v1/users/{user}/keys", &["ada"], ""),
        ],
        "RemoveDeviceKey" => {
            let request = pb::RemoveDeviceKeyRequest { user: user(), device: "watch".into() };
            let template = "DELETE /v1/users/{user}/keys/{device}";
            vec![grpc::<pb::RemoveDeviceKeyResponse>(method, &request), get(template, &["ada", "watch"], "")]
        }
        "CreateShare" => {
            let request = pb::CreateShareRequest { topics: vec!["scores".into()], ..Default::default() };
            vec![
                grpc::<pb::CreateShareResponse>(method, &request),
                with("POST /v1/shares", &[], &json!({"topics": ["scores"]})),
            ]
        }
        "ListShares" => vec![
            grpc::<pb::ListSharesResponse>(method, &pb::ListSharesRequest::default()),
            get("GET /v1/shares", &[], ""),
        ],
        "RevokeShare" => vec![
            grpc::<pb::RevokeShareResponse>(method, &pb::RevokeShareRequest { id: owned.share.clone() }),
            get("DELETE /v1/shares/{id}", &[&owned.share], ""),
        ],
        "ListAudit" => {
            vec![grpc::<pb::ListAuditResponse>(method, &pb::ListAuditRequest::default()), get("GET /v1/audit", &[], "")]
        }
        _ => panic!("{method} is not handled here"),
    }
}

/// The first message of an answer that goes on.
pub(crate) async fn first_message(address: SocketAddr, head: &str, key: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{head} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\ncontent-type: application/grpc\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("the gateway takes connections");
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("written");
    let mut answer = Vec::new();
    loop {
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        // After the head: the size of a chunk in a line, then the prefix of gRPC, then the message.
        let chunk = end.and_then(|end| answer.get(end + 4..)).unwrap_or_default();
        if let Some(line) = chunk.windows(2).position(|window| window == b"\r\n") {
            let size = std::str::from_utf8(&chunk[..line]).expect("text");
            let size = usize::from_str_radix(size, 16).expect("a size");
            if let Some(message) = chunk.get(line + 2..line + 2 + size) {
                assert!(size >= 5, "the stream ended: {}", String::from_utf8_lossy(&answer));
                return message.to_vec();
            }
        }
        let read = soon("a message", stream.read_buf(&mut answer)).await.expect("an answer");
        assert!(read > 0, "the stream ended: {}", String::from_utf8_lossy(&answer));
    }
}

/// Takes out what is new in every answer: long numbers, ids, tokens, codes.
pub(crate) fn blanked(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.+/=".contains(c);
    let mut blanked = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| is_part(c) != is_part(first)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        let has_digit = run.contains(|c: char| c.is_ascii_digit());
        let is_code = run.len() == 19 && run.chars().all(|c| c == '-' || c.is_ascii_digit() || c.is_ascii_uppercase());
        let is_number = run.len() >= 10 && run.chars().all(|c| c.is_ascii_digit());
        let is_new = is_part(first) && (is_code || is_number || run.len() >= 16 && has_digit || run.len() >= 40);
        blanked += if is_new { "#" } else { run };
        rest = after;
    }
    blanked
}
