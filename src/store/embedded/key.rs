//! Keys of the table: what sorts where. It does not know what the values hold.
//!
//! A key begins with a letter for its kind, so that entries, which are large and read in order, lie apart from the rest;
//! then comes the tenant. Names end with a NUL, which no name contains, so that no name is a prefix of another's keys.
//! Numbers are big-endian, so that keys sort by them.

mod due;
mod shelf;
mod wish;

pub(super) use self::due::{Purpose, due, due_from, due_of, is_soon, soon_from};
pub(super) use self::shelf::{SHELVED, shelved, shelved_after, shelved_of};
pub(super) use self::wish::{SEEN, conflated, scheduled, seen, waiting};
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, DeviceNumber, GroupName, MessageId, Receiver, Tag, TenantId, TopicName, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::webhook::Kind;
use crate::store::{Error, Journal};

/// Where the format of the folder is written.
pub(super) const FORMAT: &[u8] = b"F";

/// Kind of a message's record.
pub(super) const MESSAGE: u8 = b'M';
/// Kind of an idempotency key's record.
pub(super) const REPEAT: u8 = b'I';
/// Kind of a dead letter's record.
pub(super) const LETTER: u8 = b'L';
/// Kind of a tag's sum of an hour.
pub(super) const TAG: u8 = b'Z';
/// Kind of the record of how far a journal is.
pub(super) const REACH: u8 = b'R';

/// Kind of a user's record.
pub(super) const USER: u8 = b'U';

/// Kind of an entry.
pub(super) const ENTRY: u8 = b'E';

const LOG: u8 = b'H';
const COLLAPSE: u8 = b'K';
const DEVICE: u8 = b'D';
const CURSOR: u8 = b'C';
const AUDIENCE: u8 = b'A';
const TOPIC_SETTING: u8 = b'T';
const GROUP: u8 = b'G';
const MEMBER: u8 = b'Y';
const NUMBER: u8 = b'N';
const NUMBERS: u8 = b'Q';
const JOURNAL: u8 = b'J';
const WEBHOOK: u8 = b'W';

/// Letters of the alphabet are used up in upper case.
const USAGE: u8 = b'u';

const INBOX: u8 = b'i';
const BROADCAST: u8 = b'n';
const TOPIC: u8 = b't';

/// An entry of a log.
pub(super) fn entry(log: &LogId, offset: Offset) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(ENTRY);
    push_log(&mut key, log);
    key.extend_from_slice(&offset.0.to_be_bytes());
    key
}

/// The audience of an entry of a broadcast log.
pub(super) fn audience(log: &LogId, offset: Offset) -> Vec<u8> {
    let mut key = entry(log, offset);
    key[0] = AUDIENCE;
    key
}

/// The offset at the end of an entry's key.
pub(super) fn offset_of(key: &[u8]) -> Result<Offset, Error> {
    number_of(key).map(Offset).ok_or_else(|| damaged("entry"))
}

/// The record of a log.
pub(super) fn log(log: &LogId) -> Vec<u8> {
    let mut key = vec![LOG];
    push_log(&mut key, log);
    key
}

/// The log of a key that begins as an entry's or a log's record's does.
pub(super) fn log_at(key: &[u8]) -> Result<LogId, Error> {
    let mut rest = key.get(1..).unwrap_or_default();
    let tenant = TenantId::new(pop(&mut rest)?).map_err(|_| damaged("log"))?;
    let kind = rest.first().copied().ok_or_else(|| damaged("log"))?;
    rest = rest.get(1..).unwrap_or_default();
    log_named(kind, pop(&mut rest)?, &tenant).ok_or_else(|| damaged("log"))
}

/// The record of a message.
pub(super) fn message(tenant: &TenantId, id: MessageId) -> Vec<u8> {
    let mut key = vec![MESSAGE];
    push(&mut key, tenant.as_str());
    key.extend_from_slice(id.as_bytes());
    key
}

/// Tenant and id in a message's key.
pub(super) fn message_of(key: &[u8]) -> Result<(TenantId, MessageId), Error> {
    let mut rest = key.get(1..).unwrap_or_default();
    let tenant = TenantId::new(pop(&mut rest)?).map_err(|_| damaged("message"))?;
    let id = rest.try_into().map_err(|_| damaged("message"))?;
    Ok((tenant, MessageId::from_bytes(id)))
}

/// The record of an idempotency key.
pub(super) fn repeat(tenant: &TenantId, text: &str) -> Vec<u8> {
    let mut key = vec![REPEAT];
    push(&mut key, tenant.as_str());
    key.extend_from_slice(text.as_bytes());
    key
}

/// The newest entry with a collapse key, of a log and a device restriction.
pub(super) fn collapse(log: &LogId, device: Option<&DeviceId>, text: &str) -> Vec<u8> {
    let mut key = vec![COLLAPSE];
    push_log(&mut key, log);
    push(&mut key, device.map_or("", DeviceId::as_str));
    key.extend_from_slice(text.as_bytes());
    key
}

/// The record of a topic that keeps only its newest push.
pub(super) fn topic(tenant: &TenantId, topic: &TopicName) -> Vec<u8> {
    let mut key = vec![TOPIC_SETTING];
    push(&mut key, tenant.as_str());
    push(&mut key, topic.as_str());
    key
}

/// The record of a user.
pub(super) fn user(tenant: &TenantId, user: &UserId) -> Vec<u8> {
    let mut key = devices(tenant, user);
    key[0] = USER;
    key
}

/// The record of a group.
pub(super) fn group(tenant: &TenantId, group: &GroupName) -> Vec<u8> {
    let mut key = groups(tenant);
    push(&mut key, group.as_str());
    key
}

/// What the records of all groups of a tenant begin with.
pub(super) fn groups(tenant: &TenantId) -> Vec<u8> {
    let mut key = vec![GROUP];
    push(&mut key, tenant.as_str());
    key
}

/// The record of a member of a group.
pub(super) fn member(tenant: &TenantId, group: &GroupName, user: &UserId) -> Vec<u8> {
    let mut key = members(tenant, group);
    push(&mut key, user.as_str());
    key
}

/// What the records of all members of a group begin with.
pub(super) fn members(tenant: &TenantId, name: &GroupName) -> Vec<u8> {
    let mut key = group(tenant, name);
    key[0] = MEMBER;
    key
}

/// The name at the end of the key of a group or a member; `prefix` is the length of what comes before.
pub(super) fn name_of(key: &[u8], prefix: usize) -> Result<&str, Error> {
    pop(&mut key.get(prefix..).unwrap_or_default())
}

/// The record of who has a number.
pub(super) fn number(tenant: &TenantId, number: DeviceNumber) -> Vec<u8> {
    let mut key = vec![NUMBER];
    push(&mut key, tenant.as_str());
    key.extend_from_slice(&number.0.to_be_bytes());
    key
}

/// The record of how many numbers were given.
pub(super) fn numbers(tenant: &TenantId) -> Vec<u8> {
    let mut key = vec![NUMBERS];
    push(&mut key, tenant.as_str());
    key
}

/// The record of what a tenant takes.
pub(super) fn usage(tenant: &TenantId) -> Vec<u8> {
    let mut key = vec![USAGE];
    push(&mut key, tenant.as_str());
    key
}

/// What the keys of all devices, of all cursors and of all users begin with.
pub(super) const ROLLS: [&[u8]; 3] = [&[DEVICE], &[CURSOR], &[USER]];

/// The part of such a key that says whose it is: tenant and user.
pub(super) fn owner_of(key: &[u8]) -> Result<&[u8], Error> {
    let whole = key.get(1..).unwrap_or_default();
    let mut rest = whole;
    pop(&mut rest)?;
    pop(&mut rest)?;
    Ok(&whole[..whole.len() - rest.len()])
}

/// Tenant and user of a user's key.
pub(super) fn user_of(key: &[u8]) -> Result<(TenantId, UserId), Error> {
    let mut rest = key.get(1..).unwrap_or_default();
    let tenant = TenantId::new(pop(&mut rest)?).map_err(|_| damaged("user"))?;
    let user = UserId::new(pop(&mut rest)?).map_err(|_| damaged("user"))?;
    Ok((tenant, user))
}

/// The tenant in what [`owner_of`] gave.
pub(super) fn tenant_of(mut owner: &[u8]) -> Result<TenantId, Error> {
    TenantId::new(pop(&mut owner)?).map_err(|_| damaged("user"))
}

/// The record of a device.
pub(super) fn device(receiver: &Receiver) -> Vec<u8> {
    let mut key = vec![DEVICE];
    push_receiver(&mut key, receiver);
    key
}

/// What the records of all devices of a user begin with.
pub(super) fn devices(tenant: &TenantId, user: &UserId) -> Vec<u8> {
    let mut key = vec![DEVICE];
    push(&mut key, tenant.as_str());
    push(&mut key, user.as_str());
    key
}

/// Whom a device's key is for.
pub(super) fn receiver_of(key: &[u8]) -> Result<Receiver, Error> {
    let mut rest = key.get(1..).unwrap_or_default();
    let tenant = TenantId::new(pop(&mut rest)?).map_err(|_| damaged("device"))?;
    let user = UserId::new(pop(&mut rest)?).map_err(|_| damaged("device"))?;
    let device = DeviceId::new(pop(&mut rest)?).map_err(|_| damaged("device"))?;
    Ok(Receiver { tenant, user, device })
}

/// The cursor of a device in a log.
pub(super) fn cursor(receiver: &Receiver, log: &LogId) -> Vec<u8> {
    let mut key = cursors(receiver);
    push_name(&mut key, log);
    key
}

/// What the cursors of a device begin with; the inbox sorts before the broadcast log and the topics.
pub(super) fn cursors(receiver: &Receiver) -> Vec<u8> {
    let mut key = vec![CURSOR];
    push_receiver(&mut key, receiver);
    key
}

/// The log that a cursor's key is for; `prefix` is the length of [`cursors`].
pub(super) fn log_of(key: &[u8], prefix: usize, tenant: &TenantId) -> Result<LogId, Error> {
    let mut rest = key.get(prefix..).unwrap_or_default();
    let kind = rest.first().copied().ok_or_else(|| damaged("cursor"))?;
    rest = rest.get(1..).unwrap_or_default();
    log_named(kind, pop(&mut rest)?, tenant).ok_or_else(|| damaged("cursor"))
}

/// The dead letter of a message at a device.
pub(super) fn letter(tenant: &TenantId, id: MessageId, user: &UserId, device: &DeviceId) -> Vec<u8> {
    let mut key = letters(tenant, id);
    push(&mut key, user.as_str());
    push(&mut key, device.as_str());
    key
}

/// What the dead letters of a message begin with.
pub(super) fn letters(tenant: &TenantId, id: MessageId) -> Vec<u8> {
    let mut key = message(tenant, id);
    key[0] = LETTER;
    key
}

/// User and device of a dead letter's key; `prefix` is the length of [`letters`].
pub(super) fn device_of(key: &[u8], prefix: usize) -> Result<(UserId, DeviceId), Error> {
    let mut rest = key.get(prefix..).unwrap_or_default();
    let user = UserId::new(pop(&mut rest)?).map_err(|_| damaged("dead letter"))?;
    let device = DeviceId::new(pop(&mut rest)?).map_err(|_| damaged("dead letter"))?;
    Ok((user, device))
}

/// The sum of a tag's messages of one hour.
pub(super) fn tag(tenant: &TenantId, tag: &Tag, hour: Timestamp) -> Vec<u8> {
    let mut key = vec![TAG];
    push(&mut key, tenant.as_str());
    push(&mut key, tag.as_str());
    key.extend_from_slice(&hour.as_millis().to_be_bytes());
    key
}

/// The hour at the end of a tag's key.
pub(super) fn hour_of(key: &[u8]) -> Result<Timestamp, Error> {
    number_of(key).map(Timestamp::from_millis).ok_or_else(|| damaged("tag"))
}

/// How far a journal is.
pub(super) fn reach(tenant: &TenantId, journal: Journal) -> Vec<u8> {
    let mut key = vec![REACH];
    push(&mut key, tenant.as_str());
    key.push(match journal {
        Journal::Receipts => b'r',
        Journal::Presence => b'p',
        Journal::HandOffs => b'h',
        Journal::Audit => b'a',
    });
    key
}

/// Tenant and journal of the key of [`reach`].
pub(super) fn journal_of(key: &[u8]) -> Result<(TenantId, Journal), Error> {
    let mut rest = key.get(1..).unwrap_or_default();
    let tenant = TenantId::new(pop(&mut rest)?).map_err(|_| damaged("journal"))?;
    let journal = match rest {
        b"r" => Journal::Receipts,
        b"p" => Journal::Presence,
        b"h" => Journal::HandOffs,
        b"a" => Journal::Audit,
        _ => return Err(damaged("journal")),
    };
    Ok((tenant, journal))
}

/// Events of a journal, of which this is the last position.
pub(super) fn events(tenant: &TenantId, journal: Journal, last: u64) -> Vec<u8> {
    let mut key = reach(tenant, journal);
    key[0] = JOURNAL;
    key.extend_from_slice(&last.to_be_bytes());
    key
}

/// The position at the end of the key of [`events`].
pub(super) fn position_of(key: &[u8]) -> Result<u64, Error> {
    number_of(key).ok_or_else(|| damaged("journal"))
}

/// A webhook of a tenant.
pub(super) fn webhook(tenant: &TenantId, kind: Kind) -> Vec<u8> {
    let mut key = vec![WEBHOOK];
    push(&mut key, tenant.as_str());
    key.extend_from_slice(kind.as_str().as_bytes());
    key
}

/// What the keys of all webhooks begin with.
pub(super) const fn webhooks() -> &'static [u8] {
    &[WEBHOOK]
}

/// Tenant and kind of a webhook's key.
pub(super) fn webhook_of(key: &[u8]) -> Result<(TenantId, Kind), Error> {
    let mut rest = key.get(1..).unwrap_or_default();
    let tenant = TenantId::new(pop(&mut rest)?).map_err(|_| damaged("webhook"))?;
    let kind = std::str::from_utf8(rest).ok().and_then(Kind::parse).ok_or_else(|| damaged("webhook"))?;
    Ok((tenant, kind))
}

/// The first key after all that begin with these bytes. No key of ours begins with 255 only.
pub(super) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            break;
        }
    }
    key
}

/// The letter of a log's kind, and its name without the tenant.
pub(super) fn log_parts(log: &LogId) -> (u8, &str) {
    match log {
        LogId::Inbox(_, user) => (INBOX, user.as_str()),
        LogId::Topic(_, topic) => (TOPIC, topic.as_str()),
        LogId::Broadcast(_) => (BROADCAST, ""),
    }
}

/// The log with this letter and name; `None` when there is no such kind or the name is not one.
pub(super) fn log_named(kind: u8, name: &str, tenant: &TenantId) -> Option<LogId> {
    match kind {
        BROADCAST => name.is_empty().then(|| LogId::Broadcast(tenant.clone())),
        INBOX => UserId::new(name).ok().map(|user| LogId::Inbox(tenant.clone(), user)),
        TOPIC => TopicName::new(name).ok().map(|topic| LogId::Topic(tenant.clone(), topic)),
        _ => None,
    }
}

fn push(key: &mut Vec<u8>, name: &str) {
    key.extend_from_slice(name.as_bytes());
    key.push(0);
}

fn push_name(key: &mut Vec<u8>, log: &LogId) {
    let (kind, name) = log_parts(log);
    key.push(kind);
    push(key, name);
}

fn push_log(key: &mut Vec<u8>, log: &LogId) {
    push(key, log.tenant().as_str());
    push_name(key, log);
}

fn push_receiver(key: &mut Vec<u8>, receiver: &Receiver) {
    push(key, receiver.tenant.as_str());
    push(key, receiver.user.as_str());
    push(key, receiver.device.as_str());
}

/// Takes a name and its NUL from the front.
fn pop<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Error> {
    let end = rest.iter().position(|&byte| byte == 0).ok_or_else(|| damaged("name"))?;
    let name = std::str::from_utf8(&rest[..end]).map_err(|_| damaged("name"))?;
    *rest = &rest[end + 1..];
    Ok(name)
}

/// The number at the end of a key.
fn number_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().copied().map(u64::from_be_bytes)
}

/// What is said of a key that is not as it was written.
pub(super) fn damaged(what: &str) -> Error {
    Error::Failed(format!("the key of a {what} record is damaged"))
}

#[cfg(test)]
mod tests {
    use super::{after, cursor, cursors, entry, log_at, log_of, offset_of};
    use crate::model::id::{DeviceId, Receiver, TenantId, TopicName, UserId};
    use crate::model::log::{LogId, Offset};

    fn receiver(tenant: &str, user: &str, device: &str) -> Receiver {
        Receiver {
            tenant: TenantId::new(tenant).unwrap(),
            user: UserId::new(user).unwrap(),
            device: DeviceId::new(device).unwrap(),
        }
    }

    #[test]
    fn no_name_lies_among_the_keys_of_another() {
        for (one, other) in [(("a", "b", "c"), ("ab", "b", "c")), (("a", "b", "c"), ("a", "b", "cc"))] {
            let (one, other) = (receiver(one.0, one.1, one.2), receiver(other.0, other.1, other.2));
            let log = LogId::Topic(other.tenant.clone(), TopicName::new("t").unwrap());
            let key = cursor(&other, &log);
            let prefix = cursors(&one);
            assert!(key < prefix || key >= after(&prefix), "{other} lies within {one}");
        }
    }

    #[test]
    fn keys_read_back() {
        let receiver = receiver("acme", "ann", "phone");
        let log = LogId::Topic(receiver.tenant.clone(), TopicName::new("news").unwrap());
        let key = cursor(&receiver, &log);
        assert_eq!(log_of(&key, cursors(&receiver).len(), &receiver.tenant), Ok(log.clone()));
        assert_eq!(offset_of(&entry(&log, Offset(7))), Ok(Offset(7)));
        assert_eq!(log_at(&entry(&log, Offset(7))), Ok(log.clone()));
        assert_eq!(log_at(&super::log(&log)), Ok(log));
        assert_eq!(after(&[1, 255]), [2]);
    }
}
