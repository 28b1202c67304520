//! The question to a tenant's business server whether a credential is good (`Business.CheckLogin` of business.proto), as gRPC
//! or as JSON, signed like a webhook. It does not judge names: they come as the server wrote them.
//!
//! ```json
//! {"type": "login", "tenant": "default", "device": "phone", "credential": "<base64>", "address": "192.0.2.7",
//!  "agent": "app/1.0"}
//! ```
//!
//! The answer is JSON with status 200: `{"allowed": false}`, or
//!
//! ```json
//! {"allowed": true, "user": "ada", "attributes": {"plan": "pro"}, "groups": ["staff"], "groups_version": 7,
//!  "topics": ["news"], "token_ttl_seconds": 600}
//! ```
//!
//! where all but `allowed` and `user` may be left out. Groups that are there (also as an empty list) replace all of the user.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use prost::Message;
use serde::Deserialize;
use serde_json::json;

use crate::hook::ask::{posted, whole};
use crate::hook::place::{Place, PlaceError};
use crate::hook::{Asker, Error, Secret, explain, grpc, seal};
use crate::model::clock::Timestamp;
use crate::wire::pb;

/// An answer larger than this is not taken: room for a thousand groups of a user.
pub const LOGIN_BYTES_MAX: usize = 256 * 1024;

/// Where a business server is, and how it is spoken with. Shows no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusinessServer {
    /// By signed requests with JSON.
    Json(Place),
    /// By gRPC.
    Grpc(Place),
}

impl BusinessServer {
    /// Reads `http://...`, `https://...`, `grpc://HOST:PORT` or `grpcs://HOST:PORT`.
    ///
    /// # Errors
    /// [`PlaceError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        for (scheme, plain) in [("grpc://", "http://"), ("grpcs://", "https://")] {
            let Some((given, rest)) = text.split_at_checked(scheme.len()) else { continue };
            if given.eq_ignore_ascii_case(scheme) {
                let place = Place::parse(&format!("{plain}{rest}"))?;
                let bare = place.uri().port().is_some() && place.uri().path_and_query().is_none_or(|path| path == "/");
                return if bare { Ok(Self::Grpc(place)) } else { Err(PlaceError::Method) };
            }
        }
        Place::parse(text).map(Self::Json)
    }
}

/// A credential to be judged, and where it comes from. Never printed.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Whose devices the server judges.
    pub tenant: &'a str,
    /// Who wants to log in.
    pub device: &'a str,
    /// As the device sent it.
    pub credential: &'a [u8],
    /// Of the device.
    pub address: IpAddr,
    /// Name of its software.
    pub agent: &'a str,
}

/// What makes a question the gateway's own.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// Signs it.
    pub secret: &'a Secret,
    /// Another one for each question. Printable ASCII without a full stop.
    pub id: &'a str,
    /// When it is put.
    pub at: Timestamp,
}

/// What a server says of a credential that is good, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub user: String,
    /// Of the device; empty: what is known stays.
    pub attributes: BTreeMap<String, String>,
    /// All of the user; `None`: they are left alone.
    pub groups: Option<Vec<String>>,
    /// Of the groups; 0: the server does not count.
    pub groups_version: u64,
    /// That the device follows from now on, besides those it follows.
    pub topics: Vec<String>,
    /// Life of the access token; 0: the tenant's.
    pub token_ttl_seconds: u32,
}

impl Asker {
    /// Asks whether a credential is good; `None`: it is not.
    ///
    /// # Errors
    /// [`Error`] when the server gave no answer that can be used within the time: nothing is known of the credential then.
    pub async fn check_login(
        &self,
        server: &BusinessServer,
        sealed: Sealed<'_>,
        question: Question<'_>,
        within: Duration,
    ) -> Result<Option<Found>, Error> {
        let asked = async {
            match server {
                BusinessServer::Json(place) => self.ask_json(place, sealed, question).await,
                BusinessServer::Grpc(place) => self.ask_grpc(place, sealed, question, within).await,
            }
        };
        tokio::time::timeout(within, asked).await.unwrap_or(Err(Error::Late(within)))
    }

    async fn ask_json(
        &self,
        place: &Place,
        sealed: Sealed<'_>,
        question: Question<'_>,
    ) -> Result<Option<Found>, Error> {
        let body = Bytes::from(
            json!({
                "type": "login",
                "tenant": question.tenant,
                "device": question.device,
                "credential": STANDARD.encode(question.credential),
                "address": question.address.to_string(),
                "agent": question.agent,
            })
            .to_string(),
        );
        let headers = sealed.headers(&body);
        let mut request = posted(place.uri(), "application/json", body);
        request.headers_mut().extend(headers);
        let response = self.plain.request(request).await.map_err(|error| explain(&error))?;
        if response.status() != StatusCode::OK {
            return Err(Error::Status(response.status().as_u16()));
        }
        let body = whole(response.into_body(), LOGIN_BYTES_MAX).await?;
        // The library's words may repeat a part of the answer.
        let read: serde_json::Result<Answer> = serde_json::from_slice(&body);
        let words = |error: serde_json::Error| format!("it is not the JSON of an answer (column {})", error.column());
        Ok(read.map_err(|error| Error::Unusable(words(error)))?.found())
    }

    async fn ask_grpc(
        &self,
        place: &Place,
        sealed: Sealed<'_>,
        question: Question<'_>,
        within: Duration,
    ) -> Result<Option<Found>, Error> {
        let message = pb::CheckLoginRequest {
            tenant: question.tenant.to_owned(),
            device: question.device.to_owned(),
            credential: Bytes::copy_from_slice(question.credential),
            address: question.address.to_string(),
            agent: question.agent.to_owned(),
        }
        .encode_to_vec();
        let mut parts = place.uri().clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(METHOD));
        let method = Uri::from_parts(parts).map_err(|error| Error::Unreachable(error.to_string()))?;
        let bounds = (within, LOGIN_BYTES_MAX);
        let answer = grpc::call(&self.grpc, &method, sealed.headers(&message), &message, bounds).await?;
        let unusable = |_| Error::Unusable("it is no CheckLoginResponse".to_owned());
        let answer = pb::CheckLoginResponse::decode(answer).map_err(unusable)?;
        Ok(answer.allowed.then(|| Found {
            user: answer.user,
            attributes: answer.attributes,
            groups: answer.set_groups.then_some(answer.groups),
            groups_version: answer.groups_version,
            topics: answer.topics,
            token_ttl_seconds: answer.token_ttl_seconds,
        }))
    }
}

impl Sealed<'_> {
    /// The headers of Standard Webhooks for a body; of gRPC it is the message without its prefix that is signed.
    fn headers(&self, body: &[u8]) -> HeaderMap {
        let seconds = self.at.as_millis() / 1000;
        let mut headers = HeaderMap::new();
        seal(&mut headers, self.id, seconds, &self.secret.sign(self.id, seconds, body));
        headers
    }
}

/// The answer as JSON. What else is in it is passed over.
#[derive(Deserialize)]
struct Answer {
    allowed: bool,
    user: Option<String>,
    attributes: Option<BTreeMap<String, String>>,
    groups: Option<Vec<String>>,
    groups_version: Option<u64>,
    topics: Option<Vec<String>>,
    token_ttl_seconds: Option<u32>,
}

impl Answer {
    fn found(self) -> Option<Found> {
        self.allowed.then(|| Found {
            user: self.user.unwrap_or_default(),
            attributes: self.attributes.unwrap_or_default(),
            groups: self.groups,
            groups_version: self.groups_version.unwrap_or_default(),
            topics: self.topics.unwrap_or_default(),
            token_ttl_seconds: self.token_ttl_seconds.unwrap_or_default(),
        })
    }
}

const METHOD: &str = "/pushline.v1.Business/CheckLogin";

#[cfg(test)]
mod tests {
    use super::{BusinessServer, PlaceError};

    #[test]
    fn servers_are_named_by_their_scheme() {
        for good in ["http://localhost/login", "https://a.example:8443/x?y=z"] {
            assert!(matches!(BusinessServer::parse(good), Ok(BusinessServer::Json(_))), "{good}");
        }
        for good in ["grpc://localhost:50051", "grpcs://a.example:443/", "GRPC://[::1]:7"] {
            assert!(matches!(BusinessServer::parse(good), Ok(BusinessServer::Grpc(_))), "{good}");
        }
        for (bad, why) in [
            ("grpc://localhost", PlaceError::Method),
            ("grpcs://localhost:1/x", PlaceError::Method),
            ("grpc://localhost:1/?x", PlaceError::Method),
            ("grpc://", PlaceError::Form),
            ("grpc://u:p@a:1", PlaceError::Credentials),
            ("ftp://a/", PlaceError::Scheme),
            ("", PlaceError::Form),
        ] {
            assert_eq!(BusinessServer::parse(bad), Err(why), "{bad}");
        }
    }
}
