//! An identity provider: describes itself, publishes its keys and signs tokens with them, and can be told to fail in all the
//! ways that a page can.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use pushline::model::clock::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the next pages are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As they should be.
    #[default]
    Good,
    /// Another status than 200.
    Status(u16),
    /// This text instead of the keys.
    Keys(Vec<u8>),
    /// This text instead of the description.
    Description(Vec<u8>),
    /// No answer at all.
    Hanging,
}

#[derive(Default)]
struct Shared {
    url: String,
    keys: BTreeMap<String, Ed25519KeyPair>,
    mood: Mood,
    cache_control: Option<String>,
    /// How often the keys were asked for.
    fetched: usize,
}

/// The provider. Ends when dropped.
pub struct Issuer {
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

impl Issuer {
    /// On a free port, with a key `first`.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://localhost:{}", listener.local_addr().expect("an address").port());
        let shared = Arc::new(Mutex::new(Shared { url, ..Shared::default() }));
        let router = Router::new().fallback(page).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let issuer = Self { shared, task };
        issuer.add("first");
        issuer
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no panic")
    }

    /// Its name.
    pub fn url(&self) -> String {
        self.shared().url.clone()
    }

    /// Publishes another key.
    pub fn add(&self, kid: &str) {
        self.shared().keys.insert(kid.to_owned(), Ed25519KeyPair::generate().expect("a key"));
    }

    /// Publishes a key no more, and forgets it.
    pub fn remove(&self, kid: &str) {
        self.shared().keys.remove(kid);
    }

    /// The page with its keys.
    pub fn published(&self) -> Vec<u8> {
        self.shared().published()
    }

    /// How its pages are from now on.
    pub fn set(&self, mood: Mood) {
        self.shared().mood = mood;
    }

    /// What it says of how long its keys may be kept.
    pub fn set_cache_control(&self, value: &str) {
        self.shared().cache_control = Some(value.to_owned());
    }

    /// How often the keys were asked for.
    pub fn fetched(&self) -> usize {
        self.shared().fetched
    }

    /// A token of `user` for the audience `app`, signed with a key that it has.
    pub fn token(&self, kid: &str, user: &str) -> String {
        self.signed(kid, &self.claims(user))
    }

    /// What it says of a user.
    pub fn claims(&self, user: &str) -> Value {
        let now = Clock::new().now().wall.as_millis() / 1000;
        json!({"iss": self.url(), "aud": "app", "sub": user, "iat": now, "exp": now + 300})
    }

    /// These claims, signed with a key that it has.
    pub fn signed(&self, kid: &str, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "EdDSA", "typ": "JWT", "kid": kid})), part(claims));
        let signature = self.shared().keys[kid].sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn published(&self) -> Vec<u8> {
        let jwk = |(kid, key): (&String, &Ed25519KeyPair)| {
            let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
            json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x})
        };
        json!({ "keys": self.keys.iter().map(jwk).collect::<Vec<_>>() }).to_string().into_bytes()
    }

    fn page(&mut self, path: &str) -> Option<Response> {
        let is_keys = path == "/keys";
        self.fetched += usize::from(is_keys);
        let text = match (&self.mood, is_keys) {
            (Mood::Hanging, _) => return None,
            (Mood::Status(status), _) => {
                let status = StatusCode::from_u16(*status).expect("a status");
                return Some((status, [("location", "/keys")]).into_response());
            }
            (Mood::Keys(text), true) | (Mood::Description(text), false) => text.clone(),
            (_, true) => self.published(),
            (_, false) if path == "/.well-known/openid-configuration" => {
                json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)}).to_string().into_bytes()
            }
            _ => return Some(StatusCode::NOT_FOUND.into_response()),
        };
        let mut response = text.into_response();
        if let Some(value) = &self.cache_control {
            response.headers_mut().insert("cache-control", value.parse().expect("a header value"));
        }
        Some(response)
    }
}

async fn page(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let page = shared.lock().expect("no panic").page(request.uri().path());
    match page {
        Some(page) => page,
        None => std::future::pending().await,
    }
}
