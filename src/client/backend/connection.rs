//! A backend's connection to a gateway, and the methods of `pushline.v1.Backend`: pushes and what is asked of them. It
//! retries nothing.

use std::time::Duration;

use futures_util::TryStreamExt;
use http::Uri;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::client::backend::error::{Error, failed};
use crate::client::backend::place::{Place, unreachable};
use crate::client::error::Refusal;
use crate::model::id::{MessageId, UserId};
use crate::wire::pb;
use crate::wire::pb::audience_client::AudienceClient;
use crate::wire::pb::backend_client::BackendClient;
use crate::wire::pb::receipts_client::ReceiptsClient;
use crate::wire::pb::{push_stream_response, push_users_response};

/// How long a connection may take, from the first packet to the end of the TLS handshake. A guess.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a gateway may take to begin its answer. A guess: a queue of synced writes passes in well under a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Longest answer: the largest payload a gateway takes, and what stands beside it.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// A stream that is silent for so long is asked whether it still lives; as the gateway does.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Without an answer for so long, the connection is lost.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

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
    /// What every call says of who asks.
    authorization: MetadataValue<Ascii>,
}

impl Backend {
    /// Connects to `http://host:port` or `https://host:port` with the tenant's API key. `roots` are certificates (PEM) to
    /// trust instead of the system's.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Untrusted`] or [`Error::Unreachable`].
    pub async fn connect(url: &str, key: &str, roots: Option<&[u8]>) -> Result<Self, Error> {
        let place = Place::read(url, roots)?;
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {key}")
            .parse()
            .map_err(|_| Error::Invalid("the API key has characters that no key has".to_owned()))?;
        authorization.set_sensitive(true);
        // The scheme is not `https` here even with TLS: that would ask the library for its own.
        let endpoint = Endpoint::from_shared(format!("http://{}:{}", place.host, place.port))
            .map_err(|why| Error::Invalid(format!("{url}: {why}")))?
            .origin(place.origin.clone())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let channel = endpoint
            .connect_with_connector(tower::service_fn(move |_: Uri| place.clone().dial()))
            .await
            .map_err(|why| unreachable(url, &why))?;
        Ok(Self {
            pushes: BackendClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            people: AudienceClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            events: ReceiptsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
            authorization,
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
        let mut request = Request::new(content);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }
}

/// The content of an answer.
pub(super) fn answered<T>(answer: Result<Response<T>, Status>) -> Result<T, Error> {
    answer.map(Response::into_inner).map_err(failed)
}

fn refusal(error: pb::PushError) -> Refusal {
    Refusal { grpc: error.status, name: error.code, errno: error.errno, words: error.message }
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
