//! What a session answers when it is asked where a push stands. It changes nothing.

use crate::delivery::session::{Phase, Session};
use crate::delivery::window::Stage;
use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::standing::Standing;

impl Session {
    /// Where an entry stands.
    #[must_use]
    pub fn standing(&self, now: Now, log: &LogId, epoch: Epoch, offset: Offset) -> Standing {
        let feed = match self.position(log) {
            Ok(at) if self.feeds[at].head.epoch == epoch => &self.feeds[at],
            _ => return Standing::NotFollowed,
        };
        if feed.cursor.settled.contains(offset.0) {
            return Standing::Settled;
        }
        if let Some((_, flight)) = self.window.of_place(log, offset) {
            return match flight.stage {
                Stage::Sent(_) => Standing::InFlight { since: wall(now, flight.sent), attempt: flight.attempts + 1 },
                Stage::Resting(until) => Standing::Resting { until: wall(now, until), attempts: flight.attempts },
                Stage::Due => Standing::Resting { until: now.wall, attempts: flight.attempts },
                Stage::Withheld(_) => self.withheld(),
            };
        }
        let crowded = offset >= feed.seen && feed.cursor.settled.spans() >= self.options.settled_spans_max;
        match self.phase {
            Phase::Moving(_) => Standing::Moving,
            // Looked at, and neither sent nor settled.
            _ if offset < feed.next => self.withheld(),
            _ if self.unsent >= self.options.unsent_bytes_max => Standing::UnsentFull,
            _ if self.window.len() >= self.window_size as usize => Standing::WindowFull,
            _ if crowded => Standing::CursorFull,
            _ => Standing::NotRead,
        }
    }

    fn withheld(&self) -> Standing {
        Standing::Withheld { floor: self.terms.urgency_floor, quiet_until: self.quiet_until() }
    }
}

/// A moment as the wall clock shows it.
fn wall(now: Now, moment: Moment) -> Timestamp {
    if moment < now.moment { now.wall - now.moment.since(moment) } else { now.wall + moment.since(now.moment) }
}
