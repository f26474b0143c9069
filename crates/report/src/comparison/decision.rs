//! What to do for one model and hardware, as far as the evidence allows, and why it allows no more.
//!
//! A recommendation needs consecutive levels at which the arm gains ([`Standing`]).

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use weir_model::Remedy;
use weir_spec::plan::ArmRole;

use super::standing::{Judge, Judged, OBJECTIVES_SHARE, Standing, WORTH_PERCENT};
use super::words::{self, EFFECT};
use super::{Context, DeploymentComparison, Estimate};
use crate::metric::{Better, COST, GOODPUT, GOODPUT_SHARE};
use crate::numerals;
use crate::results::CellResult;
use crate::words::remedy as remedy_sentence;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Decision {
    /// Several where offloading and routing were both under test.
    pub sentence: String,
    /// Best first.
    pub recommended: Vec<Recommendation>,
    pub remedies: Vec<String>,
    /// Per arm under test.
    pub standings: Vec<ArmStanding>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmStanding {
    pub arm: String,
    /// From light to heavy load.
    pub levels: Vec<LevelStanding>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelStanding {
    pub level: String,
    #[serde(flatten)]
    pub standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    pub arm: String,
    pub control: String,
    /// First level where it is worth it.
    pub from: String,
    /// Last level where it is worth it.
    pub to: String,
    /// Level of the largest gain.
    pub best: String,
    /// In the deciding metric, at `best`; positive is better. Absent where the control's figure is
    /// zero.
    pub gain_percent: Option<f64>,
}

struct Candidate<'a> {
    arm: usize,
    judged: Vec<Judged<'a>>,
    /// First and last index in `judged` of the longest run of levels that are worth it.
    run: Option<(usize, usize)>,
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
    let case = Case { judge: Judge { context, deployment, comparison, metric } };
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
            sentences.push(case.family(&arms, routing, &mut decision));
        }
    }
    if sentences.is_empty() {
        sentences.push("Nothing to decide: the plan has no arm under test.".to_owned());
    }
    sentences.extend(case.unrun());
    sentences.push(case.basis());
    sentences.extend(case.assumed());
    decision.sentence = sentences.join(" ");
    decision
}

/// An arm with some of its levels.
type Places<'a> = (&'a str, Vec<&'a str>);

struct Case<'a> {
    judge: Judge<'a>,
}

impl<'a> Case<'a> {
    fn family(&self, arms: &[usize], routing: bool, decision: &mut Decision) -> String {
        let mut candidates: Vec<Candidate<'a>> =
            arms.iter().map(|&arm| self.candidate(arm)).collect();
        decision.standings.extend(candidates.iter().map(|of| self.noted(of)));
        let (mut worth, others): (Vec<_>, Vec<_>) =
            candidates.drain(..).partition(|candidate| candidate.run.is_some());
        // Objectives come first: no gain makes up for a level that misses them. Small gains at many
        // levels come before a large one at one level. Of gains equal within a percent, the cheaper
        // comes first. The sort is stable: equals keep the file's order.
        let steps = |of: &Candidate<'_>| (self.gain_over(of) / WORTH_PERCENT).round();
        worth.sort_by(|a, b| {
            let by_levels = b.only_meets().cmp(&a.only_meets());
            let by_gain = by_levels.then_with(|| steps(b).total_cmp(&steps(a)));
            by_gain.then_with(|| self.cost_over(a).total_cmp(&self.cost_over(b)))
        });
        decision.recommended.extend(worth.iter().filter_map(|of| self.recommendation(of)));
        let mut sentences = Vec::new();
        match worth.split_first() {
            Some((best, rest)) => {
                sentences.push(self.worth_it(best, rest));
                sentences.extend(self.harm(&others));
            }
            None if others.iter().any(Candidate::is_judged) => {
                let harm = self.harm(&others);
                sentences.push(self.keep(&others, harm.is_some()));
                sentences.extend(harm);
                sentences.extend(self.remedies(&others, decision));
            }
            None => {
                sentences.push(self.no_decision(&others, routing));
                sentences.extend(self.remedies(&others, decision));
                return sentences.join(" ");
            }
        }
        let all: Vec<&Candidate<'a>> = worth.iter().chain(&others).collect();
        let whys = self.unjudged(&all);
        if !whys.is_empty() {
            sentences.push(format!("Not judged: {}.", whys.join("; ")));
        }
        sentences.join(" ")
    }

    fn arm_name(&self, arm: usize) -> &'a str {
        &self.judge.comparison.arms[arm].name
    }

    fn control_name(&self, arm: usize) -> &'a str {
        self.judge.comparison.arms[arm].control.as_deref().unwrap_or("the control")
    }

    fn gain(&self, seen: &Judged<'_>) -> Option<f64> {
        Some(self.judge.metric.better.gain(seen.change.as_ref()?.percent))
    }

    /// Finds the longest run of consecutive levels that are worth it; the later of equals.
    fn candidate(&self, arm: usize) -> Candidate<'a> {
        let judged = self.judge.arm(arm);
        let mut run: Option<(usize, usize)> = None;
        let mut start = None;
        for (place, seen) in judged.iter().enumerate() {
            start = if seen.standing.is_worth() { start.or(Some(place)) } else { None };
            if let Some(first) = start
                && run.is_none_or(|(a, b)| place - first >= b - a)
            {
                run = Some((first, place));
            }
        }
        Candidate { arm, judged, run }
    }

    /// Sum of the gains over the levels that are worth it.
    fn gain_over(&self, of: &Candidate<'_>) -> f64 {
        of.in_run().iter().filter_map(|seen| self.gain(seen)).sum()
    }

    /// Mean over the levels that are worth it; unknown costs come last.
    fn cost_over(&self, of: &Candidate<'_>) -> f64 {
        let cost = |seen: &Judged<'_>| {
            let group = self.judge.comparison.group(self.arm_name(of.arm), &seen.level.name)?;
            Some(group.metrics.get(COST)?.mean)
        };
        let costs: Vec<f64> = of.in_run().iter().filter_map(cost).collect();
        if costs.is_empty() {
            f64::INFINITY
        } else {
            costs.iter().sum::<f64>() / costs.len() as f64
        }
    }

    fn noted(&self, of: &Candidate<'_>) -> ArmStanding {
        let note = |seen: &Judged<'_>| LevelStanding {
            level: seen.level.name.clone(),
            standing: seen.standing.clone(),
        };
        ArmStanding {
            arm: self.arm_name(of.arm).to_owned(),
            levels: of.judged.iter().map(note).collect(),
        }
    }

    /// The level of the largest gain; of equals the first, because a gain at a lighter load says
    /// more.
    fn best(&self, of: &Candidate<'_>) -> Option<usize> {
        let (first, last) = of.run?;
        let gain = |place: usize| self.gain(&of.judged[place]).unwrap_or(f64::INFINITY);
        let later = |held: usize, place: usize| if gain(place) > gain(held) { place } else { held };
        (first..=last).reduce(later)
    }

    fn recommendation(&self, of: &Candidate<'_>) -> Option<Recommendation> {
        let ((first, last), best) = (of.run?, self.best(of)?);
        let level = |place: usize| of.judged[place].level.name.clone();
        Some(Recommendation {
            arm: self.arm_name(of.arm).to_owned(),
            control: self.control_name(of.arm).to_owned(),
            from: level(first),
            to: level(last),
            best: level(best),
            gain_percent: self.gain(&of.judged[best]),
        })
    }

    fn metric_words(&self) -> String {
        match self.judge.metric.better {
            Better::Lower => self.judge.metric.title.to_owned(),
            _ => self.judge.metric.title.to_lowercase(),
        }
    }

    /// "output throughput +12.3 % ± 0.8 over no-offload", or that it alone meets the objectives.
    fn gain_words(&self, arm: usize, seen: &Judged<'_>) -> String {
        let (metric, control) = (self.metric_words(), self.control_name(arm));
        let change = seen.change.as_ref().map(numerals::change);
        match (&seen.standing, change) {
            (Standing::OnlyMeets { share, control_share }, change) => {
                let [own, other] = [share, control_share].map(|share| 100.0 * share);
                let change =
                    change.map_or_else(String::new, |change| format!(", {metric} {change}"));
                let shares = format!("in {own:.1} % of the requests, {control} in {other:.1} %");
                let meets = self.meets_words(arm, seen);
                format!("{meets} ({shares}){change}")
            }
            (_, Some(change)) => format!("{metric} {change} over {control}"),
            (_, None) => format!("{metric} of {control} is not known"),
        }
    }

    /// "only native-offload meets the objectives", where no other arm does.
    fn meets_words(&self, arm: usize, seen: &Judged<'_>) -> String {
        let (name, control) = (self.arm_name(arm), self.control_name(arm));
        let meets = |share: &Estimate| share.mean >= OBJECTIVES_SHARE;
        let here = self.judge.comparison.groups.iter().filter(|of| of.level == seen.level.name);
        let mut others = here.filter(|of| of.arm != name).map(|of| of.metrics.get(GOODPUT_SHARE));
        if others.any(|share| share.is_some_and(meets)) {
            format!("{name} meets the objectives, {control} does not")
        } else {
            format!("only {name} meets the objectives")
        }
    }

    fn worth_it(&self, best: &Candidate<'_>, others: &[Candidate<'_>]) -> String {
        let (Some((first, last)), Some(peak)) = (best.run, self.best(best)) else {
            return String::new();
        };
        let arm = self.arm_name(best.arm);
        let mut text = format!("Use {arm} {}: ", range_words(best));
        let from = &best.judged[first];
        if best.in_run().iter().all(|seen| seen.standing == Standing::Cheaper) {
            text += &self.cheaper_words(best, from);
        } else {
            text += &self.gain_words(best.arm, from);
            if let Some(change) = best.judged[peak].change.as_ref().filter(|_| peak != first) {
                let load = &best.judged[peak].level.load;
                let _ = write!(text, " ({} at {load})", numerals::change(change));
            }
            let only = |seen: &&Judged<'_>| matches!(seen.standing, Standing::OnlyMeets { .. });
            let later = best.in_run().iter().skip(1).find(only);
            if let Some(seen) = later.filter(|_| !only(&from)) {
                let meets = self.meets_words(best.arm, seen);
                let _ = write!(text, "; at {} {meets}", seen.level.load);
            }
        }
        for other in others.iter().take(2) {
            if let Some(seen) = self.best(other).map(|place| &other.judged[place])
                && let Some(change) = &seen.change
            {
                let (name, change) = (self.arm_name(other.arm), numerals::change(change));
                let _ = write!(text, "; {name} gives {change} at {}", seen.level.load);
            }
        }
        text.push('.');
        text += &self.outside_words(best, (first, last));
        text
    }

    /// "no less goodput, and a cost of ... -9.1 %".
    fn cheaper_words(&self, best: &Candidate<'_>, seen: &Judged<'_>) -> String {
        let arm = self.arm_name(best.arm);
        let cost = self.judge.comparison.change(arm, COST, &seen.level.name);
        let change = cost.and_then(|delta| delta.change.as_ref()).map(numerals::change);
        format!(
            "equal {}, cost {} against {}",
            self.metric_words(),
            change.unwrap_or_default(),
            self.control_name(best.arm)
        )
    }

    /// What holds outside of the run of levels: no gain there, or a loss.
    fn outside_words(&self, best: &Candidate<'_>, (first, last): (usize, usize)) -> String {
        let judged = |range: std::ops::Range<usize>| {
            best.judged[range]
                .iter()
                .any(|seen| seen.standing.is_judged() && seen.standing != Standing::Unproven)
        };
        let (below, above) = (judged(0..first), judged(last + 1..best.judged.len()));
        let side = match (below, above) {
            (false, false) => return String::new(),
            (true, false) => "below",
            (false, true) => "above",
            (true, true) => "below or above",
        };
        match self.losses(best) {
            None => format!(" No gain {side}."),
            Some(losses) => format!(" No gain {side}; it {losses}."),
        }
    }

    /// The worst level of an arm: "lowers output throughput by 12.0 % ± 1.0 at 32 users".
    fn losses(&self, of: &Candidate<'_>) -> Option<String> {
        let losses = || of.judged.iter().filter(|seen| seen.standing.is_loss());
        if let Some(seen) = losses().find(|seen| seen.standing == Standing::LosesObjectives) {
            let control = self.control_name(of.arm);
            return Some(format!(
                "misses the objectives at {}, where {control} meets them",
                seen.level.load
            ));
        }
        let gain = |seen: &Judged<'_>| self.gain(seen).unwrap_or(0.0);
        let worst = losses().min_by(|a, b| gain(a).total_cmp(&gain(b)))?;
        let change = worst.change.as_ref()?;
        let verb = if self.judge.metric.better == Better::Lower { "raises" } else { "lowers" };
        Some(format!(
            "{verb} {} by {} at {}",
            self.metric_words(),
            numerals::size(change),
            worst.level.load
        ))
    }

    /// None where no arm is worse than its control.
    fn harm(&self, arms: &[Candidate<'_>]) -> Option<String> {
        let each: Vec<String> = arms
            .iter()
            .filter_map(|of| Some(format!("{} {}", self.arm_name(of.arm), self.losses(of)?)))
            .collect();
        (!each.is_empty()).then(|| format!("{}.", each.join("; ")))
    }

    /// For arms of which none is worth it.
    fn keep(&self, arms: &[Candidate<'_>], harms: bool) -> String {
        let control = arms.first().map_or("the control", |of| self.control_name(of.arm));
        let closest = arms
            .iter()
            .flat_map(|of| of.judged.iter().map(move |seen| (of.arm, seen)))
            .filter(|(_, seen)| {
                matches!(seen.standing, Standing::NoDifference | Standing::Unproven)
            })
            .filter_map(|(arm, seen)| Some((arm, seen, self.gain(seen)?)))
            .max_by(|a, b| a.2.total_cmp(&b.2));
        let noise = &self.judge.comparison.noise_floor;
        let or_again =
            if noise.arm.is_none() && !noise.simulated { ", or add an A/A arm" } else { "" };
        match closest {
            Some((arm, seen, _)) if seen.standing == Standing::Unproven => format!(
                "No decision yet: the repeats do not tell the difference of {} ({} at {}) from \
                 noise; raise `repeats`{or_again}.",
                self.arm_name(arm),
                self.gain_words(arm, seen),
                seen.level.load
            ),
            Some((arm, seen, _)) => format!(
                "Keep {control}: no arm gains at any level; closest is {} with {} at {}.",
                self.arm_name(arm),
                self.gain_words(arm, seen),
                seen.level.load
            ),
            None if harms => format!("Keep {control}: no arm gains at any level."),
            None => format!("Keep {control}: no arm was compared with a gain."),
        }
    }

    /// For arms that no level says anything about.
    fn no_decision(&self, arms: &[Candidate<'a>], routing: bool) -> String {
        let about = if routing { "routing by cache content" } else { "offloading" };
        let all: Vec<&Candidate<'a>> = arms.iter().collect();
        let mut standings = arms.iter().flat_map(|of| &of.judged).map(|seen| &seen.standing);
        let none_acted =
            standings.all(|standing| matches!(standing, Standing::NotEffective { .. }));
        let why = if none_acted { "no arm's mechanism was effective: " } else { "" };
        format!("No decision about {about}: {why}{}.", self.unjudged(&all).join("; "))
    }

    fn unjudged(&self, arms: &[&Candidate<'a>]) -> Vec<String> {
        let levels = self.judge.comparison.levels.len();
        let mut reasons: Vec<(&Standing, Vec<Places<'_>>)> = Vec::new();
        for of in arms {
            for seen in &of.judged {
                if words::reason(&seen.standing).is_none() {
                    continue;
                }
                let same = |(held, _): &(&Standing, _)| held.is_told_as(&seen.standing);
                let place = reasons.iter().position(same);
                let place = place.unwrap_or_else(|| {
                    reasons.push((&seen.standing, Vec::new()));
                    reasons.len() - 1
                });
                let (name, places) = (self.arm_name(of.arm), &mut reasons[place].1);
                match places.iter_mut().find(|(arm, _)| *arm == name) {
                    Some((_, at)) => at.push(&seen.level.name),
                    None => places.push((name, vec![&seen.level.name])),
                }
            }
        }
        let sentence = |(reason, places): (&Standing, Vec<Places<'_>>)| {
            // Arms with the same levels stand together.
            let mut together: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
            for (arm, at) in places {
                match together.iter_mut().find(|(held, _)| *held == at) {
                    Some((_, arms)) => arms.push(arm),
                    None => together.push((at, vec![arm])),
                }
            }
            let each: Vec<String> = together
                .into_iter()
                .map(|(at, arms)| match at.len() {
                    all if all == levels && levels > 1 => {
                        format!("{} at all levels", arms.join(", "))
                    }
                    _ => format!("{} at {}", arms.join(", "), at.join(", ")),
                })
                .collect();
            format!("{}: {}", each.join(", "), words::reason(reason).unwrap_or_default())
        };
        reasons.into_iter().map(sentence).collect()
    }

    fn remedies(&self, arms: &[Candidate<'_>], decision: &mut Decision) -> Option<String> {
        let mut effects: Vec<Remedy> = Vec::new();
        let mut others = Vec::new();
        for of in arms {
            for (place, seen) in of.judged.iter().enumerate() {
                let remedy = words::remedy(seen, place == 0);
                others.extend(remedy.filter(|remedy| !others.contains(remedy)));
            }
            let remedy = self.remedy_of(of);
            effects.extend(remedy.filter(|remedy| !effects.contains(remedy)));
        }
        let effects: Vec<String> = effects.into_iter().map(remedy_sentence).collect();
        let shown: Vec<&str> = effects.iter().take(3).map(String::as_str).collect();
        let mut text = String::new();
        if !shown.is_empty() {
            text = format!("{EFFECT} {}.", shown.join("; "));
        }
        if !others.is_empty() {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}What helps: {}.", others.join("; "));
        }
        decision.remedies.extend(effects);
        decision.remedies.extend(others.into_iter().map(str::to_owned));
        (!text.is_empty()).then_some(text)
    }

    /// The remedy at the heaviest load at which the arm did not act: by the evidence, else by the
    /// plan's forecast.
    fn remedy_of(&self, of: &Candidate<'_>) -> Option<Remedy> {
        let idle = |seen: &&Judged<'_>| matches!(seen.standing, Standing::NotEffective { .. });
        of.judged.iter().rev().filter(idle).find_map(|seen| {
            let (grid, deployment) = (self.judge.context.grid, self.judge.deployment);
            let group = grid.group(deployment, of.arm, seen.level.index);
            group.entries.iter().find_map(|entry| {
                let observed = entry.result.and_then(CellResult::remedy);
                observed.or(entry.cell.prediction.remedy)
            })
        })
    }

    /// None where the run is complete.
    fn unrun(&self) -> Option<String> {
        let (run, planned) = self.judge.comparison.cells_run;
        (run < planned).then(|| words::interrupted(planned - run, planned))
    }

    /// Stores whose figures were not measured, or are another product's.
    fn assumed(&self) -> Vec<String> {
        if !self.judge.context.simulated {
            return Vec::new();
        }
        let arms = &self.judge.context.results.plan.deployments[self.judge.deployment].arms;
        let mut stores: BTreeMap<(&str, Option<&str>), Vec<&str>> = BTreeMap::new();
        for arm in arms {
            if let Some(profile) = arm.assumed_store() {
                stores.entry((profile.name, None)).or_default().push(&arm.name);
            }
            if let Some((product, measured)) = arm.foreign_figures() {
                stores.entry((product, Some(measured))).or_default().push(&arm.name);
            }
        }
        let sentence = |((store, on), arms): ((&str, Option<&str>), Vec<&str>)| {
            let why = on.map_or_else(
                || "assumed: no profile of it was measured".to_owned(),
                |on| format!("those of {on}"),
            );
            format!("The figures of {store} ({}) are {why} (`weir probe`).", arms.join(", "))
        };
        stores.into_iter().map(sentence).collect()
    }

    fn basis(&self) -> String {
        let repeats = match self.judge.context.results.plan.repeats {
            0 | 1 => "one repeat: no interval, raise `repeats` before relying on it".to_owned(),
            several => format!("{several} repeats"),
        };
        let how = if self.judge.context.simulated { "Predicted by simulation" } else { "Measured" };
        let by = if self.judge.metric.key == GOODPUT {
            let share = 100.0 * OBJECTIVES_SHARE;
            format!("; by goodput where {share:.0} % of the requests meet the objectives")
        } else {
            String::new()
        };
        format!("{how}; {repeats}{by}.")
    }
}

impl<'a> Candidate<'a> {
    fn in_run(&self) -> &[Judged<'a>] {
        self.run.map_or(&[], |(first, last)| &self.judged[first..=last])
    }

    fn only_meets(&self) -> usize {
        let only = |seen: &&Judged<'_>| matches!(seen.standing, Standing::OnlyMeets { .. });
        self.in_run().iter().filter(only).count()
    }

    fn is_judged(&self) -> bool {
        self.judged.iter().any(|seen| seen.standing.is_judged())
    }
}

fn range_words(best: &Candidate<'_>) -> String {
    let Some((first, last)) = best.run else { return String::new() };
    let load = |place: usize| best.judged[place].level.load.as_str();
    if first == last {
        format!("at {}", load(first))
    } else if last + 1 == best.judged.len() {
        format!("from {}", load(first))
    } else {
        format!("from {} to {}", load(first), load(last))
    }
}
