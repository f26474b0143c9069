//! Numbers as text: the same rounding in all outputs for people.

use crate::statistics::{Difference, Interval};

/// Three significant digits or whole numbers with thousands separators: `0.123`, `12.3`, `12,345`.
pub(crate) fn plain(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "-".to_owned();
    }
    if size >= 99.95 {
        grouped(value.round())
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else if size >= 0.9995 || size == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

pub fn whole(value: f64) -> String {
    if value.is_finite() { grouped(value.round()) } else { "-".to_owned() }
}

/// A round value on an axis: `0.5`, `20`, `2,000`.
pub(crate) fn axis(value: f64) -> String {
    if value.abs() >= 1000.0 {
        return grouped(value.round());
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration given in milliseconds: `850 ms`, `12.3 s`.
pub(crate) fn millis(value: f64) -> String {
    if value.abs() >= 9_999.5 {
        format!("{} s", plain(value / 1e3))
    } else {
        format!("{} ms", plain(value))
    }
}

/// A share as percent: `1 %`, `0.5 %`.
pub(crate) fn share(value: f64) -> String {
    format!("{} %", axis(100.0 * value))
}

/// A change with its sign: `+12.3 %`, `-0.4 %`.
pub(crate) fn percent(value: f64) -> String {
    format!("{} %", points(value))
}

/// The same without its unit: `+12.3`.
pub(crate) fn points(value: f64) -> String {
    // A difference that rounds to zero has no direction.
    let rounded = (value * 10.0).round() / 10.0;
    let sign = match rounded {
        above if above > 0.0 => "+",
        below if below < 0.0 => "-",
        _ => "",
    };
    format!("{sign}{}", tenths(rounded.abs()))
}

fn tenths(size: f64) -> String {
    if size >= 1000.0 { grouped(size.round()) } else { format!("{size:.1}") }
}

/// `0.012`, `2e-9`; never more zeros than a double can hold.
pub(crate) fn p_value(value: f64) -> String {
    if value >= 0.001 {
        format!("{value:.3}")
    } else if value >= 1e-12 {
        format!("{value:.0e}")
    } else {
        "<1e-12".to_owned()
    }
}

/// With half the width of its interval, if any: `+12.3 % ± 0.8`.
pub(crate) fn change(difference: &Difference) -> String {
    with_doubt(difference.percent, difference.interval.as_ref())
}

/// The same from its parts.
pub(crate) fn with_doubt(value: f64, interval: Option<&Interval>) -> String {
    percent(value) + &doubt(interval)
}

/// Without a sign, where a verb gives the direction: `12.3 % ± 0.8`.
pub(crate) fn size(difference: &Difference) -> String {
    let size = tenths((difference.percent.abs() * 10.0).round() / 10.0);
    format!("{size} %{}", doubt(difference.interval.as_ref()))
}

fn doubt(interval: Option<&Interval>) -> String {
    match interval {
        // A width that rounds to zero is not zero.
        Some(interval) if interval.half_width() > 0.0 && interval.half_width() < 0.05 => {
            " ± <0.1".to_owned()
        }
        Some(interval) => format!(" ± {:.1}", interval.half_width()),
        None => String::new(),
    }
}

fn grouped(whole: f64) -> String {
    let digits = format!("{:.0}", whole.abs());
    let mut text = String::new();
    if whole < 0.0 {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(plain(0.0), "0.00");
        assert_eq!(plain(0.1234), "0.123");
        assert_eq!(plain(9.999), "10.0");
        assert_eq!(plain(99.96), "100");
        assert_eq!(plain(1234567.4), "1,234,567");
        assert_eq!(plain(-1234.0), "-1,234");
        assert_eq!(millis(850.4), "850 ms");
        assert_eq!(millis(12_345.0), "12.3 s");
    }

    #[test]
    fn changes_carry_their_sign() {
        assert_eq!(percent(12.34), "+12.3 %");
        assert_eq!(percent(-0.44), "-0.4 %");
        assert_eq!(percent(-0.01), "0.0 %");
        assert_eq!(percent(12345.0), "+12,345 %");
        assert_eq!(axis(0.25), "0.25");
        assert_eq!(axis(20000.0), "20,000");
    }
}
