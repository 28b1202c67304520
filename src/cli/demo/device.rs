//! A device of the demonstration: a client of the library, the program behind it, and a record of all it received.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::client::{Client, Handle, Options, Phase, Push, Session, Status};
use crate::model::clock::{Clock, Moment};
use crate::model::id::MessageId;

/// A device. Its record outlives its connections.
pub(super) struct Device {
    name: &'static str,
    options: Options,
    clock: Clock,
    record: Arc<Record>,
    /// `None` while it is offline.
    online: Option<Online>,
    /// Repeated deliveries that clients of the past kept from the program.
    passed_over: u64,
    /// Pushes that the program held unacked when a connection broke: these must come again.
    owed_again: u64,
}

/// A connected device. Dropped, it is gone without a word, like a phone in a tunnel.
struct Online {
    handle: Handle,
    status: watch::Receiver<Status>,
    /// The program that takes pushes.
    program: AbortOnDropHandle<()>,
}

impl Device {
    /// A device that is offline and has received nothing.
    pub(super) fn new(name: &'static str, options: Options, clock: Clock) -> Self {
        Self { name, options, clock, record: Arc::default(), online: None, passed_over: 0, owed_again: 0 }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Connects with a client that remembers nothing of earlier ones, so that it hides no repeated delivery.
    pub(super) async fn connect(&mut self) -> anyhow::Result<Session> {
        let client = Client::connect(self.options.clone()).await.with_context(|| self.name)?;
        let (handle, status) = (client.handle(), client.status());
        let program = tokio::spawn(receive(client, Arc::clone(&self.record), self.clock));
        self.online = Some(Online { handle, status, program: AbortOnDropHandle::new(program) });
        self.session().await
    }

    /// The session, once there is one: the client comes back by itself.
    pub(super) async fn session(&self) -> anyhow::Result<Session> {
        let mut status = self.online()?.status.clone();
        let status = status.wait_for(|status| matches!(status.phase, Phase::Connected(_))).await?;
        match &status.phase {
            Phase::Connected(session) => Ok(session.clone()),
            _ => anyhow::bail!("{} is not connected", self.name),
        }
    }

    /// Waits until the client noticed that its connection is gone.
    pub(super) async fn disconnected(&self) -> anyhow::Result<()> {
        let mut status = self.online()?.status.clone();
        status.wait_for(|status| !matches!(status.phase, Phase::Connected(_))).await?;
        Ok(())
    }

    /// Goes offline without a word.
    pub(super) async fn vanish(&mut self) {
        if let Some(mut online) = self.online.take() {
            self.passed_over += online.status.borrow_and_update().duplicates;
            online.program.abort();
            // It ends by being aborted, so there is nothing to learn from its result.
            let _ = online.program.await;
        }
    }

    /// Follows a topic; gives the number of topics it follows then.
    pub(super) async fn subscribe(&self, topic: &str) -> anyhow::Result<u32> {
        Ok(self.online()?.handle.subscribe([topic]).await?)
    }

    /// Waits until the program has received all of these.
    pub(super) async fn received(&self, ids: &HashSet<MessageId>) -> anyhow::Result<()> {
        self.record.until(|state| ids.iter().all(|id| state.seen.contains_key(id))).await.with_context(|| self.name)
    }

    /// Waits until the gateway confirmed every ack of the program.
    pub(super) async fn confirm(&self) -> anyhow::Result<()> {
        let acked: Vec<_> = {
            let state = self.record.state();
            state.seen.iter().filter(|(_, seen)| seen.stage == Stage::Acked).map(|(id, _)| *id).collect()
        };
        self.online()?.handle.flush().await.with_context(|| self.name)?;
        let mut state = self.record.state();
        for id in acked {
            if let Some(seen) = state.seen.get_mut(&id) {
                seen.stage = Stage::Confirmed;
            }
        }
        Ok(())
    }

    /// Waits until the program was told to take a message away.
    pub(super) async fn dismissed(&self, id: MessageId) -> anyhow::Result<()> {
        self.record.until(|state| state.dismissed.contains(&id)).await.with_context(|| self.name)
    }

    /// From now on the program keeps what it receives and acks nothing.
    pub(super) fn hold(&self) {
        self.record.state().holding = true;
    }

    /// The connection broke: whatever the program holds must come again. Gives how many that are.
    pub(super) fn expect_again(&mut self) -> usize {
        let held = self.record.state().held.len();
        self.owed_again += held as u64;
        held
    }

    /// Waits until everything that had to come again did.
    pub(super) async fn came_again(&self) -> anyhow::Result<()> {
        let mut status = self.online()?.status.clone();
        let missing = self.owed_again.saturating_sub(self.passed_over);
        status.wait_for(|status| status.duplicates >= missing).await?;
        Ok(())
    }

    /// The program acks all that it kept, and from now on everything at once.
    pub(super) fn release(&self) {
        let mut state = self.record.state();
        state.holding = false;
        for push in std::mem::take(&mut state.held) {
            if let Some(seen) = state.seen.get_mut(&push.id) {
                seen.stage = Stage::Acked;
            }
            push.ack();
        }
    }

    /// Every delivery to the program so far, in order.
    pub(super) fn arrivals(&self) -> Vec<MessageId> {
        self.record.state().arrivals.clone()
    }

    /// When the program received a message first.
    pub(super) fn received_at(&self, id: &MessageId) -> Option<Moment> {
        self.record.state().seen.get(id).map(|seen| seen.at)
    }

    /// What its record comes to.
    pub(super) fn count(&self) -> Count {
        let state = self.record.state();
        let now = self.online.as_ref().map_or(0, |online| online.status.borrow().duplicates);
        let passed_over = self.passed_over + now;
        Count {
            seen: state.seen.keys().copied().collect(),
            confirmed: state.seen.values().filter(|seen| seen.stage == Stage::Confirmed).count() as u64,
            redelivered: state.again + passed_over.min(self.owed_again),
            duplicated: state.duplicated + passed_over.saturating_sub(self.owed_again),
        }
    }

    fn online(&self) -> anyhow::Result<&Online> {
        self.online.as_ref().with_context(|| format!("{} is offline", self.name))
    }
}

/// What a device's record comes to.
pub(super) struct Count {
    /// Messages the program received.
    pub(super) seen: HashSet<MessageId>,
    /// Messages whose ack the gateway confirmed.
    pub(super) confirmed: u64,
    /// Repeated deliveries of messages that were not acked yet, as they must be.
    pub(super) redelivered: u64,
    /// Repeated deliveries of messages whose ack was confirmed, which must not be.
    pub(super) duplicated: u64,
}

/// All that a device's program received.
#[derive(Default)]
struct Record {
    state: Mutex<State>,
    /// Rings at each change.
    bell: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    seen: HashMap<MessageId, Seen>,
    /// Every delivery, repeated ones too.
    arrivals: Vec<MessageId>,
    /// Whether the program keeps what it receives instead of acking it.
    holding: bool,
    /// What it keeps.
    held: Vec<Push>,
    /// Deliveries beyond the first, before the ack was confirmed.
    again: u64,
    /// Deliveries after the ack was confirmed.
    duplicated: u64,
    /// Messages that the program was told to take away.
    dismissed: HashSet<MessageId>,
    /// Why no more will come.
    failure: Option<String>,
}

impl State {
    /// Notes a delivery; gives what the program does with it.
    fn arrive(&mut self, id: MessageId, now: Moment) -> Stage {
        self.arrivals.push(id);
        let stage = if self.holding { Stage::Held } else { Stage::Acked };
        match self.seen.entry(id) {
            Entry::Occupied(known) if known.get().stage == Stage::Confirmed => self.duplicated += 1,
            Entry::Occupied(_) => self.again += 1,
            Entry::Vacant(place) => {
                place.insert(Seen { at: now, stage });
            }
        }
        stage
    }
}

/// A message as the program knows it.
struct Seen {
    /// When it came first.
    at: Moment,
    stage: Stage,
}

/// How far its ack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Held,
    Acked,
    Confirmed,
}

impl Record {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, push: Push, now: Moment) {
        let mut state = self.state();
        if let Some(dismissal) = push.dismissal {
            // It brings nothing of its own.
            state.dismissed.insert(dismissal.message);
            push.ack();
        } else {
            match state.arrive(push.id, now) {
                Stage::Held => state.held.push(push),
                _ => push.ack(),
            }
        }
        drop(state);
        self.bell.send_replace(());
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) -> anyhow::Result<()> {
        let mut bell = self.bell.subscribe();
        loop {
            {
                let state = self.state();
                if reached(&state) {
                    return Ok(());
                }
                if let Some(why) = &state.failure {
                    anyhow::bail!("no more pushes will come: {why}");
                }
            }
            bell.changed().await?;
        }
    }
}

/// The program: takes pushes until there are no more.
async fn receive(mut client: Client, record: Arc<Record>, clock: Clock) {
    while let Some(push) = client.next().await {
        match push {
            Ok(push) => record.take(push, clock.now().moment),
            Err(why) => {
                record.state().failure = Some(why.to_string());
                record.bell.send_replace(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Device, Stage};
    use crate::client::Options;
    use crate::model::clock::{Clock, Moment};
    use crate::model::id::MessageId;

    #[test]
    fn a_repeated_delivery_is_a_fault_only_after_the_confirmed_ack() {
        let id = MessageId::new(1, [0; 10]);
        let mut device = Device::new("a", Options::new("a:1", "pem", "token"), Clock::new());
        let arrive = |device: &Device| device.record.state().arrive(id, Moment::ZERO);
        let counts = |device: &Device| {
            let count = device.count();
            (count.seen.len(), count.confirmed, count.redelivered, count.duplicated)
        };
        device.hold();
        assert_eq!((arrive(&device), counts(&device)), (Stage::Held, (1, 0, 0, 0)));
        assert_eq!((arrive(&device), counts(&device)), (Stage::Held, (1, 0, 1, 0)));
        device.release();
        device.record.state().seen.values_mut().for_each(|seen| seen.stage = Stage::Confirmed);
        assert_eq!((arrive(&device), counts(&device)), (Stage::Acked, (1, 1, 1, 1)));
        assert_eq!(device.arrivals().len(), 3);

        // What the client kept from the program counts too: as many as were owed are in order, more are not.
        device.owed_again = 2;
        device.passed_over = 5;
        assert_eq!(counts(&device), (1, 1, 3, 4));
    }
}
