//! What a device follows, and what it has settled there. Not all of it is recorded for each device: a group's topic begins
//! where the user joined, the broadcast log where the device was first seen, until the device commits something.

use std::collections::BTreeMap;

use super::table::View;
use super::{key, read, record};
use crate::model::cursor::Cursor;
use crate::model::id::{Receiver, TenantId, TopicName, UserId};
use crate::model::log::LogId;
use crate::store::{Error, Following, Follows};

/// A user's record; the empty one if there is none.
pub(super) fn user(view: &impl View, tenant: &TenantId, user: &UserId) -> Result<record::User, Error> {
    let bytes = view.get(&key::user(tenant, user))?;
    Ok(bytes.map(|bytes| record::User::decode(&bytes)).transpose()?.unwrap_or_default())
}

/// What is recorded of how a device follows a log.
pub(super) fn recorded(view: &impl View, receiver: &Receiver, log: &LogId) -> Result<Option<record::Follow>, Error> {
    let bytes = view.get(&key::cursor(receiver, log))?;
    bytes.map(|bytes| record::Follow::decode(&bytes)).transpose()
}

/// How a device follows a log; `None` when it does not.
pub(super) fn follow(view: &impl View, receiver: &Receiver, log: &LogId) -> Result<Option<record::Follow>, Error> {
    if let Some(follow) = recorded(view, receiver, log)? {
        return Ok(Some(follow));
    }
    let Some(device) = read::device(view, receiver)? else { return Ok(None) };
    let since = match log {
        LogId::Inbox(..) => None,
        LogId::Broadcast(_) => Some(device.broadcast),
        LogId::Topic(_, topic) => user(view, &receiver.tenant, &receiver.user)?.since(topic),
    };
    let Some(since) = since else { return Ok(None) };
    let cursor = Cursor::after(read::head(view, log)?.epoch, since);
    Ok(Some(record::Follow { own: false, cursor }))
}

/// See [`crate::store::Store::follows`]; `None` for a device that is not known.
pub(super) fn follows(view: &impl View, receiver: &Receiver) -> Result<Option<Follows>, Error> {
    let Some(device) = read::device(view, receiver)? else { return Ok(None) };
    let record::User { groups, quiet_hours, .. } = user(view, &receiver.tenant, &receiver.user)?;
    let brought: BTreeMap<TopicName, _> = groups.into_values().flatten().collect();
    let (mut first, mut topics) = (Vec::with_capacity(2), BTreeMap::new());
    for (log, follow) in read::follows(view, receiver)? {
        let head = read::head(view, &log)?;
        let following = Following { log: log.clone(), cursor: follow.cursor, head };
        match log {
            LogId::Topic(_, topic) => drop(topics.insert(topic, following)),
            // The inbox sorts before the broadcast log.
            LogId::Inbox(..) | LogId::Broadcast(_) => first.push(following),
        }
    }
    let begun = |log: LogId, since| {
        let head = read::head(view, &log)?;
        Ok(Following { log, cursor: Cursor::after(head.epoch, since), head })
    };
    let broadcast = LogId::Broadcast(receiver.tenant.clone());
    if first.iter().all(|following| following.log != broadcast) {
        first.push(begun(broadcast, device.broadcast)?);
    }
    for (topic, since) in &brought {
        if !topics.contains_key(topic) {
            topics.insert(topic.clone(), begun(LogId::Topic(receiver.tenant.clone(), topic.clone()), *since)?);
        }
    }
    first.extend(topics.into_values());
    let group_topics = brought.into_keys().collect();
    Ok(Some(Follows { number: device.number, following: first, group_topics, quiet_hours }))
}
