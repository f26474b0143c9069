//! What happened, in words: per deployment, arm and level what the mechanism did, by which source,
//! why the cells count or do not, and what to change.
//!
//! Every sentence rests on a record; a quantity that no source reported is called not observable,
//! never zero. Signals are summed over the complete repeats, because shares of sums are steadier
//! than sums of shares.

pub(crate) mod account;
mod software;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use weir_model::{Claim, Note, SignalKind, Verdict};
use weir_record::CellStatus;
use weir_spec::plan::{ArmRole, Deployment};

use crate::comparison::words::{remedy_words, short_window};
use crate::comparison::{Comparison, DeploymentComparison, GroupNote, LevelNote, ReplicaNote};
use crate::metric::metric;
use crate::numerals;
use crate::results::{CellResult, Grid, Group, Results, ResultsError, Why};
use crate::sources::Seen;
use crate::tables::{group_sentences, software_sentences, wrapped};
use crate::words;

use account::Account;

/// Where no token came from a tier, a difference from the control is no gain.
const SERVED_NOTHING: &str = "The tiers served nothing: what differs from the control is the cost of \
                              the mechanism, another order of requests or noise, not a gain";

/// More replicas are told as ranges.
const REPLICAS_TOLD: usize = 8;

/// What a live cell recorded besides signals; no full stops.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellNotes {
    /// Reported by its parts at their start.
    pub started: Vec<String>,
    /// Done before the load.
    pub prepared: Vec<String>,
    /// What could not be done or observed.
    pub notes: Vec<Note>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    pub arm: Option<&'a str>,
    pub level: Option<&'a str>,
}

/// Describes a run in words. `told` is by cell index; cells without an entry left nothing.
pub fn explain(
    results: &Results<'_>,
    comparison: &Comparison,
    told: &BTreeMap<usize, CellNotes>,
    scope: Scope<'_>,
) -> Result<String, ResultsError> {
    results.check()?;
    let grid = Grid::of(results);
    let counts = comparison.cells;
    let mut out = format!(
        "{}: {} target, {} of {} cells completed, {} valid\n",
        comparison.experiment, comparison.target, counts.run, counts.planned, counts.counted
    );
    if comparison.simulated {
        out += &wrapped(
            "What follows is what the model predicts; it cannot find a fault in real software.",
            "",
        );
    }
    let plan = results.plan;
    let emulated = plan.target.emulated();
    let byte_scale = emulated.map(|target| target.byte_scale).filter(|scale| *scale < 1.0);
    for (index, (deployment, of)) in
        plan.deployments.iter().zip(&comparison.deployments).enumerate()
    {
        let _ = writeln!(out, "\n{} on {} ({})", of.model, of.hardware, of.facts());
        out += &wrapped(&account::pool_words(deployment), "  ");
        for sentence in software_sentences(of) {
            out += &wrapped(&sentence, "  ");
        }
        let story = Narrative { grid: &grid, told, index, deployment, of, byte_scale };
        for arm in 0..of.arms.len() {
            if scope.arm.is_none_or(|name| of.arms[arm].name == name) {
                out += &story.arm(arm, scope.level);
            }
        }
        if scope.arm.is_none() && scope.level.is_none() {
            out += "\nDecision\n";
            out += &wrapped(&of.decision.sentence, "  ");
        }
    }
    if scope.arm.is_none() && scope.level.is_none() && !plan.warnings.is_empty() {
        out += "\nWarnings before the run\n";
        for warning in &plan.warnings {
            out += &wrapped(warning, "  ");
        }
    }
    Ok(out)
}

struct Narrative<'a> {
    grid: &'a Grid<'a>,
    told: &'a BTreeMap<usize, CellNotes>,
    index: usize,
    deployment: &'a Deployment,
    of: &'a DeploymentComparison,
    /// Moved bytes per byte of the model, where they differ.
    byte_scale: Option<f64>,
}

impl Narrative<'_> {
    fn arm(&self, arm: usize, only: Option<&str>) -> String {
        let note = &self.of.arms[arm];
        let against = match (&note.control, self.deployment.arms[arm].role) {
            (Some(control), ArmRole::ControlAgain) => format!(" (repeats {control})"),
            (Some(control), _) => format!(" (against {control})"),
            (None, ArmRole::AsDeployed) => String::new(),
            (None, ArmRole::Control | ArmRole::RoutingControl) => " (the control)".to_owned(),
            (None, ArmRole::ControlAgain | ArmRole::Treatment) => {
                " (this run has no control for it)".to_owned()
            }
        };
        let mut out = format!("\n{}{against}\n", note.name);
        out += &wrapped(&sentence(&note.description), "  ");
        for line in software::of_arm(&self.of.software, &note.name) {
            out += &wrapped(&sentence(&line), "  ");
        }
        for level in &self.of.levels {
            if only.is_none_or(|name| level.name == name) {
                out += &self.level(arm, level);
            }
        }
        out
    }

    fn level(&self, arm: usize, level: &LevelNote) -> String {
        let group = self.grid.group(self.index, arm, level.index);
        let Some(note) = self.of.group(&self.of.arms[arm].name, &level.name) else {
            return String::new();
        };
        let of_all = if note.planned == 1 { "the only repeat" } else { "repeats" };
        let counted = match (note.counted, note.planned) {
            (0, 1) => "it does not count".to_owned(),
            (1, 1) => "it counts".to_owned(),
            (counted, planned) => format!("{counted} of {planned} {of_all} count"),
        };
        let head = format!("{} ({}): {}; {counted}", level.name, level.load, note.verdict.words());
        let mut out = String::new();
        out += &wrapped(&sentence(&head), "  ");
        for line in self.lines(arm, level, group, note) {
            out += &wrapped(&sentence(&line), "    ");
        }
        out
    }

    fn lines(
        &self,
        arm: usize,
        level: &LevelNote,
        group: &Group<'_>,
        note: &GroupNote,
    ) -> Vec<String> {
        let of = &self.deployment.arms[arm];
        let told = told_results(group);
        let seen = Seen::of(&told);
        let account = Account {
            deployment: self.deployment,
            arm: of,
            seen: &seen,
            byte_scale: self.byte_scale,
        };
        let mut lines = Vec::new();
        if let Some(entry) = group.entries.first()
            && of.offload.is_some()
        {
            lines.push(account.regime(&entry.cell.prediction));
        }
        if !told.is_empty() {
            lines.extend(account.hits());
            if of.offload.is_some() {
                lines.extend(account.stored());
                lines.extend(account.held());
            }
            lines.extend(account.trouble());
            lines.extend(account.routing());
        }
        lines.extend(self.balance(&note.arm, &level.name));
        lines.extend(unproven_claims(&told));
        lines.extend(self.outputs(&note.arm, &level.name));
        lines.extend(group_sentences(note));
        let effect = self.effect(note);
        let could = seen.get(SignalKind::EligibleTokens).is_some_and(|tokens| tokens > 0.0);
        let served = seen.get(SignalKind::ExternalHitTokens);
        if effect.is_some() && of.offload.is_some() && could && served == Some(0.0) {
            lines.push(SERVED_NOTHING.to_owned());
        }
        lines.extend(effect);
        lines.extend(whys(group));
        lines.extend(forecast(group));
        lines.extend(self.told(level, group));
        lines
    }

    fn outputs(&self, arm: &str, level: &str) -> Option<String> {
        let note = self.of.outputs.iter().find(|note| note.arm == arm && note.level == level)?;
        let floor =
            note.floor_words().map_or_else(String::new, |floor| format!("; the A/A arm: {floor}"));
        let why = note.note.map_or_else(String::new, |why| format!(" ({})", why.words()));
        Some(format!(
            "Answers that differ from the control's: {}{floor}: {}{why}",
            note.words(),
            note.outcome.name()
        ))
    }

    /// What each replica answered; a line of ranges where there are many.
    fn balance(&self, arm: &str, level: &str) -> Option<String> {
        let is_here = |note: &&ReplicaNote| note.arm == arm && note.level == level;
        let notes: Vec<&ReplicaNote> = self.of.balance.iter().filter(is_here).collect();
        let range = |value: fn(&ReplicaNote) -> Option<f64>| {
            let values = || notes.iter().filter_map(|note| value(note));
            let (least, most) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
            Some(format!("{least:.1} to {most:.1}"))
        };
        match notes.len() {
            0 => None,
            1..=REPLICAS_TOLD => {
                let each: Vec<String> = notes.iter().map(|note| replica_words(note)).collect();
                Some(format!("Replicas: {}", each.join("; ")))
            }
            many => Some(format!(
                "Replicas: {many}, each with {} % of the answers, {} % of its prompt tokens cached",
                range(|note| note.share_percent)?,
                range(|note| note.hit_percent)?
            )),
        }
    }

    fn effect(&self, note: &GroupNote) -> Option<String> {
        let control = self.of.arms.iter().find(|arm| arm.name == note.arm)?.control.as_ref()?;
        let keys = [self.of.deciding_metric, "output_tokens_per_s", "ttft_mean_ms", "tpot_mean_ms"];
        let mut told = BTreeSet::new();
        let words = |key: &'static str| {
            if !told.insert(key) {
                return None;
            }
            let change = self.of.change(&note.arm, key, &note.level)?.change.as_ref()?;
            Some(format!("{} {}", metric(key)?.title, numerals::change(change)))
        };
        let words: Vec<String> = keys.into_iter().filter_map(words).collect();
        (!words.is_empty())
            .then(|| format!("Against {control} at this level: {}", words.join(", ")))
    }

    /// What the cells recorded besides signals, each sentence once.
    fn told(&self, level: &LevelNote, group: &Group<'_>) -> Vec<String> {
        let cells = || {
            let results = group.entries.iter().filter_map(|entry| entry.result);
            results.filter_map(|result| self.told.get(&result.cell))
        };
        let each_once = |all: Vec<&String>| {
            let mut each: Vec<String> = Vec::new();
            for sentence in all {
                if !each.contains(sentence) {
                    each.push(sentence.clone());
                }
            }
            each
        };
        let line = |title: &str, each: Vec<String>| {
            (!each.is_empty()).then(|| format!("{title}: {}", each.join(". ")))
        };
        // A cell that failed early has its notes in its journal alone.
        let mut recorded = group.notes();
        for note in cells().flat_map(|told| &told.notes) {
            if !recorded.contains(&note) {
                recorded.push(note);
            }
        }
        let mut notes: Vec<String> = recorded.into_iter().map(words::note).collect();
        let windows = group.entries.iter().filter_map(|entry| {
            let window = entry.result?.evidence.as_ref()?.short_window?;
            Some((window, &self.deployment.levels[level.index]))
        });
        notes.extend(short_window(windows));
        [
            line("Start", each_once(cells().flat_map(|told| &told.started).collect())),
            line("Before the load", each_once(cells().flat_map(|told| &told.prepared).collect())),
            line("Note", notes),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// "10.0.0.2:8000 51.2 % of the answers, 45.0 % of its prompt tokens cached, 0.4 waiting".
fn replica_words(of: &ReplicaNote) -> String {
    let mut words = of.address.clone();
    match of.share_percent {
        Some(share) => {
            let _ = write!(words, " {share:.1} % of the answers");
        }
        None => words += " no answers",
    }
    if let Some(hits) = of.hit_percent {
        let _ = write!(words, ", {hits:.1} % of its prompt tokens cached");
    }
    if let Some(waiting) = of.mean_waiting {
        let _ = write!(words, ", {waiting:.1} waiting");
    }
    words
}

/// The repeats whose signals are described: the complete ones, else failed ones with signals.
fn told_results<'r>(group: &Group<'r>) -> Vec<&'r CellResult> {
    let with_signals = || {
        let results = group.entries.iter().filter_map(|entry| entry.result);
        results.filter(|result| {
            result.evidence.as_ref().is_some_and(|evidence| !evidence.signals.0.is_empty())
        })
    };
    let complete: Vec<&CellResult> =
        with_signals().filter(|result| result.record.status == CellStatus::Complete).collect();
    if complete.is_empty() { with_signals().collect() } else { complete }
}

/// Why the group has its verdicts and what to change, by the first repeat with each verdict.
fn whys(group: &Group<'_>) -> Vec<String> {
    let mut told: Vec<Verdict> = Vec::new();
    let mut lines = Vec::new();
    for result in group.entries.iter().filter_map(|entry| entry.result) {
        let verdict = result.verdict();
        let Some(why) = result.why().map(Why::words) else { continue };
        // A baseline's reason is the same in every run.
        if verdict == Verdict::Control || told.contains(&verdict) {
            continue;
        }
        told.push(verdict.clone());
        let which = if told.len() > 1 { format!(" ({})", verdict.word()) } else { String::new() };
        lines.push(match verdict {
            // The cause already stands with the verdict.
            Verdict::Failed(_) if !result.is_not_comparable() => {
                format!("Its signals alone{which} say: {why}")
            }
            _ => format!("Why{which}: {why}"),
        });
        lines.extend(result.remedy().map(|remedy| remedy_words(&verdict, remedy)));
    }
    lines
}

/// Claims that the signals contradict or leave open, each once.
fn unproven_claims(complete: &[&CellResult]) -> Vec<String> {
    let mut told: Vec<&Claim> = Vec::new();
    for claim in complete
        .iter()
        .filter_map(|result| result.evidence.as_ref())
        .flat_map(|evidence| evidence.claims.iter().filter(|claim| claim.held != Some(true)))
    {
        // Another repeat can have the same claim with other figures.
        if !told.iter().any(|other| other.claim.is_same(&claim.claim)) {
            told.push(claim);
        }
    }
    let line = |claim: &Claim| {
        let words = match claim.held {
            Some(_) => format!("failed ({})", words::seen(&claim.claim)),
            None => "not observable".to_owned(),
        };
        format!("Claim \"{}\": {words}", words::claimed(&claim.claim))
    };
    told.into_iter().map(line).collect()
}

fn forecast(group: &Group<'_>) -> Option<String> {
    let predicted = &group.entries.first()?.cell.prediction.verdict;
    let mut verdicts = group.verdicts().peekable();
    (verdicts.peek().is_some() && verdicts.all(|verdict| verdict != *predicted))
        .then(|| format!("The plan had predicted {}", words::verdict(predicted)))
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}
