//! The device protocol of `proto/pushline/v1/device.proto`: frames and answers to bytes, bytes to requests, for the
//! gateway's side. What it accepts is checked: the values it returns are within the protocol's bounds.

pub mod json;
pub mod login;

use std::time::Duration;

use bytes::{BufMut, Bytes};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::model::fault::{Code, Fault};
use crate::model::frame::{Ack, Answer, Frame, Nack, Open, Request, ResumeOutcome, Verdict, Welcome};
use crate::model::id::{DeviceId, MessageId, TopicName};
use crate::model::message::{DismissReason, Dismissed, Entry, Urgency};
use crate::wire::body::{urgency_from_pb, urgency_to_pb};
use crate::wire::{grpc, pb};

pub use crate::model::attributes::check_attributes;

/// The methods of the device service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Opens the push stream.
    Open,
    /// Settles pushes.
    Ack,
    /// Follows topics.
    Subscribe,
    /// Stops following topics.
    Unsubscribe,
    /// Changes the session.
    Update,
    /// The user has seen messages.
    Dismiss,
    /// Goes on with another access token.
    Renew,
    /// Checks a credential. Needs no session.
    Login,
    /// Gives a challenge. Needs no session.
    Challenge,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Open,
        Self::Ack,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Update,
        Self::Dismiss,
        Self::Renew,
        Self::Login,
        Self::Challenge,
    ];

    /// The `:path` of its requests.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Open => "/pushline.v1.Device/Open",
            Self::Ack => "/pushline.v1.Device/Ack",
            Self::Subscribe => "/pushline.v1.Device/Subscribe",
            Self::Unsubscribe => "/pushline.v1.Device/Unsubscribe",
            Self::Update => "/pushline.v1.Device/Update",
            Self::Dismiss => "/pushline.v1.Device/Dismiss",
            Self::Renew => "/pushline.v1.Device/Renew",
            Self::Login => "/pushline.v1.Device/Login",
            Self::Challenge => "/pushline.v1.Device/Challenge",
        }
    }

    /// The method with this `:path`.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }
}

/// Ranges and nacks one ack may hold.
pub const ACK_RANGES_MAX: usize = 1024;
/// Bytes of a nack's reason.
pub const NACK_REASON_BYTES_MAX: usize = 256;
/// Topics one subscribe may name.
pub const TOPICS_PER_CALL_MAX: usize = 100;
/// Messages one `Dismiss` may name.
pub const DISMISSALS_PER_CALL_MAX: usize = 100;
/// Bytes of the agent's name.
pub const AGENT_BYTES_MAX: usize = 64;

/// Field number of `OpenResponse.push`.
const PUSH_FIELD: u32 = 2;
/// Field numbers of `Push` that are not part of the body.
const SEQ_FIELD: u32 = 1;
const ATTEMPT_FIELD: u32 = 2;
const ID_FIELD: u32 = 3;
const ACCEPTED_FIELD: u32 = 4;
const EXPIRES_FIELD: u32 = 5;
const DISMISSAL_FIELD: u32 = 12;
/// Field numbers of `Dismissal`.
const DISMISSED_FIELD: u32 = 1;
const REASON_FIELD: u32 = 2;
/// Most bytes of those fields: five keys of a byte, three numbers of 64 bits, one of 32, and the id with its length.
const OWN_BYTES_MAX: usize = 5 + 3 * 10 + 5 + 1 + 16;

/// Most bytes of a push before its body: prefix, two keys with lengths, and those fields.
pub const PUSH_HEAD_BYTES_MAX: usize = grpc::PREFIX_BYTES + 2 + 10 + OWN_BYTES_MAX;
/// Bytes of a dismissal: the id with key and length, the reason with its key.
const DISMISSAL_BYTES: usize = 2 + 16 + 2;
/// The same in a push, with key and length.
const DISMISSAL_FIELD_BYTES: usize = 2 + DISMISSAL_BYTES;
/// Bytes of a frame about the session, as a rule.
const CONTROL_BYTES: usize = 256;

/// Appends a frame with its gRPC prefix, all of it.
pub fn put_frame(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Push { seq, attempt, entry } => {
            put_push_head(*seq, *attempt, entry, out);
            out.put_slice(&entry.body);
        }
        Frame::Welcome(welcome) => put_control(pb::open_response::Frame::Welcome(welcome_to_pb(welcome)), out),
        Frame::Move { return_after, grace, nodes } => put_control(
            pb::open_response::Frame::Move(pb::Move {
                return_after_ms: millis(*return_after),
                grace_ms: millis(*grace),
                nodes: nodes.to_vec(),
            }),
            out,
        ),
        Frame::TokenExpiring { expires_at } => put_control(
            pb::open_response::Frame::TokenExpiring(pb::TokenExpiring { expires_at_ms: expires_at.as_millis() }),
            out,
        ),
        Frame::Close { reason, return_after } => put_control(
            pb::open_response::Frame::Close(pb::Close {
                code: reason.code(),
                name: reason.name().to_owned(),
                reason: reason.to_string(),
                may_return: reason.may_return(),
                return_after_ms: millis(*return_after),
            }),
            out,
        ),
    }
}

/// Appends all of a push but its body, which must follow: so a large body need not be copied for each device. Makes no
/// room for the body: where it travels apart, a buffer of its size would wait with each device.
pub fn put_push_head(seq: u64, attempt: u32, entry: &Entry, out: &mut Vec<u8>) {
    // By hand, since the generated type wants its bytes on the heap: this is done once a delivery.
    let mut own = [0; OWN_BYTES_MAX + DISMISSAL_FIELD_BYTES];
    let mut room = &mut own[..];
    put_number(SEQ_FIELD, seq, &mut room);
    put_number(ATTEMPT_FIELD, attempt.into(), &mut room);
    encode_key(ID_FIELD, WireType::LengthDelimited, &mut room);
    encode_varint(entry.id.as_bytes().len() as u64, &mut room);
    room.put_slice(entry.id.as_bytes());
    put_number(ACCEPTED_FIELD, entry.accepted_at.as_millis(), &mut room);
    put_number(EXPIRES_FIELD, entry.expires_at.as_millis(), &mut room);
    if let Some(dismissed) = dismissal(entry) {
        encode_key(DISMISSAL_FIELD, WireType::LengthDelimited, &mut room);
        encode_varint(DISMISSAL_BYTES as u64, &mut room);
        encode_key(DISMISSED_FIELD, WireType::LengthDelimited, &mut room);
        encode_varint(dismissed.message.as_bytes().len() as u64, &mut room);
        room.put_slice(dismissed.message.as_bytes());
        put_number(REASON_FIELD, reason_to_pb(dismissed.reason) as u64, &mut room);
    }
    let written = OWN_BYTES_MAX + DISMISSAL_FIELD_BYTES - room.len();
    let own = &own[..written];
    let push = own.len() + entry.body.len();
    // Key of field 2: one byte.
    let message = 1 + encoded_len_varint(push as u64) + push;
    grpc::put_prefix(message, out);
    encode_key(PUSH_FIELD, WireType::LengthDelimited, out);
    encode_varint(push as u64, out);
    out.put_slice(own);
}

/// Most bytes that a frame takes, so that room can be made for it. Those about the session are few and small: theirs is
/// for a welcome without topics, and a longer one only costs a buffer that grows.
#[must_use]
pub fn room_for(frame: &Frame) -> usize {
    match frame {
        Frame::Push { entry, .. } => {
            let dismissal = dismissal(entry).map_or(0, |_| DISMISSAL_FIELD_BYTES);
            PUSH_HEAD_BYTES_MAX + dismissal + entry.body.len()
        }
        Frame::Welcome(_) | Frame::Move { .. } | Frame::TokenExpiring { .. } | Frame::Close { .. } => CONTROL_BYTES,
    }
}

fn dismissal(entry: &Entry) -> Option<&Dismissed> {
    entry.aim.as_ref().and_then(|aim| aim.dismissal.as_ref())
}

const fn reason_to_pb(reason: DismissReason) -> pb::dismissal::Reason {
    match reason {
        DismissReason::Cancelled => pb::dismissal::Reason::Cancelled,
        DismissReason::Seen => pb::dismissal::Reason::Seen,
        DismissReason::Taken => pb::dismissal::Reason::Taken,
    }
}

/// Reads why a message is to be taken away; `None` for a reason that is newer than this library.
#[must_use]
pub const fn reason_from_pb(reason: pb::dismissal::Reason) -> Option<DismissReason> {
    match reason {
        pb::dismissal::Reason::Unspecified => None,
        pb::dismissal::Reason::Cancelled => Some(DismissReason::Cancelled),
        pb::dismissal::Reason::Seen => Some(DismissReason::Seen),
        pb::dismissal::Reason::Taken => Some(DismissReason::Taken),
    }
}

/// Appends a field; zero is not written, as proto3 has it.
fn put_number(field: u32, number: u64, out: &mut impl BufMut) {
    if number != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(number, out);
    }
}

fn put_control(frame: pb::open_response::Frame, out: &mut Vec<u8>) {
    let message = pb::OpenResponse { frame: Some(frame) };
    grpc::put_prefix(message.encoded_len(), out);
    message.encode_raw(out);
}

fn welcome_to_pb(welcome: &Welcome) -> pb::Welcome {
    let outcome = match welcome.resume.outcome {
        ResumeOutcome::New => pb::resume::Outcome::New,
        ResumeOutcome::Resumed => pb::resume::Outcome::Resumed,
        ResumeOutcome::Gap => pb::resume::Outcome::Gap,
    };
    pb::Welcome {
        session: welcome.session.to_string(),
        heartbeat: Some(pb::Heartbeat {
            client_interval_ms: millis(welcome.heartbeat.client_interval),
            server_interval_ms: millis(welcome.heartbeat.server_interval),
            timeout_ms: millis(welcome.heartbeat.timeout),
        }),
        window: welcome.window,
        ack_timeout_ms: millis(welcome.ack_timeout),
        resume: Some(pb::Resume {
            outcome: outcome.into(),
            waiting: welcome.resume.waiting,
            missed: welcome.resume.missed,
        }),
        server_time_ms: welcome.server_time.as_millis(),
        topics: welcome.topics.iter().map(ToString::to_string).collect(),
        group_topics: welcome.group_topics.iter().map(ToString::to_string).collect(),
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// The answer to a request, with its gRPC prefix.
#[must_use]
pub fn answer(answer: Answer) -> Bytes {
    match answer {
        Answer::Acked { settled, already_settled } => grpc::framed(&pb::AckResponse { settled, already_settled }),
        Answer::Subscribed { subscriptions } => grpc::framed(&pb::SubscribeResponse { subscriptions }),
        Answer::Unsubscribed { subscriptions } => grpc::framed(&pb::UnsubscribeResponse { subscriptions }),
        Answer::Updated { urgency_floor, window } => {
            grpc::framed(&pb::UpdateResponse { urgency_floor: urgency_to_pb(urgency_floor).into(), window })
        }
        Answer::Dismissed { dismissed } => grpc::framed(&pb::DismissResponse { dismissed }),
        Answer::Renewed { expires_at } => grpc::framed(&pb::RenewResponse { expires_at_ms: expires_at.as_millis() }),
        Answer::LoggedIn(told) => grpc::framed(&pb::LoginResponse {
            token: told.token,
            expires_at_ms: told.expires_at.as_millis(),
            refresh_after_ms: u64::try_from(told.refresh_after.as_millis()).unwrap_or(u64::MAX),
            user: told.user.to_string(),
            device: told.device.to_string(),
            nodes: told.nodes.to_vec(),
        }),
        Answer::Challenge { challenge, expires_at } => {
            grpc::framed(&pb::ChallengeResponse { challenge, expires_at_ms: expires_at.as_millis() })
        }
    }
}

/// Reads the body of an `Open`. `bearer` is the token of the request's metadata, which a token in the message overrides.
///
/// # Errors
/// A [`Fault`] that tells the device what is wrong.
pub fn open(body: Bytes, limit: usize, bearer: Option<&str>) -> Result<Open, Fault> {
    // A device may close its side with the very HEADERS that open the stream (P1.8 to the letter), and wish for nothing.
    let request: pb::OpenRequest = if body.is_empty() { pb::OpenRequest::default() } else { message(body, limit)? };
    let urgency_floor = urgency_floor(request.urgency_floor)?.unwrap_or(Urgency::VeryLow);
    let device = match request.device.as_str() {
        "" => None,
        name => Some(DeviceId::new(name).map_err(|why| invalid_name("device", &why))?),
    };
    if request.agent.len() > AGENT_BYTES_MAX {
        return Err(Fault::new(Code::InvalidOption, format!("agent: give at most {AGENT_BYTES_MAX} bytes")));
    }
    let token = match (request.token.as_str(), bearer) {
        ("", Some(bearer)) => bearer.to_owned(),
        _ => request.token,
    };
    Ok(Open {
        token,
        device,
        heartbeat: Duration::from_millis(request.heartbeat_ms.into()),
        window: request.window,
        urgency_floor,
        agent: request.agent,
        attributes: {
            check_attributes(&request.attributes)?;
            request.attributes
        },
    })
}

/// Reads the body of a request. `Open` is not one of them.
///
/// # Errors
/// A [`Fault`] that tells the device what is wrong.
pub fn request(method: Method, body: Bytes, limit: usize) -> Result<Request, Fault> {
    match method {
        Method::Open => Err(Fault::new(Code::SessionExists, "this connection has a session; open another connection")),
        Method::Ack => ack(message(body, limit)?).map(Request::Ack),
        Method::Subscribe => topics(message::<pb::SubscribeRequest>(body, limit)?.topics).map(Request::Subscribe),
        Method::Unsubscribe => topics(message::<pb::UnsubscribeRequest>(body, limit)?.topics).map(Request::Unsubscribe),
        Method::Update => {
            let update: pb::UpdateRequest = message(body, limit)?;
            let urgency_floor = match update.urgency_floor {
                Some(floor) => Some(urgency_floor(floor)?.unwrap_or(Urgency::VeryLow)),
                None => None,
            };
            let attributes = update.attributes.map(|given| given.values);
            attributes.as_ref().map(check_attributes).transpose()?;
            Ok(Request::Update { urgency_floor, window: update.window, attributes })
        }
        Method::Dismiss => dismiss(message(body, limit)?).map(Request::Dismiss),
        Method::Renew => Ok(Request::Renew(message::<pb::RenewRequest>(body, limit)?.token)),
        Method::Login => login::login(message(body, limit)?).map(|login| Request::Login(Box::new(login))),
        Method::Challenge => {
            login::challenge(&message(body, limit)?).map(|(tenant, device)| Request::Challenge(tenant, device))
        }
    }
}

fn message<M: Message + Default>(body: Bytes, limit: usize) -> Result<M, Fault> {
    let bytes = grpc::unary(body, limit).map_err(|why| match why {
        grpc::Error::Compressed => Fault::new(Code::UnsupportedEncoding, why.to_string()),
        grpc::Error::TooLong { .. } => Fault::new(Code::RequestTooLarge, why.to_string()),
        grpc::Error::Flag(_) | grpc::Error::NotOne => Fault::new(Code::Malformed, why.to_string()),
    })?;
    M::decode(bytes).map_err(|_| Fault::new(Code::Malformed, "the body is not the protobuf message of this method"))
}

fn ack(request: pb::AckRequest) -> Result<Ack, Fault> {
    let refuse = |words: String| Err(Fault::new(Code::InvalidAck, words));
    if request.acked.is_empty() && request.nacked.is_empty() {
        return refuse("the ack names nothing; give at least one range or nack".into());
    }
    if request.acked.len() + request.nacked.len() > ACK_RANGES_MAX {
        return refuse(format!("the ack has more than {ACK_RANGES_MAX} ranges and nacks; split it"));
    }
    let mut acked = Vec::with_capacity(request.acked.len());
    for range in request.acked {
        if range.from == 0 || range.from > range.upto {
            return refuse(format!("range {} to {}: seqs begin at 1 and ranges run forwards", range.from, range.upto));
        }
        acked.push((range.from, range.upto));
    }
    let mut nacked = Vec::with_capacity(request.nacked.len());
    for nack in request.nacked {
        let Ok(verdict) = pb::nack::Verdict::try_from(nack.verdict) else {
            return refuse(format!("nack of seq {}: unknown verdict {}", nack.seq, nack.verdict));
        };
        if nack.seq == 0 {
            return refuse("nack of seq 0: seqs begin at 1".into());
        }
        if nack.reason.len() > NACK_REASON_BYTES_MAX {
            return refuse(format!("nack of seq {}: the reason has over {NACK_REASON_BYTES_MAX} bytes", nack.seq));
        }
        let verdict = match verdict {
            pb::nack::Verdict::Retry => Verdict::Retry,
            pb::nack::Verdict::Reject => Verdict::Reject,
        };
        nacked.push(Nack { seq: nack.seq, verdict, reason: nack.reason });
    }
    Ok(Ack { acked, nacked, session: request.session })
}

fn topics(names: Vec<String>) -> Result<Vec<TopicName>, Fault> {
    if names.is_empty() || names.len() > TOPICS_PER_CALL_MAX {
        return Err(Fault::new(Code::InvalidOption, format!("topics: name 1 to {TOPICS_PER_CALL_MAX} in one call")));
    }
    names.iter().map(|name| TopicName::new(name).map_err(|why| invalid_name("topic", &why))).collect()
}

fn dismiss(request: pb::DismissRequest) -> Result<Vec<MessageId>, Fault> {
    if request.ids.is_empty() || request.ids.len() > DISMISSALS_PER_CALL_MAX {
        return Err(Fault::new(Code::InvalidOption, format!("ids: name 1 to {DISMISSALS_PER_CALL_MAX} in one call")));
    }
    let id = |bytes: Bytes| {
        let bytes = <[u8; 16]>::try_from(&*bytes);
        bytes.map(MessageId::from_bytes).map_err(|_| Fault::new(Code::InvalidOption, "ids: a message id has 16 bytes"))
    };
    request.ids.into_iter().map(id).collect()
}

fn invalid_name(what: &str, why: &crate::model::id::NameError) -> Fault {
    Fault::new(Code::InvalidName, format!("{what}: {why}"))
}

fn urgency_floor(number: i32) -> Result<Option<Urgency>, Fault> {
    match pb::Urgency::try_from(number) {
        Ok(urgency) => Ok(urgency_from_pb(urgency)),
        Err(_) => Err(Fault::new(Code::InvalidOption, format!("urgency_floor: unknown urgency {number}"))),
    }
}

#[cfg(test)]
mod tests;
