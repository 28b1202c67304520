//! How a session keeps the user's quiet hours: while they last, it sends only what is of high urgency.

use crate::delivery::session::Session;
use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::message::Urgency;
use crate::zone::{Hours, Spell};

/// Quiet hours, and what holds of them now.
#[derive(Debug)]
pub(super) struct Quiet {
    hours: Hours,
    /// What holds, as far as the wall clock was right when it was last looked at.
    spell: Spell,
    /// When to look again.
    look_at: Moment,
}

impl Quiet {
    fn new(hours: Hours, now: Now) -> Self {
        let spell = hours.at(now.wall);
        let left = spell.until.as_millis().saturating_sub(now.wall.as_millis());
        Self { hours, spell, look_at: now.moment + std::time::Duration::from_millis(left) }
    }

    pub(super) const fn look_at(&self) -> Moment {
        self.look_at
    }
}

impl Session {
    /// Least urgency that is sent now.
    pub(super) fn floor(&self) -> Urgency {
        if self.is_quiet() { Urgency::High } else { self.terms.urgency_floor }
    }

    fn is_quiet(&self) -> bool {
        self.quiet.as_ref().is_some_and(|quiet| quiet.spell.quiet)
    }

    /// When the quiet hours end, if it is in them.
    pub(super) fn quiet_until(&self) -> Option<Timestamp> {
        self.quiet.as_ref().filter(|quiet| quiet.spell.quiet).map(|quiet| quiet.spell.until)
    }

    /// The user wants other quiet hours, or none.
    pub(super) fn set_quiet(&mut self, now: Now, hours: Option<Hours>) {
        let before = self.floor();
        self.quiet = hours.map(|hours| Box::new(Quiet::new(hours, now)));
        self.floor_was(before);
    }

    /// They may have begun or ended. Called at the pace of the heads besides: a wall clock that was set may have passed
    /// their end long before the moment that was reckoned.
    pub(super) fn look_at_quiet(&mut self, now: Now) {
        let due = |quiet: &Quiet| now.moment >= quiet.look_at.min(self.heads_at);
        if let Some(quiet) = self.quiet.as_deref().filter(|quiet| due(quiet)) {
            let hours = quiet.hours.clone();
            self.set_quiet(now, Some(hours));
        }
    }

    /// The floor was this before: what waited for a lower one may go now.
    pub(super) fn floor_was(&mut self, before: Urgency) {
        if self.floor() < before {
            self.rescan_withheld();
        }
    }
}
