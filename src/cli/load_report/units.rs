//! Numbers as people read them: three digits and a unit. It knows no report.

/// A number in two parts, so that columns can align digits and units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figure {
    /// Digits with sign and separators.
    pub(super) digits: String,
    /// Its unit; empty for counts.
    pub(super) unit: &'static str,
}

impl Figure {
    /// Both parts without needless zeros, as round values are named on an axis.
    pub(super) fn short(&self) -> String {
        let is_fraction = self.digits.contains('.') && !self.digits.contains('e');
        let digits = if is_fraction { self.digits.trim_end_matches('0').trim_end_matches('.') } else { &*self.digits };
        Self { digits: digits.to_owned(), unit: self.unit }.text()
    }

    /// Both parts, as in running text.
    pub(super) fn text(&self) -> String {
        if self.unit.is_empty() { self.digits.clone() } else { format!("{} {}", self.digits, self.unit) }
    }
}

/// A time, given in milliseconds.
pub(super) fn millis(millis: f64) -> Figure {
    micros(millis * 1000.0)
}

/// The length of a run.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds > 0.0 { micros(seconds * 1e6).text() } else { "0 s".to_owned() }
}

/// A time, given in microseconds.
pub(super) fn micros(micros: f64) -> Figure {
    scaled(micros, &[(1e-3, "ns"), (1.0, "µs"), (1e3, "ms"), (1e6, "s")], "µs")
}

/// A size in memory.
pub(super) fn bytes(bytes: f64) -> Figure {
    const KIB: f64 = 1024.0;
    let steps =
        [(1.0, "B"), (KIB, "KiB"), (KIB * KIB, "MiB"), (KIB * KIB * KIB, "GiB"), (KIB * KIB * KIB * KIB, "TiB")];
    let figure = scaled(bytes, &steps, "B");
    // There is no part of a byte.
    let digits = if figure.unit == "B" { format!("{bytes:.0}") } else { figure.digits };
    Figure { digits, unit: figure.unit }
}

/// How often something happens.
pub(super) fn rate(per_second: f64) -> Figure {
    scaled(per_second, &[(1.0, "/s"), (1e3, "k/s"), (1e6, "M/s"), (1e9, "G/s")], "/s")
}

/// How many, where there may be parts of one.
pub(super) fn number(number: f64) -> Figure {
    scaled(number, &[(1.0, "")], "")
}

/// How many, with separators.
pub(super) fn count(count: u64) -> Figure {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    Figure { digits: grouped, unit: "" }
}

/// A share of one, as a quantile is spoken of: as many nines as it has.
pub(super) fn percent(share: f64) -> String {
    // The distance to one decides how many digits tell it from its neighbours.
    let rest = (1.0 - share).max(1e-9);
    let decimals = if share <= 0.0 || rest > 0.015 { 0.0 } else { (-rest.log10() - 2.0 + 0.99).floor().max(0.0) };
    let text = if share < 1.0 { format!("{:.*}", decimals as usize, share * 100.0) } else { "100".to_owned() };
    format!("{text} %")
}

/// How many times the earlier figure it is.
pub(super) fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 9999.5 => ">9999x".to_owned(),
        ratio if ratio >= 99.95 => format!("{ratio:.0}x"),
        ratio if ratio >= 9.995 => format!("{ratio:.1}x"),
        ratio => format!("{ratio:.2}x"),
    }
}

/// The value in the largest of the rising units in which it is not below one. `zero` is the unit of nothing at all.
fn scaled(value: f64, steps: &[(f64, &'static str)], zero: &'static str) -> Figure {
    let size = value.abs();
    if !size.is_finite() {
        return Figure { digits: "\u{2013}".to_owned(), unit: "" };
    }
    if size == 0.0 {
        return Figure { digits: "0".to_owned(), unit: zero };
    }
    // 999.6 would be rounded to a fourth digit, so it belongs to the next unit already.
    let fits = steps.iter().find(|(step, _)| size / step < 999.5).or(steps.last());
    let (step, unit) = fits.copied().unwrap_or((1.0, zero));
    let size = size / step;
    let sign = if value < 0.0 { "-" } else { "" };
    let digits = match size {
        size if size < 1e-6 => format!("{sign}{size:.1e}"),
        size if size < 0.9995 => format!("{sign}{size:.*}", 2 + (-size.log10()).ceil() as usize),
        size if size < 9.995 => format!("{sign}{size:.2}"),
        size if size < 99.95 => format!("{sign}{size:.1}"),
        size if size < 99_999.5 => format!("{sign}{size:.0}"),
        size => format!("{sign}{size:.1e}"),
    };
    Figure { digits, unit }
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, micros, millis, number, percent, rate, ratio};

    #[test]
    fn figures_have_three_digits_and_a_unit_that_fits() {
        for (figure, text) in [
            (millis(0.0), "0 µs"),
            (millis(0.000_25), "250 ns"),
            (millis(0.0041), "4.10 µs"),
            (millis(0.9996), "1.00 ms"),
            (millis(9.996), "10.0 ms"),
            (millis(99.96), "100 ms"),
            (millis(4321.0), "4.32 s"),
            (millis(86_400_000.0), "86400 s"),
            (millis(f64::MAX / 2000.0), "9.0e301 s"),
            (millis(1e-300), "1.0e-294 ns"),
            (micros(4.1), "4.10 µs"),
            (bytes(0.0), "0 B"),
            (bytes(512.0), "512 B"),
            (bytes(27.0 * 1024.0), "27.0 KiB"),
            (bytes(1023.0 * 1024.0), "0.999 MiB"),
            (bytes(-2048.0), "-2.00 KiB"),
            (bytes(3.5 * 1024.0 * 1024.0 * 1024.0), "3.50 GiB"),
            (rate(0.0), "0 /s"),
            (rate(0.2), "0.200 /s"),
            (rate(0.0123), "0.0123 /s"),
            (rate(31.24), "31.2 /s"),
            (rate(312_345.0), "312 k/s"),
            (rate(1_250_000.0), "1.25 M/s"),
            (number(3.4), "3.40"),
            (count(0), "0"),
            (count(999), "999"),
            (count(3_870_000), "3,870,000"),
            (count(u64::MAX), "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(figure.text(), text);
        }
    }

    #[test]
    fn round_values_are_short_on_an_axis() {
        for (figure, text) in [
            (millis(10_000.0), "10 s"),
            (millis(0.5), "500 µs"),
            (number(0.5), "0.5"),
            (number(0.0), "0"),
            (bytes(1_572_864.0), "1.5 MiB"),
            (number(1e200), "1.0e200"),
            (number(f64::NAN), "\u{2013}"),
        ] {
            assert_eq!(figure.short(), text);
        }
    }

    #[test]
    fn what_is_no_number_is_not_shown_as_one() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for figure in [millis(value), bytes(value), rate(value), number(value)] {
                assert_eq!(figure.text(), "\u{2013}");
            }
        }
    }

    #[test]
    fn quantiles_show_their_nines() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.5, "50 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
            (0.995, "99.5 %"),
            (0.999, "99.9 %"),
            (0.9999, "99.99 %"),
            (0.999_99, "99.999 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn ratios_stay_short() {
        for (value, text) in
            [(0.0, "0.00x"), (0.873, "0.87x"), (1.0, "1.00x"), (12.34, "12.3x"), (250.0, "250x"), (1e300, ">9999x")]
        {
            assert_eq!(ratio(value), text);
        }
    }
}
