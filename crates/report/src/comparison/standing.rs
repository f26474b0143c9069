//! What each level says about an arm: a gain, a loss, neither, or why it says nothing.
//!
//! An arm gains at a level when its mechanism was effective there, its gain in the deciding metric
//! is above the noise floor and [`WORTH_PERCENT`], and the interval (if any) excludes zero. With
//! objectives, no decision rests on a level at which the arm misses them.

use std::mem::discriminant;

use serde::Serialize;
use weir_model::{Lateness, Refusal, Verdict};
use weir_record::CellStatus;

use super::{Context, DeploymentComparison, LevelNote};
use crate::metric::{COST, GOODPUT, GOODPUT_SHARE, Metric};
use crate::results::{Group, reference};
use crate::statistics::Difference;

/// A smaller gain does not pay for one more component.
pub const WORTH_PERCENT: f64 = 1.0;

/// Share of requests that must meet the objectives; the default of `weir load --slo-share`.
pub const OBJECTIVES_SHARE: f64 = 0.95;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Standing {
    Gain,
    OnlyMeets {
        /// Of its requests, 0 to 1.
        share: f64,
        control_share: f64,
    },
    Cheaper,
    Loss,
    /// Misses objectives that its control meets.
    LosesObjectives,
    /// The mechanism acted, and the arm is neither better nor worse.
    NoDifference,
    /// A difference that the repeats do not separate from noise.
    Unproven,
    /// No worse, and its mechanism did not act, or only cost something.
    NotEffective {
        verdict: Verdict,
    },
    MissesObjectives,
    /// The load generator's error is too large for the comparison.
    TooInexact {
        why: Lateness,
    },
    /// The load generator was the limit, not the server.
    GeneratorLimit {
        refusal: Refusal,
    },
    /// No cell completed.
    Failed {
        /// Of the first repeat.
        verdict: Verdict,
    },
    NotRun,
    /// The control has no cells that count at the level.
    NoControl,
}

impl Standing {
    /// Equal apart from figures.
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

    pub(super) const fn is_worth(&self) -> bool {
        matches!(self, Self::Gain | Self::OnlyMeets { .. } | Self::Cheaper)
    }

    pub(super) const fn is_loss(&self) -> bool {
        matches!(self, Self::Loss | Self::LosesObjectives)
    }

    /// Whether the arm and its control were compared.
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

pub(super) struct Judged<'a> {
    pub(super) level: &'a LevelNote,
    pub(super) standing: Standing,
    /// In the deciding metric; absent without a comparison, and where the control's figure is zero.
    pub(super) change: Option<Difference>,
}

#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) deployment: usize,
    pub(super) comparison: &'a DeploymentComparison,
    pub(super) metric: &'static Metric,
}

impl<'a> Judge<'a> {
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

    /// For groups that both count and yet have no change.
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

/// `standing`, where the mechanism was effective.
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

/// For a group of which no repeat counts.
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
