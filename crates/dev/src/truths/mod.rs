//! The known truth of a cell of real software, its observations, and the required verdict.
//!
//! A recording comes from a run (`cargo dev truth`) with an arranged fault: a store that refuses
//! writes, a chunk that no prompt fills. The suite decides each again;
//! `docs/reference/verdicts.md` shows them. Where the verdict needs more than the arm's own
//! signals, the cells beside it are recorded too.

mod beside;
mod called;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use weir_lab::live::{Checks, Journal};
use weir_model::{
    Bytes, CellFailure, FactKind, FactValue, FailureReason, RunningFacts, Signals, Verdict,
};
use weir_record::RunFolder;
use weir_report::words;
use weir_spec::plan::{Arm, Plan, Regime};
use weir_spec::verdict::{Decision, Facts, decide};

use beside::Beside;
pub(crate) use called::Called;

/// Below the root.
const FOLDER: &str = "validation/verdicts";

/// A cell, reduced to what its verdict depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recording {
    /// One sentence.
    pub(crate) truth: String,
    pub(crate) verdict: Called,
    pub(crate) software: String,
    replicas: u32,
    effective_share: f64,
    working_set: Option<Bytes>,
    regime: Regime,
    longest_offer: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    longest_reuse: Option<u64>,
    startup_warning: Option<String>,
    pub(crate) arm: Arm,
    signals: Signals,
    #[serde(default, skip_serializing_if = "is_default")]
    same_prompts: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    checks: Checks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beside: Option<Beside>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Recording {
    /// The arm's cell at the first level and repeat.
    fn of(run: &Path, arm: &str, truth: &str) -> anyhow::Result<Self> {
        let folder = RunFolder::open_read_only(run)?;
        let plan: Plan = folder.plan()?;
        let cell = plan.cells.iter().find(|cell| {
            let of = &plan.deployments[cell.deployment].arms[cell.arm];
            of.name == arm && cell.level == 0 && cell.repeat == 0
        });
        let cell = cell.with_context(|| format!("{} has no arm `{arm}`", run.display()))?;
        let evidence = folder.open_cell(&cell.path)?.evidence()?;
        let evidence = evidence.with_context(|| format!("{} has no evidence", cell.path))?;
        let journal = Journal::read(&folder.cell_folder(&cell.path)?)?;
        let deployment = &plan.deployments[cell.deployment];
        let mut startup_warning = None;
        if let Some(started) = &journal.started {
            startup_warning = started.startup_warning();
        }
        let mut recording = Self {
            truth: truth.to_owned(),
            verdict: Called::Unverified,
            software: software(&journal, &evidence.facts),
            replicas: deployment.replicas,
            effective_share: plan.effective_share,
            working_set: cell.prediction.working_set,
            regime: cell.prediction.regime,
            longest_offer: cell.prediction.longest_offer,
            longest_reuse: cell.prediction.longest_reuse,
            startup_warning,
            arm: deployment.arms[cell.arm].clone(),
            signals: evidence.signals,
            same_prompts: plan.client.same_prompts,
            checks: journal.checks,
            beside: None,
        };
        let (said, beside) = Beside::read(&folder, &plan, cell)?;
        recording.beside = Some(beside);
        let judged = recording.judged();
        if judged != said {
            let [said, decided] = [said, judged].map(|verdict| words::verdict(&verdict));
            bail!(
                "{} is {said}, and what is recorded makes it {decided}: other rules decided it",
                cell.path
            );
        }
        recording.verdict = Called::from(&judged);
        let alone = Self { beside: None, ..recording.clone() };
        // Other cells are recorded only where the verdict depends on them.
        let is_enough = Called::from(&alone.judged()) == recording.verdict;
        Ok(if is_enough { alone } else { recording })
    }

    fn judged(&self) -> Verdict {
        let decision = self.decide();
        match self.checks.unfit(self.arm.role, self.same_prompts) {
            Some(unfit) => Verdict::Failed(FailureReason::Cell(CellFailure::Unfit(unfit))),
            None => match &self.beside {
                Some(beside) => beside.judged(&decision.verdict, &self.signals),
                None => decision.verdict,
            },
        }
    }

    /// By the decision table, from its signals alone.
    fn decide(&self) -> Decision {
        let facts = Facts {
            replicas: self.replicas,
            effective_share: self.effective_share,
            working_set: self.working_set,
            regime: self.regime,
            longest_offer: self.longest_offer,
            longest_reuse: self.longest_reuse,
            startup_warning: self.startup_warning.as_deref(),
            // No recording has a router.
            index_block: None,
        };
        decide(&self.arm, &facts, &self.signals)
    }
}

/// `lmcache 0.5.6, vllm 0.32.0+cpu`: as installed, or else as an endpoint reports.
fn software(journal: &Journal, facts: &RunningFacts) -> String {
    let said = [(FactKind::EngineVersion, "vllm"), (FactKind::LmcacheVersion, "lmcache")];
    let named: BTreeSet<String> = match &journal.started {
        Some(started) => {
            let versions = started.versions.iter();
            versions.map(|(package, version)| format!("{package} {version}")).collect()
        }
        None => said
            .into_iter()
            .flat_map(|(kind, name)| facts.values(kind).into_iter().map(move |of| (name, of)))
            .filter_map(|(name, of)| match of {
                FactValue::Text(version) => Some(format!("{name} {version}")),
                _ => None,
            })
            .collect(),
    };
    named.into_iter().collect::<Vec<_>>().join(", ")
}

/// Returns its path.
pub(crate) fn record(
    root: &Path,
    (run, arm): (&Path, &str),
    (name, truth): (&str, &str),
) -> anyhow::Result<PathBuf> {
    let recording = Recording::of(run, arm, truth)?;
    let path = root.join(FOLDER).join(format!("{name}.json"));
    fs::create_dir_all(root.join(FOLDER))?;
    fs::write(&path, serde_json::to_string_pretty(&recording)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

pub(crate) fn all(root: &Path) -> anyhow::Result<Vec<(String, Recording)>> {
    let folder = root.join(FOLDER);
    let entries = fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path)?;
        let recording = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a recording", path.display()))?;
        Ok((name, recording))
    };
    paths.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository;

    #[test]
    fn every_recorded_truth_gets_its_verdict() {
        let recordings = all(&repository::root()).expect("recordings");
        assert!(!recordings.is_empty());
        let wrong: Vec<String> = recordings
            .iter()
            .map(|(name, recording)| (name, recording, recording.judged()))
            .filter(|(_, recording, verdict)| Called::from(verdict) != recording.verdict)
            .map(|(name, recording, verdict)| {
                let (why, must) = (recording.decide().reason, &recording.verdict);
                let truth = &recording.truth;
                format!("{name}: {truth} It must be {must}, and is {verdict:?}: {why:?}")
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
