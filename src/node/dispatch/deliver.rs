//! Posts receipts, or comings and goings, in batches: one request at a time, the next one when that was taken. Nothing is
//! given up while the journal keeps it.
//!
//! ```json
//! {"type": "receipts", "tenant": "default", "events": [...], "position": 1200, "missed": 0}
//! ```
//!
//! `type` is `receipts` or `presence`; the events are those of `event_json.rs`. Everything up to `position` was told with
//! this request; `missed` positions before its first event are not kept any more (the receiver was away for too long).
//! `webhook-id` is made of the positions: the same events in the same request have the same one.

use std::time::Duration;

use bytes::Bytes;

use crate::hook::Post;
use crate::node::dispatch::{Courier, Lag, Pauses};
use crate::node::event_json;
use crate::store::{Events, Journal};

impl Courier {
    pub(super) async fn deliver(mut self, journal: Journal) {
        let mut ear = self.bell.listen(&self.tenant, journal);
        let mut pauses = Pauses::new(&self.options);
        let mut lag = Lag::new(self.metrics.webhook_lag.clone());
        loop {
            ear.forget();
            let page = self.read(journal, self.position, EVENTS_MAX).await;
            lag.set(page.last.saturating_sub(self.position.max(page.first.saturating_sub(1))));
            let Some((id, body, upto)) = self.batch(&page) else {
                // The position stays: the next request says how many are gone, if they are.
                ear.hear().await;
                continue;
            };
            let body = Bytes::from(body);
            // The same request until it was taken: the receiver may have taken it though its answer did not come, and knows
            // the repeat by its id.
            while let Err((how, asked)) = self.try_once(&id, body.clone()).await {
                self.failed(&how);
                tokio::time::sleep(pauses.next(asked)).await;
                lag.set(self.read(journal, upto, 0).await.last.saturating_sub(self.position));
            }
            self.worked();
            self.position = upto;
            self.note_delivered(upto).await;
            pauses = Pauses::new(&self.options);
        }
    }

    /// Posts once; how it failed, and for how long the receiver asks to be left alone.
    async fn try_once(&self, id: &str, body: Bytes) -> Result<(), (String, Option<Duration>)> {
        let post = Post { place: &self.place, secret: &self.secret, id, at: self.clock.now().wall, body };
        match self.poster.post(post).await {
            Ok(answer) if answer.taken() => Ok(()),
            Ok(answer) => Err((format!("answered with status {}", answer.status), answer.retry_after)),
            Err(error) => Err((error.to_string(), None)),
        }
    }

    /// The request for the beginning of a page, with its id and the position that it goes up to; `None` for an empty one.
    fn batch(&self, page: &Events) -> Option<(String, String, u64)> {
        let (first, _) = page.events.first()?;
        let (kind, missed) = (self.kind.as_str(), page.first.saturating_sub(1).saturating_sub(self.position));
        // A tenant's name has no character that JSON must escape.
        let mut body = format!("{{\"type\":\"{kind}\",\"tenant\":\"{}\",\"events\":[", self.tenant);
        let mut upto = 0;
        for (position, event) in &page.events {
            let text = event_json::event(*position, event).to_string();
            if upto > 0 {
                if body.len() + text.len() > BODY_BYTES_MAX {
                    break;
                }
                body.push(',');
            }
            body.push_str(&text);
            upto = *position;
        }
        let is_whole = page.events.last().is_some_and(|(last, _)| *last == upto);
        let position = if is_whole { page.looked } else { upto };
        body.push_str(&format!("],\"position\":{position},\"missed\":{missed}}}"));
        Some((format!("{kind}-{first}-{upto}"), body, position))
    }
}

/// Events of one request at most.
const EVENTS_MAX: usize = 500;
/// Bytes of one request's body, unless a single event is longer; what ends the body may come on top.
const BODY_BYTES_MAX: usize = 256 * 1024 - 128;
