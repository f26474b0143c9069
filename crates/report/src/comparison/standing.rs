//! What each level says about an arm: a gain, a loss, neither, or why it says nothing.
//!
//! An arm gains at a level when its mechanism was effective there, its gain in the deciding metric
//! is above the noise floor and above [`WORTH_PERCENT`], and the interval (if there is one)
//! excludes zero. With objectives, no decision rests on a level at which the arm misses them.

use std::mem::discriminant;

use serde::Serialize;
use weir_model::{Lateness, Refusal, Verdict};
use weir_record::CellStatus;

use super::{Context, DeploymentComparison, LevelNote};
use crate::metric::{COST, GOODPUT, GOODPUT_SHARE, Metric};
use crate::results::{Group, reference};
use crate::statistics::Difference;

/// A gain below this many percent does not pay for running one more component.
pub const WORTH_PERCENT: f64 = 1.0;

/// Share of the requests that must meet the objectives for a level to meet them; the default of
/// `weir load --slo-share`.
pub const OBJECTIVES_SHARE: f64 = 0.95;

/// What a level says about an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Standing {
    /// It is better than its control.
    Gain,
    /// It meets the objectives, and its control misses them.
    OnlyMeets {
        /// Share of its requests that met them, 0 to 1.
        share: f64,
        control_share: f64,
    },
    Cheaper,
    /// It is worse than its control.
    Loss,
    /// It misses objectives that its control meets.
    LosesObjectives,
    /// Its mechanism acted, and it is neither better nor worse.
    NoDifference,
    /// A difference that the repeats do not tell from noise.
    Unproven,
    /// It is no worse, and its mechanism did not act, or only cost something.
    NotEffective {
        verdict: Verdict,
    },
    /// It misses the objectives, as its control does.
    MissesObjectives,
    /// The error of the load generator is too large for the comparison.
    TooInexact {
        /// What made it late.
        why: Lateness,
    },
    /// The load generator, and not the server, was the limit.
    GeneratorLimit {
        refusal: Refusal,
    },
    /// No cell ended as it should.
    Failed {
        /// The verdict of the first repeat, with its cause.
        verdict: Verdict,
    },
    /// The run ended before its cells.
    NotRun,
    /// The control has no cells that count there.
    NoControl,
}

impl Standing {
    /// Whether another says the same of its level, whatever the figures.
    pub(super) fn is_told_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TooInexact { .. }, Self::TooInexact { .. }) => true,
            (Self::GeneratorLimit { refusal }, Self::GeneratorLimit { refusal: other }) => {
                discriminant(refusal) == discriminant(other)
            }
            (
                Self::NotEffective { verdict } | Self::Failed { verdict },
                Self::NotEffective { verdict: other } | Self::Failed { verdict: other },
            ) => verdict == other,
            _ => self == other,
        }
    }

    /// Whether the arm is worth it there.
    pub(super) const fn is_worth(&self) -> bool {
        matches!(self, Self::Gain | Self::OnlyMeets { .. } | Self::Cheaper)
    }

    /// Whether the arm does harm there.
    pub(super) const fn is_loss(&self) -> bool {
        matches!(self, Self::Loss | Self::LosesObjectives)
    }

    /// Whether the arm and its control were compared there.
    pub(super) const fn is_judged(&self) -> bool {
        matches!(
            self,
            Self::Gain
                | Self::OnlyMeets { .. }
                | Self::Cheaper
                | Self::Loss
                | Self::LosesObjectives
                | Self::NoDifference
                | Self::Unproven
        )
    }
}

/// How an arm does at one level.
pub(super) struct Judged<'a> {
    pub(super) level: &'a LevelNote,
    pub(super) standing: Standing,
    /// In the deciding metric; absent where nothing could be compared, and where the control's
    /// figure is zero.
    pub(super) change: Option<Difference>,
}

/// Judges the levels of a deployment's arms.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) deployment: usize,
    pub(super) comparison: &'a DeploymentComparison,
    pub(super) metric: &'static Metric,
}

impl<'a> Judge<'a> {
    /// An arm at all levels, from light to heavy load.
    pub(super) fn arm(&self, arm: usize) -> Vec<Judged<'a>> {
        self.comparison.levels.iter().map(|level| self.level(arm, level)).collect()
    }

    fn level(&self, arm: usize, level: &'a LevelNote) -> Judged<'a> {
        let name = &self.comparison.arms[arm].name;
        let delta = self.comparison.change(name, self.metric.key, &level.name);
        let change = delta.and_then(|delta| delta.change.clone());
        Judged { level, standing: self.standing(arm, level, change.as_ref()), change }
    }

    fn standing(&self, arm: usize, level: &LevelNote, change: Option<&Difference>) -> Standing {
        let name = &self.comparison.arms[arm].name;
        let deployment = &self.context.results.plan.deployments[self.deployment];
        let group = self.context.grid.group(self.deployment, arm, level.index);
        if group.counted().next().is_none() {
            return uncounted(group);
        }
        let Some(control) = reference(deployment, arm) else { return Standing::NoControl };
        let control = self.context.grid.group(self.deployment, control, level.index);
        if control.counted().next().is_none() {
            return Standing::NoControl;
        }
        let share = |arm: &str| {
            let group = self.comparison.group(arm, &level.name)?;
            Some(group.metrics.get(GOODPUT_SHARE)?.mean)
        };
        let control_share = self.comparison.arms[arm].control.as_deref().and_then(share);
        let meets = |share: f64| share >= OBJECTIVES_SHARE;
        if self.metric.key == GOODPUT {
            match (share(name), control_share) {
                (Some(share), Some(control_share)) if meets(share) && !meets(control_share) => {
                    return effective_or(group, Standing::OnlyMeets { share, control_share });
                }
                (Some(share), _) if meets(share) => {}
                (_, Some(share)) if meets(share) => return Standing::LosesObjectives,
                _ => return Standing::MissesObjectives,
            }
        }
        let Some(change) = change else { return self.incomparable(group) };
        self.by_change(group, name, level, change)
    }

    fn by_change(
        &self,
        group: &Group<'_>,
        arm: &str,
        level: &LevelNote,
        change: &Difference,
    ) -> Standing {
        let noise = &self.comparison.noise_floor;
        let gain = self.metric.better.gain(change.percent);
        let tells = noise.tells(change, &level.name, self.metric.key, WORTH_PERCENT);
        if tells && gain < 0.0 {
            return Standing::Loss;
        }
        if !group.is_effective() {
            return effective_or(group, Standing::NoDifference);
        }
        if tells {
            return Standing::Gain;
        }
        let cost = self.comparison.change(arm, COST, &level.name);
        let is_cheaper = cost.and_then(|delta| delta.change.as_ref()).is_some_and(|cost| {
            cost.percent < 0.0 && noise.tells(cost, &level.name, COST, WORTH_PERCENT)
        });
        if is_cheaper {
            Standing::Cheaper
        } else if noise.is_unproven(change, &level.name, self.metric.key, WORTH_PERCENT) {
            Standing::Unproven
        } else {
            Standing::NoDifference
        }
    }

    /// Both count, and yet there is no change.
    fn incomparable(&self, group: &Group<'_>) -> Standing {
        let has_value = group.counted().any(|(_, result)| (self.metric.of)(result).is_some());
        let certificate =
            group.counted().find_map(|(_, result)| result.record.figures.certificate.as_ref());
        match certificate.filter(|_| has_value) {
            Some(certificate) => Standing::TooInexact { why: certificate.lateness() },
            None => Standing::NoControl,
        }
    }
}

/// A standing that only an effective mechanism has.
fn effective_or(group: &Group<'_>, standing: Standing) -> Standing {
    if group.is_effective() {
        return standing;
    }
    let verdict = group
        .counted()
        .map(|(_, result)| result.verdict())
        .find(|verdict| *verdict != Verdict::Effective);
    Standing::NotEffective { verdict: verdict.unwrap_or(Verdict::Unverified) }
}

/// Why no repeat counts.
fn uncounted(group: &Group<'_>) -> Standing {
    let Some(result) = group.entries.iter().find_map(|entry| entry.result) else {
        return Standing::NotRun;
    };
    if let Some(refusal) = result.refusal().filter(|_| result.verdict() == Verdict::Refused) {
        return Standing::GeneratorLimit { refusal: *refusal };
    }
    let verdict = result.verdict();
    if result.record.status != CellStatus::Complete || matches!(verdict, Verdict::Failed(_)) {
        return Standing::Failed { verdict };
    }
    Standing::NotEffective { verdict }
}
