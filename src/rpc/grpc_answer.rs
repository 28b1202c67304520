//! Writes what the node answers as messages of the protocol. The twin of the JSON answers.

use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::MessageId;
use crate::model::receipt::Counts;
use crate::node::push::Accepted;
use crate::node::{DeviceOutcome, DeviceState, MessageRecord, MessageState};
use crate::rpc::many_users::Outcome;
use crate::rpc::stream::Answer;
use crate::rpc::{fault, json_answer};
use crate::wire::pb;

/// The answer to a push.
pub(super) fn accepted(accepted: Accepted) -> pb::PushResponse {
    pb::PushResponse {
        id: accepted.id.to_string(),
        log: accepted.log.map(|log| log.to_string()).unwrap_or_default(),
        offset: accepted.offset.0,
        epoch: accepted.epoch.0,
        accepted_at_ms: accepted.accepted_at.as_millis(),
        expires_at_ms: accepted.expires_at.as_millis(),
        duplicate: accepted.duplicate,
        online: accepted.online,
        audience: accepted.audience,
        send_at_ms: accepted.send_at.map_or(0, Timestamp::as_millis),
    }
}

/// The answer to a push of a stream.
pub(super) fn answer(answer: Answer<Accepted>) -> pb::PushStreamResponse {
    use pb::push_stream_response::Outcome as Told;
    let outcome = match answer.outcome {
        Ok(answer) => Told::Accepted(accepted(answer)),
        Err(fault) => Told::Error(fault::to_item(&fault)),
    };
    pb::PushStreamResponse { reference: answer.reference.unwrap_or_default(), outcome: Some(outcome) }
}

/// What is known of a message.
///
/// # Errors
/// When the stored content cannot be read back.
pub(super) fn record(id: MessageId, record: MessageRecord) -> Result<pb::GetMessageResponse, Fault> {
    let content = match record.entry {
        Some(entry) => {
            let content = prost::Message::decode(entry.body).map_err(|_| json_answer::unreadable())?;
            Some(pb::Push {
                id: id.as_bytes().to_vec().into(),
                accepted_at_ms: record.accepted_at.as_millis(),
                expires_at_ms: record.expires_at.as_millis(),
                ..content
            })
        }
        None => None,
    };
    Ok(pb::GetMessageResponse {
        id: id.to_string(),
        state: state(record.state).into(),
        log: record.log.to_string(),
        offset: record.offset.0,
        epoch: record.epoch.0,
        accepted_at_ms: record.accepted_at.as_millis(),
        expires_at_ms: record.expires_at.as_millis(),
        content,
        devices: record.devices.into_iter().map(device).collect(),
        tag: record.tag.map(|tag| tag.to_string()).unwrap_or_default(),
        counts: record.counts.as_ref().map(counts),
        ended_at_ms: record.ended.map_or(0, |(at, _)| at.as_millis()),
        replaced_by: record.ended.and_then(|(_, by)| by).map(|id| id.to_string()).unwrap_or_default(),
        send_at_ms: record.send_at.map_or(0, Timestamp::as_millis),
    })
}

/// What became of a message.
pub(super) const fn state(state: MessageState) -> pb::get_message_response::State {
    use pb::get_message_response::State;
    match state {
        MessageState::Stored => State::Stored,
        MessageState::Expired => State::Expired,
        MessageState::Replaced => State::Replaced,
        MessageState::Trimmed => State::Trimmed,
        MessageState::Cancelled => State::Cancelled,
        MessageState::Scheduled => State::Scheduled,
        MessageState::Taken => State::Taken,
        MessageState::Dismissed => State::Dismissed,
    }
}

/// Devices that a message is for, by what became of it there.
pub(super) const fn counts(counts: &Counts) -> pb::Counts {
    pb::Counts {
        audience: counts.audience,
        sent: counts.sent,
        acked: counts.acked,
        dead: counts.dead,
        missed: counts.missed,
        waiting: counts.waiting(),
    }
}

/// What became of a push to many users.
pub(super) fn outcomes(outcomes: Vec<Outcome>) -> pb::PushUsersResponse {
    use pb::push_users_response as response;
    let outcome = |(user, outcome)| {
        let outcome = match outcome {
            Ok(answer) => response::outcome::Outcome::Accepted(accepted(answer)),
            Err(refused) => response::outcome::Outcome::Error(fault::to_item(&refused)),
        };
        response::Outcome { user, outcome: Some(outcome) }
    };
    pb::PushUsersResponse { outcomes: outcomes.into_iter().map(outcome).collect() }
}

fn device(outcome: DeviceOutcome) -> pb::DeviceOutcome {
    use pb::device_outcome::State;
    let (state, reason, at_ms) = match outcome.state {
        DeviceState::Waiting => (State::Waiting, String::new(), 0),
        DeviceState::Acked { at } => (State::Acked, String::new(), at.map_or(0, Timestamp::as_millis)),
        DeviceState::Missed => (State::Missed, String::new(), 0),
        DeviceState::Dead { reason, at } => (State::Dead, reason, at.as_millis()),
    };
    pb::DeviceOutcome {
        device: outcome.device.to_string(),
        state: state.into(),
        attempts: outcome.attempts,
        reason,
        at_ms,
        user: outcome.user.to_string(),
        first_sent_at_ms: outcome.sent.map_or(0, |(first, _)| first.as_millis()),
        last_sent_at_ms: outcome.sent.map_or(0, |(_, last)| last.as_millis()),
        handed_off_at_ms: outcome.handed_off.as_ref().map_or(0, |(at, _)| at.as_millis()),
        hand_off: outcome
            .handed_off
            .and_then(|(_, answer)| answer.as_ref().map(json_answer::hand_off))
            .unwrap_or_default(),
    }
}
