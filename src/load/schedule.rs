//! When pushes of an open loop are due: at a steady rate, whatever happened to those before. It pushes nothing.

use std::time::Duration;

use crate::model::clock::Moment;

/// A steady rate. What was due during a stall is due still, and its latency counts from then: so the stall counts for all
/// that it delayed (coordinated omission), and the load stays what was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    from: Moment,
    per_second: f64,
    /// How many were handed out.
    count: u64,
}

impl Schedule {
    pub(super) const fn new(from: Moment, per_second: f64) -> Self {
        Self { from, per_second, count: 0 }
    }

    /// The moment at which the next one was due, if that has come.
    pub(super) fn next(&mut self, now: Moment) -> Option<Moment> {
        // From the beginning each time: steps rounded to microseconds would add up.
        let due = self.from + Duration::from_secs_f64(self.count as f64 / self.per_second);
        if due > now {
            return None;
        }
        self.count += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;
    use crate::model::clock::Moment;

    fn at(micros: u64) -> Moment {
        Moment::from_micros(5_000_000 + micros)
    }

    fn due(schedule: &mut Schedule, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.next(at(now))).map(|due| due.since(at(0)).as_micros() as u64).collect()
    }

    #[test]
    fn each_is_due_at_its_moment_also_after_a_stall() {
        let mut schedule = Schedule::new(at(0), 1000.0);
        assert_eq!(due(&mut schedule, 0), [0]);
        assert!(due(&mut schedule, 999).is_empty());
        assert_eq!(due(&mut schedule, 2500), [1000, 2000]);
        // Nothing moved for a second: a thousand are late, each by its own time.
        let late = due(&mut schedule, 1_002_500);
        assert_eq!((late.len(), late[0], late[999]), (1000, 3000, 1_002_000));
        assert!(due(&mut schedule, 1_002_999).is_empty());
    }

    #[test]
    fn a_rate_that_does_not_fit_microseconds_is_kept() {
        for per_second in [300_000.0, 7.0, 0.3] {
            let mut schedule = Schedule::new(at(0), per_second);
            let count = due(&mut schedule, 10_000_000).len() as f64;
            assert!((count - per_second * 10.0).abs() <= 1.0, "{count} at {per_second}");
        }
    }
}
