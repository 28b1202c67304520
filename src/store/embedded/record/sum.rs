//! Records of sums and positions: of tags, of tenants, of journals, of webhooks.

use super::event::{counts, push_counts};
use super::{Input, push, push_text};
use crate::model::receipt::Counts;
use crate::model::webhook::Webhook;
use crate::store::{Error, Usage};

/// What became of a tag's messages of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store::embedded) struct Sum {
    /// How many there are.
    pub(in crate::store::embedded) messages: u64,
    /// What became of all of them.
    pub(in crate::store::embedded) counts: Counts,
}

impl Sum {
    /// Takes in another sum.
    pub(in crate::store::embedded) const fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.counts.audience += other.counts.audience;
        self.counts.sent += other.counts.sent;
        self.counts.acked += other.counts.acked;
        self.counts.dead += other.counts.dead;
        self.counts.missed += other.counts.missed;
    }

    pub(in crate::store::embedded) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        push(&mut out, self.messages);
        push_counts(&mut out, &self.counts);
        out
    }

    pub(in crate::store::embedded) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "tag" };
        let (messages, counts) = (input.number()?, counts(&mut input)?);
        input.end(Self { messages, counts })
    }
}

/// How far a journal is. It outlives its events, so that no position is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct Reach {
    /// The oldest position that is kept; one more than `last` when there is none.
    pub(in crate::store::embedded) first: u64,
    /// The newest position; 0 before the first event.
    pub(in crate::store::embedded) last: u64,
}

impl Default for Reach {
    fn default() -> Self {
        Self { first: 1, last: 0 }
    }
}

impl Reach {
    pub(in crate::store::embedded) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        push(&mut out, self.first);
        push(&mut out, self.last);
        out
    }

    pub(in crate::store::embedded) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "journal's" };
        let (first, last) = (input.number()?, input.number()?);
        input.end(Self { first, last })
    }
}

/// What a tenant takes.
pub(in crate::store::embedded) fn encode_usage(usage: Usage) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    push(&mut out, usage.topics);
    push(&mut out, usage.stored_bytes);
    out
}

/// Reads what a tenant takes.
pub(in crate::store::embedded) fn decode_usage(bytes: &[u8]) -> Result<Usage, Error> {
    let mut input = Input { bytes, what: "tenant's" };
    let (topics, stored_bytes) = (input.number()?, input.number()?);
    input.end(Usage { topics, stored_bytes })
}

/// A webhook's value: where to, and how far its journal was delivered.
pub(in crate::store::embedded) fn encode_webhook(webhook: &Webhook, position: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    push(&mut out, position);
    push_text(&mut out, &webhook.url);
    out.extend_from_slice(&webhook.secret);
    out
}

/// Reads a webhook's value.
pub(in crate::store::embedded) fn decode_webhook(bytes: &[u8]) -> Result<(Webhook, u64), Error> {
    let mut input = Input { bytes, what: "webhook" };
    let (position, url) = (input.number()?, input.text()?.to_owned());
    Ok((Webhook { url, secret: input.bytes.to_vec() }, position))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reach, Sum, decode_usage, decode_webhook, encode_usage, encode_webhook};
    use crate::model::receipt::Counts;
    use crate::model::webhook::Webhook;
    use crate::store::Usage;

    proptest! {
        #[test]
        fn records_read_back(a: u64, b: u64, url in ".{0,20}", secret in prop::collection::vec(any::<u8>(), 0..40)) {
            let counts = Counts { audience: a, sent: b, acked: 3, dead: 4, missed: 5 };
            let sum = Sum { messages: b, counts };
            prop_assert_eq!(Sum::decode(&sum.encode()).unwrap(), sum);
            let reach = Reach { first: a, last: b };
            prop_assert_eq!(Reach::decode(&reach.encode()).unwrap(), reach);
            let usage = Usage { topics: a, stored_bytes: b };
            prop_assert_eq!(decode_usage(&encode_usage(usage)).unwrap(), usage);
            let webhook = Webhook { url, secret };
            prop_assert_eq!(decode_webhook(&encode_webhook(&webhook, a)).unwrap(), (webhook, a));
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Sum::decode(&bytes), Reach::decode(&bytes), decode_webhook(&bytes), decode_usage(&bytes));
        }
    }
}
