//! A plain client of server-sent events and of JSON, over HTTP/1.1.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn request(method: &str, address: SocketAddr, path: &str, key: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("authorization", format!("Bearer {key}"))
}

/// Calls a JSON method; status and body.
pub async fn call(method: &str, address: SocketAddr, path: &str, key: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = request(method, address, path, key);
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = request.body(Full::from(body)).expect("a request");
    let response = super::soon("an answer", client().request(request)).await.expect("an answer");
    let status = response.status().as_u16();
    let body = super::soon("a body", response.into_body().collect()).await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

/// An event.
#[derive(Debug)]
pub struct Event {
    /// Its name; empty when it has none.
    pub name: String,
    /// Its id as a number, if it has one.
    pub id: Option<u64>,
    pub data: Value,
}

/// A stream of events.
pub struct Events {
    body: Incoming,
    /// Read and not yet an event.
    rest: String,
    /// The media type of the answer.
    pub content_type: String,
    /// The last id that came, as a browser would keep it.
    pub last_id: Option<u64>,
}

impl Events {
    /// Opens a stream, behind an event as a browser does that connects anew.
    pub async fn open(address: SocketAddr, path: &str, key: &str, last_id: Option<u64>) -> Self {
        let mut request = request("GET", address, path, key);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id.to_string());
        }
        let request = request.body(Full::default()).expect("a request");
        let response = super::soon("a stream", client().request(request)).await.expect("a stream");
        assert_eq!(response.status(), 200);
        let content_type = response.headers()["content-type"].to_str().expect("text").to_owned();
        Self { body: response.into_body(), rest: String::new(), content_type, last_id }
    }

    /// The next event, comments left out; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(at) = self.rest.find("\n\n") {
                let block: String = self.rest.drain(..at + 2).collect();
                let fields: BTreeMap<_, _> = block
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .filter(|(name, _)| !name.is_empty())
                    .map(|(name, value)| (name, value.trim_start()))
                    .collect();
                let Some(data) = fields.get("data") else { continue };
                let id = fields.get("id").map(|id| id.parse().expect("a position"));
                self.last_id = id.or(self.last_id);
                let name = fields.get("event").copied().unwrap_or_default().to_owned();
                return Some(Event { name, id, data: serde_json::from_str(data).expect("JSON") });
            }
            let frame = super::soon("an event", self.body.frame()).await?.expect("the stream goes on");
            if let Ok(data) = frame.into_data() {
                self.rest.push_str(std::str::from_utf8(&data).expect("text"));
            }
        }
    }

    /// Events without a name until one is as wanted, with that one.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.name.is_empty() {
                assert_eq!(event.id, event.data["position"].as_u64(), "the id is the position");
                events.push(event.data);
                if wanted(&events[events.len() - 1]) {
                    return events;
                }
            }
        }
    }
}
