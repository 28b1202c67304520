//! A push in the program's hands, and the tray through which it tells the connection's task what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::client::incoming::Arrival;
use crate::model::clock::Timestamp;
use crate::model::id::MessageId;
use crate::model::message::{DismissReason, Target, Urgency};
use crate::wire::device::NACK_REASON_BYTES_MAX;

/// What takes a message away from the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dismissal {
    /// The message that goes. One that this device never received is to be ignored.
    pub message: MessageId,
    /// Why. `None` for a reason that is newer than this library.
    pub reason: Option<DismissReason>,
}

/// A push. Settle it with [`Push::ack`], [`Push::nack`] or [`Push::reject`]; dropped unsettled it counts as not handled
/// and is delivered again when the gateway's ack timeout has passed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Push {
    /// Message id: the same in every delivery.
    pub id: MessageId,
    /// Running number on its stream. A redelivery has a new one.
    pub seq: u64,
    /// 1 for the first delivery, one more for each that failed before.
    pub attempt: u32,
    /// Whom the backend named. `None` for a form that is newer than this library.
    pub target: Option<Target>,
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
    /// The message whose place this one takes, when the backend named it.
    pub replaces: Option<MessageId>,
    /// Set: there is nothing to show, another message goes. Settle it like any other: until then it comes again.
    pub dismissal: Option<Dismissal>,
    /// When the gateway accepted it.
    pub accepted_at: Timestamp,
    /// When it expires. `None` for an online-only push.
    pub expires_at: Option<Timestamp>,
    /// How its fate reaches the connection's task.
    slip: Slip,
}

impl Push {
    pub(super) fn new(arrival: Arrival, tray: &Arc<Tray>) -> Self {
        Self {
            id: arrival.id,
            seq: arrival.seq,
            attempt: arrival.attempt,
            target: arrival.target,
            content_type: arrival.content_type,
            attributes: arrival.attributes,
            payload: arrival.payload,
            urgency: arrival.urgency,
            collapse_key: arrival.collapse_key,
            replaces: arrival.replaces,
            dismissal: arrival.dismissal,
            accepted_at: arrival.accepted_at,
            expires_at: arrival.expires_at,
            slip: Slip { id: arrival.id, tray: Some(Arc::clone(tray)) },
        }
    }

    /// It was handled and must not come again. Does not wait: acks are gathered and sent together, also when the
    /// connection is down at the moment. [`Client::flush`](super::Client::flush) waits for them.
    pub fn ack(self) {
        self.slip.settle(Settlement::Acked);
    }

    /// It could not be handled now: deliver it again after a pause. The reason (at most 256 bytes are kept) is shown to
    /// the backend when no attempt is left.
    pub fn nack(self, reason: &str) {
        self.slip.settle(Settlement::Nacked(cut(reason)));
    }

    /// It can never be handled: do not deliver it again. The reason (at most 256 bytes are kept) is shown to the backend.
    pub fn reject(self, reason: &str) {
        self.slip.settle(Settlement::Rejected(cut(reason)));
    }
}

/// What became of a push in the program's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Handled.
    Acked,
    /// Not handled; try again.
    Nacked(String),
    /// Never try again.
    Rejected(String),
    /// Let go of without a word.
    Dropped,
}

/// Carries a push's fate exactly once, at the latest when it is dropped.
struct Slip {
    /// The push.
    id: MessageId,
    /// Where the fate goes; `None` once it went.
    tray: Option<Arc<Tray>>,
}

impl Slip {
    fn settle(mut self, settlement: Settlement) {
        if let Some(tray) = self.tray.take() {
            tray.put(self.id, settlement);
        }
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        if let Some(tray) = self.tray.take() {
            tray.put(self.id, Settlement::Dropped);
        }
    }
}

impl fmt::Debug for Slip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Fates on their way to the connection's task. Each push that was handed out puts in one, so it never holds more than
/// the program held pushes.
#[derive(Debug, Default)]
pub(super) struct Tray {
    /// What was put in since the task looked.
    fates: Mutex<Vec<(MessageId, Settlement)>>,
    /// Rings when something is put in.
    bell: Notify,
}

impl Tray {
    fn put(&self, id: MessageId, settlement: Settlement) {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).push((id, settlement));
        self.bell.notify_one();
    }

    /// Takes all that is in it.
    pub(super) fn take(&self) -> Vec<(MessageId, Settlement)> {
        std::mem::take(&mut *self.fates.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is put in. Cancel-safe: a ring that nobody heard is kept.
    pub(super) async fn filled(&self) {
        self.bell.notified().await;
    }
}

/// The longest beginning that the protocol takes, not cutting a character.
fn cut(reason: &str) -> String {
    let end = (0..=reason.len().min(NACK_REASON_BYTES_MAX)).rev().find(|&end| reason.is_char_boundary(end));
    reason[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Push, Settlement, Tray, cut};
    use crate::client::incoming::Arrival;
    use crate::model::id::MessageId;

    #[test]
    fn each_push_tells_its_fate_exactly_once() {
        let tray = Arc::new(Tray::default());
        let push = |n| Push::new(Arrival::plain(MessageId::new(n, [0; 10]), n), &tray);
        push(1).ack();
        push(2).nack("later");
        push(3).reject("never");
        drop(push(4));
        let fates: Vec<_> = tray.take().into_iter().map(|(_, settlement)| settlement).collect();
        let expected = [
            Settlement::Acked,
            Settlement::Nacked("later".into()),
            Settlement::Rejected("never".into()),
            Settlement::Dropped,
        ];
        assert_eq!(fates, expected);
        assert!(tray.take().is_empty());
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(300)).len(), 256);
        assert_eq!(cut(&"\u{20ac}".repeat(100)).len(), 255);
    }
}
