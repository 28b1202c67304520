//! Heartbeats over real sockets: a network that swallows everything without closing anything is noticed by both sides,
//! and costs no push (P1.11, P1.12).

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use pushline::client::{Client, Phase};
use pushline::model::clock::Clock;
use support::{Gateway, next, push, soon, text, to_user};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A network between a client and the gateway that can turn into a black hole: then it takes bytes from both sides and
/// passes none on, and no one is told.
struct Network {
    address: SocketAddr,
    swallow: watch::Sender<bool>,
}

impl Network {
    async fn to(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (swallow, swallows) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(gateway).await.expect("the gateway");
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, swallows.clone()));
                tokio::spawn(pass(from_server, to_client, swallows.clone()));
            }
        });
        Self { address, swallow }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallows: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut swallowed = false;
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        // Once something was swallowed the rest makes no sense: the connection stays a black hole.
        swallowed |= *swallows.borrow();
        if !swallowed && to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
    if swallowed {
        // The other side must not learn that this one gave up.
        std::future::pending::<()>().await;
    }
}

const INTERVAL: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(300);

async fn gateway() -> Gateway {
    Gateway::start_with(|config| {
        (config.session.heartbeat, config.session.heartbeat_min) = (INTERVAL, INTERVAL);
        config.session.heartbeat_timeout = TIMEOUT;
    })
    .await
}

async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let mut socket = TcpStream::connect(gateway.backend).await.expect("the backend listener");
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("a request");
    let mut page = String::new();
    socket.read_to_string(&mut page).await.expect("a page");
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {page}"));
    line.split_whitespace().last().and_then(|value| value.parse().ok()).expect("a number")
}

/// P1.11, P1.12: a healthy connection lives on through silence because the client beats.
#[tokio::test(flavor = "multi_thread")]
async fn p1_11_a_silent_connection_is_kept_alive_by_the_clients_beats() {
    let gateway = gateway().await;
    let mut client = gateway.client("ada", "phone").await;
    let mut status = client.status();
    soon("five beats", status.wait_for(|status| status.heartbeats >= 5)).await.expect("the client lives");
    assert_eq!(client.status().borrow().sessions, 1, "the connection was never lost");
    push(&mut gateway.backend().await, to_user("ada", "still here")).await;
    assert_eq!(text(&next(&mut client).await), "still here");
}

/// P1.11, P1.12: behind a black hole both sides notice by themselves, within interval plus timeout; what was not acked
/// is kept, and comes again with the same id when the network is back.
#[tokio::test(flavor = "multi_thread")]
async fn p1_11_p1_12_a_black_hole_is_noticed_by_both_and_costs_no_push() {
    let gateway = gateway().await;
    let network = Network::to(gateway.devices).await;
    let mut options = gateway.options("ada", "phone");
    options.address = network.address.to_string();
    options.attempt_timeout = Duration::from_secs(1);
    let mut client = soon("a session", Client::connect(options)).await.expect("a session");
    let Phase::Connected(session) = client.status().borrow().phase.clone() else { panic!("it is connected") };
    assert_eq!((session.heartbeat.client_interval, session.heartbeat.timeout), (INTERVAL, TIMEOUT));
    let mut backend = gateway.backend().await;
    push(&mut backend, to_user("ada", "held")).await;
    let held = next(&mut client).await;
    let id = held.id;

    let clock = Clock::new();
    let swallowed = clock.now().moment;
    network.swallow.send_replace(true);
    held.ack();
    push(&mut backend, to_user("ada", "pushed into the void")).await;
    let mut status = client.status();
    soon("the client's notice", status.wait_for(|status| matches!(status.phase, Phase::Waiting { .. })))
        .await
        .expect("alive");
    let noticed = clock.now().moment.since(swallowed);
    // The bound that matters is exact and tested with a given clock; this one leaves room for a slow machine.
    assert!(noticed < (INTERVAL + TIMEOUT) * 20, "the client noticed after {noticed:?}");
    let server_noticed = async {
        while metric(&gateway, "pushline_sessions_closed_total{reason=\"heartbeat_timeout\"}").await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the server's notice", server_noticed).await;
    let noticed = clock.now().moment.since(swallowed);
    assert!(noticed < (INTERVAL * 5 / 4 + TIMEOUT) * 20, "the server noticed after {noticed:?}");

    network.swallow.send_replace(false);
    let again = next(&mut client).await;
    // The ack was lost on the way: the same message came again, the client knew it and acked it anew by itself.
    assert_eq!(text(&again), "pushed into the void");
    again.ack();
    soon("the acks", client.flush()).await.expect("confirmed acks");
    assert!(client.status().borrow().sessions >= 2);
    let request = pushline::wire::pb::GetMessageRequest { id: id.to_string() };
    let known = backend.get_message(request).await.expect("a known message").into_inner();
    assert_eq!(known.devices[0].state(), pushline::wire::pb::device_outcome::State::Acked);
}
