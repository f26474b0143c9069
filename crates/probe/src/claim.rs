//! What is said about the ratio of two tiers, and whether an interval bears it out.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::against::Facet;
use crate::error::ProbeError;

/// Largest ratio that a claim may name; more is a slip.
const MOST: f64 = 1e6;

/// A statement such as `read >= 2.5` or `write 1.2..1.8`, about A over B.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    /// What it is about.
    pub facet: Facet,
    low: f64,
    high: f64,
    text: String,
}

/// What an interval says of an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// All of the interval lies where it says.
    BorneOut,
    /// None of it does.
    NotBorneOut,
    /// The interval lies on both sides of its bound, or there is none.
    Undecided,
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BorneOut => "borne out",
            Self::NotBorneOut => "not borne out",
            Self::Undecided => "undecided",
        })
    }
}

impl Assertion {
    /// By the interval of the ratio, where there is one.
    pub fn judge(&self, interval: Option<(f64, f64)>) -> Ruling {
        let Some((low, high)) = interval else { return Ruling::Undecided };
        if self.low <= low && high <= self.high {
            Ruling::BorneOut
        } else if high < self.low || self.high < low {
            Ruling::NotBorneOut
        } else {
            Ruling::Undecided
        }
    }
}

impl FromStr for Assertion {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        let refused = || {
            ProbeError::value(
                "claim",
                format!("`{text}` does not say what ratio is expected"),
                "write `read >= 2.5`, `write <= 0.8` or `read 2..3`, of A over B",
            )
        };
        let trimmed = text.trim();
        let found = Facet::ALL
            .into_iter()
            .find_map(|facet| Some((facet, trimmed.strip_prefix(facet.name())?.trim())));
        let (facet, rest) = found.ok_or_else(refused)?;
        let number = |text: &str| {
            let value: f64 = text.trim().parse().map_err(|_| refused())?;
            if value > 0.0 && value <= MOST { Ok(value) } else { Err(refused()) }
        };
        let (low, high) = if let Some(least) = rest.strip_prefix(">=") {
            (number(least)?, f64::INFINITY)
        } else if let Some(most) = rest.strip_prefix("<=") {
            (0.0, number(most)?)
        } else if let Some((low, high)) = rest.split_once("..") {
            (number(low)?, number(high)?)
        } else {
            return Err(refused());
        };
        if low > high {
            return Err(refused());
        }
        Ok(Self { facet, low, high, text: trimmed.to_owned() })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_bears_out_contradicts_or_leaves_open() {
        use Ruling::{BorneOut, NotBorneOut, Undecided};
        for (text, interval, ruling) in [
            ("read >= 2.5", Some((2.6, 3.0)), BorneOut),
            ("read>=2.5", Some((2.0, 2.4)), NotBorneOut),
            ("read >= 2.5", Some((2.4, 2.6)), Undecided),
            ("read >= 2.5", None, Undecided),
            ("write <= 0.8", Some((0.5, 0.7)), BorneOut),
            ("write <= 0.8", Some((0.9, 1.1)), NotBorneOut),
            (" write 1.2 .. 1.8", Some((1.3, 1.7)), BorneOut),
            ("write 1.2..1.8", Some((1.0, 1.1)), NotBorneOut),
            ("write 1.2..1.8", Some((1.9, 2.5)), NotBorneOut),
            ("write 1.2..1.8", Some((1.1, 1.9)), Undecided),
        ] {
            let claim: Assertion = text.parse().unwrap();
            assert_eq!(claim.judge(interval), ruling, "{text} {interval:?}");
        }
    }

    #[test]
    fn what_names_no_ratio_is_refused_with_examples() {
        for text in
            ["", "read", "read 2.5", "speed >= 2", "read >= fast", "read 3..2", "read >= -1"]
        {
            let error = text.parse::<Assertion>().unwrap_err();
            assert!(error.is_mistake() && error.to_string().contains("read 2..3"), "{error}");
        }
    }
}
