//! HTTP/1.1 as plain as it gets: a request on a socket of its own, and the whole answer.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// Headers of a request.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header; names are in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body, which must be one of JSON.
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The lines of the body, each of which must be JSON.
    pub fn lines(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("application/x-ndjson"), "{self:?}");
        let text = std::str::from_utf8(&self.body).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Checks that it is a refusal with this HTTP status and stable number.
    pub fn assert_refused(&self, status: u16, errno: u32, words: &str) {
        let fault = self.json();
        assert_eq!((self.status, fault["errno"].as_u64()), (status, Some(errno.into())), "{fault}");
        assert!(fault["message"].as_str().expect("words").contains(words), "{words}: {fault}");
    }
}

/// Sends an HTTP/1.1 request and reads the whole answer.
pub async fn http(address: SocketAddr, head: &str, headers: Headers<'_>, body: &[u8]) -> Reply {
    let mut request =
        format!("{head} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let mut stream = TcpStream::connect(address).await.expect("the gateway takes connections");
    stream.write_all(request.as_bytes()).await.expect("written");
    // The gateway may refuse an oversized body before it is all written.
    let _refused_early = stream.write_all(body).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    assert!(read.is_ok() || !answer.is_empty(), "{head}: {read:?}");
    parse(&answer)
}

pub fn parse(answer: &[u8]) -> Reply {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
    let head = std::str::from_utf8(&answer[..end]).expect("a head of text");
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { unchunk(&answer[end..]) } else { answer[end..].to_vec() };
    Reply { status: status.parse().expect("a number"), headers, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&rest[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a number");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

/// A backend that speaks JSON.
pub struct Json {
    address: SocketAddr,
    bearer: String,
}

impl Json {
    /// One that has a key.
    pub fn new(address: SocketAddr, key: &str) -> Self {
        Self { address, bearer: format!("Bearer {key}") }
    }

    /// Calls a method, `GET /v1/...`, without a body.
    pub async fn call(&self, head: &str) -> Reply {
        http(self.address, head, &[("authorization", &self.bearer)], b"").await
    }

    /// Calls a method with a body of JSON.
    pub async fn send(&self, head: &str, body: &Value) -> Reply {
        self.send_as("application/json", head, body.to_string().as_bytes()).await
    }

    /// Calls a method with a body.
    pub async fn send_as(&self, media: &str, head: &str, body: &[u8]) -> Reply {
        http(self.address, head, &[("authorization", &self.bearer), ("content-type", media)], body).await
    }
}
