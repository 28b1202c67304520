//! The devices of a world: they read when they like, settle what they like, and sometimes talk nonsense.

use crate::delivery::session::Input;
use crate::model::cursor::{Cursor, Following};
use crate::model::frame::{Ack, Frame, Nack, Ticket, Verdict};
use crate::model::message::{Entry, Urgency};

use crate::delivery::worlds::world::{World, agreed, topic};

impl World {
    /// Some of what is on the wire reaches the device, in order.
    pub(super) fn flush(&mut self, number: usize) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        let frames = if self.well { connection.wire.len() } else { self.rng.usize(0..=connection.wire.len()) };
        let frames: Vec<_> = connection.wire.drain(..frames).collect();
        for frame in frames {
            match frame {
                Frame::Push { seq, entry, .. } => self.arrive(number, seq, &entry),
                // Else it does not heed it, or not in time.
                Frame::TokenExpiring { .. } if self.well || self.rng.bool() => self.renew(number),
                _ => {}
            }
        }
        let connection = self.devices[number].connection.as_mut().expect("it was there");
        let bytes = connection.wire_bytes;
        self.feed(number, Input::Unsent(bytes));
    }

    pub(super) fn arrive(&mut self, number: usize, seq: u64, entry: &Entry) {
        let device = &mut self.devices[number];
        let connection = device.connection.as_mut().expect("something arrived on it");
        connection.wire_bytes -= entry.body.len() + 64;
        connection.held.insert(seq, entry.id);
        let first = device.received.insert(entry.id);
        let home = self.logs.iter().find(|(_, log)| log.entries.get(&entry.offset.0).is_some_and(|e| e.id == entry.id));
        // A message that had expired may come late when the wall clock jumps back.
        let alive = entry.expires_at > self.wall_max;
        if let Some((id, log)) = home.filter(|_| first && alive && !device.unordered) {
            let newest = device.newest.entry((id.clone(), log.head.epoch)).or_default();
            assert!(entry.offset.0 > *newest, "offset {} of {id} came after {newest}", entry.offset.0);
            *newest = entry.offset.0;
        }
    }

    /// The device settles some of what it holds, and sometimes talks nonsense.
    pub(super) fn settle(&mut self, number: usize) {
        self.tickets += 1;
        let ticket = self.tickets;
        let well = self.well;
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        let mut ack = Ack::default();
        let mut named = Vec::new();
        if !well && !connection.said.is_empty() && self.rng.u8(0..6) == 0 {
            // Its last answer was lost, or it is confused: it says something again, as it was or otherwise.
            let seq = connection.said[self.rng.usize(0..connection.said.len())];
            ack.nacked.push(Nack { seq, verdict: Verdict::Retry, reason: "again".into() });
        }
        for (seq, id) in std::mem::take(&mut connection.held) {
            connection.said.push(seq);
            match if well { 0 } else { self.rng.u8(0..8) } {
                0..=3 => {
                    ack.acked.push((seq, seq));
                    named.push(id);
                }
                4 => {
                    let verdict = if self.rng.u8(0..8) == 0 { Verdict::Reject } else { Verdict::Retry };
                    ack.nacked.push(Nack { seq, verdict, reason: "no".into() });
                }
                5 => {} // Forgotten: the ack timeout will find it.
                _ => {
                    connection.held.insert(seq, id);
                    connection.said.pop();
                }
            }
        }
        if ack.acked.is_empty() && ack.nacked.is_empty() {
            return;
        }
        if !well && self.rng.u8(0..20) == 0 {
            // A seq that was never sent: nothing of the request may be applied.
            ack.acked.push((1, 1_000_000));
            named.clear();
        }
        connection.asked_acks.insert(ticket, named);
        self.feed(number, Input::Ack(Ticket(ticket), ack));
    }

    pub(super) fn topics(&mut self, number: usize) {
        // Requests that write wait while what is followed is read anew.
        if self.devices[number].connection.as_ref().is_none_or(|connection| connection.refreshing) {
            return;
        }
        let id = topic(self.rng.u32(0..2));
        if self.devices[number].cursors.contains_key(&id) {
            if self.rng.u8(0..3) == 0 {
                self.devices[number].cursors.remove(&id);
                self.devices[number].owed_after.remove(&id);
                // Followed anew it begins at the head: older messages are none of its business.
                self.devices[number].left.insert(id);
                let (following, quiet) = (self.following(number), self.quiet[number / 2].clone());
                if let Some(connection) = self.devices[number].connection.as_mut() {
                    connection.quiet = quiet.clone();
                }
                self.feed(number, Input::Refreshed(following, quiet));
            }
            return;
        }
        let head = self.log(&id).head;
        let cursor = Cursor::after(head.epoch, head.last);
        let device = &mut self.devices[number];
        device.cursors.insert(id.clone(), cursor.clone());
        device.owed_after.insert(id.clone(), (head.epoch, head.last.0));
        self.feed(number, Input::Followed(vec![Following { log: id, cursor, head }]));
    }

    pub(super) fn update(&mut self, number: usize, floor: Option<Urgency>, window: Option<u32>) {
        self.tickets += 1;
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        connection.asked_acks.insert(self.tickets, Vec::new());
        let ticket = Ticket(self.tickets);
        if connection.session.over() {
            connection.asked_acks.remove(&ticket.0);
            return;
        }
        connection.floor = floor.unwrap_or(connection.floor);
        connection.window = window.map_or(connection.window, agreed);
        self.feed(number, Input::Update(ticket, floor, window));
    }
}
