//! Hands messages that a device did not ack in time over to the tenant's fallback webhook: one request for each message and
//! device, several at a time.
//!
//! ```json
//! {"type": "fallback", "tenant": "default", "user": "mia", "device": "phone", "at_ms": 1764000000000,
//!  "message": {...}}
//! ```
//!
//! `device` is null when no device of the user was known; `message` is what `GET /v1/messages/{id}` answers. `webhook-id` is
//! made of message and device: a repeat (after a crash, or an answer that was lost) has the same one. What the receiver
//! answers is the outcome:
//!
//! - 2xx with `{"outcome": "..."}` (at most 256 bytes of text): that; other 2xx: `accepted`;
//! - 4xx but for 408 and 429: it failed for good, with the status as its reason;
//! - all else is tried again until the message is over.
//!
//! Before each try it is looked whether the device has acked meanwhile (`acked in time`) or the message is over (`over`):
//! then nothing is posted.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::hook::{Answer, Post};
use crate::model::fault::Fault;
use crate::node::dispatch::{Courier, Lag, Pauses};
use crate::node::{DeviceState, MessageRecord, MessageState};
use crate::store::{self, Event, HandOff, Journal};

/// What to do about a hand-off now.
enum Verdict {
    /// Post it.
    Due(Box<MessageRecord>),
    /// It has a result already.
    Done,
    /// It is not to be posted any more, for this reason.
    Moot(&'static str),
}

impl Courier {
    pub(super) async fn hand_off(self) {
        let mut ear = self.bell.listen(&self.tenant, Journal::HandOffs);
        let mut lag = Lag::new(self.metrics.webhook_lag.clone());
        let slots = Semaphore::new(POSTS_MAX);
        let (mut looked, mut delivered, mut waiting) = (self.position, self.position, BTreeSet::new());
        let mut under_way: FuturesUnordered<Pin<Box<dyn Future<Output = u64> + Send + '_>>> = FuturesUnordered::new();
        loop {
            ear.forget();
            let page = match WINDOW.saturating_sub(under_way.len()) {
                0 => None,
                room => Some(self.read(Journal::HandOffs, looked, room).await),
            };
            if let Some(page) = page {
                looked = looked.max(page.looked);
                for (position, event) in page.events {
                    let Event::HandOff(hand_off) = event else { continue };
                    waiting.insert(position);
                    let (courier, slots) = (&self, &slots);
                    under_way.push(Box::pin(async move {
                        courier.settle(hand_off, slots).await;
                        position
                    }));
                }
                lag.set(page.last.saturating_sub(looked) + waiting.len() as u64);
                if looked < page.last && under_way.len() < WINDOW {
                    continue;
                }
            }
            tokio::select! {
                Some(position) = under_way.next(), if !under_way.is_empty() => {
                    waiting.remove(&position);
                }
                () = ear.hear(), if under_way.len() < WINDOW => continue,
            }
            let upto = waiting.first().map_or(looked, |first| first - 1);
            if upto > delivered {
                delivered = upto;
                self.note_delivered(delivered).await;
            }
        }
    }

    /// Brings a hand-off to its result, and has that written down.
    async fn settle(&self, hand_off: HandOff, slots: &Semaphore) {
        let mut pauses = Pauses::new(&self.options);
        let mut last_failure = None;
        let outcome = loop {
            // Never closed.
            let slot = slots.acquire().await;
            let record = match self.verdict(&hand_off).await {
                Ok(Verdict::Due(record)) => record,
                Ok(Verdict::Done) => return,
                Ok(Verdict::Moot(why)) => break Err(moot(why, last_failure)),
                Err(error) => {
                    tracing::warn!(tenant = %self.tenant, message = %hand_off.message, %error, "a message could not be read");
                    drop(slot);
                    tokio::time::sleep(pauses.next(None)).await;
                    continue;
                }
            };
            let body = match self.body(&hand_off, &record) {
                Ok(body) => body,
                Err(fault) => break Err(fault.words.into_owned()),
            };
            let (how, asked) = match self.post(&hand_off, body).await {
                Ok(answer) if answer.taken() => {
                    self.worked();
                    break Ok(outcome(&answer.body));
                }
                Ok(answer) if is_final(&answer) => {
                    self.worked();
                    break Err(format!("status {}", answer.status));
                }
                Ok(answer) => (format!("answered with status {}", answer.status), answer.retry_after),
                Err(error) => (error.to_string(), None),
            };
            self.failed(&how);
            last_failure = Some(how);
            drop(slot);
            tokio::time::sleep(pauses.next(asked)).await;
        };
        self.write_down(hand_off, outcome).await;
    }

    async fn verdict(&self, hand_off: &HandOff) -> Result<Verdict, store::Error> {
        let record = self.store.message(&self.tenant, hand_off.message, self.clock.now().wall).await?;
        let Some(record) = record else { return Ok(Verdict::Moot(OVER)) };
        let of_device = |device: &&store::DeviceOutcome| match &hand_off.device {
            Some(name) => device.device == *name && device.user == hand_off.user,
            None => true,
        };
        let mut devices = record.devices.iter().filter(of_device);
        let mark = match &hand_off.device {
            Some(_) => devices.clone().find_map(|device| device.handed_off.as_ref()),
            None => record.handed_off.as_ref(),
        };
        if matches!(mark, Some((_, Some(_)))) {
            return Ok(Verdict::Done);
        }
        if devices.any(|device| matches!(device.state, DeviceState::Acked { .. })) {
            return Ok(Verdict::Moot("acked in time"));
        }
        if record.state != MessageState::Stored || record.entry.is_none() {
            return Ok(Verdict::Moot(OVER));
        }
        Ok(Verdict::Due(Box::new(record)))
    }

    fn body(&self, hand_off: &HandOff, record: &MessageRecord) -> Result<String, Fault> {
        let body = json!({
            "type": self.kind.as_str(),
            "tenant": self.tenant.as_str(),
            "user": hand_off.user.as_str(),
            "device": hand_off.device.as_ref().map(|device| device.as_str()),
            "at_ms": hand_off.at.as_millis(),
            "message": (self.describe)(hand_off.message, record)?,
        });
        Ok(body.to_string())
    }

    async fn post(&self, hand_off: &HandOff, body: String) -> Result<Answer, crate::hook::Error> {
        let id = id(hand_off);
        let at = self.clock.now().wall;
        self.poster.post(Post { place: &self.place, secret: &self.secret, id: &id, at, body: body.into() }).await
    }

    async fn write_down(&self, hand_off: HandOff, outcome: Result<String, String>) {
        let mut pauses = Pauses::new(&self.options);
        loop {
            let now = self.clock.now().wall;
            match self.store.handed_off(&self.tenant, hand_off.clone(), outcome.clone(), now).await {
                Ok(()) => return,
                Err(store::Error::UnknownMessage | store::Error::UnknownDevice) => return,
                Err(error) => {
                    tracing::warn!(tenant = %self.tenant, message = %hand_off.message, %error, "a hand-off could not be noted");
                    tokio::time::sleep(pauses.next(None)).await;
                }
            }
        }
    }
}

/// What a repeat is known by. Standard Webhooks wants no full stop in it; names may have some.
fn id(hand_off: &HandOff) -> String {
    let device = hand_off.device.as_ref().map_or("", |device| device.as_str());
    format!("{}-{}", hand_off.message, device.replace('%', "%25").replace('.', "%2E"))
}

fn moot(why: &str, last_failure: Option<String>) -> String {
    last_failure.map_or_else(|| why.to_owned(), |failure| format!("{why}; before: {failure}"))
}

/// The receiver has refused this message, and would again.
const fn is_final(answer: &Answer) -> bool {
    matches!(answer.status, 400..=499) && !matches!(answer.status, 408 | 429)
}

/// What the receiver calls the outcome.
fn outcome(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        outcome: String,
    }
    match serde_json::from_slice(body) {
        Ok(Said { outcome }) if !outcome.is_empty() => {
            let end = outcome.floor_char_boundary(OUTCOME_BYTES_MAX);
            outcome[..end].to_owned()
        }
        _ => "accepted".to_owned(),
    }
}

const OVER: &str = "over";
/// Posts of one webhook that are under way at once.
const POSTS_MAX: usize = 16;
/// Hand-offs of one webhook that are under way or wait for their next try. Full: those behind wait in the journal. A
/// guess: they take a few hundred bytes each.
const WINDOW: usize = 1_024;
/// Longest outcome; a longer one is cut.
const OUTCOME_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::{Answer, id, is_final, moot, outcome};
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, MessageId, UserId};
    use crate::store::HandOff;

    #[test]
    fn outcomes_are_the_receivers_words_within_bounds() {
        assert_eq!(outcome(br#"{"outcome": "sent by APNs", "id": 7}"#), "sent by APNs");
        for other in [&b""[..], b"ok", b"{}", br#"{"outcome": 7}"#, br#"{"outcome": ""}"#, b"\xff"] {
            assert_eq!(outcome(other), "accepted", "{other:?}");
        }
        let long = format!("{{\"outcome\": \"x{}\"}}", "\u{e9}".repeat(200));
        assert_eq!(outcome(long.as_bytes()).len(), 255);
        assert_eq!(moot("over", None), "over");
        assert_eq!(moot("over", Some("status 503".into())), "over; before: status 503");
    }

    #[test]
    fn only_refusals_of_the_message_are_final() {
        let answer = |status| Answer { status, body: bytes::Bytes::new(), retry_after: None };
        for status in [400, 401, 404, 410, 422, 499] {
            assert!(is_final(&answer(status)), "{status}");
        }
        for status in [100, 302, 399, 408, 429, 500, 503] {
            assert!(!is_final(&answer(status)), "{status}");
        }
    }

    #[test]
    fn ids_are_apart_and_have_no_full_stop() {
        let id = |device: Option<&str>| {
            let device = device.map(|device| DeviceId::new(device).expect("a name"));
            let (message, user) = (MessageId::from_bytes([1; 16]), UserId::new("u").expect("a name"));
            id(&HandOff { message, user, device, at: Timestamp::ZERO })
        };
        let ids = [id(None), id(Some("a.b")), id(Some("a%2Eb")), id(Some("ab"))];
        assert!(ids.iter().all(|id| !id.contains('.')), "{ids:?}");
        assert!((1..ids.len()).all(|at| !ids[..at].contains(&ids[at])), "{ids:?}");
    }
}
