//! Why a cell has its verdict, by what judged it.

use weir_model::{
    ComparedWith, Differing, FactDifference, FailureReason, MakeAlike, Reason, Verdict,
};
use weir_record::Evidence;

use super::answers::Corruption;
use crate::words;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why<'a> {
    /// Its software differs from its control's, or from the plan.
    Unlike(&'a [FactDifference]),
    Corrupt(&'a Corruption),
    /// It has no result.
    Failure(&'a FailureReason),
    /// What its signals say.
    Signals {
        reason: &'a Reason,
        other_half: Option<&'a Verdict>,
    },
}

impl<'a> Why<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Option<Self> {
        if let Some(reason) = &evidence.reason {
            let other_half = evidence.other_half.as_ref();
            return Some(Self::Signals { reason, other_half });
        }
        match &evidence.verdict {
            Verdict::Failed(FailureReason::NotComparable(differences)) => {
                Some(Self::Unlike(differences))
            }
            Verdict::Failed(failure) => Some(Self::Failure(failure)),
            _ => None,
        }
    }

    /// In one sentence or more.
    pub fn words(self) -> String {
        match self {
            Self::Unlike(differences) => words::difference::explanation(differences),
            Self::Corrupt(corruption) => corruption.words(),
            Self::Failure(failure) => format!("{}.", words::failure(failure)),
            Self::Signals { reason, other_half } => words::reason(reason, other_half),
        }
    }
}

/// How to remove the differences.
pub(super) fn remedy(differences: &[FactDifference]) -> MakeAlike {
    let is = |than: fn(&ComparedWith) -> bool| differences.iter().any(|seen| than(&seen.than));
    let is_written = |seen: &FactDifference| {
        !seen.arguments.is_empty() || !matches!(seen.differs, Differing::Fact(_))
    };
    if is(|than| *than == ComparedWith::Earlier) {
        MakeAlike::KeepDeployment
    } else if is(|than| matches!(than, ComparedWith::Part(_))) {
        MakeAlike::Replicas
    } else if is(|than| *than == ComparedWith::Plan) {
        MakeAlike::Plan
    } else if differences.iter().any(is_written) {
        MakeAlike::Arguments
    } else {
        MakeAlike::Arms
    }
}
