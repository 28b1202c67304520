//! Topics, and whom a push to one or with a condition would reach, in the protocol's messages and in JSON.

use serde_json::{Value, json};

use crate::model::condition::Condition;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceNumber, Receiver, TenantId, TopicName};
use crate::node::people::{self, Of};
use crate::rpc::groups::next_shown;
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{count, members as fields, string, switch};
use crate::rpc::names;
use crate::wire::pb;

/// Settings of a topic.
pub(super) async fn set_topic(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::SetTopicRequest,
) -> Result<pb::Topic, Fault> {
    let topic = names::topic("topic", &request.topic)?;
    let known = intake.node.set_topic(tenant, &topic, request.conflate).await?;
    Ok(topic_to_pb(&topic, known))
}

/// A topic.
pub(super) async fn get_topic(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::GetTopicRequest,
) -> Result<pb::Topic, Fault> {
    let topic = names::topic("topic", &request.topic)?;
    let known = intake.node.topic(tenant, &topic).await?;
    Ok(topic_to_pb(&topic, known))
}

/// Whom a push would reach.
pub(super) async fn get(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::GetAudienceRequest,
) -> Result<pb::GetAudienceResponse, Fault> {
    use pb::get_audience_request::Of as Asked;
    let of = match request.of {
        Some(Asked::Topic(topic)) => Of::Topic(names::topic("topic", &topic)?),
        Some(Asked::Condition(text)) => {
            let invalid = |error| Fault::new(Code::InvalidCondition, format!("condition: {error}"));
            Of::Condition(Condition::parse(&text).map_err(invalid)?)
        }
        None => return Err(Fault::new(Code::InvalidTarget, "name a topic or a condition")),
    };
    let after = match request.after.as_str() {
        "" => None,
        text => {
            let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
            let words = "after is not what `next` of an earlier answer said";
            Some(DeviceNumber(number.ok_or_else(|| Fault::new(Code::InvalidOption, words))?))
        }
    };
    let reach = intake.node.reach(tenant, of, after, names::lines(request.limit)?).await?;
    let next = reach.page.items.last().filter(|_| reach.page.more).map(|(number, ..)| number.0.to_string());
    let line = |(_, user, device): (DeviceNumber, _, Option<_>)| {
        let receiver = device.map(|device| Receiver { tenant: tenant.clone(), user: Clone::clone(&user), device });
        pb::get_audience_response::Line {
            user: user.to_string(),
            online: receiver.as_ref().is_some_and(|receiver| intake.node.is_online(receiver)),
            device: receiver.map(|receiver| receiver.device.to_string()).unwrap_or_default(),
        }
    };
    Ok(pb::GetAudienceResponse {
        count: reach.count,
        users: reach.users,
        online: reach.online,
        page: reach.page.items.into_iter().map(line).collect(),
        next: next.unwrap_or_default(),
    })
}

fn topic_to_pb(topic: &TopicName, known: people::Topic) -> pb::Topic {
    pb::Topic { topic: topic.to_string(), conflate: known.conflate, devices: known.devices, last: known.head.last.0 }
}

/// Reads the body of `PUT /v1/topics/{topic}`.
pub(super) fn read_topic(body: &[u8], topic: String) -> Result<pb::SetTopicRequest, Fault> {
    let mut conflate = None;
    for (_, raw) in fields("the topic", body, &["conflate"])? {
        conflate = Some(switch("conflate", raw)?);
    }
    let words = "conflate is missing; give true to keep only the newest push, false to keep all";
    let conflate = conflate.ok_or_else(|| Fault::new(Code::Malformed, words))?;
    Ok(pb::SetTopicRequest { topic, conflate })
}

/// Reads the body of `POST /v1/audience`.
pub(super) fn read(body: &[u8]) -> Result<pb::GetAudienceRequest, Fault> {
    let (mut topic, mut condition) = (None, None);
    let mut request = pb::GetAudienceRequest::default();
    for (name, raw) in fields("the request", body, &["topic", "condition", "after", "limit"])? {
        match name.as_str() {
            "topic" => topic = Some(string("topic", raw)?),
            "condition" => condition = Some(string("condition", raw)?),
            "after" => request.after = string("after", raw)?,
            _ => request.limit = count("limit", raw)?,
        }
    }
    request.of = of(topic, condition)?;
    Ok(request)
}

/// The one of the two that is given.
pub(super) fn of(
    topic: Option<String>,
    condition: Option<String>,
) -> Result<Option<pb::get_audience_request::Of>, Fault> {
    use pb::get_audience_request::Of as Asked;
    match (topic, condition) {
        (Some(_), Some(_)) => {
            let words = "topic and condition are both there; a condition can name the topic";
            Err(Fault::new(Code::InvalidTarget, words))
        }
        (topic, condition) => Ok(topic.map(Asked::Topic).or(condition.map(Asked::Condition))),
    }
}

/// A topic in JSON.
pub(super) fn topic_shown(topic: &pb::Topic) -> Value {
    json!({ "topic": topic.topic, "conflate": topic.conflate, "devices": topic.devices, "last": topic.last })
}

/// An audience in JSON.
pub(super) fn shown(audience: &pb::GetAudienceResponse) -> Value {
    let line = |line: &pb::get_audience_response::Line| {
        let device = (!line.device.is_empty()).then_some(&line.device);
        json!({ "user": line.user, "device": device, "online": line.online })
    };
    json!({
        "count": audience.count,
        "users": audience.users,
        "online": audience.online,
        "page": audience.page.iter().map(line).collect::<Vec<_>>(),
        "next": next_shown(&audience.next),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{read, read_topic, shown};
    use crate::wire::pb;

    #[test]
    fn bodies_are_read_or_refused() {
        use pb::get_audience_request::Of as Asked;
        let asked = read(br#"{"condition": "'a' in topics", "after": "7", "limit": 10}"#).expect("a question");
        assert_eq!(
            (asked.of, asked.after.as_str(), asked.limit),
            (Some(Asked::Condition("'a' in topics".into())), "7", 10)
        );
        assert_eq!(read(br#"{"topic": "a", "condition": null}"#).expect("one").of, Some(Asked::Topic("a".into())));
        assert!(read_topic(br#"{"conflate": true}"#, "t".into()).is_ok_and(|topic| topic.conflate));
        for (fault, words) in [
            (read(br#"{"topic": "a", "condition": "b"}"#).expect_err("two"), "both there"),
            (read(br#"{"limit": "10"}"#).expect_err("a text"), "limit must be a whole number"),
            (read(br#"{"user": "a"}"#).expect_err("unknown"), "unknown field `user`"),
            (read_topic(b"{}", "t".into()).expect_err("nothing"), "conflate is missing"),
            (read_topic(br#"{"conflate": 1}"#, "t".into()).expect_err("a number"), "conflate must be true or false"),
        ] {
            assert!(fault.words.contains(words), "{words}: {fault}");
        }
    }

    #[test]
    fn an_audience_is_written_whole() {
        let line = |user: &str, device: &str, online| pb::get_audience_response::Line {
            user: user.into(),
            device: device.into(),
            online,
        };
        let audience = pb::GetAudienceResponse {
            count: 3,
            users: 2,
            online: 1,
            page: vec![line("u", "phone", true), line("v", "", false)],
            next: String::new(),
        };
        let expected = json!({
            "count": 3, "users": 2, "online": 1, "next": null,
            "page": [{"user": "u", "device": "phone", "online": true}, {"user": "v", "device": null, "online": false}],
        });
        assert_eq!(shown(&audience), expected);
        assert_eq!(shown(&pb::GetAudienceResponse { next: "9".into(), ..audience })["next"], "9");
    }
}
