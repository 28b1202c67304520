//! Logins whose credential is being checked while what they rest on is taken away.

mod support;

use pushline::client::{Client, Credential, Login};
use pushline::model::id::{DeviceId, TenantId};
use pushline::wire::device::Method;
use pushline::wire::pb;
use serde_json::{Value, json};
use support::device::Device;
use support::http::Json;
use support::{Gateway, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn admin(gateway: &Gateway) -> Json {
    let key = std::fs::read_to_string(gateway.data().join("auth").join("admin-key")).expect("the admin key");
    Json::new(gateway.admin, key.trim().rsplit(':').next().expect("a key"))
}

/// Logs in; while the business server thinks, does `meanwhile`; then the server lets Ada in. What the login came to.
async fn race(gateway: &Gateway, meanwhile: impl AsyncFnOnce()) -> Result<String, String> {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/login", server.local_addr().expect("an address"));
    let ways = json!({ "login": { "business": { "url": url, "timeout_ms": 30_000 } } });
    assert_eq!(admin(gateway).send("PUT /v1/tenants/default", &ways).await.status, 200);
    let options = gateway.options("nobody", "nothing");
    let (tenant, device) = (TenantId::new("default").expect("a name"), DeviceId::new("phone").expect("a name"));
    let login = Login { tenant, device, credential: Credential::Business(b"a ticket".to_vec()) };
    let asking = tokio::spawn(async move { Client::login(&options, &login).await });
    let (mut socket, _) = soon("a question", server.accept()).await.expect("a connection");
    let read = soon("its bytes", socket.read(&mut [0; 4096])).await.expect("bytes");
    assert!(read > 0, "it asks");
    meanwhile().await;
    let verdict = r#"{"allowed": true, "user": "ada"}"#;
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", verdict.len());
    socket.write_all(format!("{head}{verdict}").as_bytes()).await.expect("an answer");
    let told = soon("a verdict", asking).await.expect("no panic");
    told.map(|told| told.token).map_err(|why| why.to_string())
}

/// What `Open` with the token comes to: the code, or nothing.
async fn opened(gateway: &Gateway, token: String) -> Option<String> {
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, _, trailers) = device.call(Method::Open, &pb::OpenRequest { token, ..Default::default() }).await;
    trailers.get("pushline-code").map(|code| code.to_str().expect("text").to_owned())
}

/// What is revoked during the check takes the token back that the check leads to.
#[tokio::test]
async fn a_user_that_is_revoked_during_its_login_is_not_let_in() {
    for which in [json!({ "user": "ada" }), json!({ "all": true })] {
        let gateway = Gateway::start().await;
        let revoke = async |which: &Value| {
            let reply = gateway.json().send("POST /v1/tokens/revoke", which).await;
            assert_eq!(reply.status, 200, "{reply:?}");
        };
        let token = race(&gateway, async || revoke(&which).await).await.expect("a token");
        assert_eq!(opened(&gateway, token).await.as_deref(), Some("revoked_token"), "{which}");
    }
}

/// A login way that is taken away during the check lets nobody in any more; nor does a tenant that is suspended.
#[tokio::test]
async fn a_way_that_is_taken_away_during_a_login_is_no_way() {
    for (head, body) in [
        ("PUT /v1/tenants/default", json!({ "login": { "device_key": true } })),
        ("POST /v1/tenants/default/suspend", json!({})),
    ] {
        let gateway = Gateway::start().await;
        let refused = race(&gateway, async || assert_eq!(admin(&gateway).send(head, &body).await.status, 200)).await;
        assert!(refused.as_ref().is_err_and(|why| why.contains("login_refused")), "{head}: {refused:?}");
    }
}
