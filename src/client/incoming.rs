//! Bytes of the gateway's messages to checked values, on the client's side: what is not as the protocol says becomes an
//! error here. It keeps no state.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::client::error::Error;
use crate::client::push::Dismissal;
use crate::client::status::Session;
use crate::model::clock::Timestamp;
use crate::model::frame::{HeartbeatPlan, Resume, ResumeOutcome};
use crate::model::id::{MessageId, TopicName};
use crate::model::message::{Target, Urgency};
use crate::wire::body::{target_from_pb, urgency_from_pb};
use crate::wire::device::reason_from_pb;
use crate::wire::pb;

/// A frame of the push stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The session is open.
    Welcome(Session),
    /// A push.
    Push(Box<Arrival>),
    /// Please connect anew, not before so long.
    Move {
        return_after: Duration,
        /// Where to, `host:port`, best first; none: where it is.
        nodes: Vec<String>,
    },
    /// The access token is about to expire.
    Expiring,
    /// The session is over.
    Close { why: Error, return_after: Duration },
}

/// A push as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) id: MessageId,
    pub(super) seq: u64,
    pub(super) attempt: u32,
    pub(super) target: Option<Target>,
    pub(super) content_type: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) payload: Bytes,
    pub(super) urgency: Urgency,
    pub(super) collapse_key: String,
    pub(super) replaces: Option<MessageId>,
    pub(super) dismissal: Option<Dismissal>,
    pub(super) accepted_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
}

/// Reads a message of the push stream. `None` for a frame that is newer than this library: it is passed over.
pub(super) fn read(message: Bytes) -> Result<Option<Incoming>, Error> {
    let message = pb::OpenResponse::decode(message).map_err(|_| broken("a frame is not a protobuf message"))?;
    Ok(match message.frame {
        None => None,
        Some(pb::open_response::Frame::Welcome(frame)) => Some(Incoming::Welcome(welcome(frame)?)),
        Some(pb::open_response::Frame::Push(frame)) => Some(Incoming::Push(Box::new(push(frame)?))),
        Some(pb::open_response::Frame::TokenExpiring(_)) => Some(Incoming::Expiring),
        Some(pb::open_response::Frame::Move(frame)) => {
            Some(Incoming::Move { return_after: millis(frame.return_after_ms), nodes: frame.nodes })
        }
        Some(pb::open_response::Frame::Close(frame)) => Some(Incoming::Close {
            return_after: millis(frame.return_after_ms),
            why: Error::Closed {
                code: frame.code,
                name: frame.name,
                reason: frame.reason,
                may_return: frame.may_return,
            },
        }),
    })
}

fn welcome(frame: pb::Welcome) -> Result<Session, Error> {
    let plan = frame.heartbeat.ok_or_else(|| broken("the welcome has no heartbeat plan"))?;
    if plan.client_interval_ms == 0 || plan.timeout_ms == 0 {
        return Err(broken("the welcome's heartbeat plan has a zero"));
    }
    if frame.window == 0 {
        return Err(broken("the welcome's window is zero"));
    }
    let resume = frame.resume.unwrap_or_default();
    let outcome = match resume.outcome() {
        pb::resume::Outcome::New => ResumeOutcome::New,
        pb::resume::Outcome::Resumed => ResumeOutcome::Resumed,
        pb::resume::Outcome::Gap => ResumeOutcome::Gap,
        pb::resume::Outcome::Unspecified => return Err(broken("the welcome does not say how the resume went")),
    };
    let names = |names: &[String]| -> Result<Vec<TopicName>, Error> {
        let names: Result<_, _> = names.iter().map(|name| TopicName::new(name)).collect();
        names.map_err(|why| broken(&format!("the welcome names a topic: {why}")))
    };
    Ok(Session {
        id: frame.session,
        // The frame does not say; whoever reads the socket fills it in.
        tls: "",
        heartbeat: HeartbeatPlan {
            client_interval: millis(plan.client_interval_ms),
            server_interval: millis(plan.server_interval_ms),
            timeout: millis(plan.timeout_ms),
        },
        window: frame.window,
        ack_timeout: millis(frame.ack_timeout_ms),
        resume: Resume { outcome, waiting: resume.waiting, missed: resume.missed },
        server_time: Timestamp::from_millis(frame.server_time_ms),
        topics: names(&frame.topics)?,
        group_topics: names(&frame.group_topics)?,
    })
}

/// A form of target or an urgency that this library does not know is let through, so that a newer gateway's push does
/// not turn into an endless reconnect.
fn push(frame: pb::Push) -> Result<Arrival, Error> {
    let id = message_id(&frame.id, "a push has no id of 16 bytes")?;
    let replaces = match frame.replaces.is_empty() {
        true => None,
        false => Some(message_id(&frame.replaces, "a push replaces what is no id of 16 bytes")?),
    };
    let dismissal = match &frame.dismissal {
        Some(dismissal) => Some(Dismissal {
            message: message_id(&dismissal.id, "a dismissal has no id of 16 bytes")?,
            reason: reason_from_pb(dismissal.reason()),
        }),
        None => None,
    };
    let urgency = urgency_from_pb(frame.urgency()).unwrap_or(Urgency::Normal);
    let target = match frame.target.and_then(|target| target.to) {
        Some(to) => Some(target_from_pb(to).map_err(|why| broken(&format!("a push's target: {why}")))?),
        None => None,
    };
    let expires_at = (frame.expires_at_ms > 0).then(|| Timestamp::from_millis(frame.expires_at_ms));
    Ok(Arrival {
        id,
        seq: frame.seq,
        attempt: frame.attempt,
        target,
        content_type: frame.content_type,
        attributes: frame.attributes,
        payload: frame.payload,
        urgency,
        collapse_key: frame.collapse_key,
        replaces,
        dismissal,
        accepted_at: Timestamp::from_millis(frame.accepted_at_ms),
        expires_at,
    })
}

fn message_id(bytes: &[u8], otherwise: &str) -> Result<MessageId, Error> {
    bytes.try_into().map(MessageId::from_bytes).map_err(|_| broken(otherwise))
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

fn broken(how: &str) -> Error {
    Error::Protocol(how.to_owned())
}

#[cfg(test)]
impl Arrival {
    /// A push without content.
    pub(super) fn plain(id: MessageId, seq: u64) -> Self {
        let frame = pb::Push { seq, attempt: 1, id: Bytes::copy_from_slice(id.as_bytes()), ..pb::Push::default() };
        push(frame).expect("the frame is whole")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::{Incoming, read};
    use crate::client::error::Error;
    use crate::client::push::Dismissal;
    use crate::model::id::MessageId;
    use crate::model::message::Urgency;
    use crate::wire::pb::{self, open_response::Frame};

    fn encode(frame: Option<Frame>) -> Bytes {
        pb::OpenResponse { frame }.encode_to_vec().into()
    }

    fn welcome() -> pb::Welcome {
        pb::Welcome {
            heartbeat: Some(pb::Heartbeat { client_interval_ms: 5, server_interval_ms: 7, timeout_ms: 3 }),
            window: 1,
            resume: Some(pb::Resume { outcome: 1, waiting: 2, missed: 3 }),
            ..pb::Welcome::default()
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_an_error_that_says_how() {
        let plan = |client, timeout| {
            Some(pb::Heartbeat { client_interval_ms: client, server_interval_ms: 1, timeout_ms: timeout })
        };
        let id = Bytes::from_static(&[1; 16]);
        let bad = pb::Target { to: Some(pb::target::To::User("a b".into())) };
        let frames = [
            Frame::Welcome(pb::Welcome { heartbeat: None, ..welcome() }),
            Frame::Welcome(pb::Welcome { heartbeat: plan(0, 1), ..welcome() }),
            Frame::Welcome(pb::Welcome { heartbeat: plan(1, 0), ..welcome() }),
            Frame::Welcome(pb::Welcome { window: 0, ..welcome() }),
            Frame::Welcome(pb::Welcome { resume: None, ..welcome() }),
            Frame::Welcome(pb::Welcome { topics: vec!["a/b".into()], ..welcome() }),
            Frame::Push(pb::Push { id: Bytes::from_static(b"short"), ..pb::Push::default() }),
            Frame::Push(pb::Push { id: id.clone(), target: Some(bad), ..pb::Push::default() }),
            Frame::Push(pb::Push { id: id.clone(), replaces: Bytes::from_static(b"x"), ..pb::Push::default() }),
            Frame::Push(pb::Push { id, dismissal: Some(pb::Dismissal::default()), ..pb::Push::default() }),
            Frame::Welcome(pb::Welcome { group_topics: vec!["a/b".into()], ..welcome() }),
        ];
        for frame in frames {
            let got = read(encode(Some(frame.clone())));
            assert!(matches!(got, Err(Error::Protocol(_))), "{frame:?} gave {got:?}");
        }
        assert!(matches!(read(Bytes::from_static(b"\xff\xff")), Err(Error::Protocol(_))));
        assert!(matches!(read(encode(Some(Frame::Welcome(welcome())))), Ok(Some(Incoming::Welcome(_)))));
    }

    #[test]
    fn what_is_newer_than_this_library_does_not_break_it() {
        assert_eq!(read(encode(None)), Ok(None));
        let id = Bytes::from_static(&[1; 16]);
        let dismissal = Some(pb::Dismissal { id: id.clone(), reason: 77 });
        let push = pb::Push { id: id.clone(), urgency: 77, dismissal, replaces: id, ..pb::Push::default() };
        let Ok(Some(Incoming::Push(push))) = read(encode(Some(Frame::Push(push)))) else { panic!("not a push") };
        assert_eq!((push.urgency, push.target, push.expires_at), (Urgency::Normal, None, None));
        let message = MessageId::from_bytes([1; 16]);
        assert_eq!(push.dismissal, Some(Dismissal { message, reason: None }));
        assert_eq!(push.replaces, Some(message));
    }
}
