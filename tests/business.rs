//! Logins that a tenant's business server judges (P2.7, P2.8), against real ones over HTTP and gRPC: what it is asked, what
//! its answer does, and that nothing it does wrong lets anybody in or holds anybody else up.

mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use prost::Message;
use pushline::hook::{self, Asker, LOGIN_BYTES_MAX};
use pushline::model::clock::Clock;
use pushline::model::fault::{Code, Fault};
use pushline::model::id::{DeviceId, TenantId};
use pushline::model::tenant::BusinessLogin;
use pushline::node::access::checks::{Ask, Checked, Checks, Options, refused, unavailable};
use pushline::tls::{Acceptor, Certificate, develop};
use pushline::wire::pb;
use pushline::wire::pb::business_server::{Business, BusinessServer};
use serde_json::{Value, json};
use support::receiver::{Received, Receiver, status};
use support::soon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const CREDENTIAL: &[u8] = b"password \xff\0 of ada";

/// A gateway's checks.
struct Desk(Checks);

impl Desk {
    fn new() -> Self {
        Self::trusting(hook::Options::default())
    }

    fn trusting(options: hook::Options) -> Self {
        let asker = Asker::new(&options).expect("an asker");
        let (tasks, drained) = (TaskTracker::new(), CancellationToken::new());
        Self(Checks::new(asker, Options::default(), Clock::new(), tasks, drained))
    }

    async fn login(&self, url: &str) -> Result<Checked, Fault> {
        self.login_of("shop", url, 30_000).await
    }

    async fn login_of(&self, tenant: &str, url: &str, timeout_ms: u32) -> Result<Checked, Fault> {
        let way = BusinessLogin { url: url.to_owned(), secret: SECRET.to_owned(), timeout_ms };
        let (tenant, device) = (TenantId::new(tenant).expect("a name"), DeviceId::new("phone").expect("a name"));
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        let ask = Ask { tenant: &tenant, device: &device, agent: "app/1.0", address };
        soon("a judgement", self.0.business(&way, &ask, CREDENTIAL)).await
    }
}

fn reply(body: impl Into<Vec<u8>>) -> support::receiver::Reply {
    (200, Vec::new(), body.into())
}

fn json_reply(body: &Value) -> support::receiver::Reply {
    reply(body.to_string())
}

#[tokio::test]
async fn p2_7_the_business_server_is_asked_and_says_who_it_is() {
    let (receiver, desk) = (Receiver::start().await, Desk::new());
    let answer = json!({
        "allowed": true, "user": "ada", "attributes": {"plan": "pro"}, "groups": ["staff", "admins"], "groups_version": 7,
        "topics": ["news"], "token_ttl_seconds": 600, "more": [1, {}],
    });
    receiver.reply([json_reply(&answer), json_reply(&json!({"allowed": true, "user": "mia", "groups": null}))]);
    let checked = desk.login(&receiver.url("/login?x=y")).await.expect("a good credential");
    assert_eq!(checked.user.as_str(), "ada");
    assert_eq!(checked.attributes, Some(BTreeMap::from([("plan".to_owned(), "pro".to_owned())])));
    let (groups, version) = checked.groups.expect("groups");
    assert_eq!((groups.len(), version), (2, 7));
    assert_eq!((checked.topics[0].as_str(), checked.ttl), ("news", Some(Duration::from_secs(600))));
    let checked = desk.login(&receiver.url("/login?x=y")).await.expect("a good credential");
    assert_eq!((checked.user.as_str(), checked.attributes, checked.groups), ("mia", None, None));

    let received = receiver.received();
    for request in &received {
        assert!(request.is_signed_with(SECRET), "the server knows that it is the gateway who asks");
        assert_eq!((request.path.as_str(), request.header("content-type")), ("/login", "application/json"));
        let asked = json!({
            "type": "login", "tenant": "shop", "device": "phone", "credential": STANDARD.encode(CREDENTIAL),
            "address": "192.0.2.7", "agent": "app/1.0",
        });
        assert_eq!(request.json(), asked);
    }
    let [first, second] = [0, 1].map(|n: usize| Received::header(&received[n], "webhook-id"));
    assert_ne!(first, second, "each question has an id of its own");
}

#[tokio::test]
async fn refusals_are_refusals_and_all_else_says_nothing_of_the_credential() {
    let (receiver, desk) = (Receiver::start().await, Desk::new());
    for refusal in [json!({"allowed": false}), json!({"allowed": false, "user": "ada", "groups": ["staff"]})] {
        receiver.reply([json_reply(&refusal)]);
        assert_eq!(desk.login(&receiver.url("/")).await, Err(refused()));
    }
    let user = |name: &str| json!({"allowed": true, "user": name});
    let with = |name: &str, value: Value| {
        let mut answer = user("ada");
        answer[name] = value;
        json_reply(&answer)
    };
    let huge = format!("{{\"allowed\":true,\"user\":\"ada\",\"x\":\"{}\"}}", "x".repeat(LOGIN_BYTES_MAX));
    for (what, answer) in [
        ("no success", status(401)),
        ("no success", status(403)),
        ("no success", status(500)),
        ("no content", status(204)),
        ("elsewhere", (307, vec![("location", receiver.url("/other"))], Vec::new())),
        ("nothing", reply("")),
        ("no JSON", reply("<html>yes</html>")),
        ("half of it", reply("{\"allowed\":true,\"user\":\"ad")),
        ("more than one", reply("{\"allowed\":true,\"user\":\"ada\"}{}")),
        ("no word", json_reply(&json!({"user": "ada"}))),
        ("another word", json_reply(&json!({"allowed": "yes", "user": "ada"}))),
        ("a number", json_reply(&json!({"allowed": 1, "user": "ada"}))),
        ("a list", json_reply(&json!([true]))),
        ("nobody", json_reply(&json!({"allowed": true}))),
        ("nobody", json_reply(&user(""))),
        ("no name", json_reply(&user("a/b\r\n"))),
        ("a long name", json_reply(&user(&"x".repeat(129)))),
        ("no attribute", with("attributes", json!({"plan": "a\nb"}))),
        ("no text", with("attributes", json!({"plan": 7}))),
        ("too many", with("attributes", (0..17).map(|n| (format!("a{n}"), json!("x"))).collect())),
        ("no group", with("groups", json!(["a b"]))),
        ("too many", with("groups", (0..1001).map(|n| json!(format!("g{n}"))).collect())),
        ("too many", with("topics", (0..101).map(|n| json!(format!("t{n}"))).collect())),
        ("below nothing", with("token_ttl_seconds", json!(-1))),
        ("huge", reply(huge)),
    ] {
        receiver.reply([answer]);
        assert_eq!(desk.login(&receiver.url("/")).await, Err(unavailable()), "{what}");
    }
    receiver.reply([json_reply(&user("ada"))]);
    assert!(desk.login(&receiver.url("/")).await.is_ok(), "none of it is remembered against it");
    assert!(receiver.received().iter().all(|request| request.path == "/"), "redirects are not followed");
}

#[tokio::test]
async fn a_server_that_is_down_hangs_or_babbles_costs_no_more_than_the_time_that_was_given_it() {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    for scheme in ["http", "grpc"] {
        assert_eq!(desk.login_of("shop", &format!("{scheme}://{address}"), 100).await, Err(unavailable()), "it hangs");
    }
    drop(listener);
    for scheme in ["http", "https", "grpc", "grpcs"] {
        assert_eq!(desk.login(&format!("{scheme}://{address}")).await, Err(unavailable()), "nobody listens");
    }
    for (what, said) in [
        ("another protocol", &b"220 mail.example ESMTP\r\n"[..]),
        ("half an answer", b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"allowed\":true,"),
        ("headers without end", &[b"HTTP/1.1 200 OK\r\n", &b"x: y\r\n".repeat(5_000)[..]].concat()),
        ("noise", &[0xff; 10_000]),
        ("HTTP/2 to say nothing with", b"\0\0\0\x04\0\0\0\0\0"),
    ] {
        let (address, task) = saying(said.to_vec()).await;
        for scheme in ["http", "https", "grpc", "grpcs"] {
            let judged = desk.login_of("shop", &format!("{scheme}://{address}"), 500).await;
            assert_eq!(judged, Err(unavailable()), "{what}, {scheme}");
        }
        task.abort();
    }
}

/// Listens, says this to whoever connects, and nothing more.
async fn saying(said: Vec<u8>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let said = said.clone();
            connections.spawn(async move {
                let _ = socket.write_all(&said).await;
                let mut sink = Vec::new();
                let _ = socket.read_to_end(&mut sink).await;
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_its_own_tenant_only() {
    let (desk, receiver) = (Desk::new(), Receiver::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let hanging = format!("http://{}", listener.local_addr().expect("an address"));
    receiver.always(Some(json_reply(&json!({"allowed": true, "user": "ada"}))));
    let good = receiver.url("/");
    let crowd = (0..300).map(|_| desk.login_of("hanging", &hanging, 2_000));
    let crowd = futures_util::future::join_all(crowd);
    let others = async {
        for _ in 0..20 {
            assert!(desk.login_of("shop", &good, 30_000).await.is_ok());
        }
    };
    let (crowd, ()) = tokio::join!(crowd, others);
    assert!(crowd.iter().all(|judged| *judged == Err(unavailable())));
    assert!(desk.login_of("hanging", &good, 30_000).await.is_ok(), "nothing of it is left behind");
}

/// A business server as a user of stock gRPC writes it.
#[derive(Clone, Default)]
struct Shop {
    answer: Arc<Mutex<Option<Result<pb::CheckLoginResponse, Status>>>>,
    asked: Arc<Mutex<Vec<(MetadataMap, pb::CheckLoginRequest)>>>,
}

#[tonic::async_trait]
impl Business for Shop {
    async fn check_login(
        &self,
        request: Request<pb::CheckLoginRequest>,
    ) -> Result<Response<pb::CheckLoginResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.asked.lock().expect("no panic").push((metadata, message));
        let answer = self.answer.lock().expect("no panic").clone();
        match answer {
            Some(answer) => answer.map(Response::new),
            None => std::future::pending().await,
        }
    }
}

impl Shop {
    async fn serve(&self, tls: Option<Acceptor>) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let router = tonic::service::Routes::new(BusinessServer::new(self.clone())).into_axum_router();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, TowerToHyperService::new(router.clone()), tls.clone()));
            }
        });
        (port, task)
    }

    fn answer(&self, answer: Option<Result<pb::CheckLoginResponse, Status>>) {
        *self.answer.lock().expect("no panic") = answer;
    }
}

async fn serve(socket: TcpStream, router: TowerToHyperService<axum::Router>, tls: Option<Acceptor>) {
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http2_only();
    match tls {
        None => drop(server.serve_connection(TokioIo::new(socket), router).await),
        Some(tls) => {
            let Ok(stream) = tls.accept(socket).await else { return };
            drop(server.serve_connection(TokioIo::new(stream), router).await);
        }
    }
}

#[tokio::test]
async fn p2_7_a_stock_grpc_server_is_asked_with_the_same_words() {
    let (shop, desk) = (Shop::default(), Desk::new());
    let (port, task) = shop.serve(None).await;
    let url = format!("grpc://localhost:{port}");
    let good = pb::CheckLoginResponse {
        allowed: true,
        user: "ada".into(),
        attributes: BTreeMap::from([("plan".into(), "pro".into())]),
        groups: vec!["staff".into()],
        set_groups: true,
        groups_version: 7,
        topics: vec!["news".into()],
        token_ttl_seconds: 600,
    };
    shop.answer(Some(Ok(good.clone())));
    let checked = desk.login(&url).await.expect("a good credential");
    assert_eq!(checked.user.as_str(), "ada");
    assert_eq!(checked.attributes, Some(good.attributes.clone()));
    assert_eq!(checked.groups.expect("groups").1, 7);
    assert_eq!((checked.topics.len(), checked.ttl), (1, Some(Duration::from_secs(600))));
    shop.answer(Some(Ok(pb::CheckLoginResponse { set_groups: false, ..good.clone() })));
    assert_eq!(desk.login(&url).await.expect("a good credential").groups, None);
    shop.answer(Some(Ok(pb::CheckLoginResponse { allowed: false, ..good.clone() })));
    assert_eq!(desk.login(&url).await, Err(refused()));
    shop.answer(Some(Ok(pb::CheckLoginResponse::default())));
    assert_eq!(desk.login(&url).await, Err(refused()), "who says nothing refuses");

    let asked = shop.asked.lock().expect("no panic").clone();
    for (metadata, message) in asked {
        let expected = pb::CheckLoginRequest {
            tenant: "shop".into(),
            device: "phone".into(),
            credential: CREDENTIAL.into(),
            address: "192.0.2.7".into(),
            agent: "app/1.0".into(),
        };
        assert_eq!(message, expected);
        let request =
            Received { path: String::new(), headers: metadata.into_headers(), body: expected.encode_to_vec() };
        assert!(request.is_signed_with(SECRET), "the message is signed as it is");
        assert_eq!(request.header("grpc-timeout"), "30000m");
    }
    for (what, answer) in [
        ("a failure", Err(Status::permission_denied("no"))),
        ("a failure", Err(Status::unauthenticated("no"))),
        ("a failure", Err(Status::internal("x".repeat(4_000)))),
        ("nobody", Ok(pb::CheckLoginResponse { user: String::new(), ..good.clone() })),
        ("no group", Ok(pb::CheckLoginResponse { groups: vec!["a b".into()], ..good.clone() })),
        // Good but for its size: these groups would not be set.
        (
            "huge",
            Ok(pb::CheckLoginResponse { groups: vec!["g".repeat(LOGIN_BYTES_MAX)], set_groups: false, ..good.clone() }),
        ),
    ] {
        shop.answer(Some(answer));
        assert_eq!(desk.login(&url).await, Err(unavailable()), "{what}");
    }
    shop.answer(None);
    assert_eq!(desk.login_of("shop", &url, 100).await, Err(unavailable()), "it hangs");
    // One that was restarted is found again.
    task.abort();
    let _ = task.await;
    assert_eq!(desk.login(&url).await.expect_err("nobody there").code, Code::LoginUnavailable);
    let (port, _task) = shop.serve(None).await;
    shop.answer(Some(Ok(good)));
    assert!(desk.login(&format!("grpc://localhost:{port}")).await.is_ok());
}

#[tokio::test]
async fn servers_with_tls_are_trusted_by_the_configured_certificate_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = develop::open(folder.path(), &[], Clock::new().now().wall).expect("a certificate");
    let certificate = Arc::new(Certificate::load(made.files).expect("a certificate"));
    let acceptor = Acceptor::new(certificate, &[b"h2", b"http/1.1"]).expect("an acceptor");
    let receiver = Receiver::start_tls(acceptor.clone()).await;
    receiver.always(Some(json_reply(&json!({"allowed": true, "user": "ada"}))));
    let shop = Shop::default();
    shop.answer(Some(Ok(pb::CheckLoginResponse { allowed: true, user: "mia".into(), ..Default::default() })));
    let (port, _task) = shop.serve(Some(acceptor)).await;
    let trusting = Desk::trusting(hook::Options { ca: Some(made.ca), ..hook::Options::default() });
    let stranger = Desk::new();
    for (url, user) in [(receiver.url("/"), "ada"), (format!("grpcs://localhost:{port}"), "mia")] {
        assert_eq!(trusting.login(&url).await.expect("a good credential").user.as_str(), user);
        assert_eq!(stranger.login(&url).await, Err(unavailable()));
    }
    assert_eq!(
        (receiver.received().len(), shop.asked.lock().expect("no panic").len()),
        (1, 1),
        "no credential went out"
    );
}
