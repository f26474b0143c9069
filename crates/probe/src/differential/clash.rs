use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    Copy,
    Device,
    Raw,
    /// A server that keeps nothing.
    Null,
    Tier,
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Copy => "T(copy)",
            Self::Device => "T(device)",
            Self::Raw => "T(raw)",
            Self::Null => "T(null)",
            Self::Tier => "T(tier)",
        })
    }
}

/// Figures of which one must be wrong; seconds per GB.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clash {
    /// A run took longer than one that does the same and more.
    Runs { less: RunKind, less_s_per_gb: f64, more: RunKind, more_s_per_gb: f64 },
    /// A part's lower bound exceeds its upper one.
    Bounds { part: &'static str, low: f64, high: f64 },
    /// The runs and the tier's row in the table differ.
    Row { runs_s_per_gb: f64, row_s_per_gb: f64 },
    /// The parts of a server do not add up to the time that it added.
    Unexplained {
        /// Sum of the parts' upper bounds.
        at_most: f64,
        /// Difference to a server that keeps nothing.
        added: f64,
    },
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |seconds: &f64| format!("{:.1}", 1e3 * seconds);
        match self {
            Self::Runs { less, less_s_per_gb, more, more_s_per_gb } => write!(
                f,
                "Runs contradict each other: {less} of {} is longer than {more} of {}, which does \
                 more",
                millis(less_s_per_gb),
                millis(more_s_per_gb)
            ),
            Self::Bounds { part, low, high } => write!(
                f,
                "Runs contradict each other: {part} would have at least {} and at most {}",
                millis(low),
                millis(high)
            ),
            Self::Row { runs_s_per_gb, row_s_per_gb } => write!(
                f,
                "The differential runs of the tier took {}, and its row {}: what they say is not \
                 said of the row",
                millis(runs_s_per_gb),
                millis(row_s_per_gb)
            ),
            Self::Unexplained { at_most, added } => write!(
                f,
                "The server added {}, and its parts have at most {} together: what took the rest \
                 is unknown",
                millis(added),
                millis(at_most)
            ),
        }
    }
}
