//! A real gateway for a test: in this process with real sockets, TLS and a store on disk, or as a child process that can
//! be killed. Every test has its own, on free ports and in a folder that goes with it.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate and uses its part")]

pub mod device;
pub mod http;
pub mod issuer;
pub mod listener;
pub mod receiver;
pub mod sse;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use pushline::auth::{ApiKey, Authority};
use pushline::client::backend::Admin;
use pushline::client::{Client, Options, Push};
use pushline::config::Config;
use pushline::model::clock::Clock;
use pushline::model::id::{DeviceId, Receiver, TenantId, UserId};
use pushline::server::Server;
use pushline::wire::pb;
use pushline::wire::pb::audience_client::AudienceClient;
use pushline::wire::pb::backend_client::BackendClient;
use pushline::wire::pb::receipts_client::ReceiptsClient;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// The longest a test waits for anything: far beyond what it takes on a slow machine, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that must come.
pub async fn soon<F: IntoFuture>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// A gateway in this process.
pub struct Gateway {
    server: Option<Server>,
    /// Where devices connect.
    pub devices: SocketAddr,
    /// Where backends connect.
    pub backend: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// An API key of the tenant `default`.
    pub key: String,
    /// An API key of another tenant.
    pub other_key: String,
    /// The CA to trust.
    pub ca: Vec<u8>,
    config: Config,
    folder: TempDir,
}

impl Gateway {
    /// With the default options.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With options of its own.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut config = Config::default();
        let other_key = "another-tenant's-key-of-32-characters";
        config.auth.keys = vec![ApiKey::parse(&format!("other:{other_key}")).expect("a key")];
        config.drain.spread = Duration::from_millis(100);
        config.runtime.cores = 2;
        change(&mut config);
        config.store.data = folder.path().to_owned();
        config.listen.devices.set_port(0);
        config.listen.backend.set_port(0);
        config.listen.admin.set_port(0);
        let server = Server::start(&config, Clock::new()).await.expect("the gateway starts");
        let ca = std::fs::read(server.development_ca().expect("a throw-away certificate")).expect("the CA");
        Self {
            devices: server.devices(),
            backend: server.backend(),
            admin: server.admin(),
            key: server.own_key().secret().to_owned(),
            other_key: other_key.to_owned(),
            ca,
            server: Some(server),
            config,
            folder,
        }
    }

    /// Takes the gateway down in order.
    pub async fn stop(&mut self) {
        let server = self.server.take().expect("it runs");
        soon("the gateway's end", server.stop()).await.expect("a clean end");
    }

    /// Takes it down in order and starts it anew on the same data, on other ports.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts it anew on the same data after it was stopped, on other ports.
    pub async fn start_again(&mut self) {
        let server = Server::start(&self.config, Clock::new()).await.expect("the gateway starts again");
        (self.devices, self.backend, self.admin) = (server.devices(), server.backend(), server.admin());
        self.server = Some(server);
    }

    /// A token for a device of the tenant `default`.
    pub fn token(&self, user: &str, device: &str) -> String {
        token(self.folder.path(), user, device)
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Options for a client.
    pub fn options(&self, user: &str, device: &str) -> Options {
        client_options(self.devices, &self.ca, self.token(user, device))
    }

    /// A connected client.
    pub async fn client(&self, user: &str, device: &str) -> Client {
        soon("a connection", Client::connect(self.options(user, device))).await.expect("a session")
    }

    /// A client of the backend service.
    pub async fn backend(&self) -> Backend {
        backend(self.backend, &self.key).await
    }

    /// A client of the audience service.
    pub async fn audience(&self) -> Audience {
        audience(self.backend, &self.key).await
    }

    /// The operator's key.
    pub fn admin_key(&self) -> String {
        let key = std::fs::read_to_string(self.folder.path().join("auth/admin-key")).expect("the admin key");
        key.trim_end().to_owned()
    }

    /// An operator's connection.
    pub async fn operator(&self) -> Admin {
        let url = format!("http://{}", self.admin);
        soon("the admin listener", Admin::connect(&url, &self.admin_key(), None)).await.expect("a connection")
    }

    /// The secret of a new key of the tenant `default`.
    pub async fn key_for(&self, scopes: &[&str]) -> String {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let request = pb::CreateKeyRequest { tenant: "default".into(), scopes, ..Default::default() };
        let made = soon("a key", self.operator().await.create_key(request)).await.expect("a key");
        made.secret
    }

    /// A backend that speaks JSON.
    pub fn json(&self) -> http::Json {
        http::Json::new(self.backend, &self.key)
    }
}

/// Options for a client of the library: as a device would have them, but quick to come back.
pub fn client_options(devices: SocketAddr, ca: &[u8], token: String) -> Options {
    let mut options = Options::new(devices.to_string(), ca, token);
    options.reconnect_base = Duration::from_millis(20);
    options.reconnect_max = Duration::from_millis(200);
    options.ack_delay = Duration::from_millis(1);
    options.connect_timeout = PATIENCE;
    options
}

/// A token signed with the key in a data folder.
pub fn token(data: &Path, user: &str, device: &str) -> String {
    token_for(data, user, device, Duration::from_secs(3600))
}

/// A token that is good for so long, less the part of a second.
pub fn token_for(data: &Path, user: &str, device: &str, life: Duration) -> String {
    let authority = Authority::open(&data.join("auth")).expect("the keys");
    let now = Clock::new().now().wall;
    let receiver = Receiver {
        tenant: TenantId::new("default").expect("a name"),
        user: UserId::new(user).expect("a name"),
        device: DeviceId::new(device).expect("a name"),
    };
    authority.issue(&receiver, now + life, now)
}

/// Adds the API key to every call.
#[derive(Clone)]
pub struct WithKey(MetadataValue<Ascii>);

impl tonic::service::Interceptor for WithKey {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A client of the backend service.
pub type Backend = BackendClient<InterceptedService<Channel, WithKey>>;

/// Connects to a backend listener.
pub async fn backend(address: SocketAddr, key: &str) -> Backend {
    BackendClient::with_interceptor(channel(address).await, with_key(key))
}

/// A client of the audience service.
pub type Audience = AudienceClient<InterceptedService<Channel, WithKey>>;

/// Connects to the audience service of a backend listener.
pub async fn audience(address: SocketAddr, key: &str) -> Audience {
    AudienceClient::with_interceptor(channel(address).await, with_key(key))
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("a URL");
    soon("the backend", endpoint.connect()).await.expect("a channel")
}

fn with_key(key: &str) -> WithKey {
    WithKey(format!("Bearer {key}").parse().expect("a header value"))
}

/// A client of the service that tells what became of messages and who is online.
pub type Receipts = ReceiptsClient<InterceptedService<Channel, WithKey>>;

/// Connects to a backend listener.
pub async fn receipts(address: SocketAddr, key: &str) -> Receipts {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("a URL");
    let channel = soon("the backend", endpoint.connect()).await.expect("a channel");
    let key = format!("Bearer {key}").parse().expect("a header value");
    ReceiptsClient::with_interceptor(channel, WithKey(key))
}

/// A push to a user.
pub fn to_user(user: &str, payload: impl Into<Vec<u8>>) -> pb::PushRequest {
    to(pb::target::To::User(user.into()), payload)
}

/// A push to a topic.
pub fn to_topic(topic: &str, payload: impl Into<Vec<u8>>) -> pb::PushRequest {
    to(pb::target::To::Topic(topic.into()), payload)
}

/// A push with a condition.
pub fn to_condition(condition: &str, payload: impl Into<Vec<u8>>) -> pb::PushRequest {
    to(pb::target::To::Condition(condition.into()), payload)
}

/// A push to any device of a user.
pub fn to_any_of_user(user: &str, payload: impl Into<Vec<u8>>) -> pb::PushRequest {
    to(pb::target::To::AnyOfUser(user.into()), payload)
}

/// A push to a device.
pub fn to_device(user: &str, device: &str, payload: impl Into<Vec<u8>>) -> pb::PushRequest {
    to(pb::target::To::Device(pb::DeviceTarget { user: user.into(), device: device.into() }), payload)
}

fn to(to: pb::target::To, payload: impl Into<Vec<u8>>) -> pb::PushRequest {
    let payload: Vec<u8> = payload.into();
    pb::PushRequest { target: Some(pb::Target { to: Some(to) }), payload: payload.into(), ..Default::default() }
}

/// Pushes and returns the message's id.
pub async fn push(backend: &mut Backend, request: pb::PushRequest) -> String {
    soon("the answer to a push", backend.push(request)).await.expect("an accepted push").into_inner().id
}

/// The stable word of a refusal.
pub fn word(status: &tonic::Status) -> &str {
    let word = status.metadata().get("pushline-code").unwrap_or_else(|| panic!("{status:?} has no code"));
    word.to_str().expect("ASCII")
}

/// The next push a client gets.
pub async fn next(client: &mut Client) -> Push {
    soon("a push", client.next()).await.expect("the connection lives").expect("a push")
}

/// Asks the backend listener as an operator would; status and body.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.expect("the backend listener");
    let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    soon("an answer", socket.read_to_string(&mut answer)).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// The value of one sample of the metrics, named with its labels.
pub async fn metric(address: SocketAddr, sample: &str) -> f64 {
    let (_, page) = get(address, "/metrics").await;
    let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {sample} in {page}"))
}

/// The payload as text.
pub fn text(push: &Push) -> String {
    String::from_utf8(push.payload.to_vec()).expect("the payload is text")
}

/// A gateway as a child process. Killed when dropped.
pub struct Process {
    child: Child,
    _out: BufReader<ChildStdout>,
    /// Where devices connect.
    pub devices: SocketAddr,
    /// Where backends connect.
    pub backend: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// An API key of the tenant `default`.
    pub key: String,
    /// The CA to trust.
    pub ca: Vec<u8>,
    data: PathBuf,
}

impl Process {
    /// Starts the binary on a data folder; `set` are `section.key=value` options. Returns when it serves.
    pub fn start(data: &Path, set: &[&str]) -> Self {
        Self::start_logged(data, set, Stdio::inherit())
    }

    /// The same with its log in a place of its own.
    pub fn start_logged(data: &Path, set: &[&str], log: impl Into<Stdio>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushline"));
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.1:0", "--data"]);
        command.arg(data).args(["--set", "log.filter=warn"]);
        for set in set {
            command.args(["--set", set]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("its first line");
        let first: serde_json::Value = serde_json::from_str(&line).expect("the first line is JSON");
        let field = |name: &str| first[name].as_str().expect("a text").to_owned();
        let address = |name: &str| field(name).parse().expect("an address");
        Self {
            devices: address("devices"),
            backend: address("backend"),
            admin: address("admin"),
            key: field("api_key"),
            ca: std::fs::read(field("ca")).expect("the CA"),
            child,
            _out: out,
            data: data.to_owned(),
        }
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be reaped");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
        let kilobytes = line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number");
        kilobytes * 1024
    }

    /// A token for a device of the tenant `default`.
    pub fn token(&self, user: &str, device: &str) -> String {
        token(&self.data, user, device)
    }

    /// Options for a client.
    pub fn options(&self, user: &str, device: &str) -> Options {
        client_options(self.devices, &self.ca, self.token(user, device))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
