//! What ran in the arms of a deployment, for reports: facts and added settings.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use weir_model::{FactKind, FactValue};
use weir_spec::plan::{LiveTarget, Target};

use crate::results::Results;
use crate::words::difference;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ArmSoftware {
    pub arm: String,
    /// Different values over all cells and parts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<FactKind, BTreeSet<FactValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vllm_args: Vec<String>,
    /// Names only; values stay out of reports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
}

/// What ran in all arms of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SoftwareNote {
    /// In the file's order.
    pub arms: Vec<ArmSoftware>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vllm_args: Vec<String>,
    /// Names of variables that all arms have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Endpoints: arms whose `bytes` were not observable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sizes_unseen: Vec<String>,
    /// Its engines are Weir's own, which are what the plan says.
    #[serde(skip)]
    is_emulated: bool,
}

impl SoftwareNote {
    /// Empty where nothing was recorded.
    pub(crate) fn of(results: &Results<'_>, deployment: usize) -> Self {
        let plan = results.plan;
        let mut note = Self::default();
        if plan.target.live().is_none() {
            return note;
        }
        note.is_emulated = matches!(plan.target, Target::Live(LiveTarget::Emulated(_)));
        if let Some(local) = plan.target.local() {
            note.vllm_args.clone_from(&local.vllm_args);
            note.env = local.env.keys().cloned().collect();
        }
        let processes = plan.target.local().is_some();
        for arm in &plan.deployments[deployment].arms {
            let (vllm_args, env) = if processes {
                let names = arm.processes.env.keys().cloned().collect();
                (arm.processes.vllm_args.clone(), names)
            } else {
                (Vec::new(), Vec::new())
            };
            let facts = BTreeMap::new();
            note.arms.push(ArmSoftware { arm: arm.name.clone(), facts, vllm_args, env });
        }
        for result in &results.cells {
            let cell = &plan.cells[result.cell];
            let Some(evidence) = result.evidence.as_ref().filter(|_| cell.deployment == deployment)
            else {
                continue;
            };
            for kind in FactKind::ALL.into_iter().filter(|kind| !kind.is_of_the_cell()) {
                let values = evidence.facts.values(kind);
                if !values.is_empty() {
                    let known = note.arms[cell.arm].facts.entry(kind).or_default();
                    known.extend(values.into_iter().cloned());
                }
            }
        }
        if plan.target.endpoint().is_some() {
            let arms = plan.deployments[deployment].arms.iter().zip(&note.arms);
            let unseen = arms.filter(|(arm, seen)| {
                arm.offload.is_some()
                    && !seen.facts.is_empty()
                    && !seen.facts.contains_key(&FactKind::HostBytes)
            });
            note.sizes_unseen = unseen.map(|(arm, _)| arm.name.clone()).collect();
        }
        note
    }

    pub fn is_empty(&self) -> bool {
        let of_arm = |arm: &ArmSoftware| {
            arm.facts.is_empty() && arm.vllm_args.is_empty() && arm.env.is_empty()
        };
        self.vllm_args.is_empty() && self.env.is_empty() && self.arms.iter().all(of_arm)
    }

    pub fn has_facts(&self) -> bool {
        self.that_ran().next().is_some()
    }

    pub(crate) fn that_ran(&self) -> impl Iterator<Item = &ArmSoftware> {
        self.arms.iter().filter(|arm| !arm.facts.is_empty())
    }

    /// Facts that some arms show and that differ between the arms that ran.
    pub(crate) fn differing(&self) -> Vec<FactKind> {
        FactKind::ALL.into_iter().filter(|kind| self.shown(*kind).len() > 1).collect()
    }

    /// Facts that all arms that ran show with the same value.
    pub(crate) fn common(&self) -> Vec<(FactKind, String)> {
        let one = |kind| {
            let mut values = self.shown(kind).into_iter();
            Some((kind, values.next()??)).filter(|_| values.next().is_none())
        };
        FactKind::ALL.into_iter().filter_map(one).collect()
    }

    /// Facts of engines that no arm shows.
    pub(crate) fn unseen(&self) -> Vec<FactKind> {
        let is_unseen = |kind: &FactKind| {
            !kind.is_mechanism() && !self.is_emulated && self.shown(*kind) == BTreeSet::from([None])
        };
        FactKind::ALL.into_iter().filter(is_unseen).collect()
    }

    fn shown(&self, kind: FactKind) -> BTreeSet<Option<String>> {
        self.that_ran().map(|arm| arm.shown(kind)).collect()
    }
}

impl ArmSoftware {
    /// None where it was not observed.
    pub(crate) fn shown(&self, kind: FactKind) -> Option<String> {
        let values = self.facts.get(&kind)?.iter().map(difference::value);
        Some(values.collect::<Vec<_>>().join(", "))
    }

    /// What the file adds to its processes: `vllm_args --x 1; env A, B`.
    pub(crate) fn added(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.vllm_args.is_empty() {
            parts.push(format!("vllm_args {}", self.vllm_args.join(" ")));
        }
        if !self.env.is_empty() {
            parts.push(format!("env {} (values withheld)", self.env.join(", ")));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
