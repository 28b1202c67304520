//! Tests of logins and renewals as a program sees them, against a scripted peer on loopback with real TLS and HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::client::error::Error;
use crate::client::handle::Client;
use crate::client::login::{Access, Accessing, Credential, Login, Provider};
use crate::client::options::Options;
use crate::client::scripted_peer::{Gateway, Peer, PushStream, close, id, push, welcome};
use crate::client::status::Status;
use crate::model::close::CloseReason;
use crate::model::fault::Code;
use crate::model::frame::KeyProof;
use crate::model::id::{DeviceId, TenantId, UserId};
use crate::wire::device::Method;
use crate::wire::pb::{self, login_request::Credential as Given, open_response::Frame};

fn login(credential: Credential) -> Login {
    let (tenant, device) = (TenantId::new("shop").expect("a name"), DeviceId::new("phone").expect("a name"));
    Login { tenant, device, credential }
}

/// Options of a client that logs in with a JWT.
fn options(gateway: &Gateway) -> Options {
    let provider: Arc<dyn Provider> = Arc::new(login(Credential::Jwt("a.b.c".into())));
    Options { token: String::new(), provider: Some(provider), ..gateway.options() }
}

fn told(token: &str, refresh_after_ms: u64, nodes: &[String]) -> pb::LoginResponse {
    pb::LoginResponse {
        token: token.into(),
        expires_at_ms: 9,
        refresh_after_ms,
        user: "ada".into(),
        device: "phone".into(),
        nodes: nodes.to_vec(),
    }
}

const LATER: u64 = 3_600_000;

/// Takes a login with the JWT.
async fn take_login(peer: &mut Peer, answer: &pb::LoginResponse) {
    let ask = peer.asked(Method::Login).await;
    let request: pb::LoginRequest = ask.message();
    assert_eq!((request.tenant.as_str(), request.device.as_str()), ("shop", "phone"));
    assert_eq!(request.credential, Some(Given::Jwt("a.b.c".into())));
    ask.answer(answer);
}

/// Takes the `Open`, which must carry this token.
async fn take_open(peer: &mut Peer, token: &str) -> PushStream {
    let ask = peer.asked(Method::Open).await;
    assert_eq!(ask.message::<pb::OpenRequest>().token, token);
    let mut pushes = ask.stream();
    pushes.send(Frame::Welcome(welcome())).await;
    pushes
}

/// A client that has logged in and opened, and the other end of it.
async fn connected(gateway: &Gateway, refresh_after_ms: u64) -> (Client, Peer, PushStream) {
    let serve = async {
        let mut peer = gateway.accept().await;
        take_login(&mut peer, &told("first", refresh_after_ms, &[])).await;
        let pushes = take_open(&mut peer, "first").await;
        (peer, pushes)
    };
    let (client, (peer, pushes)) = tokio::join!(Client::connect(options(gateway)), serve);
    (client.expect("a session"), peer, pushes)
}

async fn until(client: &Client, reached: impl FnMut(&Status) -> bool) -> Status {
    client.status().wait_for(reached).await.expect("the client lives").clone()
}

/// P2.7, P2.8, P2.9: the login comes first, on the same connection, and its token opens the session.
#[tokio::test]
async fn p2_7_a_login_on_the_connection_comes_before_its_open() {
    let gateway = Gateway::start().await;
    let (client, _peer, _pushes) = connected(&gateway, LATER).await;
    assert_eq!(client.status().borrow().sessions, 1);
}

#[tokio::test]
async fn a_token_is_renewed_in_the_session_when_its_time_has_come_or_the_gateway_warns() {
    let gateway = Gateway::start().await;
    // The time that the login names is over at once.
    let (mut client, mut peer, mut pushes) = connected(&gateway, 1).await;
    take_login(&mut peer, &told("second", LATER, &[])).await;
    let renew = peer.asked(Method::Renew).await;
    assert_eq!(renew.message::<pb::RenewRequest>().token, "second");
    renew.answer(&pb::RenewResponse { expires_at_ms: 9 });
    until(&client, |status| status.renewals == 1).await;
    pushes.send(Frame::TokenExpiring(pb::TokenExpiring { expires_at_ms: 5 })).await;
    take_login(&mut peer, &told("third", LATER, &[])).await;
    peer.asked(Method::Renew).await.answer(&pb::RenewResponse { expires_at_ms: 9 });
    let status = until(&client, |status| status.renewals == 2).await;
    assert_eq!((status.sessions, status.last_failure), (1, None), "the session went on");
    pushes.send(push(1, 1, "x")).await;
    assert_eq!(client.next().await.expect("it lives").expect("a push").id, id(1));
    // The next connection opens with the newest token.
    drop((peer, pushes));
    let mut peer = gateway.accept().await;
    let _pushes = take_open(&mut peer, "third").await;
    until(&client, |status| status.sessions == 2).await;
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_while_the_session_goes_on() {
    let gateway = Gateway::start().await;
    let (client, mut peer, mut pushes) = connected(&gateway, LATER).await;
    pushes.send(Frame::TokenExpiring(pb::TokenExpiring { expires_at_ms: 5 })).await;
    peer.asked(Method::Login).await.refuse(Code::LoginUnavailable);
    let status = until(&client, |status| status.failed_renewal.is_some()).await;
    assert_eq!((status.renewals, status.sessions), (0, 1));
    take_login(&mut peer, &told("second", LATER, &[])).await;
    peer.asked(Method::Renew).await.answer(&pb::RenewResponse { expires_at_ms: 9 });
    until(&client, |status| status.renewals == 1).await;
}

#[tokio::test]
async fn an_expired_or_revoked_token_costs_a_login_and_a_refused_login_is_the_end() {
    let gateway = Gateway::start().await;
    let (mut client, _first, mut pushes) = connected(&gateway, LATER).await;
    pushes.send_bytes(close(CloseReason::TokenExpired)).await;
    let mut second = gateway.accept().await;
    take_login(&mut second, &told("second", LATER, &[])).await;
    let mut pushes = take_open(&mut second, "second").await;
    until(&client, |status| status.sessions == 2).await;
    pushes.send_bytes(close(CloseReason::Revoked)).await;
    let mut third = gateway.accept().await;
    third.asked(Method::Login).await.refuse(Code::LoginRefused);
    let Some(Err(Error::Refused(why))) = client.next().await else { panic!("it goes on") };
    assert_eq!(why.name, "login_refused");
}

#[tokio::test]
async fn a_token_that_is_refused_though_it_is_new_is_the_end() {
    let gateway = Gateway::start().await;
    let serve = async {
        let mut peer = gateway.accept().await;
        take_login(&mut peer, &told("first", LATER, &[])).await;
        peer.asked(Method::Open).await.refuse(Code::InvalidCredentials);
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(options(&gateway)), serve);
    assert!(matches!(client, Err(Error::Refused(why)) if why.name == "invalid_credentials"));
}

/// P2.10: the node that the login names is where the session is opened.
#[tokio::test]
async fn p2_10_a_login_may_send_the_device_to_another_node() {
    let (first, second) = (Gateway::start().await, Gateway::start().await);
    let mut options = options(&first);
    options.roots = Some([options.roots.unwrap_or_default(), second.options().roots.unwrap_or_default()].concat());
    let node = second.options().address;
    let serve = async {
        let mut peer = first.accept().await;
        // Nobody listens at the first of them.
        take_login(&mut peer, &told("t", LATER, &["127.0.0.1:1".to_owned(), node])).await;
        let mut peer = second.accept().await;
        let pushes = take_open(&mut peer, "t").await;
        (peer, pushes)
    };
    let (client, (peer, pushes)) = tokio::join!(Client::connect(options), serve);
    let client = client.expect("a session");
    // It comes back there, too.
    drop((peer, pushes));
    let mut peer = tokio::select! {
        peer = second.accept() => peer,
        _ = first.accept() => panic!("it went back to the first"),
    };
    let _pushes = take_open(&mut peer, "t").await;
    until(&client, |status| status.sessions == 2).await;
}

#[tokio::test]
async fn a_move_may_name_nodes_and_the_old_address_is_the_last_resort() {
    let (first, second) = (Gateway::start().await, Gateway::start().await);
    let mut options = first.options();
    options.roots = Some([options.roots.unwrap_or_default(), second.options().roots.unwrap_or_default()].concat());
    let (client, (_peer, mut pushes)) = tokio::join!(Client::connect(options), first.welcome(welcome()));
    let client = client.expect("a session");
    let nodes = vec![second.options().address];
    pushes.send(Frame::Move(pb::Move { return_after_ms: 1, grace_ms: 1000, nodes })).await;
    let (peer, moved) = second.welcome(welcome()).await;
    until(&client, |status| status.sessions == 2).await;
    drop((second, peer, moved));
    let (_peer, _pushes) = first.welcome(welcome()).await;
    until(&client, |status| status.sessions == 3).await;
}

/// Counts how often it is asked, and gives tokens of the program's own.
struct Counting(AtomicUsize);

impl Provider for Counting {
    fn access(&self) -> Accessing<'_> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(Access::Token(format!("own-{number}"))) })
    }
}

#[tokio::test]
async fn a_program_may_give_tokens_of_its_own() {
    let gateway = Gateway::start().await;
    let provider: Arc<dyn Provider> = Arc::new(Counting(AtomicUsize::new(1)));
    let options = Options { provider: Some(provider), ..gateway.options() };
    let serve = async {
        let mut peer = gateway.accept().await;
        // There is one to begin with.
        let pushes = take_open(&mut peer, "token").await;
        (peer, pushes)
    };
    let (client, (mut peer, mut pushes)) = tokio::join!(Client::connect(options), serve);
    let client = client.expect("a session");
    pushes.send(Frame::TokenExpiring(pb::TokenExpiring { expires_at_ms: 5 })).await;
    let renew = peer.asked(Method::Renew).await;
    assert_eq!(renew.message::<pb::RenewRequest>().token, "own-1");
    renew.answer(&pb::RenewResponse { expires_at_ms: 9 });
    until(&client, |status| status.renewals == 1).await;
}

#[tokio::test]
async fn a_login_alone_signs_a_challenge_and_says_what_it_got() {
    let gateway = Gateway::start().await;
    let signer = Arc::new(|text: &[u8]| [b"signed ", text].concat());
    let enrolment =
        login(Credential::Enrolment { code: "C0DE".into(), public_key: vec![7; 32], signer: signer.clone() });
    let key = login(Credential::Key { user: UserId::new("ada").expect("a name"), signer });
    let text = [&b"signed "[..], &KeyProof::signed_text(&key.tenant, &key.device, b"do it")].concat();
    for login in [enrolment, key] {
        let serve = async {
            let mut peer = gateway.accept().await;
            let challenge = Bytes::from_static(b"do it");
            peer.asked(Method::Challenge).await.answer(&pb::ChallengeResponse { challenge, expires_at_ms: 9 });
            let ask = peer.asked(Method::Login).await;
            let request: pb::LoginRequest = ask.message();
            ask.answer(&told("T", 7, &[]));
            peer.ended().await;
            request.credential.expect("a credential")
        };
        let options = Options { token: String::new(), ..gateway.options() };
        let (told, given) = tokio::join!(Client::login(&options, &login), serve);
        let told = told.expect("a token");
        assert_eq!((told.token.as_str(), told.user.as_str(), told.device.as_str()), ("T", "ada", "phone"));
        assert_eq!(told.refresh_after, Duration::from_millis(7));
        assert!(!format!("{told:?}").contains("T/") && !format!("{told:?}").contains("\"T\""));
        let proof = match given {
            Given::Enrolment(given) => {
                assert_eq!((given.code.as_str(), &given.public_key[..]), ("C0DE", &[7; 32][..]));
                given.proof
            }
            Given::Key(given) => {
                assert_eq!(given.user, "ada");
                given.proof
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(proof.expect("a proof").signature, text);
    }
}
