//! The methods of `pushline.v1.Receipts`: streams of receipts and presence that resume where they were cut, success by
//! tag, who is online, webhooks.

use tonic::Streaming;

use crate::client::backend::connection::Backend;
use crate::client::backend::error::{Error, failed};
use crate::client::backend::line::answered;
use crate::model::clock::Timestamp;
use crate::model::id::Tag;
use crate::model::webhook::Kind;
use crate::wire::pb;

impl Backend {
    /// Receipts as they come; where they begin and which they are, the request says. Nothing is sent before the first
    /// [`Receipts::next`].
    #[must_use]
    pub fn receipts(&self, request: pb::StreamReceiptsRequest) -> Receipts {
        Receipts { backend: self.clone(), request, stream: None }
    }

    /// Comings and goings as they come; as [`Backend::receipts`].
    #[must_use]
    pub fn presence(&self, request: pb::StreamPresenceRequest) -> Presence {
        Presence { backend: self.clone(), request, stream: None }
    }

    /// Success of a tag by the hour of acceptance; the last 24 hours unless told otherwise.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn tag(
        &self,
        tag: &Tag,
        from: Option<Timestamp>,
        upto: Option<Timestamp>,
    ) -> Result<pb::GetTagResponse, Error> {
        let millis = |time: Option<Timestamp>| time.map_or(0, Timestamp::as_millis);
        let request = pb::GetTagRequest { tag: tag.to_string(), from_ms: millis(from), upto_ms: millis(upto) };
        answered(self.events.clone().get_tag(self.request(request)).await)
    }

    /// Who is online now.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn online(&self, request: pb::ListOnlineRequest) -> Result<pb::ListOnlineResponse, Error> {
        answered(self.events.clone().list_online(self.request(request)).await)
    }

    /// Sets where events of a kind are posted to. Without a secret the gateway makes one; the answer shows it.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn set_webhook(&self, kind: Kind, url: &str, secret: Option<&str>) -> Result<pb::Webhook, Error> {
        let secret = secret.unwrap_or_default().to_owned();
        let request = pb::SetWebhookRequest { kind: kind.as_str().to_owned(), url: url.to_owned(), secret };
        answered(self.events.clone().set_webhook(self.request(request)).await)
    }

    /// All webhooks of the tenant, without their secrets.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn webhooks(&self) -> Result<Vec<pb::Webhook>, Error> {
        let request = self.request(pb::ListWebhooksRequest {});
        answered(self.events.clone().list_webhooks(request).await).map(|answer| answer.webhooks)
    }

    /// Takes a webhook away.
    ///
    /// # Errors
    /// [`Error::Refused`] (`webhook_not_found` when there is none), [`Error::Unanswered`].
    pub async fn delete_webhook(&self, kind: Kind) -> Result<(), Error> {
        let request = self.request(pb::DeleteWebhookRequest { kind: kind.as_str().to_owned() });
        answered(self.events.clone().delete_webhook(request).await).map(|_| ())
    }
}

/// Receipts, in batches. After an error the next call begins a new stream behind the last batch: no gap, no repeat.
#[derive(Debug)]
pub struct Receipts {
    backend: Backend,
    /// What is asked for; `after` moves with each batch.
    request: pb::StreamReceiptsRequest,
    stream: Option<Streaming<pb::ReceiptBatch>>,
}

impl Receipts {
    /// The next batch; it may be empty, which only moves the position. Waits for as long as nothing happens. Cancel-safe.
    ///
    /// # Errors
    /// When the stream cannot begin or was cut. Call again to resume, after a pause; not when
    /// [`Error::is_temporary`] says that it will not help.
    pub async fn next(&mut self) -> Result<pb::ReceiptBatch, Error> {
        if self.stream.is_none() {
            let request = self.backend.request(self.request.clone());
            self.stream = Some(answered(self.backend.events.clone().stream_receipts(request).await)?);
        }
        let batch = next(&mut self.stream).await?;
        self.request.after = Some(batch.position);
        Ok(batch)
    }

    /// Where a new stream would begin: keep it to resume after a restart of your own. `None` before the first batch when
    /// none was asked for.
    #[must_use]
    pub const fn position(&self) -> Option<u64> {
        self.request.after
    }
}

/// Comings and goings, in batches, as [`Receipts`].
#[derive(Debug)]
pub struct Presence {
    backend: Backend,
    /// What is asked for; `after` moves with each batch.
    request: pb::StreamPresenceRequest,
    stream: Option<Streaming<pb::PresenceBatch>>,
}

impl Presence {
    /// The next batch, as [`Receipts::next`].
    ///
    /// # Errors
    /// As there.
    pub async fn next(&mut self) -> Result<pb::PresenceBatch, Error> {
        if self.stream.is_none() {
            let request = self.backend.request(self.request.clone());
            self.stream = Some(answered(self.backend.events.clone().stream_presence(request).await)?);
        }
        let batch = next(&mut self.stream).await?;
        self.request.after = Some(batch.position);
        Ok(batch)
    }

    /// Where a new stream would begin, as [`Receipts::position`].
    #[must_use]
    pub const fn position(&self) -> Option<u64> {
        self.request.after
    }
}

/// The next message of a stream; a stream that ended or failed is taken away.
async fn next<T>(stream: &mut Option<Streaming<T>>) -> Result<T, Error> {
    let Some(open) = stream else {
        return Err(Error::Unanswered("the stream ended".to_owned()));
    };
    let outcome = match open.message().await {
        Ok(Some(message)) => return Ok(message),
        Ok(None) => Error::Unanswered("the stream ended".to_owned()),
        Err(status) => failed(status),
    };
    *stream = None;
    Err(outcome)
}
