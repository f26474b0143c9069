//! Waiting for a Deployment: all pods of its newest template ready, or the cause why not.

mod progress;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};

use crate::cluster::{Cluster, pause};
use crate::error::KubernetesError;
use crate::pods::{ReadyPod, query};
use crate::resource::{CallSubject, Named, ResourceKind};
use crate::transport::JSON;

pub use progress::Rollout;
pub(crate) use trouble::Diagnosis;
pub use trouble::{Trouble, TroubleCause};

/// Three small lists a second are little for a server, and a start takes many seconds.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Cluster {
    /// Pods of the newest template only: right after a change, the old ones are still ready.
    pub fn wait_rollout(
        &self,
        deployment: &str,
        until: Instant,
        stopped: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(&Rollout),
    ) -> Result<Vec<ReadyPod>, KubernetesError> {
        let begun = Instant::now();
        let what = format!("the rollout of deployment {deployment}");
        let mut patience = Patience::default();
        loop {
            let rollout = self.look_at(deployment)?;
            progress(&rollout);
            if let Some(pods) = rollout.done() {
                return Ok(pods);
            }
            if let Some(trouble) = self.hopeless(&mut patience, &rollout.diagnoses)? {
                return Err(KubernetesError::Hopeless { what, trouble });
            }
            let now = Instant::now();
            if now >= until {
                let (waited, last) = (now - begun, rollout.to_string());
                return Err(KubernetesError::TimedOut { what, waited, last });
            }
            if !pause(until.min(now + LOOK_INTERVAL), stopped) {
                let last = rollout.to_string();
                return Err(KubernetesError::Stopped { what, last });
            }
        }
    }

    fn look_at(&self, name: &str) -> Result<Rollout, KubernetesError> {
        let deployment: Deployment =
            self.get(name)?.ok_or_else(|| absent::<Deployment>(self, name))?;
        let labels = query(&deployment.spec.selector);
        let sets: Vec<ReplicaSet> = self.list(&labels)?;
        let pods: Vec<Pod> = self.list(&labels)?;
        Ok(Rollout::of(&deployment, &sets, &pods))
    }

    /// The first trouble that has lasted longer than its kind may.
    pub(crate) fn hopeless(
        &self,
        patience: &mut Patience,
        diagnoses: &[Diagnosis],
    ) -> Result<Option<Trouble>, KubernetesError> {
        for diagnosis in patience.exhausted(diagnoses, Instant::now()) {
            let waits_for_nodes = diagnosis.trouble.cause == TroubleCause::Unschedulable
                && self.brings_nodes(&diagnosis.trouble)?;
            if !waits_for_nodes {
                return Ok(Some(diagnosis.trouble.clone()));
            }
        }
        Ok(None)
    }

    /// A cluster that grows on demand says so in an event of the pod.
    fn brings_nodes(&self, trouble: &Trouble) -> Result<bool, KubernetesError> {
        let of_pod = ("fieldSelector", format!("involvedObject.name={}", trouble.name));
        let events: Result<Vec<Event>, _> =
            self.list_items(&ResourceKind::of::<Event>(), &[of_pod], JSON);
        match events {
            Ok(events) => Ok(events.iter().any(|event| {
                matches!(event.reason.as_deref(), Some("TriggeredScaleUp" | "Nominated"))
            })),
            Err(KubernetesError::Forbidden { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whoever waits for an object has applied it.
pub(crate) fn absent<K: Named>(cluster: &Cluster, name: &str) -> KubernetesError {
    let kind = ResourceKind::of::<K>();
    let what = CallSubject::of("get", &kind, cluster.namespace()).named(name);
    let message = "it was deleted, or never applied".to_owned();
    KubernetesError::NotFound { what: Box::new(what), message }
}

/// Since when each trouble has been there.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: BTreeMap<(String, TroubleCause), Instant>,
}

impl Patience {
    fn exhausted<'a>(&mut self, diagnoses: &'a [Diagnosis], now: Instant) -> Vec<&'a Diagnosis> {
        let key = |diagnosis: &Diagnosis| (diagnosis.trouble.name.clone(), diagnosis.trouble.cause);
        self.since.retain(|known, _| diagnoses.iter().any(|diagnosis| key(diagnosis) == *known));
        let is_over = |diagnosis: &&Diagnosis| {
            let since = *self.since.entry(key(diagnosis)).or_insert(now);
            diagnosis.patience.is_some_and(|patience| now.duration_since(since) >= patience)
        };
        diagnoses.iter().filter(is_over).collect()
    }
}
