//! The sentence a run ends with: what to do for one model and hardware, as far as the evidence
//! allows.
//!
//! An arm is worth it at a level when its mechanism was effective there, its gain in the deciding
//! metric is above the noise floor and above [`WORTH_PERCENT`], and the interval (if there is
//! one) excludes zero. A recommendation needs a run of such levels without a gap.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use weir_spec::plan::ArmRole;

use super::{Context, DeploymentComparison, LevelNote, reference};
use crate::metric::{Better, Metric};
use crate::numerals;
use crate::results::CellResult;
use crate::statistics::Difference;

/// A gain below this many percent does not pay for running one more component.
pub const WORTH_PERCENT: f64 = 1.0;

/// Words between an explanation and its remedy, in evidence as in decisions.
pub const REMEDY_MARK: &str = "To see an effect:";

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Decision {
    /// The sentence, or several where offloading and routing were both under test.
    pub sentence: String,
    /// Arms that are worth it somewhere, best first.
    pub recommended: Vec<Recommendation>,
    /// What to change to see an effect, where none was seen.
    pub remedies: Vec<String>,
}

/// An arm that is worth it over a run of levels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// The arm.
    pub arm: String,
    /// What it is compared with.
    pub control: String,
    /// First level where it is worth it.
    pub from: String,
    /// Last level where it is worth it.
    pub to: String,
    /// The level of the largest gain.
    pub best: String,
    /// Gain there in the deciding metric, percent (positive is better).
    pub gain_percent: f64,
}

/// How an arm does at one level, as far as it can be judged.
struct Judged<'a> {
    level: &'a LevelNote,
    change: Difference,
    worth: bool,
}

struct Candidate<'a> {
    arm: usize,
    judged: Vec<Judged<'a>>,
    /// First and last place in `judged` of the run of levels that are worth it.
    run: (usize, usize),
    best: usize,
    gain: f64,
}

pub(super) fn decide(
    context: &Context<'_>,
    deployment: usize,
    comparison: &DeploymentComparison,
) -> Decision {
    let mut decision = Decision::default();
    let Some(metric) = comparison.deciding() else {
        return decision;
    };
    let case = Case { context, deployment, comparison, metric };
    let mut sentences = Vec::new();
    for routing in [false, true] {
        let arms: Vec<usize> = context.results.plan.deployments[deployment]
            .arms
            .iter()
            .enumerate()
            .filter(|(_, arm)| arm.role == ArmRole::Treatment && arm.routing_is_claim == routing)
            .map(|(index, _)| index)
            .collect();
        if !arms.is_empty() {
            sentences.push(case.family(&arms, &mut decision));
        }
    }
    if sentences.is_empty() {
        sentences.push("Nothing to decide: the plan has no arm under test.".to_owned());
    }
    sentences.push(case.basis());
    decision.sentence = sentences.join(" ");
    decision
}

struct Case<'a> {
    context: &'a Context<'a>,
    deployment: usize,
    comparison: &'a DeploymentComparison,
    metric: &'static Metric,
}

impl<'a> Case<'a> {
    /// The sentence about the offload arms, or about the routing arms.
    fn family(&self, arms: &[usize], decision: &mut Decision) -> String {
        let mut candidates: Vec<Candidate<'a>> =
            arms.iter().filter_map(|&arm| self.candidate(arm)).collect();
        // An arm that gains a little at many levels comes before one that gains much at one of
        // them and loses at the rest. Stable: equal sums keep the file's order.
        let gains = |of: &Candidate<'_>| -> f64 {
            let run = &of.judged[of.run.0..=of.run.1];
            run.iter().map(|seen| self.metric.better.gain(seen.change.percent)).sum()
        };
        candidates.sort_by(|a, b| gains(b).total_cmp(&gains(a)));
        for candidate in &candidates {
            decision.recommended.push(self.recommendation(candidate));
        }
        match candidates.split_first() {
            Some((best, others)) => self.worth_it(best, others),
            None if arms.iter().any(|&arm| self.is_effective_somewhere(arm)) => {
                self.not_worth_it(arms)
            }
            None => self.nothing_acted(arms, decision),
        }
    }

    fn arm_name(&self, arm: usize) -> &'a str {
        &self.comparison.arms[arm].name
    }

    fn control_name(&self, arm: usize) -> &'a str {
        self.comparison.arms[arm].control.as_deref().unwrap_or("the control")
    }

    fn is_effective_somewhere(&self, arm: usize) -> bool {
        let group = |level: &LevelNote| {
            self.context.grid.group(self.deployment, arm, level.index).is_effective()
        };
        self.comparison.levels.iter().any(group)
    }

    /// Levels where both the arm and its control count.
    fn judged(&self, arm: usize) -> Vec<Judged<'a>> {
        let of = &self.context.results.plan.deployments[self.deployment];
        let (name, noise) = (self.arm_name(arm), &self.comparison.noise_floor);
        if reference(of, arm).is_none() {
            return Vec::new();
        }
        let judge = |level: &'a LevelNote| {
            let delta = self.comparison.change(name, self.metric.key, &level.name)?;
            let change = delta.change.clone()?;
            let floor = noise.percent(&level.name, self.metric.key).max(WORTH_PERCENT);
            let group = self.context.grid.group(self.deployment, arm, level.index);
            let worth = group.is_effective()
                && self.metric.better.gain(change.percent) > 0.0
                && change.is_distinguishable(floor);
            Some(Judged { level, change, worth })
        };
        self.comparison.levels.iter().filter_map(judge).collect()
    }

    /// The longest run of levels without a gap where the arm is worth it; the later of equals.
    fn candidate(&self, arm: usize) -> Option<Candidate<'a>> {
        let judged = self.judged(arm);
        let mut best_run: Option<(usize, usize)> = None;
        let mut start = None;
        for (place, seen) in judged.iter().enumerate() {
            start = if seen.worth { start.or(Some(place)) } else { None };
            if let Some(first) = start
                && best_run.is_none_or(|(a, b)| place - first >= b - a)
            {
                best_run = Some((first, place));
            }
        }
        let run = best_run?;
        let gain = |place: usize| self.metric.better.gain(judged[place].change.percent);
        // The first of equal gains: the lighter load says more.
        let later = |held: usize, place: usize| if gain(place) > gain(held) { place } else { held };
        let best = (run.0..=run.1).reduce(later)?;
        let gain = gain(best);
        Some(Candidate { arm, judged, run, best, gain })
    }

    fn recommendation(&self, candidate: &Candidate<'_>) -> Recommendation {
        let level = |place: usize| candidate.judged[place].level.name.clone();
        Recommendation {
            arm: self.arm_name(candidate.arm).to_owned(),
            control: self.control_name(candidate.arm).to_owned(),
            from: level(candidate.run.0),
            to: level(candidate.run.1),
            best: level(candidate.best),
            gain_percent: candidate.gain,
        }
    }

    /// "+12.3 % ± 0.8 output throughput".
    fn gain_words(&self, change: &Difference) -> String {
        let what = match self.metric.better {
            Better::Lower => self.metric.title.to_owned(),
            _ => self.metric.title.to_lowercase(),
        };
        format!("{} {what}", numerals::change(change))
    }

    fn worth_it(&self, best: &Candidate<'_>, others: &[Candidate<'_>]) -> String {
        let arm = self.arm_name(best.arm);
        let verb = if self.comparison.arms[best.arm].routing_is_claim {
            "Route with"
        } else {
            "Offload to"
        };
        let (first, last) = best.run;
        let (from, peak) = (&best.judged[first], &best.judged[best.best]);
        let mut text = format!(
            "{verb} {arm}: {} over {} ",
            self.gain_words(&from.change),
            self.control_name(best.arm)
        );
        text += &range_words(best);
        if best.best != first {
            let _ = write!(
                text,
                ", {} {} at {}",
                if best.best > first && best.best == last { "growing to" } else { "at most" },
                numerals::change(&peak.change),
                peak.level.load
            );
        }
        text += &outside_words(best, self.metric.better);
        for other in others.iter().take(2) {
            let place = &other.judged[other.best];
            let _ = write!(
                text,
                "; {} gives {} at {}",
                self.arm_name(other.arm),
                numerals::change(&place.change),
                place.level.load
            );
        }
        text + "."
    }

    /// What the sentence rests on.
    fn basis(&self) -> String {
        let repeats = match self.context.results.plan.repeats {
            0 | 1 => "one repeat: no interval, raise `repeats` before relying on it".to_owned(),
            several => format!("{several} repeats"),
        };
        let how = if self.context.simulated { "Predicted by simulation" } else { "Measured" };
        format!("{how}; {repeats}.")
    }

    /// Mechanisms acted, but no gain stands out.
    fn not_worth_it(&self, arms: &[usize]) -> String {
        let mut closest: Option<(usize, Judged<'a>, f64)> = None;
        for &arm in arms {
            for seen in self.judged(arm) {
                let group = self.context.grid.group(self.deployment, arm, seen.level.index);
                let gain = self.metric.better.gain(seen.change.percent);
                let is_closer = closest.as_ref().is_none_or(|(_, _, held)| gain > *held);
                if group.is_effective() && is_closer {
                    closest = Some((arm, seen, gain));
                }
            }
        }
        let control = arms.first().map_or("the control", |&arm| self.control_name(arm));
        match closest {
            Some((arm, seen, _)) => format!(
                "Keep {control}: mechanisms acted, but no arm is worth it at any level; closest is \
                 {} with {} at {}.",
                self.arm_name(arm),
                self.gain_words(&seen.change),
                seen.level.load
            ),
            None => format!(
                "No decision: arms were effective, but {control} has no cells that count at the \
                 same levels."
            ),
        }
    }

    /// No mechanism acted (enough): say why, and what to change.
    fn nothing_acted(&self, arms: &[usize], decision: &mut Decision) -> String {
        let whys = self.whys(arms);
        let mut remedies = Vec::new();
        for &arm in arms {
            if let Some(remedy) = self.remedy_of(arm)
                && !remedies.contains(&remedy)
            {
                remedies.push(remedy);
            }
        }
        let about = if self.comparison.arms[arms[0]].routing_is_claim {
            "routing by cache content"
        } else {
            "offloading"
        };
        let mut text = format!(
            "No decision about {about}: no arm's mechanism was effective ({}).",
            whys.join("; ")
        );
        if !remedies.is_empty() {
            let shown: Vec<&str> =
                remedies.iter().take(3).map(|remedy| remedy.trim_end_matches('.')).collect();
            let _ = write!(text, " {REMEDY_MARK} {}.", shown.join("; "));
        }
        decision.remedies.extend(remedies);
        text
    }

    /// What became of the arms, those with the same verdicts together.
    fn whys(&self, arms: &[usize]) -> Vec<String> {
        let mut by_verdicts: Vec<(String, Vec<&str>)> = Vec::new();
        for &arm in arms {
            let verdicts = self.verdicts_of(arm);
            match by_verdicts.iter_mut().find(|(seen, _)| *seen == verdicts) {
                Some((_, names)) => names.push(self.arm_name(arm)),
                None => by_verdicts.push((verdicts, vec![self.arm_name(arm)])),
            }
        }
        by_verdicts
            .into_iter()
            .map(|(verdicts, names)| format!("{}: {verdicts}", names.join(", ")))
            .collect()
    }

    /// "void (no-choice) at all levels", or each verdict with its levels.
    fn verdicts_of(&self, arm: usize) -> String {
        let mut by_verdict: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let name = self.arm_name(arm);
        for group in self.comparison.groups.iter().filter(|group| group.arm == name) {
            by_verdict.entry(&group.verdict).or_default().push(&group.level);
        }
        if by_verdict.len() == 1 {
            let verdict = by_verdict.into_keys().next().unwrap_or_default();
            return match self.comparison.levels.as_slice() {
                [only] => format!("{verdict} at {}", only.name),
                _ => format!("{verdict} at all levels"),
            };
        }
        let each: Vec<String> = by_verdict
            .into_iter()
            .map(|(verdict, levels)| format!("{verdict} at {}", levels.join(", ")))
            .collect();
        each.join(" and ")
    }

    /// What should be changed at the heaviest load: by the evidence, or by the plan's forecast
    /// where that names nothing.
    fn remedy_of(&self, arm: usize) -> Option<String> {
        self.comparison.levels.iter().rev().find_map(|level| {
            let group = self.context.grid.group(self.deployment, arm, level.index);
            group.entries.iter().find_map(|entry| {
                let why = entry.result.and_then(CellResult::explanation);
                let observed = why.and_then(remedy_in);
                observed.or_else(|| entry.cell.prediction.remedy.clone())
            })
        })
    }
}

/// The remedy in an explanation: what follows [`REMEDY_MARK`].
fn remedy_in(explanation: &str) -> Option<String> {
    let (_, remedy) = explanation.rsplit_once(REMEDY_MARK)?;
    Some(remedy.trim().trim_end_matches('.').to_owned())
}

/// At which levels it is worth it.
fn range_words(best: &Candidate<'_>) -> String {
    let (first, last) = best.run;
    let load = |place: usize| best.judged[place].level.load.as_str();
    if first == last {
        format!("at {}", load(first))
    } else if last + 1 == best.judged.len() {
        format!("from {}", load(first))
    } else {
        format!("from {} to {}", load(first), load(last))
    }
}

/// What holds outside of the run of levels: that it is not worth it there, and the largest loss.
fn outside_words(best: &Candidate<'_>, better: Better) -> String {
    let (first, last) = best.run;
    let mut text = match (first > 0, last + 1 < best.judged.len()) {
        (false, false) => return String::new(),
        (true, false) => "; not worth it below".to_owned(),
        (false, true) => "; not worth it above".to_owned(),
        (true, true) => "; not worth it below or above".to_owned(),
    };
    let outside =
        best.judged.iter().enumerate().filter(|(place, _)| !(first..=last).contains(place));
    let gains = outside.map(|(_, seen)| (better.gain(seen.change.percent), seen));
    let worst = gains.reduce(|held, next| if next.0 < held.0 { next } else { held });
    if let Some((_, seen)) = worst.filter(|(gain, _)| *gain < -WORTH_PERCENT) {
        let percent = numerals::percent(seen.change.percent);
        let _ = write!(text, " ({percent} at {})", seen.level.load);
    }
    text
}
