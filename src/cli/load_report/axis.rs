//! Scales of plots: where a value stands on an axis and which values are named there. It draws nothing.

/// A logarithmic scale from one round value to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LogScale {
    low: f64,
    high: f64,
}

impl LogScale {
    /// The scale that has room for all values. Those that are no positive number are left aside; without any, it is a
    /// scale around one.
    pub(super) fn around(values: impl IntoIterator<Item = f64>) -> Self {
        let sound = values.into_iter().filter(|value| value.is_finite() && *value >= SMALLEST && *value <= LARGEST);
        let bounds = sound.fold(None, |bounds: Option<(f64, f64)>, value| {
            Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        let (least, most) = bounds.unwrap_or((1.0, 1.0));
        let (mut low, mut high) = (round_below(least), round_below(most));
        while high < most * 0.999_999 {
            high = next(high);
        }
        if low >= high {
            // All values are one round value: give it room on both sides.
            low = round_below(low * 0.6);
            high = next(high);
        }
        Self { low, high }
    }

    /// Where a value stands: 0 at the lower end, 1 at the upper end, never beyond.
    pub(super) fn place(self, value: f64) -> f64 {
        let share = (value.max(SMALLEST) / self.low).ln() / (self.high / self.low).ln();
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round values to name, rising, about as many as asked at most.
    pub(super) fn ticks(self, most: usize) -> Vec<f64> {
        let all: Vec<f64> = std::iter::successors(Some(self.low), |tick| Some(next(*tick)))
            .take_while(|tick| *tick <= self.high * 1.000_001)
            .collect();
        if all.len() > 3 && all.len() <= most {
            return all;
        }
        if all.len() <= 3 {
            let decade = 10.0_f64.powf((self.low.log10() + 1e-6).floor());
            let within = |tick: &f64| *tick >= self.low * 0.999_999 && *tick <= self.high * 1.000_001;
            let fine: Vec<f64> = FINE.iter().map(|digit| digit * decade).filter(within).collect();
            return if fine.len() <= most { fine } else { all };
        }
        let decades: Vec<f64> =
            all.into_iter().filter(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-6).collect();
        let step = decades.len().div_ceil(most.max(1)).max(1);
        decades.into_iter().step_by(step).collect()
    }
}

/// A scale from zero to a round value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LinearScale {
    high: f64,
    step: f64,
}

impl LinearScale {
    /// The scale that has room for all values and names about four of them. `base` is what units are multiples of: 10 or,
    /// for bytes, 2.
    pub(super) fn upto(values: impl IntoIterator<Item = f64>, base: Base) -> Self {
        let most = values.into_iter().filter(|value| value.is_finite()).fold(0.0, f64::max).clamp(0.0, LARGEST);
        let most = if most > 0.0 { most } else { 1.0 };
        let raw = most / 4.0;
        let step = match base {
            Base::Ten => std::iter::successors(Some(round_below(raw)), |step| Some(next(*step)))
                .find(|step| *step >= raw * 0.999_999),
            Base::Two => Some(2.0_f64.powi(raw.log2().ceil() as i32)),
        };
        let step = step.unwrap_or(most);
        Self { high: (most / step).ceil().max(1.0) * step, step }
    }

    /// Where a value stands: 0 at the lower end, 1 at the upper end, never beyond.
    pub(super) fn place(self, value: f64) -> f64 {
        let share = value / self.high;
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round values to name, from zero.
    pub(super) fn ticks(self) -> Vec<f64> {
        let count = (self.high / self.step).round() as usize;
        (0..=count).map(|index| index as f64 * self.step).collect()
    }
}

/// What units are multiples of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Counts and times.
    Ten,
    /// Bytes.
    Two,
}

/// The axis of quantiles as HDR plots have it: each further nine takes as much room as the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct QuantileScale {
    nines: f64,
}

impl QuantileScale {
    /// The scale that ends at the last quantile that the curves tell apart from the slowest.
    pub(super) fn around<'c>(curves: impl IntoIterator<Item = &'c [(f64, f64)]>) -> Self {
        let quantiles = curves.into_iter().flatten().map(|(quantile, _)| *quantile);
        let last = quantiles.filter(|quantile| *quantile < 1.0).fold(0.0, f64::max);
        Self { nines: nines(last).clamp(1.0, NINES_MAX) }
    }

    /// Where a quantile stands: 0 at the fastest; the slowest, and what the scale has no room for, at 1.
    pub(super) fn place(self, quantile: f64) -> f64 {
        if quantile.is_finite() { (nines(quantile) / self.nines).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Quantiles to name, rising.
    pub(super) fn ticks(self) -> Vec<f64> {
        QUANTILES.into_iter().filter(|quantile| nines(*quantile) <= self.nines + 1e-6).collect()
    }
}

/// How often the rest above the quantile was divided by ten.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile.clamp(0.0, 1.0)).max(1e-12).log10()
}

/// The largest of 1, 2, 5, 10, 20, ... that is not above the value.
fn round_below(value: f64) -> f64 {
    let value = value.clamp(SMALLEST, LARGEST);
    let decade = 10.0_f64.powf(value.log10().floor());
    // Logarithms of round values come out a little beside them.
    let share = value / decade * 1.000_001;
    let digit = if share >= 10.0 {
        10.0
    } else if share >= 5.0 {
        5.0
    } else if share >= 2.0 {
        2.0
    } else {
        1.0
    };
    decade * digit
}

/// The round value above a round value.
fn next(round: f64) -> f64 {
    let decade = 10.0_f64.powf((round.log10() + 1e-6).floor());
    let factor = if round / decade > 1.5 && round / decade < 3.0 { 2.5 } else { 2.0 };
    round * factor
}

/// Named where a scale spans so little that its round values would be two or three.
const FINE: [f64; 12] = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0];

/// Named on the axis of quantiles.
const QUANTILES: [f64; 7] = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.999_99];

/// The axis of quantiles ends here: a run of a million.
const NINES_MAX: f64 = 6.0;

/// Below it all is one; a billionth of a millisecond is below what clocks tell.
const SMALLEST: f64 = 1e-9;

/// Above it nothing measured can be.
const LARGEST: f64 = 1e18;

#[cfg(test)]
mod tests {
    use super::{Base, LinearScale, LogScale, QuantileScale};

    #[test]
    fn a_log_scale_ends_at_round_values() {
        for (values, low, high) in [
            (&[1.0, 31.0][..], 1.0, 50.0),
            (&[0.37, 0.37], 0.2, 0.5),
            (&[5.0], 2.0, 10.0),
            (&[1.0], 0.5, 2.0),
            (&[1000.0, 10.0], 10.0, 1000.0),
            (&[f64::NAN, f64::INFINITY, -1.0, 0.0], 0.5, 2.0),
            (&[], 0.5, 2.0),
        ] {
            let scale = LogScale::around(values.iter().copied());
            let close = (scale.low / low - 1.0).abs() < 1e-6 && (scale.high / high - 1.0).abs() < 1e-6;
            assert!(close, "{values:?}: {scale:?}");
        }
    }

    #[test]
    fn no_value_stands_outside_a_scale() {
        let extreme =
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN, f64::MAX, f64::MIN_POSITIVE, 0.0, -1.0, 7.0];
        for most in extreme {
            let places = |value: f64| {
                let log = LogScale::around([1.0, most]);
                let linear = LinearScale::upto([most], Base::Ten);
                let binary = LinearScale::upto([most], Base::Two);
                let quantile = QuantileScale::around([&[(most, 1.0)][..]]);
                assert!(log.ticks(5).len() <= 6 && linear.ticks().len() <= 6 && binary.ticks().len() <= 6);
                assert!(!log.ticks(5).is_empty(), "{log:?}");
                [log.place(value), linear.place(value), binary.place(value), quantile.place(value)]
            };
            for place in extreme.into_iter().flat_map(places) {
                assert!((0.0..=1.0).contains(&place), "{most}: {place}");
            }
        }
    }

    #[test]
    fn each_nine_takes_as_much_room() {
        let scale = QuantileScale::around([&[(0.5, 1.0), (0.9999, 2.0), (1.0, 3.0)][..]]);
        assert_eq!(scale.ticks(), [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]);
        for (quantile, place) in [(0.0, 0.0), (0.9, 0.25), (0.99, 0.5), (0.999, 0.75), (0.9999, 1.0), (1.0, 1.0)] {
            assert!((scale.place(quantile) - place).abs() < 1e-9, "{quantile}");
        }
        assert_eq!(QuantileScale::around([&[][..]]).ticks(), [0.0, 0.5, 0.9], "without points");
    }

    #[test]
    fn a_linear_scale_has_round_steps() {
        for (most, base, ticks) in [
            (402_000.0, Base::Ten, &[0.0, 200_000.0, 400_000.0, 600_000.0][..]),
            (4.0, Base::Ten, &[0.0, 1.0, 2.0, 3.0, 4.0]),
            (300.0, Base::Two, &[0.0, 128.0, 256.0, 384.0]),
            (0.0, Base::Ten, &[0.0, 0.5, 1.0]),
        ] {
            let found = LinearScale::upto([most], base).ticks();
            let close = found.len() == ticks.len() && found.iter().zip(ticks).all(|(a, b)| (a - b).abs() <= b * 1e-6);
            assert!(close, "{most}: {found:?}");
        }
    }
}
