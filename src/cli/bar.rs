//! How far a long list is: a bar on a terminal, else a line now and then; nothing for what takes one request.

use crate::cli::load_report::progress::{self, Step};
use crate::cli::style::Output;
use crate::cli::users::USERS_PER_REQUEST;
use crate::model::clock::Clock;

/// A bar, if the list is worth one. It vanishes when dropped.
#[derive(Debug)]
pub(super) struct Bar {
    bar: Option<progress::Bar>,
    phase: &'static str,
    total: u64,
}

impl Bar {
    /// For a list of so many.
    pub(super) fn new(phase: &'static str, total: usize, output: Output) -> Self {
        let is_worth = total > USERS_PER_REQUEST && !output.json;
        Self { bar: is_worth.then(|| progress::Bar::new(Clock::new())), phase, total: total as u64 }
    }

    /// So many are done.
    pub(super) fn update(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.update(&Step { phase: self.phase, done, total: self.total, time: None, note: "" });
        }
    }
}
