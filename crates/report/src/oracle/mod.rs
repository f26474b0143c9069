//! The output oracle: do an arm's answers differ from the control's more than noise explains?
//!
//! Live targets decode greedily, and all arms of a level and repeat get the same requests. Where KV
//! blocks come back as they were stored, answers differ by numerics only: other pieces or batches
//! sum in another order, which can flip a near tie between tokens. The A/A arm shows how often (the
//! floor).
//!
//! An arm is `corrupt` at a level when its mismatches, pooled over the repeats, are at least
//! [`LEAST_MISMATCHES`] and too many by each of these tests:
//!
//! * Fisher's exact test, one-sided, against the A/A arm at the same level,
//! * the same against the A/A arm at the level where it differs most: loading a prefix changes the
//!   shapes of passes, as more load does, even where control and A/A arm run in lockstep,
//! * the exact binomial test against [`ALLOWANCE`], for the same reason; the only test without an
//!   A/A arm.
//!
//! The largest p value, times the number of judged arms and levels (Bonferroni), must be below
//! [`SIGNIFICANCE`]. The bound is strict because requests that share a prefix are not quite
//! independent.
//!
//! Not detectable: wrong blocks that do not change the next tokens (a model whose answers hardly
//! depend on its context, as one with dummy weights), corruption in fewer answers than the
//! allowance, and errors that both arms share.

mod answers;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use weir_spec::plan::{ArmRole, Plan};

pub use answers::{Answers, compare_answers};

use crate::results::{AnswerCount, Corruption, Results};
use crate::statistics::{binomial_at_least, fisher_greater};

/// Fewer comparable answers decide nothing.
pub const LEAST_PROMPTS: u64 = 20;
/// Fewer mismatches are never called corruption.
pub const LEAST_MISMATCHES: u64 = 3;
/// Largest corrected p value at which an arm is `corrupt`.
pub const SIGNIFICANCE: f64 = 0.001;
/// Share of answers that other shapes of passes may change in a healthy arm, beyond the floor.
pub const ALLOWANCE: f64 = 0.05;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputOutcome {
    /// The A/A arm: its rate is the floor.
    NoiseFloor,
    Agrees,
    /// More than the A/A arm, but within [`ALLOWANCE`].
    AboveFloor,
    Corrupt,
    Undecided,
    NotJudged,
}

impl OutputOutcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoiseFloor => "noise-floor",
            Self::Agrees => "agrees",
            Self::AboveFloor => "above-floor",
            Self::Corrupt => "corrupt",
            Self::Undecided => "undecided",
            Self::NotJudged => "not-judged",
        }
    }
}

/// The answers of an arm at a level against the control's, over all repeats.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputNote {
    pub arm: String,
    pub level: String,
    /// Answers to equal prompts that both gave in full.
    pub compared: u64,
    pub mismatches: u64,
    pub percent: Option<f64>,
    /// Of the A/A arm at this level; None without one.
    pub floor_compared: Option<u64>,
    pub floor_mismatches: Option<u64>,
    /// Largest p value of the tests, times the number of comparisons; at most 1.
    pub p_value: Option<f64>,
    pub outcome: OutputOutcome,
    /// Absent where there is nothing to add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<OutputRemark>,
}

/// Why an arm has its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputRemark {
    /// More mismatches than the A/A arm, within [`ALLOWANCE`].
    WithinAllowance,
    /// The engine's answers do not depend on its blocks.
    BlindEngine,
    /// [`ALLOWANCE`] stands in for the floor.
    NoFloor,
    /// Answers are sampled at random.
    Sampled,
    NoDigests,
    /// Fewer than [`LEAST_PROMPTS`]; `other_prompts` later turns quote other answers.
    TooFew {
        other_prompts: u64,
    },
}

impl OutputRemark {
    /// Without a full stop.
    pub(crate) fn words(self) -> String {
        let fixed = match self {
            Self::WithinAllowance => {
                return format!(
                    "more than the A/A arm, yet not more than the {:.0} % that other shapes of \
                     passes are allowed",
                    100.0 * ALLOWANCE
                );
            }
            Self::NoFloor => {
                return format!(
                    "no A/A arm: the floor is taken as {:.0} %; add `no-offload-aa` to the arms",
                    100.0 * ALLOWANCE
                );
            }
            Self::TooFew { other_prompts } => {
                let others = match other_prompts {
                    0 => String::new(),
                    others => format!("; {others} later turns quote other answers"),
                };
                return format!(
                    "fewer than {LEAST_PROMPTS} answers to equal prompts{others}: run it longer"
                );
            }
            Self::BlindEngine => {
                "answers of the emulated engine do not depend on its blocks; it compares their \
                 bytes itself (signal `wrong-blocks`)"
            }
            Self::Sampled => "`client.body.temperature` is not 0: answers are drawn by chance",
            Self::NoDigests => "no digests of answers were recorded",
        };
        fixed.to_owned()
    }
}

/// As [`OutputRemark::words`].
impl Serialize for OutputRemark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.words())
    }
}

impl OutputNote {
    /// "31 of 60 (51.7 %)".
    pub fn words(&self) -> String {
        AnswerCount::of(self.mismatches, self.compared).words()
    }

    pub fn floor_words(&self) -> Option<String> {
        Some(self.floor()?.words())
    }

    fn floor(&self) -> Option<AnswerCount> {
        Some(AnswerCount::of(self.floor_mismatches?, self.floor_compared?))
    }

    fn corruption(&self) -> Corruption {
        Corruption {
            count: AnswerCount::of(self.mismatches, self.compared),
            floor: self.floor(),
            p_value: self.p_value.unwrap_or(1.0),
        }
    }
}

/// Judges all arms of a run by their answers and marks the cells of corrupt ones. Before, a cell
/// has the verdict of its own evidence.
pub fn judge(results: &mut Results<'_>) {
    let corrupt: BTreeMap<Key, Corruption> = judged(results)
        .into_iter()
        .filter(|(_, note)| note.outcome == OutputOutcome::Corrupt)
        .map(|(key, note)| (key, note.corruption()))
        .collect();
    for result in &mut results.cells {
        let cell = &results.plan.cells[result.cell];
        result.corrupt = corrupt.get(&(cell.deployment, cell.arm, cell.level)).copied();
    }
}

/// Per deployment; empty where no answers were compared.
pub(crate) fn outputs(results: &Results<'_>) -> Vec<Vec<OutputNote>> {
    let mut outputs = vec![Vec::new(); results.plan.deployments.len()];
    for ((deployment, _, _), note) in judged(results) {
        outputs[deployment].push(note);
    }
    outputs
}

type Key = (usize, usize, usize);

/// Counts per deployment, arm and level, over the complete repeats.
fn counts(results: &Results<'_>) -> BTreeMap<Key, AnswerCount> {
    let mut counts: BTreeMap<Key, AnswerCount> = BTreeMap::new();
    for result in results.cells.iter().filter(|result| result.answers_stand()) {
        let (Some(cell), Some(answers)) = (results.plan.cells.get(result.cell), result.answers)
        else {
            continue;
        };
        let entry = counts.entry((cell.deployment, cell.arm, cell.level)).or_default();
        *entry = entry.and(answers);
    }
    counts
}

/// The A/A arm at the level, and at its worst level.
#[derive(Clone, Copy)]
struct Floor {
    /// None where the A/A arm has too few answers at the level.
    here: Option<AnswerCount>,
    worst: AnswerCount,
}

fn judged(results: &Results<'_>) -> BTreeMap<Key, OutputNote> {
    let plan = results.plan;
    let counts = counts(results);
    let has_enough = |count: &AnswerCount| count.compared >= LEAST_PROMPTS;
    let is_under_test =
        |key: &Key| plan.deployments[key.0].arms[key.1].role != ArmRole::ControlAgain;
    let comparisons =
        counts.iter().filter(|(key, count)| is_under_test(key) && has_enough(count)).count();
    let again = |key: &Key| {
        let arms = &plan.deployments[key.0].arms;
        arms.iter().position(|arm| arm.role == ArmRole::ControlAgain)
    };
    let floor = |key: &Key| {
        let again = again(key)?;
        let levels = || {
            let of_arm = counts.range((key.0, again, 0)..(key.0, again + 1, 0));
            of_arm.map(|(_, count)| *count).filter(has_enough)
        };
        let rate = |count: &AnswerCount| count.rate().unwrap_or(0.0);
        let worst = levels().max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
        let here = counts.get(&(key.0, again, key.2)).copied().filter(has_enough);
        Some(Floor { here, worst })
    };
    let note = |(key, count): (&Key, &AnswerCount)| {
        let (deployment, level) = (&plan.deployments[key.0], key.2);
        let mut note = OutputNote {
            arm: deployment.arms[key.1].name.clone(),
            level: deployment.levels[level].name.clone(),
            compared: count.compared,
            mismatches: count.mismatches,
            percent: count.rate().map(|rate| 100.0 * rate),
            floor_compared: None,
            floor_mismatches: None,
            p_value: None,
            outcome: OutputOutcome::NotJudged,
            note: None,
        };
        if is_under_test(key) {
            decide(plan, count, floor(key), comparisons, &mut note);
        } else {
            note.outcome = OutputOutcome::NoiseFloor;
        }
        (*key, note)
    };
    counts.iter().map(note).collect()
}

fn decide(
    plan: &Plan,
    count: &AnswerCount,
    floor: Option<Floor>,
    comparisons: usize,
    note: &mut OutputNote,
) {
    let here = floor.and_then(|floor| floor.here);
    note.floor_compared = here.map(|count| count.compared);
    note.floor_mismatches = here.map(|count| count.mismatches);
    note.note = not_judged(plan, count);
    if note.note.is_some() {
        return;
    }
    if count.compared < LEAST_PROMPTS {
        note.outcome = OutputOutcome::Undecided;
        note.note = Some(OutputRemark::TooFew { other_prompts: count.other_prompts });
        return;
    }
    let (outcome, p_value) = verdict(count, floor, comparisons);
    (note.outcome, note.p_value) = (outcome, Some(p_value));
    note.note = match note.outcome {
        OutputOutcome::AboveFloor => Some(OutputRemark::WithinAllowance),
        // Equal answers prove nothing for an engine that does not read its blocks.
        OutputOutcome::Agrees if is_blind(plan) => {
            note.outcome = OutputOutcome::NotJudged;
            Some(OutputRemark::BlindEngine)
        }
        _ if floor.is_none() => Some(OutputRemark::NoFloor),
        _ => None,
    };
}

/// The outcome of enough answers, and the largest p value.
fn verdict(count: &AnswerCount, floor: Option<Floor>, comparisons: usize) -> (OutputOutcome, f64) {
    let (mismatches, compared) = (count.mismatches, count.compared);
    let corrected = |p: f64| (p * comparisons.max(1) as f64).min(1.0);
    let against = |floor: AnswerCount| {
        corrected(fisher_greater(mismatches, compared, floor.mismatches, floor.compared))
    };
    let over_floor =
        floor.map_or(0.0, |floor| f64::max(floor.here.map_or(0.0, against), against(floor.worst)));
    let p_value = over_floor.max(corrected(binomial_at_least(mismatches, compared, ALLOWANCE)));
    let outcome = if mismatches < LEAST_MISMATCHES {
        OutputOutcome::Agrees
    } else if p_value < SIGNIFICANCE {
        OutputOutcome::Corrupt
    } else if floor.is_some() && over_floor < SIGNIFICANCE {
        OutputOutcome::AboveFloor
    } else {
        OutputOutcome::Agrees
    };
    (outcome, p_value)
}

const fn is_blind(plan: &Plan) -> bool {
    plan.target.emulated().is_some()
}

/// Why answers are not judged; None where they are.
fn not_judged(plan: &Plan, count: &AnswerCount) -> Option<OutputRemark> {
    let body = &plan.client.body;
    let is_greedy = body.get("temperature").is_none_or(|asked| asked.as_f64() == Some(0.0));
    if !is_greedy {
        return Some(OutputRemark::Sampled);
    }
    (count.compared == 0 && count.without_digest > 0).then_some(OutputRemark::NoDigests)
}

#[cfg(test)]
mod tests;
