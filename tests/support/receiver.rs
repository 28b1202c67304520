//! A receiver of webhooks: a real HTTP server that keeps what comes, checks signatures by itself, and answers as told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use pushline::tls::Acceptor;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Received {
    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Checks the signature as a receiver would, by the words of Standard Webhooks, with code that is not the gateway's.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let mut signed = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).into_bytes();
        signed.extend_from_slice(&self.body);
        let signature = self.header("webhook-signature").strip_prefix("v1,").expect("a version");
        let signature = STANDARD.decode(signature).expect("base64");
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &signature).is_ok()
    }
}

/// What to answer.
pub type Reply = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// An answer without a body.
pub const fn status(status: u16) -> Reply {
    (status, Vec::new(), Vec::new())
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    replies: Mutex<VecDeque<Reply>>,
    /// The answer when no other was ordered.
    otherwise: Mutex<Option<Reply>>,
    came: Notify,
}

/// The server. Ends when dropped.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    is_tls: bool,
}

impl Receiver {
    /// In the clear, on a free port.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), None, Arc::default()).await
    }

    /// With TLS.
    pub async fn start_tls(acceptor: Acceptor) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), Some(acceptor), Arc::default()).await
    }

    async fn start_at(address: SocketAddr, tls: Option<Acceptor>, shared: Arc<Shared>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let is_tls = tls.is_some();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (router, tls) = (TowerToHyperService::new(router.clone()), tls.clone());
                connections.spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    match tls {
                        None => drop(server.serve_connection(TokioIo::new(socket), router).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(socket).await else { return };
                            drop(server.serve_connection(TokioIo::new(stream), router).await);
                        }
                    }
                });
            }
        });
        Self { address, shared, task, is_tls }
    }

    /// A URL here.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// Answers to come, in order; 200 without a body when there are no more.
    pub fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.replies.lock().expect("no panic").extend(replies);
    }

    /// The answer from now on to all for which none was ordered.
    pub fn always(&self, reply: Option<Reply>) {
        *self.shared.otherwise.lock().expect("no panic") = reply;
    }

    /// Forgets answers that were ordered and not fetched.
    pub fn forget(&self) {
        self.shared.replies.lock().expect("no panic").clear();
    }

    /// All that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().expect("no panic").clone()
    }

    /// Waits until what came is as wanted, and gives it.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        super::soon(what, async {
            loop {
                let came = self.shared.came.notified();
                let received = self.received();
                if wanted(&received) {
                    return received;
                }
                came.await;
            }
        })
        .await
    }

    /// Ends it: nobody listens any more.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
    let received = Received { path: parts.uri.path().to_owned(), headers: parts.headers, body };
    shared.received.lock().expect("no panic").push(received);
    let ordered = shared.replies.lock().expect("no panic").pop_front();
    let otherwise = || shared.otherwise.lock().expect("no panic").clone();
    let (code, headers, body) = ordered.or_else(otherwise).unwrap_or_else(|| status(200));
    shared.came.notify_waiters();
    let mut response = (StatusCode::from_u16(code).expect("a status"), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().expect("a header value"));
    }
    response
}
