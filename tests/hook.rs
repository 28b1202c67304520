//! Posting to webhooks, against a real HTTP server: what is sent, how it is signed, what is trusted, and what is not done.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pushline::hook::{ANSWER_BYTES_MAX, Answer, Error, Options, Place, Post, Poster, Secret};
use pushline::model::clock::{Clock, Timestamp};
use pushline::tls::{Acceptor, Certificate, develop};
use support::receiver::{Receiver, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn poster(change: impl FnOnce(&mut Options)) -> Poster {
    let mut options = Options::default();
    change(&mut options);
    Poster::new(&options).expect("a poster")
}

async fn post(poster: &Poster, url: &str, secret: &Secret) -> Result<Answer, Error> {
    let place = Place::parse(url).expect("a place");
    let at = Timestamp::from_millis(1_614_265_330_999);
    let body = (&br#"{"type":"test"}"#[..]).into();
    support::soon("an answer", poster.post(Post { place: &place, secret, id: "message_1", at, body })).await
}

#[tokio::test]
async fn a_post_is_json_with_a_signature_that_the_receiver_can_check() {
    let (receiver, secret, poster) = (Receiver::start().await, Secret::make().expect("chance"), poster(|_| {}));
    receiver.reply([(201, vec![("retry-after", "7".to_owned())], b"thanks".to_vec())]);
    let answer = post(&poster, &receiver.url("/hook?a=b"), &secret).await.expect("an answer");
    let expected = Answer { status: 201, body: (&b"thanks"[..]).into(), retry_after: Some(Duration::from_secs(7)) };
    assert!(answer == expected && answer.taken(), "{answer:?}");
    let received = receiver.received().remove(0);
    assert_eq!((received.path.as_str(), &received.body[..]), ("/hook", &br#"{"type":"test"}"#[..]));
    for (name, value) in [
        ("content-type", "application/json"),
        ("webhook-id", "message_1"),
        ("webhook-timestamp", "1614265330"),
        ("user-agent", concat!("pushline/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
    assert!(received.is_signed_with(&secret.to_text()));
    assert!(!received.is_signed_with(&Secret::make().expect("chance").to_text()), "with another secret it must fail");
}

#[tokio::test]
async fn redirects_are_not_followed_and_refusals_are_answers() {
    let (receiver, other, poster) = (Receiver::start().await, Receiver::start().await, poster(|_| {}));
    receiver.reply([(307, vec![("location", other.url("/elsewhere"))], Vec::new()), status(404), status(500)]);
    let secret = Secret::make().expect("chance");
    for expected in [307, 404, 500] {
        let answer = post(&poster, &receiver.url("/"), &secret).await.expect("an answer");
        assert!(answer.status == expected && !answer.taken(), "{answer:?}");
    }
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn only_the_beginning_of_a_long_answer_is_kept() {
    let (receiver, poster) = (Receiver::start().await, poster(|_| {}));
    receiver.reply([(200, Vec::new(), vec![b'x'; 8 * 1024 * 1024])]);
    let secret = Secret::make().expect("chance");
    let answer = post(&poster, &receiver.url("/"), &secret).await.expect("an answer");
    assert_eq!(answer.body, vec![b'x'; ANSWER_BYTES_MAX]);
    assert_eq!(post(&poster, &receiver.url("/"), &secret).await.expect("another answer").status, 200);
}

#[tokio::test]
async fn who_does_not_answer_or_is_not_there_is_told_apart() {
    let secret = Secret::make().expect("chance");
    let short = poster(|options| options.timeout = Duration::from_millis(300));
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent = format!("http://{}/", listener.local_addr().expect("an address"));
    let late = post(&short, &silent, &secret).await.expect_err("no answer");
    assert_eq!(late, Error::Late(Duration::from_millis(300)));
    drop(listener);
    let gone = post(&short, &silent, &secret).await.expect_err("nobody listens");
    assert!(matches!(&gone, Error::Unreachable(words) if words.contains("refused")), "{gone}");

    // An answer that begins and never ends is as late as none.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let slow = format!("http://{}/", listener.local_addr().expect("an address"));
    let begun = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        socket.read_u8().await.expect("a request");
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx").await.expect("the beginning");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await
    });
    assert_eq!(post(&short, &slow, &secret).await, Err(Error::Late(Duration::from_millis(300))));
    drop(short);
    support::soon("the end of the connection", begun).await.expect("no panic").expect("an end");

    // No HTTP at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let other = format!("http://{}/", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        socket.write_all(b"220 mail.example ESMTP\r\n").await.expect("a greeting");
    });
    let broken = post(&poster(|_| {}), &other, &secret).await.expect_err("no HTTP");
    assert!(matches!(broken, Error::Broken(_)), "{broken:?}");
    task.await.expect("no panic");
}

#[tokio::test]
async fn tls_receivers_are_trusted_by_the_configured_certificate_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = develop::open(folder.path(), &[], Clock::new().now().wall).expect("a certificate");
    let certificate = Arc::new(Certificate::load(made.files).expect("a certificate"));
    let acceptor = Acceptor::new(certificate, &[b"h2", b"http/1.1"]).expect("an acceptor");
    let receiver = Receiver::start_tls(acceptor).await;
    let secret = Secret::make().expect("chance");
    let trusting = poster(|options| options.ca = Some(made.ca));
    assert_eq!(post(&trusting, &receiver.url("/"), &secret).await.expect("an answer").status, 200);
    assert!(receiver.received()[0].is_signed_with(&secret.to_text()));
    let stranger = post(&poster(|_| {}), &receiver.url("/"), &secret).await.expect_err("an unknown certificate");
    assert!(matches!(&stranger, Error::Unreachable(words) if words.contains("certificate")), "{stranger}");
    assert_eq!(receiver.received().len(), 1, "nothing was sent to whom is not trusted");
    for (file, content) in [("none.pem", None), ("empty.pem", Some("no certificate"))] {
        let path: PathBuf = folder.path().join(file);
        if let Some(content) = content {
            std::fs::write(&path, content).expect("a file");
        }
        assert!(Poster::new(&Options { ca: Some(path), ..Options::default() }).is_err(), "{file}");
    }
}
