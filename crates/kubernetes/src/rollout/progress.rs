//! A Deployment, its replica sets and pods, as one state.

use std::fmt;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::trouble::{Diagnosis, Trouble, of_pod, of_set};
use crate::pods::{PodState, ReadyPod, is_owned_by, is_ready, ready_pod};

/// The controller numbers templates by this annotation.
const REVISION: &str = "deployment.kubernetes.io/revision";

#[derive(Debug, Clone)]
pub struct Rollout {
    pub deployment: String,
    pub wanted: i32,
    pub updated: i32,
    pub ready: i32,
    pub available: i32,
    /// The controller has seen the newest change.
    pub is_observed: bool,
    /// All pods, also those of older templates.
    pub pods: Vec<PodState>,
    pub(crate) diagnoses: Vec<Diagnosis>,
    done: Option<Vec<ReadyPod>>,
}

impl Rollout {
    pub(crate) fn of(deployment: &Deployment, sets: &[ReplicaSet], pods: &[Pod]) -> Self {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let generation = deployment.metadata.generation.unwrap_or(0);
        let is_observed = status.observed_generation.is_some_and(|seen| seen >= generation);
        let counts = [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
        ];
        let is_whole = is_observed
            && counts.iter().all(|count| count.unwrap_or(0) == wanted)
            && status.unavailable_replicas.unwrap_or(0) == 0;
        let newest = if is_observed { newest(deployment, sets) } else { None };
        let mut rollout = Self {
            deployment: deployment.metadata.name.clone().unwrap_or_default(),
            wanted,
            updated: status.updated_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            is_observed,
            pods: pods.iter().map(PodState::of).collect(),
            diagnoses: Vec::new(),
            done: (is_whole && wanted == 0).then(Vec::new),
        };
        let Some(newest) = newest else { return rollout };
        let uid = newest.metadata.uid.as_deref().unwrap_or_default();
        let is_current = |pod: &&Pod| {
            is_owned_by(pod.metadata.owner_references.as_ref(), uid)
                && pod.metadata.deletion_timestamp.is_none()
        };
        let current: Vec<&Pod> = pods.iter().filter(is_current).collect();
        rollout.diagnoses = of_set(newest);
        rollout.diagnoses.extend(current.iter().flat_map(|pod| of_pod(pod)));
        let serving = current.iter().filter(|pod| is_ready(pod)).filter_map(|pod| ready_pod(pod));
        let mut serving: Vec<ReadyPod> = serving.collect();
        if is_whole && serving.len() == wanted as usize {
            serving.sort_by(|one, other| one.name.cmp(&other.name));
            rollout.done = Some(serving);
        }
        rollout
    }

    /// The pods, sorted by name, once all that are wanted serve.
    pub(crate) fn done(&self) -> Option<Vec<ReadyPod>> {
        self.done.clone()
    }

    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.diagnoses.iter().map(|diagnosis| &diagnosis.trouble)
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} pods ready", self.ready, self.wanted)?;
        if !self.is_observed {
            write!(f, ", the controller has not seen the change")?;
        }
        for pod in self.pods.iter().filter(|pod| !pod.ready || pod.is_ending) {
            write!(f, "; {pod}")?;
        }
        for trouble in self.troubles() {
            write!(f, "; {trouble}")?;
        }
        Ok(())
    }
}

fn newest<'a>(deployment: &Deployment, sets: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let uid = deployment.metadata.uid.as_deref()?;
    let revision = |set: &ReplicaSet| -> Option<i64> {
        set.metadata.annotations.as_ref()?.get(REVISION)?.parse().ok()
    };
    let own = sets.iter().filter(|set| is_owned_by(set.metadata.owner_references.as_ref(), uid));
    own.max_by_key(|set| revision(set))
}
