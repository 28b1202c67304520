//! Why did it (not) arrive: what happened to a message, with times, and where it stands at each device now. Everything is
//! looked up; what was not recorded is left out.

use futures_util::future::join_all;

use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::{DeviceId, MessageId, Receiver, TenantId, UserId};
use crate::model::log::LogId;
use crate::model::message::Aim;
use crate::model::standing::Standing;
use crate::node::{DeviceOutcome, DeviceState, MessageRecord, MessageState, Node, fault};
use crate::store;

/// What is known of the way of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The message.
    pub record: MessageRecord,
    /// What happened, oldest first.
    pub events: Vec<Happened>,
    /// Where the devices stand now.
    pub devices: Vec<Stands>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What: the words of receipts.
    pub what: &'static str,
    /// At which device; `None` for the whole message.
    pub device: Option<(UserId, DeviceId)>,
    /// Which delivery, from 1; 0 when that does not matter or was not recorded.
    pub attempt: u32,
    /// Why, or with what outcome.
    pub reason: String,
}

/// Where a message stands at a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub device: DeviceId,
    /// In a word, see proto/backend.proto.
    pub standing: &'static str,
    /// Since when; `None` when that is not known.
    pub since: Option<Timestamp>,
    /// In more words.
    pub reason: String,
    /// Failed deliveries.
    pub attempts: u32,
    /// It has a session.
    pub online: bool,
}

/// A standing before it is known of whom.
struct Word {
    standing: &'static str,
    since: Option<Timestamp>,
    reason: String,
    online: bool,
}

impl Node {
    /// What happened to a message; with a user only at that user's devices. Devices of topics and conditions are told only
    /// when a user is named.
    ///
    /// # Errors
    /// The message is not known, or the store's fault.
    pub async fn timeline(&self, tenant: &TenantId, id: MessageId, user: Option<&UserId>) -> Result<Timeline, Fault> {
        let record = self.message(tenant, id).await?;
        let mut events = whole(&record);
        for outcome in record.devices.iter().filter(|outcome| user.is_none_or(|user| outcome.user == *user)) {
            at_device(outcome, &mut events);
        }
        // The order in which they were listed is kept among those of one moment.
        events.sort_by_key(|event| event.at);
        let devices = match (&record.log, user) {
            (LogId::Inbox(_, owner), None) => self.devices_of(tenant, owner, &record).await?,
            (LogId::Inbox(_, owner), Some(user)) if owner == user => self.devices_of(tenant, owner, &record).await?,
            (LogId::Inbox(..), Some(_)) | (_, None) => Vec::new(),
            (LogId::Topic(..) | LogId::Broadcast(_), Some(user)) => self.followers_of(tenant, user, &record).await?,
        };
        Ok(Timeline { record, events, devices })
    }

    /// Devices of the user that the inbox belongs to: those it is for, and those it is not for.
    async fn devices_of(&self, tenant: &TenantId, user: &UserId, record: &MessageRecord) -> Result<Vec<Stands>, Fault> {
        let known = self.store.user(tenant, user).await.map_err(fault)?.devices;
        let seen = |device: &DeviceId| known.iter().find(|known| known.device == *device).map(|known| known.seen);
        let concerned = join_all(record.devices.iter().map(async |outcome| {
            let name = (&outcome.user, &outcome.device);
            let word = match told(outcome, record) {
                Some(word) => self.seen_online(tenant, name, word),
                None => self.waits(tenant, name, seen(&outcome.device), record).await,
            };
            stands(name, word, outcome.attempts)
        }));
        let mut devices = concerned.await;
        for other in known.iter().filter(|known| !record.devices.iter().any(|one| one.device == known.device)) {
            let other = (user, &other.device);
            devices.extend(not_for(other, record).map(|word| stands(other, self.seen_online(tenant, other, word), 0)));
        }
        devices.sort_by(|one, two| one.device.cmp(&two.device));
        Ok(devices)
    }

    /// Devices of one user among those that a topic or a condition may be for.
    async fn followers_of(
        &self,
        tenant: &TenantId,
        user: &UserId,
        record: &MessageRecord,
    ) -> Result<Vec<Stands>, Fault> {
        let known = self.store.user(tenant, user).await.map_err(fault)?.devices;
        let stood = join_all(known.iter().map(async |known| {
            let name = (user, &known.device);
            let dead = record.devices.iter().find(|one| one.user == *user && one.device == known.device);
            let attempts = dead.map_or(0, |dead| dead.attempts);
            let word = match dead.and_then(|dead| told(dead, record)).or_else(|| not_for(name, record)) {
                Some(word) => word,
                None => self.follower(tenant, user, known, record).await?,
            };
            Ok(stands(name, self.seen_online(tenant, name, word), attempts))
        }));
        stood.await.into_iter().collect()
    }

    async fn follower(
        &self,
        tenant: &TenantId,
        user: &UserId,
        known: &store::Device,
        record: &MessageRecord,
    ) -> Result<Word, Fault> {
        let receiver = receiver(tenant, (user, &known.device));
        let is_aimed = aim(record).and_then(|aim| aim.audience.as_ref().map(|set| set.contains(known.number)));
        if is_aimed == Some(false) {
            return Ok(word("not_matched", None, "the condition was not true for it when the push was sent"));
        }
        if record.state == MessageState::Scheduled {
            return Ok(over(record));
        }
        let follows = self.store.follows(&receiver).await.map_err(fault)?;
        let Some(following) = follows.following.iter().find(|following| following.log == record.log) else {
            return Ok(word("not_matched", None, "it does not follow the topic now"));
        };
        let this_life = following.cursor.epoch == record.epoch;
        if this_life && following.cursor.settled.contains(record.offset.0) {
            // A cursor says no more than that.
            let words = "acked, or pushed before it began to follow, or passed over because it was over";
            return Ok(word("settled", None, words));
        }
        if record.state != MessageState::Stored {
            return Ok(over(record));
        }
        Ok(self.waits(tenant, (user, &known.device), Some(known.seen), record).await)
    }

    /// Why a message that stands was not acked by a device that it is for.
    async fn waits(
        &self,
        tenant: &TenantId,
        name: (&UserId, &DeviceId),
        seen: Option<Timestamp>,
        record: &MessageRecord,
    ) -> Word {
        if record.state == MessageState::Scheduled {
            return self.seen_online(tenant, name, over(record));
        }
        let receiver = receiver(tenant, name);
        match self.standing(&receiver, record.log.clone(), record.epoch, record.offset).await {
            Some(standing) => Word { online: true, ..in_session(standing, record) },
            None if self.online(&receiver).is_some() => {
                Word { online: true, ..word("online", None, "its session did not say in time where the push stands") }
            }
            None => word("offline", seen, "it has no connection"),
        }
    }

    fn seen_online(&self, tenant: &TenantId, name: (&UserId, &DeviceId), word: Word) -> Word {
        Word { online: self.online(&receiver(tenant, name)).is_some(), ..word }
    }
}

/// What happened to the message as a whole.
fn whole(record: &MessageRecord) -> Vec<Happened> {
    let happened = |at, what, reason: String| Happened { at, what, device: None, attempt: 0, reason };
    let mut events = Vec::new();
    let is_sent = record.offset.0 > 0;
    match record.send_at {
        Some(send_at) => {
            events.push(happened(record.accepted_at, "scheduled", String::new()));
            if is_sent {
                events.push(happened(send_at, "accepted", String::new()));
            }
        }
        None => events.push(happened(record.accepted_at, "accepted", String::new())),
    }
    let end = end(record.state);
    match (end, record.ended) {
        (Some(end), Some((at, by))) => {
            events.push(happened(at, end, by.map(|by| format!("by {by}")).unwrap_or_default()));
        }
        (Some("expired"), None) => events.push(happened(record.expires_at, "expired", String::new())),
        _ => {}
    }
    if let Some((at, answer)) = &record.handed_off {
        let (what, reason) = hand_off(answer.as_ref());
        events.push(happened(*at, what, reason.to_owned()));
    }
    events
}

/// What is told of a hand-off, and the webhook's word for it.
fn hand_off(answer: Option<&Result<String, String>>) -> (&'static str, &str) {
    match answer {
        None => ("handed_off", "the webhook has not answered yet"),
        Some(Ok(answer)) => ("handed_off", answer),
        Some(Err(reason)) => ("hand_off_failed", reason),
    }
}

/// What happened to it at one device.
fn at_device(outcome: &DeviceOutcome, events: &mut Vec<Happened>) {
    let mut push = |at, what, attempt, reason: &str| {
        let device = Some((outcome.user.clone(), outcome.device.clone()));
        events.push(Happened { at, what, device, attempt, reason: reason.to_owned() });
    };
    if let Some((first, last)) = outcome.sent {
        push(first, "sent", 1, "");
        if last > first {
            // For the how manyth time is not recorded.
            push(last, "sent", 0, "again");
        }
    }
    for (at, attempt, reason) in &outcome.nacks {
        push(*at, "nacked", *attempt, reason);
    }
    if let Some((at, answer)) = &outcome.handed_off {
        let (what, reason) = hand_off(answer.as_ref());
        push(*at, what, 0, reason);
    }
    match &outcome.state {
        DeviceState::Acked { at: Some(at) } => push(*at, "acked", 0, ""),
        DeviceState::Dead { at, reason } => push(*at, "dead", outcome.attempts, reason),
        DeviceState::Acked { at: None } | DeviceState::Missed | DeviceState::Waiting => {}
    }
}

/// Where it stands at a device for which that is recorded; `None` when it waits.
fn told(outcome: &DeviceOutcome, record: &MessageRecord) -> Option<Word> {
    match &outcome.state {
        DeviceState::Acked { at } => Some(word("acked", *at, "")),
        DeviceState::Dead { at, reason } => Some(word("dead", Some(*at), reason)),
        DeviceState::Missed => Some(over(record)),
        DeviceState::Waiting => None,
    }
}

/// Why it is not for a device, if that is known.
fn not_for((user, device): (&UserId, &DeviceId), record: &MessageRecord) -> Option<Word> {
    if aim(record).is_some_and(|aim| aim.exclude.iter().any(|exclusion| exclusion.covers(user, device))) {
        return Some(word("excluded", None, "the push excluded it"));
    }
    let only = record.entry.as_ref().and_then(|entry| entry.device.as_ref());
    only.filter(|only| *only != device).map(|only| word("not_matched", None, &format!("the push is for {only} alone")))
}

/// How a message that does not stand ended, or why it does not stand yet.
fn over(record: &MessageRecord) -> Word {
    let since = match record.state {
        MessageState::Scheduled => record.send_at,
        MessageState::Expired => Some(record.expires_at),
        _ => record.ended.map(|(at, _)| at),
    };
    match end(record.state) {
        Some(end) => word(end, since, "the message was over before the device acked it"),
        None if record.state == MessageState::Scheduled => word("scheduled", None, "its time has not come"),
        None => word("not_read", None, ""),
    }
}

fn in_session(standing: Standing, record: &MessageRecord) -> Word {
    match standing {
        Standing::Settled => word("settled", None, "the session has settled it; that is being written"),
        Standing::InFlight { since, attempt } => {
            word("in_flight", Some(since), &format!("sent for the {attempt}. time, and not acked"))
        }
        Standing::Resting { until, .. } => {
            word("resting", None, &format!("its last delivery failed; it comes again after {until} of unix time"))
        }
        Standing::Withheld { floor, quiet_until } => {
            let is_below = record.entry.as_ref().is_some_and(|entry| entry.urgency < floor);
            match quiet_until {
                Some(until) if !is_below => {
                    word("quiet_hours", None, &format!("the user's quiet hours last until {until} of unix time"))
                }
                _ => word("urgency_floor", None, &format!("the device takes only what is at least {}", floor.as_str())),
            }
        }
        Standing::WindowFull => word("window_full", None, "as many pushes as were agreed are sent and not acked"),
        Standing::UnsentFull => word("unsent_full", None, "the device does not take what is sent to it"),
        Standing::CursorFull => word("cursor_full", None, "the device acks with too many holes"),
        Standing::Moving => word("moving", None, "the device was asked to connect anew"),
        Standing::NotRead => word("not_read", None, "the session is about to come to it"),
        Standing::NotFollowed => word("not_followed", None, "the session does not follow the log"),
    }
}

const fn end(state: MessageState) -> Option<&'static str> {
    match state {
        MessageState::Stored | MessageState::Scheduled => None,
        MessageState::Expired => Some("expired"),
        MessageState::Replaced => Some("replaced"),
        MessageState::Trimmed => Some("trimmed"),
        MessageState::Cancelled => Some("cancelled"),
        MessageState::Taken => Some("taken"),
        MessageState::Dismissed => Some("dismissed"),
    }
}

fn aim(record: &MessageRecord) -> Option<&Aim> {
    record.aim.as_deref().or_else(|| record.entry.as_ref()?.aim.as_deref())
}

fn word(standing: &'static str, since: Option<Timestamp>, reason: &str) -> Word {
    Word { standing, since, reason: reason.to_owned(), online: false }
}

fn stands((user, device): (&UserId, &DeviceId), word: Word, attempts: u32) -> Stands {
    let Word { standing, since, reason, online } = word;
    Stands { user: user.clone(), device: device.clone(), standing, since, reason, attempts, online }
}

fn receiver(tenant: &TenantId, (user, device): (&UserId, &DeviceId)) -> Receiver {
    Receiver { tenant: tenant.clone(), user: user.clone(), device: device.clone() }
}
