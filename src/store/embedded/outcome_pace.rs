//! Which messages to topics and conditions have new counts to tell of, at most once a second each. It does not know the
//! counts. What it knows is lost with the process: the end of a message tells its counts all the same.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::record::Message;
use crate::model::clock::Timestamp;
use crate::model::id::{MessageId, TenantId};

/// How long nothing more is told of a message.
const PAUSE: Duration = Duration::from_secs(1);

/// Most messages that are watched. Full: the counts of others are told at their end. A guess: about 10 MiB.
const WATCHED_MAX: usize = 65_536;

/// Most messages that one batch tells of; the next one tells of the rest. A guess: a millisecond.
const STEP_MAX: usize = 1_024;

type Id = (TenantId, MessageId);

/// Messages whose counts were told within the last second, or are to be told.
#[derive(Default)]
pub(super) struct Pace {
    /// By message: when it is to be looked at, and whether its counts have changed since they were told.
    watched: HashMap<Id, (Timestamp, bool)>,
    /// The same, by time.
    due: BTreeSet<(Timestamp, Id)>,
}

impl Pace {
    /// The counts of a message have changed.
    pub(super) fn changed(&mut self, message: &Message) {
        let id = (message.log.tenant().clone(), message.id);
        if let Some((_, changed)) = self.watched.get_mut(&id) {
            *changed = true;
        } else if self.watched.len() < WATCHED_MAX {
            self.watched.insert(id.clone(), (Timestamp::ZERO, true));
            self.due.insert((Timestamp::ZERO, id));
        }
    }

    /// The messages to tell of now. Each is told of with that.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Id> {
        let mut told = Vec::new();
        while told.len() < STEP_MAX
            && let Some((at, _)) = self.due.first()
            // A time further ahead than the pause was set before the clock went back.
            && (*at <= now || *at > now + PAUSE)
            && let Some((_, id)) = self.due.pop_first()
        {
            let Some((at, changed)) = self.watched.get_mut(&id) else { continue };
            if *changed {
                (*at, *changed) = (now + PAUSE, false);
                self.due.insert((*at, id.clone()));
                told.push(id);
            } else {
                self.watched.remove(&id);
            }
        }
        told
    }

    /// When there is something to tell next, if nothing more happens.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.iter().find(|(_, id)| self.watched.get(id).is_some_and(|(_, changed)| *changed)).map(|(at, _)| *at)
    }
}
