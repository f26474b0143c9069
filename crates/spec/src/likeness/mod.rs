//! Whether arms are alike except for the compared mechanism.
//!
//! A comparison ascribes the difference between two arms to one mechanism. That holds only where
//! nothing else differs, so the facts of the running software are compared with the plan and with
//! the reference arm. Pure functions of plan and facts.

pub mod arguments;
mod planned;

use std::collections::{BTreeMap, BTreeSet};

use weir_model::{
    ArmArgument, ComparedWith, Differing, FactDifference, FactKind, FactValue, RunningFacts,
    Software,
};

use crate::plan::{Arm, ArmRole, Cell, Deployment, Plan, PoolSize};

/// Allowed difference of pools that engines size themselves: vLLM profiles its memory at every
/// start, and a connector's GPU memory is part of its cost.
const POOL_TOLERANCE: f64 = 0.05;

const PARTS_AGREE: [FactKind; 13] = [
    FactKind::PrefixCaching,
    FactKind::Blocks,
    FactKind::BlockSize,
    FactKind::Dtype,
    FactKind::KvDtype,
    FactKind::MaxSequences,
    FactKind::MaxBatchedTokens,
    FactKind::MaxModelLen,
    FactKind::ChunkedPrefill,
    FactKind::TensorParallel,
    FactKind::Eager,
    FactKind::EngineVersion,
    FactKind::LmcacheVersion,
];

/// Differences of a cell from the plan, and between its parts. The plan has no facts of an arm as
/// deployed.
pub fn against_plan(plan: &Plan, cell: &Cell, facts: &RunningFacts) -> Vec<FactDifference> {
    let deployment = &plan.deployments[cell.deployment];
    let arm = &deployment.arms[cell.arm];
    if arm.role == ArmRole::AsDeployed {
        return Vec::new();
    }
    let mut differences = Vec::new();
    for (kind, expected) in planned::of(&plan.target, deployment, arm) {
        if let Some(other) = facts.all(kind).iter().find(|fact| !expected.admits(&fact.value)) {
            differences.push(other.differs(kind, ComparedWith::Plan, expected.value()));
        }
    }
    for kind in PARTS_AGREE {
        let parts = facts.all(kind);
        let Some(first) = parts.first() else { continue };
        let alike = |value| are_alike(kind, &first.value, value, pools_vary(plan, deployment));
        if let Some(other) = parts.iter().find(|part| !alike(&part.value)) {
            let than = ComparedWith::Part(first.place.clone());
            differences.push(other.differs(kind, than, first.value.clone()));
        }
    }
    differences
}

/// Arguments and variables that only one arm has, or with other values, and that do not belong to a
/// mechanism: `--max-num-seqs`, `env.OMP_NUM_THREADS`.
pub(crate) fn written_differences(arm: &Arm, reference: &Arm) -> Vec<String> {
    let (own, other) = (&arm.processes, &reference.processes);
    let args = [own, other].map(|processes| arguments::by_flag(&processes.vllm_args));
    let flags = differing(&args[0], &args[1]);
    let names = differing(&own.env, &other.env);
    let flags = flags.filter(|flag| !arguments::is_mechanism(flag)).cloned();
    let names = names.filter(|name| !is_of_mechanism(name, [arm, reference]));
    flags.chain(names.map(|name| format!("env.{name}"))).collect()
}

/// Arguments and variables by which the file itself sets up an arm's mechanism. They replace
/// Weir's, so the tiers that run may differ from the planned ones.
pub(crate) fn written_mechanism(arm: &Arm) -> Vec<String> {
    if arm.offload.is_none() {
        return Vec::new();
    }
    let flags = arguments::by_flag(&arm.processes.vllm_args);
    let flags = flags.into_keys().filter(|flag| arguments::is_size(flag));
    let names = arm.processes.env.keys().filter(|name| arguments::is_setting(name));
    flags.chain(names.map(|name| format!("env.{name}"))).collect()
}

/// Whether arms may differ in a variable because it belongs to a mechanism. On an arm without one
/// it belongs to nothing.
fn is_of_mechanism(name: &String, arms: [&Arm; 2]) -> bool {
    let is_stray = |arm: &&Arm| arm.offload.is_none() && arm.processes.env.contains_key(name);
    arguments::is_mechanism_variable(name) && !arms.iter().any(is_stray)
}

fn differing<'a>(
    one: &'a BTreeMap<String, String>,
    other: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a String> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key))
}

#[derive(Debug, Clone, Copy)]
pub struct ArmPair<'a> {
    pub plan: &'a Plan,
    pub deployment: &'a Deployment,
    pub arm: &'a Arm,
    pub reference: &'a Arm,
}

impl ArmPair<'_> {
    /// True for the control again, under that role or its own: no difference is allowed.
    const fn is_same(&self) -> bool {
        matches!(self.arm.role, ArmRole::Control | ArmRole::ControlAgain)
    }

    /// Differences between two arms besides the mechanism. Facts that one of them does not show do
    /// not count.
    pub fn differences(&self, here: &RunningFacts, there: &RunningFacts) -> Vec<FactDifference> {
        let mut differences = self.facts(here, there);
        if self.plan.target.starts_vllm() {
            self.arguments(here, there, &mut differences);
            self.variables(&mut differences);
        }
        differences
    }

    fn facts(&self, here: &RunningFacts, there: &RunningFacts) -> Vec<FactDifference> {
        let mut differences = Vec::new();
        let kinds = FactKind::ALL.into_iter().filter(|kind| self.is_same() || !kind.is_mechanism());
        let kinds = kinds.filter(|kind| !kind.is_of_the_cell() && !self.is_cost(*kind));
        for kind in kinds {
            let known = there.values(kind);
            let Some(was) = known.first() else { continue };
            let varies = pools_vary(self.plan, self.deployment);
            let is_known = |value| known.iter().any(|was| are_alike(kind, was, value, varies));
            if let Some(other) = here.all(kind).iter().find(|fact| !is_known(&fact.value)) {
                let than = ComparedWith::Arm(self.reference.name.clone());
                let seen = other.differs(kind, than, (*was).clone());
                differences.push(FactDifference { arguments: self.deciding(kind), ..seen });
            }
        }
        differences
    }

    /// Whether a difference in it is a cost of the mechanism: LMCache switches vLLM's hybrid cache
    /// manager off, so layers that keep only a window take as many blocks as the others.
    fn is_cost(&self, kind: FactKind) -> bool {
        let lmcache =
            |arm: &Arm| arm.mechanism().is_some_and(|of| of.software == Software::Lmcache);
        let limited = || {
            let layers = self.deployment.model.kv_layers();
            layers
                .iter()
                .any(|of| of.kind.limit().is_some() || of.kind == weir_model::KvKind::State)
        };
        matches!(kind, FactKind::Blocks | FactKind::BlockSize)
            && lmcache(self.arm) != lmcache(self.reference)
            && limited()
    }

    fn deciding(&self, kind: FactKind) -> Vec<ArmArgument> {
        let arms = [self.arm, self.reference];
        let given = arms.into_iter().flat_map(|arm| {
            arguments::by_flag(&arm.processes.vllm_args).into_iter().map(move |given| (arm, given))
        });
        given
            .filter(|(_, (flag, _))| arguments::decides(flag).contains(&kind))
            .map(|(arm, (flag, value))| ArmArgument {
                arm: arm.name.clone(),
                argument: joined(&flag, &value),
            })
            .collect()
    }

    /// All arguments count, except those known to make no difference.
    fn arguments(
        &self,
        here: &RunningFacts,
        there: &RunningFacts,
        differences: &mut Vec<FactDifference>,
    ) {
        let (own, other) = (
            arguments::by_flag(&self.arm.processes.vllm_args),
            arguments::by_flag(&self.reference.processes.vllm_args),
        );
        let visible =
            |kind: &FactKind| !here.values(*kind).is_empty() && !there.values(*kind).is_empty();
        let told: BTreeSet<FactKind> = differences.iter().filter_map(told_kind).collect();
        for flag in differing(&own, &other) {
            let decides = arguments::decides(flag);
            let is_told = decides.iter().any(|kind| told.contains(kind));
            let is_seen = !decides.is_empty() && decides.iter().all(visible);
            let may_differ = !self.is_same() && (is_seen || arguments::is_mechanism(flag));
            if is_told || may_differ {
                continue;
            }
            let value =
                |of: &BTreeMap<String, String>| of.get(flag).map(|text| FactValue::text(text));
            let differs = Differing::Argument(flag.clone());
            differences.push(self.written(differs, value(&own), value(&other)));
        }
    }

    fn variables(&self, differences: &mut Vec<FactDifference>) {
        let (own, other) = (&self.arm.processes.env, &self.reference.processes.env);
        for name in differing(own, other) {
            if !self.is_same() && is_of_mechanism(name, [self.arm, self.reference]) {
                continue;
            }
            differences.push(self.written(Differing::Variable(name.clone()), None, None));
        }
    }

    fn written(
        &self,
        differs: Differing,
        is: Option<FactValue>,
        was: Option<FactValue>,
    ) -> FactDifference {
        let than = ComparedWith::Arm(self.reference.name.clone());
        FactDifference { differs, place: String::new(), is, than, was, arguments: Vec::new() }
    }
}

const fn told_kind(difference: &FactDifference) -> Option<FactKind> {
    match difference.differs {
        Differing::Fact(kind) => Some(kind),
        Differing::Argument(_) | Differing::Variable(_) => None,
    }
}

fn joined(flag: &str, value: &str) -> String {
    if value.is_empty() { flag.to_owned() } else { format!("{flag} {value}") }
}

fn pools_vary(plan: &Plan, deployment: &Deployment) -> bool {
    if plan.target.starts_vllm() {
        return deployment.pool != PoolSize::Given;
    }
    plan.target.endpoint().is_some()
}

fn are_alike(kind: FactKind, one: &FactValue, other: &FactValue, pools_vary: bool) -> bool {
    match (kind, one, other) {
        (FactKind::Blocks, FactValue::Count(one), FactValue::Count(other)) if pools_vary => {
            let most = *one.max(other) as f64;
            one.abs_diff(*other) as f64 <= POOL_TOLERANCE * most
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests;
