//! A device that listens and acks, on plain HTTP/2: each push and each dismissal as it stood on the wire.

use pushline::wire::device::Method;
use pushline::wire::pb;

use super::Gateway;
use super::device::{Device, Pushes};

/// A device that listens.
pub struct Listener {
    /// User and device, `ann/phone`.
    pub name: String,
    pub device: Device,
    pub pushes: Pushes,
    /// What it follows.
    pub topics: Vec<String>,
}

impl Listener {
    /// Opens a session, with what conditions may ask about the device.
    pub async fn open(gateway: &Gateway, user: &str, device: &str, attributes: &[(&str, &str)]) -> Self {
        let mut connection = Device::connect(gateway.devices, &gateway.ca).await;
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let token = gateway.token(user, device);
        let request = pb::OpenRequest { token, attributes: attributes.collect(), ..Default::default() };
        let (_, response) = connection.send(Method::Open, &request).await;
        let mut pushes = Pushes::new(response.into_body());
        let Some(pb::open_response::Frame::Welcome(welcome)) = pushes.next().await else { panic!("no welcome") };
        Self { name: format!("{user}/{device}"), device: connection, pushes, topics: welcome.topics }
    }

    /// Follows a topic by itself.
    pub async fn subscribe(&mut self, topic: &str) {
        let request = pb::SubscribeRequest { topics: vec![topic.into()] };
        let (_, _, trailers) = self.device.call(Method::Subscribe, &request).await;
        assert_eq!(trailers["grpc-status"], "0");
        self.topics.push(topic.into());
    }

    /// The next push, acked.
    pub async fn push(&mut self) -> pb::Push {
        let push = self.pushes.push().await;
        self.ack(push.seq).await;
        push
    }

    /// Acks a push.
    pub async fn ack(&mut self, seq: u64) {
        let request = pb::AckRequest { acked: vec![pb::SeqRange { from: seq, upto: seq }], ..Default::default() };
        let (_, _, trailers) = self.device.call(Method::Ack, &request).await;
        assert_eq!(trailers["grpc-status"], "0");
    }

    /// The payload of the next push, acked.
    pub async fn text(&mut self) -> String {
        text(&self.push().await)
    }

    /// What came before the ends of so many logs, sorted: the logs' own orders are tested elsewhere.
    pub async fn received(&mut self, mut ends: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while ends > 0 {
            match self.text().await {
                end if end == END => ends -= 1,
                other => texts.push(other),
            }
        }
        texts.sort();
        texts
    }
}

/// The last push of a log in a test: what was to come before it has come.
pub const END: &str = "end";

/// The payload as text.
pub fn text(push: &pb::Push) -> String {
    String::from_utf8(push.payload.to_vec()).expect("text")
}
