//! Why a level says nothing about an arm, in words.

use weir_model::{Nanos, Refusal, Remedy, Verdict};
use weir_record::ShortWindow;
use weir_spec::plan::Level;
use weir_workload::WorkloadConfig;

use super::standing::{Judged, Standing};
use crate::numerals;
use crate::words;
use crate::words::refusal::{lateness_remedy, refusal_remedy};

pub(super) const EFFECT: &str = "To see an effect:";

/// A remedy with its purpose, without a full stop. `verdict`: of the cell that has it.
pub(crate) fn remedy_words(verdict: &Verdict, remedy: Remedy) -> String {
    let remedy = words::remedy(remedy);
    match verdict {
        Verdict::Corrupt | Verdict::Failed(_) => format!("What to do: {remedy}"),
        _ => format!("{EFFECT} {remedy}"),
    }
}

/// Why a level was not judged; None where it was.
pub(super) fn reason(of: &Standing) -> Option<String> {
    Some(match of {
        Standing::NotEffective { verdict } | Standing::Failed { verdict } => {
            words::verdict(verdict)
        }
        Standing::MissesObjectives => "the objectives are missed, by the control too".to_owned(),
        Standing::TooInexact { .. } => "the client's error is too large to compare".to_owned(),
        Standing::GeneratorLimit { refusal } => {
            format!("the load generator was the limit ({})", limit(refusal))
        }
        Standing::NotRun => "not run".to_owned(),
        Standing::NoControl => "the control has no cells that count there".to_owned(),
        Standing::Unproven => "the repeats do not tell the difference from noise".to_owned(),
        Standing::Gain
        | Standing::OnlyMeets { .. }
        | Standing::Cheaper
        | Standing::Loss
        | Standing::LosesObjectives
        | Standing::NoDifference => return None,
    })
}

/// Without the figures of a level.
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

/// How to get a judgement, where the mechanism is not the cause. `lightest`: no level of the run
/// has less load.
pub(super) fn remedy(of: &Judged<'_>, lightest: bool) -> Option<&'static str> {
    match &of.standing {
        Standing::GeneratorLimit { refusal } => Some(refusal_remedy(refusal)),
        Standing::TooInexact { why } => Some(lateness_remedy(*why, !of.level.open_loop)),
        // Where a lighter level meets them, a still lighter one shows nothing new.
        Standing::MissesObjectives if lightest => Some("add a level with less load"),
        _ => None,
    }
}

/// Names the levels whose windows are short against their requests, without a full stop. None
/// without such a window.
pub(crate) fn short_window<'p>(
    seen: impl Iterator<Item = (ShortWindow, &'p Level)>,
) -> Option<String> {
    // Per remedy and level the longest request.
    let mut kinds: Vec<(&str, Vec<(&str, ShortWindow)>)> = Vec::new();
    for (window, level) in seen {
        let remedy = longer_window(window, level);
        let place = kinds.iter().position(|(held, _)| *held == remedy).unwrap_or_else(|| {
            kinds.push((remedy, Vec::new()));
            kinds.len() - 1
        });
        let levels = &mut kinds[place].1;
        match levels.iter_mut().find(|(name, _)| *name == level.name) {
            Some((_, held)) if held.mean_request >= window.mean_request => {}
            Some((_, held)) => *held = window,
            None => levels.push((&level.name, window)),
        }
    }
    let of_level = |(level, seen): &(&str, ShortWindow)| {
        format!("{level} ({}, requests of {})", rounded(seen.window), rounded(seen.mean_request))
    };
    let sentence = |(remedy, levels): &(&str, Vec<(&str, ShortWindow)>)| {
        let levels: Vec<String> = levels.iter().map(of_level).collect();
        format!("{}: {remedy}", levels.join(", "))
    };
    let sentences: Vec<String> = kinds.iter().map(sentence).collect();
    (!sentences.is_empty()).then(|| {
        format!(
            "The measured window is shorter than {} mean requests at {}",
            ShortWindow::LEAST_REQUESTS,
            sentences.join("; at ")
        )
    })
}

/// To three digits.
fn rounded(time: Nanos) -> String {
    numerals::millis(time.as_millis_f64())
}

/// How to make the window longer: by what ended it.
fn longer_window(seen: ShortWindow, level: &Level) -> &'static str {
    let planned = level.duration.map(|end| end.saturating_sub(level.warmup));
    match (planned, level.max_requests, &level.workload) {
        (Some(planned), ..) if seen.window >= planned => "lengthen the duration",
        (_, Some(_), _) => "allow more requests",
        (_, None, WorkloadConfig::Trace(_)) => "use a longer trace",
        _ => "lengthen the duration",
    }
}

pub(crate) fn interrupted(missing: usize, planned: usize) -> String {
    format!(
        "The run was interrupted: {missing} of {planned} cells have not run; `weir run --resume` \
         runs them."
    )
}
