//! How a command that follows a stream goes on after it was cut: it says so, waits a little, longer each time, and asks
//! again from where it was.

use std::time::Duration;

use tokio::time::sleep;

use crate::cli::moment;
use crate::cli::style::Output;
use crate::client::backend::Error;

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Resume {
    failures: u32,
}

impl Resume {
    /// All is well again.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The error itself, when trying again will not help.
    pub(super) async fn wait(&mut self, why: Error, position: Option<u64>, output: Output) -> Result<(), Error> {
        if !why.is_temporary() {
            return Err(why);
        }
        let ceiling = BASE.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        // Anything up to it, so that followers that were cut together do not come back together.
        let pause = ceiling.mul_f64(fastrand::f64());
        let place = position.map(|position| format!(" after position {position}")).unwrap_or_default();
        let words = moment::span(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        output.note(&format!("{why}; going on{place} in {words}"));
        sleep(pause).await;
        Ok(())
    }
}

/// Longest first pause.
const BASE: Duration = Duration::from_millis(500);

/// Longest pause of all. A guess: a person who waits for a gateway to come back waits no longer.
const MAX: Duration = Duration::from_secs(10);
