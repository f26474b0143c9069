//! What was true of a cell of real software, what was seen of it, and the verdict that it must get.
//!
//! A recording is made from a run (`cargo dev truth`) whose truth is known because it was arranged:
//! a store that refuses to be written, a chunk that no prompt fills. The suite decides each of them
//! anew, and `docs/reference/verdicts.md` shows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use weir_model::{Bytes, Signals, Verdict};
use weir_record::RunFolder;
use weir_spec::plan::{Arm, Plan, Regime};
use weir_spec::verdict::{Decision, Facts, decide};
use weir_trial::Journal;

/// Where recordings are, below the root.
const FOLDER: &str = "validation/verdicts";

/// One cell, as far as its verdict depends on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recording {
    /// What was true, in one sentence.
    pub(crate) truth: String,
    /// What it must be called.
    pub(crate) verdict: Verdict,
    /// The software that ran.
    pub(crate) software: String,
    replicas: u32,
    effective_share: f64,
    working_set: Option<Bytes>,
    regime: Regime,
    longest_offer: Option<u64>,
    doubt: Option<String>,
    pub(crate) arm: Arm,
    signals: Signals,
}

impl Recording {
    /// The cell of an arm, its first level and repeat, in a run.
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
        let started = Journal::read(&folder.cell_folder(&cell.path)?)?.started;
        let started = started.with_context(|| format!("{} started no processes", cell.path))?;
        let deployment = &plan.deployments[cell.deployment];
        let recording = Self {
            truth: truth.to_owned(),
            verdict: evidence.verdict,
            software: software(&started.versions),
            replicas: deployment.replicas,
            effective_share: plan.effective_share,
            working_set: cell.prediction.working_set,
            regime: cell.prediction.regime,
            longest_offer: cell.prediction.longest_offer,
            doubt: started.doubt(),
            arm: deployment.arms[cell.arm].clone(),
            signals: evidence.signals,
        };
        let decided = recording.decide().verdict;
        if decided != recording.verdict {
            bail!(
                "{} is {}, and its signals alone make it {decided}: other rules decided it",
                cell.path,
                recording.verdict
            );
        }
        Ok(recording)
    }

    /// What the decision table makes of it.
    pub(crate) fn decide(&self) -> Decision {
        let facts = Facts {
            replicas: self.replicas,
            effective_share: self.effective_share,
            working_set: self.working_set,
            regime: self.regime,
            longest_offer: self.longest_offer,
            doubt: self.doubt.as_deref(),
        };
        decide(&self.arm, &facts, &self.signals)
    }
}

/// `lmcache 0.5.6, vllm 0.32.0+cpu`.
fn software(versions: &BTreeMap<String, String>) -> String {
    let named = versions.iter().map(|(package, version)| format!("{package} {version}"));
    named.collect::<Vec<_>>().join(", ")
}

/// Writes a recording; its path.
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

/// All recordings, by name.
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
            .with_context(|| format!("{} is no recording", path.display()))?;
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
            .filter(|(_, recording)| recording.decide().verdict != recording.verdict)
            .map(|(name, recording)| {
                let decided = recording.decide();
                format!(
                    "{name}: {} It must be {}, and is {}: {}",
                    recording.truth, recording.verdict, decided.verdict, decided.explanation
                )
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
