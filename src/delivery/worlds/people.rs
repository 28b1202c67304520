//! What backends and users of a world change their minds about: groups, quiet hours, messages that shall go.

use std::sync::Arc;

use crate::delivery::session::Input;
use crate::delivery::worlds::world::{World, inbox, topic};
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceNumber, Receiver};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Aim, DismissReason, Dismissed, Entry, Exclusion, Urgency};
use crate::model::quiet::{QuietHours, TimeOfDay};
use crate::zone::Hours;

impl World {
    /// A user joins a group or leaves it: all devices of the user follow its topic, or stop.
    pub(super) fn regroup(&mut self) {
        let (user, id) = (self.rng.usize(0..2), topic(self.rng.u32(0..2)));
        let joins = self.rng.bool();
        let head = self.log(&id).head;
        for number in [2 * user, 2 * user + 1] {
            let device = &mut self.devices[number];
            if device.cursors.is_empty() {
                continue;
            }
            // Who leaves and joins again begins at the head.
            device.left.insert(id.clone());
            device.cursors.remove(&id);
            device.owed_after.remove(&id);
            if joins {
                device.cursors.insert(id.clone(), Cursor::after(head.epoch, head.last));
                device.owed_after.insert(id.clone(), (head.epoch, head.last.0));
            }
            self.tell_of_change(number);
        }
    }

    /// A user sets or ends its quiet hours.
    pub(super) fn quieten(&mut self, user: usize, hours: Option<Hours>) {
        let some = hours.is_some();
        self.quiet[user] = hours;
        for number in [2 * user, 2 * user + 1] {
            self.devices[number].unordered |= some;
            self.tell_of_change(number);
        }
    }

    /// Quiet hours that begin or end within the next minutes.
    pub(super) fn some_hours(&mut self) -> Option<Hours> {
        let minute = self.now.wall.as_millis() / 60_000;
        let mut time = |ahead: u64| {
            let minute = (minute + 1440 + self.rng.u64(0..4) - ahead) % 1440;
            TimeOfDay::from_minutes(u16::try_from(minute).expect("within the day")).expect("within the day")
        };
        let agreed = QuietHours { from: time(2), to: time(0), time_zone: "UTC".to_owned() };
        Hours::new(&agreed).ok()
    }

    /// A hint that is merged and never lost, and stands before all others.
    fn tell_of_change(&mut self, number: usize) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        connection.hints.retain(|hint| !matches!(hint, Input::Refreshing));
        connection.hints.push_front(Input::Refreshing);
    }

    /// The store tells what a device follows, if that was asked.
    pub(super) fn answer_follows(&mut self, number: usize) {
        let following = self.following(number);
        let quiet = self.quiet[number / 2].clone();
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        if std::mem::take(&mut connection.refreshing) {
            connection.quiet = quiet.clone();
            self.feed(number, Input::Refreshed(following, quiet));
        }
    }

    /// A message is cancelled, or was seen on one device of its user: a dismissal goes the same way.
    pub(super) fn withdraw(&mut self) {
        let logs: Vec<LogId> = self.logs.keys().cloned().collect();
        let Some(id) = self.rng.choice(logs) else { return };
        let log = &self.logs[&id];
        let standing: Vec<Entry> = log.entries.values().cloned().collect();
        let epoch = log.head.epoch;
        let Some(gone) = self.rng.choice(standing) else { return };
        if gone.aim.as_ref().is_some_and(|aim| aim.dismissal.is_some()) {
            return;
        }
        let mut aim = gone.aim.as_deref().cloned().unwrap_or_default();
        let by = self.rng.usize(0..self.devices.len());
        // A device that is first seen later gets the message and its dismissal, and may get both again.
        let known = self.devices[by ^ 1].cursors.get(&id).is_some_and(|cursor| cursor.epoch == epoch);
        let seen = gone.device.is_none() && id == inbox(if by < 2 { 0 } else { 1 }) && known;
        if seen {
            let receiver = self.devices[by].receiver.clone();
            aim.exclude.push(Exclusion { user: receiver.user, device: Some(receiver.device) });
            let other = &mut self.devices[by ^ 1];
            other.spared.insert(gone.id);
            if let Some(cursor) = other.cursors.get_mut(&id).filter(|cursor| cursor.epoch == epoch) {
                cursor.settled.insert(gone.offset.0, gone.offset.0);
            }
        } else {
            self.log(&id).entries.remove(&gone.offset.0);
        }
        let reason = if seen { DismissReason::Seen } else { DismissReason::Cancelled };
        let dismissed = Dismissed { log: id.clone(), epoch, offset: gone.offset, message: gone.id, reason };
        aim.dismissal = Some(dismissed);
        self.messages += 1;
        let entry = Entry {
            offset: Offset::ZERO,
            id: crate::model::id::MessageId::new(self.messages, [0; 10]),
            urgency: Urgency::High,
            aim: Some(Arc::new(aim)),
            receipts: false,
            body: bytes::Bytes::new(),
            ..gone
        };
        self.append(&id, entry, false);
    }

    /// Exclusions and, for the broadcast log, an audience; nothing for most.
    pub(super) fn some_aim(&mut self, id: &LogId) -> Option<Arc<Aim>> {
        let mut aim = Aim::default();
        if let LogId::Broadcast(_) = id {
            let in_it = (0..4).filter(|_| self.rng.bool());
            aim.audience = Some(in_it.map(DeviceNumber).collect());
        }
        if self.rng.u8(0..6) == 0 {
            let receiver = self.devices[self.rng.usize(0..4)].receiver.clone();
            let device = self.rng.bool().then_some(receiver.device);
            aim.exclude.push(Exclusion { user: receiver.user, device });
        }
        (aim != Aim::default()).then(|| Arc::new(aim))
    }

    /// What a push that is sent must obey, besides its urgency.
    pub(super) fn may_have(&self, number: usize, entry: &Entry) {
        let device = &self.devices[number];
        let Receiver { user, device: name, .. } = &device.receiver;
        let meets = |aim: &Arc<Aim>| aim.meets(user, name, DeviceNumber(u32::try_from(number).expect("few devices")));
        assert!(entry.aim.as_ref().is_none_or(meets), "{} excludes {}", entry.id, device.receiver);
        assert!(!device.told_to_dismiss.contains(&entry.id), "{} was sent after its dismissal", entry.id);
        let home =
            self.logs.iter().find(|(_, log)| log.entries.get(&entry.offset.0).is_some_and(|at| at.id == entry.id));
        let Some(connection) = device.connection.as_ref() else { return };
        // The session does not know yet that the device has left: what it reads meanwhile it may still send.
        let unaware = connection.hints.iter().any(|hint| matches!(hint, Input::Refreshing))
            && home.is_some_and(|(id, _)| device.left.contains(id));
        assert!(unaware || device.eligible.contains(&entry.id), "{} is not for {}", entry.id, device.receiver);
        if connection.refreshing {
            panic!("something was sent while it is not known what is followed");
        }
        let quiet = connection.quiet.as_ref().is_some_and(|quiet| quiet.at(self.now.wall).quiet);
        if quiet && connection.current && !self.jumped {
            assert_eq!(entry.urgency, Urgency::High, "sent in quiet hours");
        }
        if let Some((id, log)) = home.filter(|_| !unaware && entry.offset > Offset::ZERO) {
            let (epoch, after) = device.owed_after.get(id).copied().unwrap_or((log.head.epoch, u64::MAX));
            let owed = epoch != log.head.epoch || entry.offset.0 > after;
            assert!(owed, "{} of {id} was sent to one who left", entry.offset.0);
        }
    }
}
