//! What a client is told when it is made. It checks the values and holds no state.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::error::Error;
use crate::client::login::Provider;
use crate::model::message::Urgency;
use crate::wire::device::{AGENT_BYTES_MAX, check_attributes};

/// How a client connects and behaves. [`Options::new`] fills in sensible values; change fields as needed.
#[derive(Clone)]
pub struct Options {
    /// Where the gateway listens for devices: `host:port`.
    pub address: String,
    /// The name its certificate must bear. `None`: the host of `address`.
    pub server_name: Option<String>,
    /// Certificates in PEM that vouch for the gateway's; then nothing else is trusted. `None`: the system's.
    pub roots: Option<Vec<u8>>,
    /// The access token. May be empty when there is a `provider`.
    pub token: String,
    /// Who gives the next access token, before the one at hand expires: the session goes on with it.
    pub provider: Option<Arc<dyn Provider>>,
    /// The device that connects; must be the one the token names. `None`: the token's word is taken.
    pub device: Option<String>,
    /// Longest silence before a heartbeat that this device asks for; the gateway decides. Zero: the gateway's default.
    pub heartbeat: Duration,
    /// Pushes that may be delivered and not yet acked; at most so many wait in the client. 1 to `remembered`.
    pub window: u32,
    /// Least urgency that is delivered now.
    pub urgency_floor: Urgency,
    /// What conditions may ask about this device, such as `platform`, `app_version` and `locale`: replaces what the gateway
    /// knew. Empty: what it knew stays. At most 16, with names of at most 64 bytes and values of at most 128.
    pub attributes: BTreeMap<String, String>,
    /// Name and version of the program, for the gateway's logs; at most 64 bytes.
    pub agent: String,
    /// Acks that are sent at the latest when so many wait.
    pub ack_count: u32,
    /// Acks that are sent at the latest when one has waited so long.
    pub ack_delay: Duration,
    /// Longest first pause before connecting anew; doubles with each failure in a row.
    pub reconnect_base: Duration,
    /// Longest pause before connecting anew, whatever the number of failures.
    pub reconnect_max: Duration,
    /// Message ids remembered to drop duplicates, and pushes the program may hold unsettled before the client stops
    /// reading.
    pub remembered: u32,
    /// How long [`Client::connect`](super::Client::connect) tries in all.
    pub connect_timeout: Duration,
    /// How long one attempt may take, from the first packet to the gateway's welcome.
    pub attempt_timeout: Duration,
    /// How long a request (ack, subscribe, ...) may wait for its answer.
    pub request_timeout: Duration,
}

impl Options {
    /// Options for a gateway, the certificates (PEM) that vouch for it, and a token.
    #[must_use]
    pub fn new(address: impl Into<String>, roots: impl Into<Vec<u8>>, token: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            server_name: None,
            roots: Some(roots.into()),
            token: token.into(),
            provider: None,
            device: None,
            heartbeat: Duration::ZERO,
            window: 64,
            urgency_floor: Urgency::VeryLow,
            attributes: BTreeMap::new(),
            agent: concat!("pushline/", env!("CARGO_PKG_VERSION")).to_owned(),
            ack_count: 32,
            ack_delay: Duration::from_millis(20),
            reconnect_base: Duration::from_millis(500),
            reconnect_max: Duration::from_secs(60),
            remembered: 4096,
            connect_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
        }
    }

    /// The host of the address, which is the name the certificate must bear unless another is given.
    pub(super) fn host(&self) -> &str {
        host(&self.address)
    }

    /// Refuses values that cannot work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let port = self.address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        let refusal = if self.host().is_empty() || !matches!(port, Some(Ok(1..))) {
            "address: give host:port"
        } else if self.roots.as_ref().is_some_and(Vec::is_empty) {
            "roots: give the certificates (PEM) that vouch for the gateway, or none to trust the system's"
        } else if self.token.is_empty() && self.provider.is_none() {
            "token: give the access token, or a provider"
        } else if let Err(fault) = check_attributes(&self.attributes) {
            return Err(Error::Invalid(fault.words.into_owned()));
        } else if self.agent.len() > AGENT_BYTES_MAX {
            "agent: give at most 64 bytes"
        } else if self.window == 0 || self.window > self.remembered {
            "window: give 1 to the number of remembered ids"
        } else if self.ack_count == 0 {
            "ack_count: give at least 1"
        } else if self.reconnect_base.is_zero() || self.reconnect_base > self.reconnect_max {
            "reconnect_base: give more than zero and at most reconnect_max"
        } else if self.connect_timeout.is_zero() || self.attempt_timeout.is_zero() || self.request_timeout.is_zero() {
            "connect_timeout, attempt_timeout, request_timeout: give more than zero"
        } else {
            return Ok(());
        };
        Err(Error::Invalid(refusal.to_owned()))
    }
}

/// The host of an address.
pub(super) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Leaves the token out.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("address", &self.address)
            .field("device", &self.device)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Options;

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_option() {
        fn check(option: &str, change: impl FnOnce(&mut Options)) {
            let mut options = Options::new("gateway.example:7443", "pem", "token");
            assert_eq!(options.check(), Ok(()));
            change(&mut options);
            let words = options.check().expect_err("this must be refused").to_string();
            assert!(words.starts_with(option), "{words}");
        }
        for address in ["", "host", ":1", "host:0", "host:x", "host:70000"] {
            check("address", |options| options.address = address.into());
        }
        check("roots", |options| options.roots = Some(Vec::new()));
        check("token", |options| options.token.clear());
        check("agent", |options| options.agent = "x".repeat(65));
        check("attributes", |options| options.attributes = [("a b".to_owned(), String::new())].into());
        check("attributes", |options| options.attributes = [("a".to_owned(), "x".repeat(129))].into());
        check("window", |options| options.window = 0);
        check("window", |options| options.remembered = 63);
        check("ack_count", |options| options.ack_count = 0);
        check("reconnect_base", |options| options.reconnect_base = Duration::ZERO);
        check("connect_timeout", |options| options.attempt_timeout = Duration::ZERO);
    }

    #[test]
    fn the_host_is_the_address_without_its_port() {
        for (address, host) in [("a.example:1", "a.example"), ("127.0.0.1:80", "127.0.0.1"), ("[::1]:80", "::1")] {
            assert_eq!(Options::new(address, "pem", "token").host(), host);
        }
    }

    #[test]
    fn the_token_is_not_in_the_debug_text() {
        assert!(!format!("{:?}", Options::new("a:1", "pem", "secret-token")).contains("secret"));
    }
}
