//! Whom an entry is for, beyond all that follow its log: worked out when it is appended, kept beside it, read with it. It
//! does not judge who may have an entry; sessions do.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::table::View;
use super::writer::Writer;
use super::{follow, key, read, record};
use crate::model::id::{MessageId, Receiver, TenantId};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Aim, Entry, Exclusion};
use crate::model::set::DeviceSet;
use crate::store::{Append, Error, Of, Wishes};

/// Bytes of audiences that are kept for readers. A guess: some hundred audiences of a million devices each at one in
/// eight, or a few dozen of half of them.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Writer {
    /// Whom an append is for beyond those that follow its log, and how many devices that are; `None` for an inbox. Only a
    /// refusal that has staged nothing may follow.
    pub(super) fn aim_of(&self, append: &Append) -> Result<(Option<Arc<Aim>>, Option<u64>), Error> {
        let Wishes { condition, exclude, any_of_user, .. } = &append.wishes;
        let tenant = append.log.tenant();
        let set = match (&append.log, condition) {
            (LogId::Topic(_, topic), _) => Some(self.roll.set(tenant, &Of::Topic(topic.clone()))),
            (LogId::Broadcast(_), Some(condition)) => Some(self.roll.set(tenant, &Of::Condition(condition.clone()))),
            _ => None,
        };
        let set = match set {
            Some(set) if !exclude.is_empty() => Some(set.without(&self.numbers_excluded(tenant, exclude)?)),
            set => set,
        };
        let count = set.as_ref().map(DeviceSet::len);
        let audience = set.filter(|_| condition.is_some());
        if audience.is_none() && exclude.is_empty() && !any_of_user {
            return Ok((None, count));
        }
        let (exclude, any_of_user) = (exclude.clone(), *any_of_user);
        Ok((Some(Arc::new(Aim { audience, exclude, any_of_user, dismissal: None })), count))
    }

    fn numbers_excluded(&self, tenant: &TenantId, exclude: &[Exclusion]) -> Result<DeviceSet, Error> {
        let mut numbers = DeviceSet::default();
        for Exclusion { user, device } in exclude {
            match device {
                Some(device) => {
                    let receiver = Receiver { tenant: tenant.clone(), user: user.clone(), device: device.clone() };
                    read::device(&self.staged, &receiver)?.into_iter().for_each(|device| {
                        numbers.insert(device.number);
                    });
                }
                None => {
                    let inbox = read::log(&self.staged, &LogId::Inbox(tenant.clone(), user.clone()))?;
                    let devices = self.numbers_of(tenant, user, inbox.map_or(0, |log| log.followers))?;
                    let seat = follow::user(&self.staged, tenant, user)?.seat;
                    devices.into_iter().map(|(number, _)| number).chain(seat).for_each(|number| {
                        numbers.insert(number);
                    });
                }
            }
        }
        Ok(numbers)
    }

    /// Stages an entry, with the audience that its aim names.
    pub(super) fn put_entry(&mut self, log: &LogId, entry: &Entry) {
        if let Some(aim) = &entry.aim
            && let Some(audience) = &aim.audience
        {
            self.staged.put(key::audience(log, entry.offset), audience.encode());
            self.aims.keep(entry.id, aim);
        }
        self.staged.put(key::entry(log, entry.offset), record::encode_entry(entry));
    }

    /// Stages that an entry goes.
    pub(super) fn take_entry(&mut self, log: &LogId, offset: Offset) {
        if matches!(log, LogId::Broadcast(_)) {
            self.staged.remove(key::audience(log, offset));
        }
        self.staged.remove(key::entry(log, offset));
    }
}

/// Aims with their audiences that were read or written lately. All who read the same entry share one.
#[derive(Default)]
pub(super) struct Aims(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// By message: ids are never used again.
    aims: HashMap<MessageId, Arc<Aim>>,
    /// In the order in which they came, with their bytes; the oldest goes first.
    order: VecDeque<(MessageId, usize)>,
    /// Of all.
    bytes: usize,
}

impl Aims {
    /// Gives entries of a log their audiences.
    pub(super) fn complete(&self, view: &impl View, log: &LogId, entries: &mut [Entry]) -> Result<(), Error> {
        if !matches!(log, LogId::Broadcast(_)) {
            return Ok(());
        }
        for entry in entries {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).aims.get(&entry.id).cloned();
            if kept.is_some() {
                entry.aim = kept;
                continue;
            }
            let Some(bytes) = view.get(&key::audience(log, entry.offset))? else { continue };
            let audience = DeviceSet::decode(&bytes);
            let audience = audience.ok_or_else(|| Error::Failed("an audience record is damaged".to_owned()))?;
            let read = entry.aim.as_deref().cloned().unwrap_or_default();
            let aim = Arc::new(Aim { audience: Some(audience), ..read });
            self.keep(entry.id, &aim);
            entry.aim = Some(aim);
        }
        Ok(())
    }

    /// Keeps one for readers.
    fn keep(&self, message: MessageId, aim: &Arc<Aim>) {
        let bytes = size_of::<Aim>() + aim.audience.as_ref().map_or(0, DeviceSet::bytes);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > KEPT_BYTES_MAX || kept.aims.insert(message, Arc::clone(aim)).is_some() {
            return;
        }
        kept.order.push_back((message, bytes));
        kept.bytes += bytes;
        while kept.bytes > KEPT_BYTES_MAX {
            let Some((oldest, bytes)) = kept.order.pop_front() else { break };
            kept.aims.remove(&oldest);
            kept.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Aims, KEPT_BYTES_MAX};
    use crate::model::id::{DeviceNumber, MessageId};
    use crate::model::message::Aim;
    use crate::model::set::DeviceSet;

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_the_oldest_goes() {
        let aims = Aims::default();
        // Every other number: a bitmap that does not compress.
        let audience: DeviceSet = (0..2_000_000).step_by(2).map(DeviceNumber).collect();
        let each = audience.bytes();
        let id = |number: u8| MessageId::from_bytes([number; 16]);
        for number in 0..64 {
            aims.keep(id(number), &Arc::new(Aim { audience: Some(audience.clone()), ..Aim::default() }));
        }
        let kept = aims.0.lock().unwrap();
        assert!(kept.bytes <= KEPT_BYTES_MAX && kept.bytes + 2 * each > KEPT_BYTES_MAX, "{} of {each}", kept.bytes);
        assert_eq!(kept.aims.len(), kept.order.len());
        assert!(kept.aims.contains_key(&id(63)) && !kept.aims.contains_key(&id(0)));
    }
}
