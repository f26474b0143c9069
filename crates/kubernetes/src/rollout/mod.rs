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
use crate::resource::{Named, ResourceKind, Subject};
use crate::transport::JSON;

pub use progress::Rollout;
pub(crate) use trouble::{Finding, of_pod};
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
            if let Some(trouble) = self.hopeless(&mut patience, &rollout.findings)? {
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
        findings: &[Finding],
    ) -> Result<Option<Trouble>, KubernetesError> {
        for finding in patience.exhausted(findings, Instant::now()) {
            let waits_for_nodes = finding.trouble.cause == TroubleCause::Unschedulable
                && self.brings_nodes(&finding.trouble)?;
            if !waits_for_nodes {
                return Ok(Some(finding.trouble.clone()));
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
    let what = Subject::of("get", &kind, cluster.namespace()).named(name);
    let message = "it was deleted, or never applied".to_owned();
    KubernetesError::NotFound { what: Box::new(what), message }
}

/// Since when each trouble has been there.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: BTreeMap<(String, TroubleCause), Instant>,
}

impl Patience {
    fn exhausted<'a>(&mut self, findings: &'a [Finding], now: Instant) -> Vec<&'a Finding> {
        let key = |finding: &Finding| (finding.trouble.name.clone(), finding.trouble.cause);
        self.since.retain(|known, _| findings.iter().any(|finding| key(finding) == *known));
        let is_over = |finding: &&Finding| {
            let since = *self.since.entry(key(finding)).or_insert(now);
            finding.patience.is_some_and(|patience| now.duration_since(since) >= patience)
        };
        findings.iter().filter(is_over).collect()
    }
}
