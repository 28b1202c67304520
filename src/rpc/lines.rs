//! Cuts a body into lines (NDJSON). Holds at most one line and what came with it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;

use crate::model::fault::{Code, Fault};

/// The lines of a body that are not blank, with their numbers from 1. An `Err` is the last item.
pub(super) struct Lines {
    body: BodyDataStream,
    /// Bytes received and not yet given out.
    held: BytesMut,
    /// So many of them are known to have no line break.
    searched: usize,
    /// Longest line taken, in bytes.
    limit: usize,
    /// Lines cut so far, blank ones too.
    number: u64,
    /// The body is at its end.
    ended: bool,
}

impl Lines {
    /// The lines of a body, each of at most `limit` bytes.
    pub(super) fn new(body: Body, limit: usize) -> Self {
        let body = body.into_data_stream();
        Self { body, held: BytesMut::new(), searched: 0, limit, number: 0, ended: false }
    }

    /// Cuts off the next line, if it is all there.
    fn cut(&mut self) -> Option<Bytes> {
        let found = self.held[self.searched..].iter().position(|byte| *byte == b'\n');
        let line = match found.map(|at| self.searched + at) {
            Some(at) => {
                let line = self.held.split_to(at).freeze();
                self.held.advance(1);
                line
            }
            // The last line needs no break.
            None if self.ended && !self.held.is_empty() => self.held.split().freeze(),
            None => {
                self.searched = self.held.len();
                return None;
            }
        };
        self.searched = 0;
        self.number += 1;
        Some(line)
    }

    fn fail(&mut self, code: Code, words: String) -> Poll<Option<Result<(u64, Bytes), Fault>>> {
        self.held.clear();
        self.searched = 0;
        self.ended = true;
        Poll::Ready(Some(Err(Fault::new(code, words))))
    }
}

impl Stream for Lines {
    type Item = Result<(u64, Bytes), Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let line = this.cut();
            if line.as_ref().map_or(this.held.len(), Bytes::len) > this.limit {
                let number = this.number + u64::from(line.is_none());
                let words = format!("line {number} is longer than the {} bytes that it may take", this.limit);
                return this.fail(Code::RequestTooLarge, words);
            }
            match line {
                Some(line) if line.iter().all(u8::is_ascii_whitespace) => continue,
                Some(line) => return Poll::Ready(Some(Ok((this.number, line)))),
                None if this.ended => return Poll::Ready(None),
                None => {}
            }
            match ready!(Pin::new(&mut this.body).poll_next(context)) {
                Some(Ok(bytes)) => this.held.extend_from_slice(&bytes),
                Some(Err(_)) => return this.fail(Code::Malformed, "the request's body broke off".to_owned()),
                None => this.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};

    use super::Lines;
    use crate::model::fault::Code;

    async fn check(text: &'static str, expected: &[(u64, &'static str)], end: Option<Code>) {
        for size in 1..=text.len().max(1) {
            let chunks = text.as_bytes().chunks(size).map(|chunk| Ok::<_, Infallible>(Bytes::from_static(chunk)));
            let mut lines = Lines::new(Body::from_stream(stream::iter(chunks)), 5);
            for (number, line) in expected {
                let got = lines.next().await.expect("a line").expect("a good line");
                assert_eq!(got, (*number, Bytes::from_static(line.as_bytes())), "{text:?} by {size}");
            }
            assert_eq!(lines.next().await.map(|last| last.expect_err("the end").code), end, "{text:?} by {size}");
            assert!(lines.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_body_may_be_cut_anywhere() {
        check("", &[], None).await;
        check("one\ntwo\n", &[(1, "one"), (2, "two")], None).await;
        check("one\n\n \r\ntwo", &[(1, "one"), (4, "two")], None).await;
        check("12345\n12345", &[(1, "12345"), (2, "12345")], None).await;
        check("one\n123456\ntwo\n", &[(1, "one")], Some(Code::RequestTooLarge)).await;
        check("one\n1234567890", &[(1, "one")], Some(Code::RequestTooLarge)).await;
    }
}
