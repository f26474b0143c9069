//! How the answers of cells compare, as counts.

use serde::{Deserialize, Serialize};

use crate::numerals;

/// How the answers of a cell compare with those of another that got the same requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerCount {
    /// Requests that both answered in full, to the same prompt.
    pub compared: u64,
    pub mismatches: u64,
    /// Requests at the same place whose prompts differ: later turns that quote another answer.
    pub other_prompts: u64,
    /// Completed requests without a digest of their answer.
    pub without_digest: u64,
}

impl AnswerCount {
    pub(crate) fn of(mismatches: u64, compared: u64) -> Self {
        Self { compared, mismatches, ..Self::default() }
    }

    pub(crate) fn words(&self) -> String {
        self.rate().map_or_else(
            || "none".to_owned(),
            |rate| format!("{} of {} ({:.1} %)", self.mismatches, self.compared, 100.0 * rate),
        )
    }

    pub fn rate(&self) -> Option<f64> {
        (self.compared > 0).then(|| self.mismatches as f64 / self.compared as f64)
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            compared: self.compared + other.compared,
            mismatches: self.mismatches + other.mismatches,
            other_prompts: self.other_prompts + other.other_prompts,
            without_digest: self.without_digest + other.without_digest,
        }
    }
}

/// Answers that the model did not give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corruption {
    pub count: AnswerCount,
    /// The A/A arm at the level, where it has enough answers.
    pub floor: Option<AnswerCount>,
    /// Largest p value of the tests, times the number of comparisons.
    pub p_value: f64,
}

impl Corruption {
    pub(super) fn words(&self) -> String {
        let floor = self
            .floor
            .map_or_else(String::new, |floor| format!(", the A/A arm's in {}", floor.words()));
        format!(
            "Its answers to equal prompts differ from the control's in {}{floor}: more than noise \
             explains (p {}), so what it served is not what was stored.",
            self.count.words(),
            numerals::p_value(self.p_value),
        )
    }
}
