//! The store of a world: it answers late, fails now and then, and forgets what it had not applied.

use crate::delivery::session::Input;
use crate::model::fault::{Code, Fault};
use crate::model::log::{LogId, Offset};
use crate::model::message::Page;
use crate::model::receipt::{Report, Reported};

use crate::delivery::worlds::world::World;

impl World {
    /// The store looks, but does not answer yet: the log goes on meanwhile.
    pub(super) fn look(&mut self, number: usize) {
        let Some(connection) = self.devices[number].connection.as_ref() else { return };
        if let Some((id, after, entries, bytes)) = connection.asked_reads.front().cloned() {
            let page = self.page(&id, after, entries, bytes);
            self.devices[number].connection.as_mut().expect("it was there").looked = Some(page);
        }
    }

    pub(super) fn answer_read(&mut self, number: usize) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        let Some((id, after, entries, bytes)) = connection.asked_reads.pop_front() else { return };
        let looked = connection.looked.take();
        let page = looked.unwrap_or_else(|| self.page(&id, after, entries, bytes));
        let connection = self.devices[number].connection.as_mut().expect("it was there");
        if page.looked <= after {
            connection.idle_reads += 1;
        }
        self.feed(number, Input::Page(Some(page)));
    }

    fn page(&mut self, id: &LogId, after: Offset, entries: usize, bytes: usize) -> Page {
        let wall = self.now.wall;
        let log = self.log(id);
        let mut page = Page { entries: Vec::new(), looked: log.head.last.max(after), head: log.head };
        let mut size = 0;
        for entry in log.entries.range(after.0 + 1..).map(|(_, entry)| entry) {
            if page.entries.len() == entries || (size >= bytes && !page.entries.is_empty()) {
                page.looked = Offset(entry.offset.0 - 1);
                break;
            }
            if !entry.expired(wall) {
                size += entry.body.len();
                page.entries.push(entry.clone());
            }
        }
        page
    }

    pub(super) fn answer_heads(&mut self, number: usize) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        let Some(logs) = connection.asked_heads.pop_front() else { return };
        if !self.well && self.rng.u8(0..10) == 0 {
            // The store failed.
            return self.feed(number, Input::Heads(Vec::new()));
        }
        let heads = logs.into_iter().map(|log| (log.clone(), self.log(&log).head)).collect();
        self.feed(number, Input::Heads(heads));
    }

    /// The store applies a commit, and answers it or not yet.
    pub(super) fn answer_commit(&mut self, number: usize, answer: bool) {
        let fail = !self.well && self.rng.u8(0..10) == 0;
        let device = &mut self.devices[number];
        let Some(connection) = device.connection.as_mut() else { return };
        let Some((cursors, dead, reports, applied)) = connection.asked_commit.as_mut() else { return };
        if fail && !*applied {
            connection.asked_commit = None;
            return self.feed(number, Input::Committed(Err(Fault::new(Code::StoreBusy, "busy"))));
        }
        if !*applied {
            *applied = true;
            for (log, cursor) in cursors {
                let Some(stored) = device.cursors.get_mut(log) else { continue };
                if stored.epoch == cursor.epoch {
                    stored.merge(cursor);
                } else if self.logs[log].head.epoch == cursor.epoch {
                    *stored = cursor.clone();
                }
            }
            for Report { message, what, .. } in reports {
                match what {
                    Reported::Sent(attempt) => {
                        let told = connection.to_report.remove(&(*message, *attempt));
                        assert!(told, "{message} was reported as sent {attempt} times, which it was not, or twice");
                    }
                    Reported::Acked => assert!(device.told_acked.insert(*message), "{message} was acked twice"),
                    Reported::Nacked(attempt, _) => {
                        let sent = device.sent.get(message).copied().unwrap_or_default();
                        assert!(
                            *attempt <= sent,
                            "delivery {attempt} of {message} failed, which was sent {sent} times"
                        );
                    }
                }
            }
            for dead in dead {
                if let Some(entry) = self.logs[&dead.log].entries.get(&dead.offset.0) {
                    device.dead.insert(entry.id);
                }
            }
        }
        if answer {
            connection.asked_commit = None;
            self.feed(number, Input::Committed(Ok(())));
        }
    }
}
