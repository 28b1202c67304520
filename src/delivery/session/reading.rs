//! How a session finds what to send: hints, pages, heads, and whose turn it is.

use crate::delivery::feed::Feed;
use crate::delivery::session::{Output, Phase, Reading, Session};
use crate::model::clock::Now;
use crate::model::cursor::{Cursor, Following};
use crate::model::frame::Frame;
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::message::{Entry, Page};
use crate::zone::Hours;

/// Header bytes of a push on the wire, for the estimate of what is unsent until the link reports it.
const PUSH_HEAD_BYTES: usize = 64;

/// A cursor of so many ranges is worth looking for entries that are gone, at the pace of the heads. A guess: below it
/// the cursor encodes to about a kilobyte.
const RESCAN_SPANS: usize = 64;

impl Session {
    pub(super) fn follow(&mut self, following: Vec<Following>) {
        for following in following {
            if let Err(at) = self.position(&following.log) {
                self.feeds.insert(at, Feed::new(following));
                self.queue(at);
            }
        }
    }

    /// What the device follows is known anew. A log that is not among it is followed no more.
    pub(super) fn refreshed(&mut self, now: Now, mut following: Vec<Following>, quiet: Option<Hours>) {
        self.held = false;
        following.sort_by(|one, other| one.log.cmp(&other.log));
        let followed = |log: &LogId| following.binary_search_by(|following| following.log.cmp(log)).is_ok();
        let gone = self.feeds.iter().map(|feed| &feed.log).filter(|log| !followed(log));
        for log in gone.cloned().collect::<Vec<_>>() {
            self.unfollow(&log);
        }
        for following in &following {
            if let Ok(at) = self.position(&following.log) {
                self.settled_elsewhere(at, following);
            }
        }
        self.follow(following);
        self.set_quiet(now, quiet);
    }

    fn unfollow(&mut self, log: &LogId) {
        let Ok(at) = self.position(log) else { return };
        self.feeds.remove(at);
        self.turns.retain(|queued| queued != log);
        self.window.remove_log(log);
        self.abandon_read(log);
    }

    /// The store may know of more that is settled: who left a topic and joined it again begins at its head.
    fn settled_elsewhere(&mut self, at: usize, following: &Following) {
        let (feed, cursor) = (&mut self.feeds[at], &following.cursor);
        if cursor.epoch == feed.head.epoch {
            feed.cursor.merge(cursor);
            self.window.remove_settled(&feed.log, &feed.cursor.settled);
            self.queue(at);
        } else if cursor.epoch == following.head.epoch {
            // The log has had a new life for so long that the device left it and joined it again there.
            self.restart(at, following.clone());
        }
    }

    /// The place in a log has changed while it was read: the page would move it on from where it was.
    fn abandon_read(&mut self, log: &LogId) {
        if let Some(Reading::Next(of, _) | Reading::Again(_, of, _)) = &self.reading
            && of == log
        {
            self.reading = Some(Reading::Stale);
        }
    }

    /// A hint came. The entry goes out at once only if it is the very next one and nothing waits before it.
    pub(super) fn grown(
        &mut self,
        now: Now,
        log: &LogId,
        epoch: Epoch,
        last: Offset,
        entry: Option<Entry>,
        out: &mut Vec<Output>,
    ) {
        let Ok(at) = self.position(log) else { return };
        let feed = &mut self.feeds[at];
        // A log that did not exist when it was followed, as a viewer may, begins its first life: nobody needs to wait for it.
        if feed.head.epoch == Epoch::default() && epoch != Epoch::default() {
            return self.reset(at, Head { epoch, last, trimmed: Offset::default() });
        }
        // A hint of another life of the log is old or new, who knows: the heads will tell.
        if feed.head.epoch != epoch || last <= feed.head.last {
            return;
        }
        feed.head.last = last;
        if let Some(entry) = &entry {
            self.heed(entry);
        }
        let feed = &self.feeds[at];
        let next = entry.filter(|entry| entry.offset == feed.next && !feed.queued);
        match next {
            Some(entry) if self.phase == Phase::Open && self.reading.is_none() && self.next_again().is_none() => {
                let offset = entry.offset;
                if self.offer(now, at, entry, out) {
                    self.feeds[at].advance(offset.next());
                } else {
                    self.queue(at);
                }
            }
            _ => self.queue(at),
        }
    }

    /// A push that no log holds: now or never.
    pub(super) fn online(&mut self, now: Now, entry: Entry, out: &mut Vec<Output>) {
        if !self.terms.meets(&entry) || entry.urgency < self.floor() {
            return;
        }
        if !self.has_room() {
            self.tally.dropped += 1;
            return;
        }
        let deadline = now.moment + self.options.ack_timeout;
        let seq = self.window.send(None, None, 0, now.moment, deadline);
        self.put(now, seq, 0, entry, out);
    }

    /// A page came.
    pub(super) fn page(&mut self, now: Now, page: Page, out: &mut Vec<Output>) {
        let (log, reading) = match self.reading.take() {
            Some(Reading::Next(log, after)) => (log, Ok(after)),
            Some(Reading::Again(seq, log, offset)) => (log, Err((seq, offset))),
            Some(Reading::Stale) | None => return,
        };
        let Ok(at) = self.position(&log) else { return };
        if page.head.epoch != self.feeds[at].head.epoch {
            return self.reset(at, page.head);
        }
        self.feeds[at].learn(page.head);
        match reading {
            Ok(after) => self.next_page(now, at, after, page, out),
            Err((seq, offset)) => self.again(now, at, seq, offset, page, out),
        }
        if self.feeds[at].behind() {
            self.queue(at);
        }
    }

    /// Offers a piece of the log in order, up to the first entry that finds no room. What the page does not hold is
    /// gone for good and counts as settled: holes never stall a cursor.
    fn next_page(&mut self, now: Now, at: usize, mut after: Offset, page: Page, out: &mut Vec<Output>) {
        for entry in page.entries {
            let offset = entry.offset;
            self.feeds[at].settle(after.next(), Offset(offset.0 - 1));
            if !self.offer(now, at, entry, out) {
                return self.feeds[at].advance(offset);
            }
            after = offset;
        }
        self.feeds[at].settle(after.next(), page.looked);
        self.feeds[at].advance(after.max(page.looked).next());
    }

    /// Sends a push that is due again, if it still stands.
    fn again(&mut self, now: Now, at: usize, seq: u64, offset: Offset, page: Page, out: &mut Vec<Output>) {
        let Some(attempts) = self.window.flight(seq).map(|flight| flight.attempts) else { return };
        let stands = |entry: &Entry| entry.offset == offset && !entry.expired(now.wall);
        match page.entries.into_iter().next().filter(stands) {
            None => {
                self.window.remove(seq);
                self.feeds[at].settle(offset, offset);
            }
            // The floor was raised after it was sent once.
            Some(entry) if entry.urgency < self.floor() => self.window.withhold(seq, entry.urgency),
            // The device is to move, or online-only pushes have taken the room meanwhile: it stays as it is.
            Some(_) if !self.has_room_again(seq) => {}
            Some(entry) => {
                let deadline = now.moment + self.options.ack_timeout;
                let Some(seq) = self.window.resend(seq, now.moment, deadline) else { return };
                self.report_sent(now, at, attempts, &entry);
                self.put(now, seq, attempts, entry, out);
            }
        }
    }

    /// Offers an entry; false when it finds no room and must be read again later.
    fn offer(&mut self, now: Now, at: usize, entry: Entry, out: &mut Vec<Output>) -> bool {
        let feed = &mut self.feeds[at];
        let offset = entry.offset;
        let again = offset < feed.seen;
        if feed.cursor.settled.contains(offset.0) || (again && self.window.holds(&feed.log, offset)) {
            return true;
        }
        if !self.terms.meets(&entry) || entry.expired(now.wall) {
            feed.settle(offset, offset);
            return true;
        }
        self.heed(&entry);
        let (floor, room) = (self.floor(), self.has_room());
        let feed = &mut self.feeds[at];
        if entry.urgency < floor {
            feed.withheld = true;
            return true;
        }
        if !room || (!again && feed.cursor.settled.spans() >= self.options.settled_spans_max) {
            return false;
        }
        let attempts = feed.cursor.attempts.get(&offset).copied().unwrap_or(0);
        let deadline = now.moment + self.options.ack_timeout;
        // Who acks what is for any one device takes it from the others: the store is to know, receipts or not.
        let told = entry.receipts || entry.aim.as_ref().is_some_and(|aim| aim.any_of_user);
        let (place, reported) = ((feed.log.clone(), offset), told.then_some(entry.id));
        let seq = self.window.send(Some(place), reported, attempts, now.moment, deadline);
        self.report_sent(now, at, attempts, &entry);
        self.put(now, seq, attempts, entry, out);
        true
    }

    /// Takes away what an entry dismisses, as soon as that is known: what it names is not sent any more, also if it is being
    /// read to be sent again, and a place in the window comes free.
    fn heed(&mut self, entry: &Entry) {
        let Some(dismissed) = entry.aim.as_ref().and_then(|aim| aim.dismissal.as_ref()) else { return };
        if !self.terms.meets(entry) {
            return;
        }
        let Ok(at) = self.position(&dismissed.log) else { return };
        let feed = &mut self.feeds[at];
        if feed.head.epoch != dismissed.epoch || feed.cursor.settled.contains(dismissed.offset.0) {
            return;
        }
        // Such a log was taken out of the line, see `pump`.
        let crowded = feed.cursor.settled.spans() >= self.options.settled_spans_max;
        feed.settle(dismissed.offset, dismissed.offset);
        if let Some((seq, _)) = self.window.of_place(&dismissed.log, dismissed.offset) {
            self.window.remove(seq);
        }
        if crowded {
            self.queue(at);
        }
    }

    /// Hands a numbered push to the link.
    fn put(&mut self, now: Now, seq: u64, attempts: u32, entry: Entry, out: &mut Vec<Output>) {
        if self.unsent == 0 {
            self.stalled_since = now.moment;
        }
        self.unsent += entry.body.len() + PUSH_HEAD_BYTES;
        self.tally.sent += 1;
        self.tally.again += u64::from(attempts > 0);
        out.push(Output::Send(Frame::Push { seq, attempt: attempts + 1, entry }));
    }

    /// Heads came: what hints failed to say is known now.
    pub(super) fn heads(&mut self, now: Now, heads: Vec<(LogId, Head)>) {
        self.heads_at = now.moment + self.options.heads_interval;
        for (log, head) in heads {
            let Ok(at) = self.position(&log) else { continue };
            if head.epoch != self.feeds[at].head.epoch {
                self.reset(at, head);
                continue;
            }
            let feed = &mut self.feeds[at];
            feed.learn(head);
            if feed.withheld && feed.cursor.settled.spans() >= RESCAN_SPANS {
                self.rescan(at);
            } else {
                self.queue(at);
            }
        }
    }

    /// What was withheld may go now.
    pub(super) fn rescan_withheld(&mut self) {
        for at in 0..self.feeds.len() {
            if self.feeds[at].withheld {
                self.rescan(at);
            }
        }
    }

    fn rescan(&mut self, at: usize) {
        self.abandon_read(&self.feeds[at].log.clone());
        self.feeds[at].rescan();
        self.queue(at);
    }

    /// The log has a new life.
    fn reset(&mut self, at: usize, head: Head) {
        let log = self.feeds[at].log.clone();
        self.restart(at, Following { log, cursor: Cursor::default(), head });
    }

    fn restart(&mut self, at: usize, following: Following) {
        self.window.remove_log(&following.log);
        self.abandon_read(&following.log);
        self.feeds[at].restart(following);
        self.queue(at);
    }

    /// Puts a log in line to be read, if there is something to read.
    pub(super) fn queue(&mut self, at: usize) {
        let feed = &mut self.feeds[at];
        if feed.behind() && !feed.queued {
            feed.queued = true;
            self.turns.push_back(feed.log.clone());
        }
    }

    /// Reads what comes next, if there is room for it and no read is out.
    pub(super) fn pump(&mut self, out: &mut Vec<Output>) {
        if !self.sends() || self.reading.is_some() {
            return;
        }
        if let Some(seq) = self.next_again() {
            // Online-only pushes never rest, so what is due has a place.
            let Some((log, offset)) = self.window.flight(seq).and_then(|flight| flight.place.clone()) else { return };
            self.reading = Some(Reading::Again(seq, log.clone(), offset));
            return self.read(log, Offset(offset.0 - 1), 1, out);
        }
        if !self.has_room() {
            return;
        }
        while let Some(log) = self.turns.pop_front() {
            let Ok(at) = self.position(&log) else { continue };
            let feed = &mut self.feeds[at];
            feed.queued = false;
            let after = feed.skip_settled();
            let crowded = feed.next >= feed.seen && feed.cursor.settled.spans() >= self.options.settled_spans_max;
            if feed.behind() && !crowded {
                let room = self.window_size as usize - self.window.len();
                self.reading = Some(Reading::Next(log.clone(), after));
                return self.read(log, after, room.min(self.options.page_entries), out);
            }
        }
        self.turns = std::collections::VecDeque::new();
    }

    fn read(&mut self, log: LogId, after: Offset, entries: usize, out: &mut Vec<Output>) {
        let room = self.options.unsent_bytes_max - self.unsent;
        self.tally.reads += 1;
        out.push(Output::Read { log, after, entries, bytes: room.min(self.options.page_bytes) });
    }

    /// Whether anything may be sent now.
    fn sends(&self) -> bool {
        self.phase == Phase::Open
            && !self.held
            && self.unsent < self.options.unsent_bytes_max
            && !self.settling.is_full(self.window_size)
    }

    fn has_room(&self) -> bool {
        self.sends() && self.window.len() < self.window_size as usize
    }

    /// What was sent once has its place in the window, unless it was withheld since.
    fn has_room_again(&self, seq: u64) -> bool {
        if self.window.is_withheld(seq) {
            return self.has_room();
        }
        self.sends()
    }

    /// The next push to be sent again: it goes before what is new.
    fn next_again(&self) -> Option<u64> {
        let accepted = || self.window.first_accepted(self.floor()).filter(|_| self.has_room());
        self.window.first_due().or_else(accepted)
    }

    pub(super) fn position(&self, log: &LogId) -> Result<usize, usize> {
        self.feeds.binary_search_by(|feed| feed.log.cmp(log))
    }
}
