//! A backend's connection to a gateway, and the methods of `pushline.v1.Backend`: pushes and what is asked of them. It
//! retries nothing.

use std::time::Duration;

use futures_util::TryStreamExt;
use tonic::Request;
use tonic::transport::Channel;

use crate::client::backend::error::{Error, failed};
use crate::client::backend::line::{ANSWER_BYTES_MAX, ANSWER_WITHIN, Identity, Line, answered};
use crate::client::error::Refusal;
use crate::model::id::{MessageId, UserId};
use crate::wire::pb;
use crate::wire::pb::access_client::AccessClient;
use crate::wire::pb::audience_client::AudienceClient;
use crate::wire::pb::backend_client::BackendClient;
use crate::wire::pb::receipts_client::ReceiptsClient;
use crate::wire::pb::{push_stream_response, push_users_response};

/// What became of one push of many.
pub type Answer = Result<pb::PushResponse, Refusal>;

/// A backend's connection to a gateway. Cheap to clone; clones share the connection, which is made anew when it is lost.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Pushes.
    pushes: BackendClient<Channel>,
    /// Groups, users, topics.
    pub(super) people: AudienceClient<Channel>,
    /// Receipts, presence, webhooks.
    pub(super) events: ReceiptsClient<Channel>,
    /// Tokens, enrolments, shares, the audit log.
    pub(super) access: AccessClient<Channel>,
    line: Line,
}

impl Backend {
    /// Connects to `http://host:port` or `https://host:port` with the tenant's API key. `roots` are certificates (PEM) to
    /// trust instead of the system's.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Untrusted`] or [`Error::Unreachable`].
    pub async fn connect(url: &str, key: &str, roots: Option<&[u8]>) -> Result<Self, Error> {
        Self::connect_as(url, &Identity::Key(key.to_owned()), roots).await
    }

    /// As [`Backend::connect`], with a key or a certificate.
    ///
    /// # Errors
    /// As [`Backend::connect`].
    pub async fn connect_as(url: &str, identity: &Identity, roots: Option<&[u8]>) -> Result<Self, Error> {
        let line = Line::connect(url, identity, roots).await?;
        let channel = || line.channel.clone();
        Ok(Self {
            pushes: BackendClient::new(channel()).max_decoding_message_size(ANSWER_BYTES_MAX),
            people: AudienceClient::new(channel()).max_decoding_message_size(ANSWER_BYTES_MAX),
            events: ReceiptsClient::new(channel()).max_decoding_message_size(ANSWER_BYTES_MAX),
            access: AccessClient::new(channel()).max_decoding_message_size(ANSWER_BYTES_MAX),
            line,
        })
    }

    /// Enqueues one push. When the answer comes, the push is as durable as it asked for.
    ///
    /// # Errors
    /// [`Error::Refused`] when nothing was stored, [`Error::Unanswered`] when that is not known.
    pub async fn push(&self, push: pb::PushRequest) -> Result<pb::PushResponse, Error> {
        answered(self.pushes.clone().push(self.request(push)).await)
    }

    /// Enqueues many pushes on one stream, and gives their answers in the same order. A refused one does not stop the
    /// others.
    ///
    /// # Errors
    /// As [`Backend::push`], for the stream as a whole: then it is not known which of them are stored.
    pub async fn push_all(&self, pushes: Vec<pb::PushRequest>) -> Result<Vec<Answer>, Error> {
        use push_stream_response::Outcome;
        let count = pushes.len();
        let numbered = (0..).zip(pushes).map(|(reference, push)| pb::PushStreamRequest { reference, push: Some(push) });
        let requests = self.request(futures_util::stream::iter(numbered.collect::<Vec<_>>()));
        let answers = self.pushes.clone().push_stream(requests).await.map_err(failed)?.into_inner();
        let answers = answers.map_ok(|answer| match answer.outcome {
            Some(Outcome::Accepted(accepted)) => Ok(accepted),
            Some(Outcome::Error(error)) => Err(refusal(error)),
            None => Err(silent()),
        });
        let answers: Vec<_> = tokio::time::timeout(ANSWER_WITHIN, answers.try_collect())
            .await
            .map_err(|_| Error::Unanswered("the answers took too long".to_owned()))?
            .map_err(failed)?;
        if answers.len() < count {
            return Err(Error::Unanswered(format!("{} answers for {count} pushes", answers.len())));
        }
        Ok(answers)
    }

    /// Pushes the same content to many users (at most 1,000), and gives each one's answer in the order of the users. A
    /// refused one does not stop the others. `push` has no target.
    ///
    /// # Errors
    /// As [`Backend::push`], for all of them.
    pub async fn push_users(&self, users: Vec<String>, push: pb::PushRequest) -> Result<Vec<(String, Answer)>, Error> {
        use push_users_response::outcome::Outcome;
        let request = self.request(pb::PushUsersRequest { users, push: Some(push) });
        let outcomes = answered(self.pushes.clone().push_users(request).await)?.outcomes.into_iter();
        Ok(outcomes
            .map(|one| match one.outcome {
                Some(Outcome::Accepted(accepted)) => (one.user, Ok(accepted)),
                Some(Outcome::Error(error)) => (one.user, Err(refusal(error))),
                None => (one.user, Err(silent())),
            })
            .collect())
    }

    /// What is known of a message.
    ///
    /// # Errors
    /// [`Error::Refused`], also when there is no such message; [`Error::Unanswered`].
    pub async fn message(&self, id: MessageId) -> Result<pb::GetMessageResponse, Error> {
        let request = self.request(pb::GetMessageRequest { id: id.to_string() });
        answered(self.pushes.clone().get_message(request).await)
    }

    /// Takes a message back. `silently`: devices that received it are not told to dismiss it.
    ///
    /// # Errors
    /// [`Error::Refused`], also when there is no such message; [`Error::Unanswered`]. Cancelling again is harmless.
    pub async fn cancel(&self, id: MessageId, silently: bool) -> Result<pb::CancelResponse, Error> {
        let request = self.request(pb::CancelRequest { id: id.to_string(), silently });
        answered(self.pushes.clone().cancel(request).await)
    }

    /// What happened to a message so far, and where its devices stand; only those of one user if one is named.
    ///
    /// # Errors
    /// [`Error::Refused`], also when there is no such message; [`Error::Unanswered`].
    pub async fn timeline(&self, id: MessageId, user: Option<&UserId>) -> Result<pb::GetTimelineResponse, Error> {
        let user = user.map(ToString::to_string).unwrap_or_default();
        let request = self.request(pb::GetTimelineRequest { id: id.to_string(), user });
        answered(self.pushes.clone().get_timeline(request).await)
    }

    /// A request that says who asks.
    pub(super) fn request<T>(&self, content: T) -> Request<T> {
        self.line.request(content)
    }
}

fn refusal(error: pb::PushError) -> Refusal {
    let retry_after = (error.retry_after_ms > 0).then(|| Duration::from_millis(error.retry_after_ms));
    Refusal { grpc: error.status, name: error.code, errno: error.errno, words: error.message, retry_after }
}

fn silent() -> Refusal {
    Refusal { words: "an answer that says nothing".to_owned(), ..Refusal::default() }
}

#[cfg(test)]
mod tests {
    use super::{Backend, Error};

    #[tokio::test]
    async fn nobody_there_is_said_in_the_words_of_the_network() {
        // Bound and let go: a port where nobody listens.
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let url = format!("http://{}", address.expect("loopback has ports"));
        let why = Backend::connect(&url, "key", None).await.err();
        assert!(matches!(&why, Some(Error::Unreachable { why, .. }) if why.contains("refused")), "{why:?}");
        let why = Backend::connect(&url, "k\ney", None).await.err();
        assert!(matches!(&why, Some(Error::Invalid(words)) if !words.contains("ney")), "{why:?}");
    }
}
