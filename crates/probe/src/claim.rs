//! Claims about the ratio of two tiers, judged by an interval.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::against::Facet;
use crate::error::ProbeError;

/// Largest ratio of a claim; more is a typing error.
const MOST: f64 = 1e6;

/// A claim such as `read >= 2.5` or `write 1.2..1.8`, about A over B.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    pub facet: Facet,
    low: f64,
    high: f64,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// The whole interval satisfies it.
    BorneOut,
    NotBorneOut,
    /// The interval contains the bound, or there is none.
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
    /// `interval` is that of the ratio.
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
        let trimmed = text.trim();
        let refused = |problem: String| {
            let remedy = "write for example `read >= 2.5`, `write <= 0.8` or `lookup 2..3`";
            ProbeError::value("claim", format!("`{trimmed}`: {problem}"), remedy)
        };
        let end = trimmed.find(|letter: char| !letter.is_alphabetic()).unwrap_or(trimmed.len());
        let (word, rest) = trimmed.split_at(end);
        let rest = rest.trim();
        let facet = Facet::ALL.into_iter().find(|facet| facet.name() == word).ok_or_else(|| {
            let found =
                if word.is_empty() { "its beginning".to_owned() } else { format!("`{word}`") };
            refused(format!("{found} must be `read`, `write` or `lookup`"))
        })?;
        let number = |text: &str| {
            let text = text.trim();
            let value = text.parse::<f64>().ok().filter(|value| *value > 0.0 && *value <= MOST);
            value.ok_or_else(|| {
                refused(format!("`{text}` must be a number above 0 and at most {MOST}"))
            })
        };
        let (low, high) = if let Some(least) = rest.strip_prefix(">=") {
            (number(least)?, f64::INFINITY)
        } else if let Some(most) = rest.strip_prefix("<=") {
            (0.0, number(most)?)
        } else if let Some((low, high)) = rest.split_once("..") {
            (number(low)?, number(high)?)
        } else {
            let problem = format!("`{word}` must be followed by `>=`, `<=` or `LOW..HIGH`");
            let found = if rest.is_empty() { String::new() } else { format!(", not by `{rest}`") };
            return Err(refused(problem + &found));
        };
        if low > high {
            return Err(refused(format!("the lower end {low} must not be above {high}")));
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
    use weir_model::{Attributed, ErrorCause};

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
    fn what_names_no_ratio_is_refused_with_what_is_expected() {
        for (text, part) in [
            ("", "`: its beginning must be `read`, `write` or `lookup`"),
            ("< 0.5", "`< 0.5`: its beginning must be `read`"),
            ("reed >= 2", "`reed >= 2`: `reed` must be `read`, `write` or `lookup`"),
            ("READ >= 2", "`READ` must be `read`"),
            ("readwrite >= 2", "`readwrite` must be `read`"),
            ("read", "`read` must be followed by `>=`, `<=` or `LOW..HIGH`;"),
            ("read 2.5", "`LOW..HIGH`, not by `2.5`"),
            ("read < 0.5", "`LOW..HIGH`, not by `< 0.5`"),
            ("read >= fast", "`fast` must be a number above 0"),
            ("read >= -1", "`-1` must be a number above 0"),
            ("read 1..nan", "`nan` must be a number above 0"),
            ("lookup 3..2", "the lower end 3 must not be above 2"),
        ] {
            let error = text.parse::<Assertion>().unwrap_err();
            let words = error.to_string();
            assert!(error.fault() == ErrorCause::User && words.contains(part), "{words}");
            assert!(words.starts_with("--claim: `") && words.contains("`lookup 2..3`"), "{words}");
        }
    }
}
