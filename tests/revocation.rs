//! A crowd of live sessions under load: those whose token is revoked are gone within a second, those whose token expires are
//! told before and closed after. The times are printed (`--nocapture`); what is asserted leaves room for a busy machine.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::client::SendRequest;
use http::Request;
use prost::Message;
use pushline::auth::{Authority, Claims};
use pushline::model::access::TokenId;
use pushline::model::clock::{Clock, Moment};
use pushline::model::id::{DeviceId, Receiver, TenantId, UserId};
use pushline::wire::device::Method;
use pushline::wire::{grpc, pb};
use serde_json::{Value, json};
use support::device::Device;
use support::{Gateway, push, soon, to_user};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};

const USERS: usize = 100;
const DEVICES: usize = 10;

/// Connections that are made at the same time.
const AT_ONCE: usize = 32;

/// Each push goes to ten devices, which ack it.
const BETWEEN_PUSHES: Duration = Duration::from_millis(20);

/// A crowd has the machine for itself: what takes how long is to be seen.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What a device saw.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Its token is about to expire.
    Expiring,
    /// It gave its session another token, which was answered with this word; empty when it was taken.
    Renewed(String),
    /// The session was closed, with this word.
    Closed(String),
}

/// A thing that a device saw, and when.
struct Sighting {
    device: usize,
    seen: Seen,
    at: Moment,
}

/// 1,000 devices with live sessions, each reading its push stream and acking what comes.
struct Crowd {
    gateway: Gateway,
    authority: Authority,
    clock: Clock,
    ids: Vec<TokenId>,
    requests: Vec<SendRequest<Bytes>>,
    sightings: mpsc::Receiver<Sighting>,
    received: Arc<AtomicU64>,
    /// What devices renew their token with when they are told that it expires; those without one do not.
    newer: Arc<Vec<OnceLock<String>>>,
    devices: JoinSet<()>,
}

fn receiver(number: usize) -> Receiver {
    let name = "a name";
    Receiver {
        tenant: TenantId::new("default").expect(name),
        user: UserId::new(&format!("user{}", number / DEVICES)).expect(name),
        device: DeviceId::new(&format!("device{}", number % DEVICES)).expect(name),
    }
}

impl Crowd {
    async fn gather() -> Self {
        let gateway = Gateway::start().await;
        let authority = Authority::open(&gateway.data().join("auth")).expect("the keys");
        let (clock, received) = (Clock::new(), Arc::<AtomicU64>::default());
        // A device sees four things at most.
        let (see, sightings) = mpsc::channel(4 * USERS * DEVICES);
        let (mut ids, mut requests, mut devices) = (Vec::new(), Vec::new(), JoinSet::new());
        let newer: Arc<Vec<_>> = Arc::new((0..USERS * DEVICES).map(|_| OnceLock::new()).collect());
        let began = clock.now().moment;
        let numbers: Vec<usize> = (0..USERS * DEVICES).collect();
        for some in numbers.chunks(AT_ONCE) {
            let coming: FuturesUnordered<_> = some
                .iter()
                .map(|&number| {
                    let (authority, gateway) = (&authority, &gateway);
                    async move {
                        let now = clock.now().wall;
                        let claims = Claims::new(receiver(number), now + Duration::from_secs(3600), now);
                        let token = authority.sign(&claims);
                        let mut device = Device::connect(gateway.devices, &gateway.ca).await;
                        let request = pb::OpenRequest { token, ..Default::default() };
                        let (_, response) = device.send(Method::Open, &request).await;
                        assert_eq!(response.status(), 200);
                        (number, claims.id, device.requests, response.into_body())
                    }
                })
                .collect();
            let mut come: Vec<_> = coming.collect().await;
            come.sort_by_key(|(number, ..)| *number);
            for (number, id, sender, body) in come {
                ids.push(id);
                requests.push(sender.clone());
                let (received, newer) = (Arc::clone(&received), Arc::clone(&newer));
                let watch = Watch { device: number, see: see.clone(), clock, received, newer };
                devices.spawn(watch.read(sender, body));
            }
        }
        println!("{} sessions opened in {:?}", ids.len(), clock.now().moment.since(began));
        Self { gateway, authority, clock, ids, requests, sightings, received, newer, devices }
    }

    /// Pushes to one user after another, evenly, until told to stop.
    async fn load(&self, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
        let (mut backend, stop) = (self.gateway.backend().await, Arc::clone(stop));
        tokio::spawn(async move {
            let (mut pushed, mut beat) = (0, tokio::time::interval(BETWEEN_PUSHES));
            while !stop.load(Ordering::Relaxed) {
                beat.tick().await;
                push(&mut backend, to_user(&format!("user{}", pushed % USERS), "under load")).await;
                pushed += 1;
            }
            pushed
        })
    }

    /// Waits until so many devices have seen this, and nothing else; which, and when the last one did.
    async fn all_see(&mut self, what: &Seen, count: usize) -> (Vec<usize>, Moment) {
        let (mut devices, mut last) = (Vec::new(), Moment::ZERO);
        while devices.len() < count {
            let sighting = soon("what the devices see", self.sightings.recv()).await.expect("they live");
            assert_eq!(sighting.seen, *what, "device {}", sighting.device);
            devices.push(sighting.device);
            last = last.max(sighting.at);
        }
        devices.sort_unstable();
        (devices, last)
    }

    /// Revokes, and looks who is gone and how long it took.
    async fn revoke(&mut self, what: &str, body: Value, expected: Vec<usize>) {
        let began = self.clock.now().moment;
        let answer = self.gateway.json().send("POST /v1/tokens/revoke", &body).await;
        let answered = self.clock.now().moment.since(began);
        assert_eq!(answer.json()["sessions"], expected.len(), "{what}");
        let (gone, last) = self.all_see(&Seen::Closed("revoked".to_owned()), expected.len()).await;
        let took = last.since(began);
        println!(
            "revoked by {what}: {} sessions, answered after {answered:?}, the last closed after {took:?}",
            gone.len()
        );
        assert_eq!(gone, expected, "{what}");
        assert!(took < Duration::from_secs(10), "{what}: {took:?}");
    }
}

/// A device that looks at its push stream.
struct Watch {
    device: usize,
    see: mpsc::Sender<Sighting>,
    clock: Clock,
    received: Arc<AtomicU64>,
    newer: Arc<Vec<OnceLock<String>>>,
}

impl Watch {
    async fn read(self, requests: SendRequest<Bytes>, mut body: h2::RecvStream) {
        let mut deframer = grpc::Deframer::new(1 << 20);
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            deframer.push(&data);
            while let Some(message) = deframer.next_message().expect("gRPC messages") {
                let seen = match pb::OpenResponse::decode(message).expect("a frame").frame {
                    Some(pb::open_response::Frame::Push(push)) => {
                        self.received.fetch_add(1, Ordering::Relaxed);
                        let acked = vec![pb::SeqRange { from: push.seq, upto: push.seq }];
                        // The session may end before the answer.
                        let _ = call(&requests, Method::Ack, &pb::AckRequest { acked, ..Default::default() }).await;
                        continue;
                    }
                    Some(pb::open_response::Frame::TokenExpiring(_)) => Seen::Expiring,
                    Some(pb::open_response::Frame::Close(close)) => Seen::Closed(close.name),
                    _ => continue,
                };
                let expiring = seen == Seen::Expiring;
                self.sees(seen).await;
                if let Some(token) = self.newer[self.device].get().filter(|_| expiring) {
                    let renewal = pb::RenewRequest { token: token.clone() };
                    let word = call(&requests, Method::Renew, &renewal).await;
                    self.sees(Seen::Renewed(word.unwrap_or_else(|| "no answer".to_owned()))).await;
                }
            }
        }
    }

    async fn sees(&self, seen: Seen) {
        let sighting = Sighting { device: self.device, seen, at: self.clock.now().moment };
        // Nobody may look any more.
        let _ = self.see.send(sighting).await;
    }
}

/// A short stream; `None` when the connection ended before the answer. Gives the stable word of a refusal.
async fn call(requests: &SendRequest<Bytes>, method: Method, message: &impl Message) -> Option<String> {
    let request = Request::post(format!("https://localhost{}", method.path()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut requests = requests.clone().ready().await.ok()?;
    let (response, mut stream) = requests.send_request(request, false).ok()?;
    stream.send_data(grpc::framed(message), true).ok()?;
    let response = response.await.ok()?;
    let word = response.headers().get("pushline-code").map(|word| word.to_str().expect("ASCII").to_owned());
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let _ = body.flow_control().release_capacity(data.ok()?.len());
    }
    Some(word.unwrap_or_default())
}

/// P2.11: revocation reaches live sessions, by token, device, user and tenant, and holds over a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_live_sessions_are_revoked() {
    let _alone = ALONE.lock().await;
    let mut crowd = Crowd::gather().await;
    let stop = Arc::<AtomicBool>::default();
    let load = crowd.load(&stop).await;
    let token = crowd.ids[0].to_string();
    crowd.revoke("token", json!({ "id": token }), vec![0]).await;
    crowd.revoke("device", json!({"user": "user0", "device": "device1"}), vec![1]).await;
    crowd.revoke("user", json!({"user": "user1"}), (10..20).collect()).await;
    let rest: Vec<usize> = (2..10).chain(20..USERS * DEVICES).collect();
    crowd.revoke("tenant", json!({"all": true}), rest).await;
    stop.store(true, Ordering::Relaxed);
    let pushed = load.await.expect("a load");
    println!("meanwhile {pushed} pushes, {} deliveries", crowd.received.load(Ordering::Relaxed));
    assert!(crowd.received.load(Ordering::Relaxed) > 0, "there was load");

    let issued_before = {
        let now = crowd.clock.now().wall - Duration::from_secs(60);
        crowd.authority.sign(&Claims::new(receiver(0), now + Duration::from_secs(3600), now))
    };
    let Crowd { mut gateway, requests, mut devices, .. } = crowd;
    drop(requests);
    while let Some(ended) = soon("the end of the devices", devices.join_next()).await {
        ended.expect("no device panicked");
    }
    gateway.restart().await;
    let refused = async |token: String| {
        let device = Device::connect(gateway.devices, &gateway.ca).await;
        call(&device.requests, Method::Open, &pb::OpenRequest { token, ..Default::default() }).await
    };
    assert_eq!(refused(issued_before).await.as_deref(), Some("revoked_token"), "over a restart");
    gateway.client("user0", "device0").await;
}

/// P2.9: every device is told before its token expires; who renews stays, who does not is closed, and not before its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tokens_expire_on_live_sessions() {
    let _alone = ALONE.lock().await;
    let mut crowd = Crowd::gather().await;
    let stop = Arc::<AtomicBool>::default();
    let load = crowd.load(&stop).await;
    let (count, life) = (USERS * DEVICES, Duration::from_secs(20));
    // All get a token that expires at the same moment; they are told ten seconds before.
    let now = crowd.clock.now();
    let expires = now.moment + (life - Duration::from_millis(now.wall.as_millis() % 1000));
    let token =
        |number: usize, life: Duration| crowd.authority.sign(&Claims::new(receiver(number), now.wall + life, now.wall));
    let renew = |number: usize, token: String| {
        let requests = crowd.requests[number].clone();
        async move { call(&requests, Method::Renew, &pb::RenewRequest { token }).await }
    };
    for number in (0..count).step_by(2) {
        crowd.newer[number].set(token(number, Duration::from_secs(3600))).expect("set once");
    }
    let began = crowd.clock.now().moment;
    let short: FuturesUnordered<_> = (0..count).map(|number| renew(number, token(number, life))).collect();
    let answers: Vec<_> = short.collect().await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Some("")), "all were taken");
    println!("{count} sessions renewed in {:?}", crowd.clock.now().moment.since(began));
    let mut seen: Vec<Vec<Seen>> = vec![Vec::new(); count];
    let (mut told, mut closed) = (Moment::ZERO, (Moment::NEVER, Moment::ZERO));
    for _ in 0..2 * count {
        let Sighting { device, seen: one, at } = soon("the devices", crowd.sightings.recv()).await.expect("they live");
        match &one {
            Seen::Expiring => told = told.max(at),
            Seen::Closed(_) => closed = (closed.0.min(at), closed.1.max(at)),
            Seen::Renewed(_) => {}
        }
        seen[device].push(one);
    }
    let (first, last) = closed;
    println!("all were told, the last one {:?} before the end", expires.since(told));
    println!("who did not renew was closed, the last one {:?} after its token had expired", last.since(expires));
    for (device, seen) in seen.into_iter().enumerate() {
        let then =
            if device % 2 == 0 { Seen::Renewed(String::new()) } else { Seen::Closed("token_expired".to_owned()) };
        assert_eq!(seen, [Seen::Expiring, then], "device {device}");
    }
    // The token says milliseconds, the timers microseconds.
    assert!(expires.since(first) <= Duration::from_millis(2), "{:?} early", expires.since(first));
    assert!(last.since(expires) < Duration::from_secs(10));
    stop.store(true, Ordering::Relaxed);
    let pushed = load.await.expect("a load");
    println!("meanwhile {pushed} pushes, {} deliveries", crowd.received.load(Ordering::Relaxed));
}
