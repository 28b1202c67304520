//! The encoded content of a message: made once when a backend pushes, stored as it is, and sent as it is to every
//! native session. It is the tail of `pushline.v1.Push`: all its fields but those that differ by device and time.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::model::condition::{Condition, ConditionError};
use crate::model::id::{DeviceId, MessageId, NameError, TopicName, UserId};
use crate::model::message::{Target, Urgency};
use crate::pool::Tier;
use crate::wire::pb;

/// What a backend says in a push, apart from how to deliver it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whom it named.
    pub target: Target,
    /// Media type of the payload.
    pub content_type: String,
    /// Small texts beside the payload.
    pub attributes: BTreeMap<String, String>,
    /// The payload.
    pub payload: Bytes,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Empty for none.
    pub collapse_key: String,
    /// The message that this one takes the place of, when the backend named it.
    pub replaces: Option<MessageId>,
}

/// Encodes a content. The payload is copied here, and nowhere else between the backend's socket and the store.
#[must_use]
pub fn encode(content: Content) -> Bytes {
    let push = pb::Push {
        target: Some(target_to_pb(&content.target)),
        content_type: content.content_type,
        attributes: content.attributes,
        payload: content.payload,
        urgency: urgency_to_pb(content.urgency).into(),
        collapse_key: content.collapse_key,
        replaces: content.replaces.map(|id| Bytes::copy_from_slice(id.as_bytes())).unwrap_or_default(),
        ..pb::Push::default()
    };
    let mut body = Tier::Message.take(push.encoded_len());
    push.encode_raw(&mut *body);
    body.into_bytes()
}

/// Decodes a body that [`encode`] made. `None` when it is not one: the store gave back other bytes than it took.
#[must_use]
pub fn decode(body: Bytes) -> Option<Content> {
    content_from_pb(pb::Push::decode(body).ok()?)
}

/// The content of a received push.
#[must_use]
pub fn content_from_pb(push: pb::Push) -> Option<Content> {
    let urgency = urgency_from_pb(push.urgency())?;
    Some(Content {
        target: target_from_pb(push.target?.to?).ok()?,
        content_type: push.content_type,
        attributes: push.attributes,
        payload: push.payload,
        urgency,
        collapse_key: push.collapse_key,
        replaces: match &push.replaces[..] {
            [] => None,
            id => Some(MessageId::from_bytes(id.try_into().ok()?)),
        },
    })
}

/// Why a target is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A name in it is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its condition is none.
    #[error(transparent)]
    Condition(#[from] ConditionError),
}

/// A target as the protocol writes it.
#[must_use]
pub fn target_to_pb(target: &Target) -> pb::Target {
    let to = match target {
        Target::User(user) => pb::target::To::User(user.to_string()),
        Target::Device(user, device) => {
            pb::target::To::Device(pb::DeviceTarget { user: user.to_string(), device: device.to_string() })
        }
        Target::Topic(topic) => pb::target::To::Topic(topic.to_string()),
        Target::Condition(condition) => pb::target::To::Condition(condition.to_string()),
        Target::AnyOfUser(user) => pb::target::To::AnyOfUser(user.to_string()),
    };
    pb::Target { to: Some(to) }
}

/// Reads a target.
///
/// # Errors
/// When one of its names is not a name, or its condition none.
pub fn target_from_pb(to: pb::target::To) -> Result<Target, TargetError> {
    Ok(match to {
        pb::target::To::User(user) => Target::User(UserId::new(&user)?),
        pb::target::To::Device(to) => Target::Device(UserId::new(&to.user)?, DeviceId::new(&to.device)?),
        pb::target::To::Topic(topic) => Target::Topic(TopicName::new(&topic)?),
        pb::target::To::Condition(text) => Target::Condition(Condition::parse(&text)?),
        pb::target::To::AnyOfUser(user) => Target::AnyOfUser(UserId::new(&user)?),
    })
}

/// An urgency as the protocol writes it.
#[must_use]
pub const fn urgency_to_pb(urgency: Urgency) -> pb::Urgency {
    match urgency {
        Urgency::VeryLow => pb::Urgency::VeryLow,
        Urgency::Low => pb::Urgency::Low,
        Urgency::Normal => pb::Urgency::Normal,
        Urgency::High => pb::Urgency::High,
    }
}

/// Reads an urgency; `None` for "unspecified", whose meaning depends on where it stands.
#[must_use]
pub const fn urgency_from_pb(urgency: pb::Urgency) -> Option<Urgency> {
    match urgency {
        pb::Urgency::Unspecified => None,
        pb::Urgency::VeryLow => Some(Urgency::VeryLow),
        pb::Urgency::Low => Some(Urgency::Low),
        pb::Urgency::Normal => Some(Urgency::Normal),
        pb::Urgency::High => Some(Urgency::High),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Content, decode, encode};
    use crate::model::condition::Condition;
    use crate::model::id::{DeviceId, MessageId, TopicName, UserId};
    use crate::model::message::{Target, Urgency};

    #[test]
    fn a_content_survives_its_encoding() {
        let user = UserId::new("u").expect("a name");
        let targets = [
            Target::User(user.clone()),
            Target::Device(user, DeviceId::new("d").expect("a name")),
            Target::Topic(TopicName::new("t").expect("a name")),
            Target::Condition(Condition::parse("'t' in topics").expect("a condition")),
            Target::AnyOfUser(UserId::new("u").expect("a name")),
        ];
        for (number, target) in targets.into_iter().enumerate() {
            let content = Content {
                target,
                content_type: "text/plain".into(),
                attributes: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
                payload: Bytes::from_static(b"\0payload"),
                urgency: Urgency::VeryLow,
                collapse_key: "k".into(),
                replaces: (number > 0).then_some(MessageId::new(1, [1; 10])),
            };
            assert_eq!(decode(encode(content.clone())), Some(content));
        }
        assert_eq!(decode(Bytes::from_static(b"\xff\xff")), None);
        assert_eq!(decode(Bytes::new()), None, "a body without a target is none");
    }
}
