//! When the node's upkeep is to wake: at the end of its pause, or earlier when something comes that is due before. It
//! does not know what that is.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::model::clock::Timestamp;

/// An alarm that one task sleeps by and many set.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// When the sleeper will wake by itself, in milliseconds; the end of time while it is awake.
    planned: AtomicU64,
    /// Wakes it before.
    earlier: Notify,
}

impl Alarm {
    pub(crate) const fn new() -> Self {
        Self { planned: AtomicU64::new(u64::MAX), earlier: Notify::const_new() }
    }

    /// Something is due then. Who sleeps longer wakes and looks; who sleeps less is left alone, so that many that are far
    /// off cost nothing.
    pub(crate) fn set(&self, at: Timestamp) {
        if at.as_millis() < self.planned.fetch_min(at.as_millis(), Ordering::AcqRel) {
            self.earlier.notify_one();
        }
    }

    /// The sleeper begins to look for what is due: whatever is set from now on it may have missed.
    pub(crate) fn awake(&self) {
        self.planned.store(u64::MAX, Ordering::Release);
    }

    /// The sleeper has looked and will sleep until then. Returns at once if something earlier was set meanwhile, and as
    /// soon as that happens.
    ///
    /// Cancel-safe: a wake that nobody took is there for the next call.
    pub(crate) async fn earlier_than(&self, planned: Timestamp) {
        self.planned.fetch_min(planned.as_millis(), Ordering::AcqRel);
        self.earlier.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Alarm;
    use crate::model::clock::Timestamp;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn what_is_due_before_the_plan_wakes_and_nothing_else_does() {
        let alarm = Alarm::new();
        alarm.awake();
        let mut sleep = Box::pin(alarm.earlier_than(at(100)));
        assert!((&mut sleep).now_or_never().is_none());
        alarm.set(at(100));
        alarm.set(at(500));
        assert!((&mut sleep).now_or_never().is_none(), "it will be awake then anyway");
        alarm.set(at(99));
        assert!(sleep.now_or_never().is_some());
    }

    #[test]
    fn what_is_set_while_the_sleeper_looks_is_not_missed() {
        let alarm = Alarm::new();
        alarm.awake();
        alarm.set(at(700));
        assert!(alarm.earlier_than(at(100)).now_or_never().is_some(), "it may not have seen it");
        alarm.awake();
        assert!(alarm.earlier_than(at(100)).now_or_never().is_none(), "it wakes once");
    }
}
