//! Those who talk to the gateway in the story: a backend, and two devices of one user. What they do is told elsewhere.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use crate::auth::{Authority, DEFAULT_TENANT};
use crate::cli::demo::device::Device;
use crate::cli::demo::gateway::Ready;
use crate::client::Options;
use crate::client::backend::Backend;
use crate::config::Config;
use crate::model::clock::Clock;
use crate::model::id::{DeviceId, Receiver, TenantId, TopicName, UserId};
use crate::model::message::Target;
use crate::wire::body::target_to_pb;
use crate::wire::pb;

/// Those who talk to the gateway.
pub(super) struct Cast {
    pub(super) backend: Backend,
    pub(super) phone: Device,
    pub(super) laptop: Device,
    pub(super) user: UserId,
    pub(super) topic: TopicName,
}

impl Cast {
    /// Connects the backend, and gives two devices of a user their tokens.
    pub(super) async fn gather(ready: &Ready, data: &Path, clock: Clock) -> anyhow::Result<Self> {
        let backend = Backend::connect(&ready.backend_url, &ready.api_key, None).await?;
        let roots = std::fs::read(&ready.ca).with_context(|| format!("cannot read {}", ready.ca.display()))?;
        let mut config = Config::default();
        config.store.data = data.to_owned();
        let authority = Authority::open(&config.store.auth_folder())?;
        let user = UserId::new(USER)?;
        let device = |name: &'static str| -> anyhow::Result<Device> {
            let receiver =
                Receiver { tenant: TenantId::new(DEFAULT_TENANT)?, user: user.clone(), device: DeviceId::new(name)? };
            let now = clock.now().wall;
            let token = authority.issue(&receiver, now + TOKEN_LIFE, now);
            let mut options = Options::new(ready.devices.to_string(), roots.clone(), token);
            // What conditions may ask.
            options.attributes = [("form".to_owned(), name.to_owned())].into();
            options.reconnect_base = RECONNECT_BASE;
            options.reconnect_max = RECONNECT_MAX;
            Ok(Device::new(name, options, clock))
        };
        let (phone, laptop) = (device("phone")?, device("laptop")?);
        Ok(Self { backend, phone, laptop, user, topic: TopicName::new(TOPIC)? })
    }

    /// One device alone, the user, and the topic.
    pub(super) fn targets(&self, device: &str) -> anyhow::Result<(Target, Target, Target)> {
        let alone = Target::Device(self.user.clone(), DeviceId::new(device)?);
        Ok((alone, Target::User(self.user.clone()), Target::Topic(self.topic.clone())))
    }

    /// Waits until the gateway knows that the laptop is gone: a push for connected devices only, which nobody stores or
    /// counts, then reaches none.
    pub(super) async fn laptop_is_gone(&self) -> anyhow::Result<()> {
        let (laptop, ..) = self.targets("laptop")?;
        let probe = pb::PushRequest { durability: pb::Durability::None.into(), ..request(&laptop, 0) };
        while self.backend.push(probe.clone()).await?.online > 0 {
            sleep(PROBE_PAUSE).await;
        }
        Ok(())
    }
}

/// A push with a text that says which it is.
pub(super) fn request(target: &Target, number: usize) -> pb::PushRequest {
    pb::PushRequest {
        target: Some(target_to_pb(target)),
        payload: format!("push {number}").into(),
        content_type: "text/plain".to_owned(),
        ..pb::PushRequest::default()
    }
}

/// A push with a text, to any target.
pub(super) fn request_to(to: pb::target::To, text: &'static str) -> pb::PushRequest {
    pb::PushRequest {
        target: Some(pb::Target { to: Some(to) }),
        payload: text.into(),
        content_type: "text/plain".to_owned(),
        ..pb::PushRequest::default()
    }
}

const USER: &str = "ada";

const TOPIC: &str = "news";

/// Much longer than the story takes.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Devices of the story come back sooner than real ones, which must not storm a gateway that restarts.
const RECONNECT_BASE: Duration = Duration::from_millis(20);

/// As above.
const RECONNECT_MAX: Duration = Duration::from_millis(100);

/// Short beside what closing a connection takes.
const PROBE_PAUSE: Duration = Duration::from_millis(5);
