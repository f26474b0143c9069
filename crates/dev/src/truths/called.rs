//! The required verdict of a recorded cell.

use std::fmt;

use serde::{Deserialize, Serialize};
use weir_model::{
    CellFailure, Differing, FailureReason, OverheadReason, Unfit, Verdict, VoidReason,
};

/// A verdict; of a failure only the kind, since its figures are those of the recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Called {
    Control,
    Effective,
    OverheadOnly(OverheadReason),
    Void(VoidReason),
    Corrupt,
    Failed(FailureKind),
    Unverified,
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FailureKind {
    ControlServed,
    ControlConnected,
    UnevenChoice,
    AnswersContradict,
    StoreContradicts,
    ServedTooMuch,
    HitsBeyondAsked,
    ForeignTokens,
    UncountedTokens,
    WarmStore,
    StoreLost,
    Stalled,
    /// Its rows contradict each other, or an error ended it.
    NoFigures,
    RequestsFailed,
    NotComparable(Vec<Differing>),
}

impl From<&Verdict> for Called {
    fn from(of: &Verdict) -> Self {
        match of {
            Verdict::Control => Self::Control,
            Verdict::Effective => Self::Effective,
            Verdict::OverheadOnly(reason) => Self::OverheadOnly(*reason),
            Verdict::Void(reason) => Self::Void(*reason),
            Verdict::Corrupt => Self::Corrupt,
            Verdict::Failed(failure) => Self::Failed(FailureKind::from(failure)),
            Verdict::Unverified => Self::Unverified,
            Verdict::Refused => Self::Refused,
        }
    }
}

impl From<&FailureReason> for FailureKind {
    fn from(of: &FailureReason) -> Self {
        match of {
            FailureReason::ControlServed => Self::ControlServed,
            FailureReason::ControlConnected => Self::ControlConnected,
            FailureReason::UnevenChoice => Self::UnevenChoice,
            FailureReason::AnswersContradict => Self::AnswersContradict,
            FailureReason::StoreContradicts => Self::StoreContradicts,
            FailureReason::ServedTooMuch => Self::ServedTooMuch,
            FailureReason::Cell(CellFailure::Unfit(unfit)) => Self::from(unfit),
            FailureReason::Cell(_) => Self::NoFigures,
            FailureReason::Requests { .. }
            | FailureReason::NothingDue
            | FailureReason::NothingCompleted { .. } => Self::RequestsFailed,
            FailureReason::NotComparable(differences) => {
                let mut differing: Vec<Differing> =
                    differences.iter().map(|of| of.differs.clone()).collect();
                differing.sort();
                differing.dedup();
                Self::NotComparable(differing)
            }
        }
    }
}

impl From<&Unfit> for FailureKind {
    fn from(of: &Unfit) -> Self {
        match of {
            Unfit::HitsBeyondAsked(_) => Self::HitsBeyondAsked,
            Unfit::ForeignTokens(_) => Self::ForeignTokens,
            Unfit::UncountedTokens(_) => Self::UncountedTokens,
            Unfit::WarmStore(_) => Self::WarmStore,
            Unfit::StoreLost(_) | Unfit::IndexLost(_) => Self::StoreLost,
            Unfit::Stalled(_) => Self::Stalled,
        }
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Effective => f.write_str("effective"),
            Self::OverheadOnly(reason) => write!(f, "overhead-only ({})", reason.name()),
            Self::Void(reason) => write!(f, "void ({})", reason.name()),
            Self::Corrupt => f.write_str("corrupt"),
            Self::Failed(kind) => write!(f, "failed ({kind})"),
            Self::Unverified => f.write_str("unverified"),
            Self::Refused => f.write_str("refused"),
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ControlServed => "a control with external hits",
            Self::ControlConnected => "a control with an offload connector",
            Self::UnevenChoice => "uneven random routing",
            Self::AnswersContradict => "hits that the answers contradict",
            Self::StoreContradicts => "hits that the store contradicts",
            Self::ServedTooMuch => "hits beyond what could be served",
            Self::HitsBeyondAsked => "hits beyond what was asked",
            Self::ForeignTokens => "prompts of others",
            Self::UncountedTokens => "prompts that no engine counted",
            Self::WarmStore => "the same prompts on a warm store",
            Self::StoreLost => "store emptied or started again",
            Self::Stalled => "stood still",
            Self::NoFigures => "no figures",
            Self::RequestsFailed => "requests failed",
            Self::NotComparable(differing) => {
                let mut names: Vec<String> = differing.iter().map(name).collect();
                names.sort();
                return write!(f, "not comparable: {}", names.join(", "));
            }
        })
    }
}

/// As serialised.
fn name(of: &Differing) -> String {
    match of {
        Differing::Fact(kind) => match serde_json::to_value(kind) {
            Ok(serde_json::Value::String(name)) => name,
            _ => format!("{kind:?}"),
        },
        Differing::Argument(name) | Differing::Variable(name) => name.clone(),
    }
}
