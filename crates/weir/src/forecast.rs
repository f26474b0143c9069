use weir_lab::Forecast;
use weir_report::numerals;

pub(crate) fn forecast_words(of: &Forecast) -> String {
    let time = match of.seconds {
        None => "as long as the server takes for all requests".to_owned(),
        Some(seconds) => duration_words(seconds),
    };
    let time = if of.is_live { time } else { format!("{time} of simulation") };
    match of.requests {
        Some(requests) => {
            format!("about {} requests, {time}", numerals::whole(two_digits(requests)))
        }
        None => time,
    }
}

pub(crate) fn duration_words(seconds: f64) -> String {
    if seconds < 10.0 {
        "less than 10 s".to_owned()
    } else if seconds < 100.0 {
        format!("about {:.0} s", two_digits(seconds))
    } else if seconds < 100.0 * 60.0 {
        format!("about {:.0} min", (seconds / 60.0).round())
    } else {
        format!("about {:.0} h", (seconds / 3600.0).round())
    }
}

/// A forecast has no more significant digits.
fn two_digits(value: f64) -> f64 {
    if value < 100.0 {
        return value.round();
    }
    let unit = libm::pow(10.0, (libm::log10(value)).floor() - 1.0);
    (value / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        let words = [3.0, 42.4, 240.0, 5400.0, 40_000.0].map(duration_words);
        assert_eq!(
            words,
            ["less than 10 s", "about 42 s", "about 4 min", "about 90 min", "about 11 h"]
        );
        assert_eq!(two_digits(1234.0), 1200.0);
        assert_eq!(two_digits(87.6), 88.0);
    }
}
