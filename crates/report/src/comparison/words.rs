//! Why a level says nothing about an arm, in words.

use weir_model::Refusal;

use super::standing::Standing;
use crate::tables::{lateness_remedy, refusal_remedy};

/// Why a level was not judged; nothing where it was.
pub(super) fn reason(of: &Standing) -> Option<String> {
    Some(match of {
        Standing::NotEffective { verdict } | Standing::Failed { verdict } => verdict.to_string(),
        Standing::MissesObjectives => "the objectives are missed, by the control too".to_owned(),
        Standing::TooInexact { .. } => "the client's error is too large to compare".to_owned(),
        Standing::GeneratorLimit { refusal } => {
            format!("the load generator was the limit ({})", limit(refusal))
        }
        Standing::NotRun => "not run".to_owned(),
        Standing::NoControl => "the control has no cells that count there".to_owned(),
        Standing::Unproven => "the repeats do not tell the difference from noise".to_owned(),
        Standing::Gain
        | Standing::Cheaper
        | Standing::Loss
        | Standing::LosesObjectives
        | Standing::NoDifference => return None,
    })
}

/// How the generator was the limit, without the figures of a level.
const fn limit(of: &Refusal) -> &'static str {
    match of {
        Refusal::NothingSent => "no request was due in the window",
        Refusal::Starved { .. } => "requests waited for their prompts",
        Refusal::Busy { .. } => "a worker had no CPU time left",
        Refusal::TooFewRequests { .. } => "too few requests",
        Refusal::UsersIdle { .. } => "users waited for it",
        Refusal::ArrivalsMissed { .. } => "sessions were begun late",
    }
}

/// What would let a level say something, where that is not the mechanism's doing.
pub(super) fn remedy(of: &Standing) -> Option<&'static str> {
    match of {
        Standing::GeneratorLimit { refusal } => Some(refusal_remedy(refusal)),
        Standing::TooInexact { why } => Some(lateness_remedy(*why, true)),
        Standing::MissesObjectives => Some("add a level with less load"),
        _ => None,
    }
}

/// That a run has not come to its end.
pub(crate) fn interrupted(missing: usize, planned: usize) -> String {
    format!(
        "The run was interrupted: {missing} of {planned} cells have not run; `weir run --resume` \
         runs them."
    )
}
