//! The access tokens of a world: they expire, devices are told before, and renew them or not.

use std::time::Duration;

use crate::delivery::lease::Life;
use crate::delivery::session::{Input, Output};
use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::close::CloseReason;
use crate::model::frame::{Answer, Frame, Ticket};

use crate::delivery::worlds::world::World;

/// The token of a session, as the world reckons it.
pub(super) struct Token {
    expires_at: Timestamp,
    /// When the session must end.
    pub(super) ends: Moment,
    /// From when on the device is to be told.
    notice: Moment,
    /// It was told.
    told: bool,
    /// When the session last looked at its timers, and when it did so before.
    looked: [Option<Moment>; 2],
}

impl Token {
    pub(super) fn new(life: Life, now: Now) -> Self {
        let span =
            |from: Timestamp| Duration::from_millis(life.expires_at.as_millis().saturating_sub(from.as_millis()));
        let before = (span(life.issued_at) / 10).max(Duration::from_secs(10)).min(Duration::from_secs(300));
        let left = span(now.wall);
        Self {
            expires_at: life.expires_at,
            ends: now.moment + left,
            notice: now.moment + left.saturating_sub(before),
            told: false,
            looked: [None; 2],
        }
    }

    /// The session is given something.
    pub(super) fn give(&mut self, input: &Input, now: Now) {
        match input {
            Input::Renew(_, life) => *self = Self::new(*life, now),
            Input::Deadline => self.looked = [Some(now.moment), self.looked[0]],
            _ => {}
        }
    }

    /// Checks what a session wants.
    pub(super) fn check(&mut self, output: &Output, now: Now, well: bool) {
        match output {
            Output::Send(Frame::TokenExpiring { expires_at }) => {
                assert_eq!(*expires_at, self.expires_at, "another token than the last one expires");
                assert!(!self.told, "it was told twice");
                assert!((self.notice..self.ends).contains(&now.moment), "it was told too early or too late");
                self.told = true;
            }
            Output::Send(Frame::Close { reason: CloseReason::TokenExpired, .. }) => {
                assert!(now.moment >= self.ends, "the token had not expired");
                assert!(
                    self.told || self.looked[1].is_none_or(|looked| looked < self.notice),
                    "it was not told before"
                );
                assert!(!well, "a device that renews its token was thrown out");
            }
            Output::Answer(_, Ok(Answer::Renewed { expires_at })) => assert_eq!(*expires_at, self.expires_at),
            _ => {}
        }
    }
}

impl World {
    /// How long a new token is good. On a network that is well a device has time to get another one.
    pub(super) fn some_life(&mut self) -> Life {
        if self.rng.bool() {
            return Life::FOREVER;
        }
        let least = if self.well { 20_000 } else { 0 };
        let age = Duration::from_millis(self.rng.u64(0..100_000));
        let left = Duration::from_millis(self.rng.u64(least..120_000));
        Life { issued_at: self.now.wall - age, expires_at: self.now.wall + left }
    }

    /// The device gives its session another token.
    pub(super) fn renew(&mut self, number: usize) {
        let life = self.some_life();
        self.tickets += 1;
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        if !connection.session.over() {
            connection.asked_acks.insert(self.tickets, Vec::new());
            self.feed(number, Input::Renew(Ticket(self.tickets), life));
        }
    }
}
