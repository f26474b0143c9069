//! All stacks of a namespace: what stands, until when, and how it goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use weir_kubernetes::k8s_openapi::api::core::v1::{ConfigMap, Pod};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_kubernetes::{Cluster, LeaseGuard, Removal, Removed};
use weir_model::Nanos;
use weir_spec::plan::KubernetesTarget;

use super::names::{ARM, STACK, all_stacks, anchors, lease_of};
use super::stand::connect;
use crate::error::DeployError;

/// Of an anchor: a time in UTC, after which anyone may remove the stack.
const EXPIRES: &str = "weir.dev/expires-at";

/// An annotation: from now on, as long as the stack is not used again.
pub(super) fn expiry(ttl: Nanos) -> (String, String) {
    let ttl = SignedDuration::from_nanos(i64::try_from(ttl.0).unwrap_or(i64::MAX));
    let time = Timestamp::now().saturating_add(ttl).unwrap_or(Timestamp::MAX);
    (EXPIRES.to_owned(), format!("{time:.0}"))
}

/// A stack that stands in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackState {
    pub stack: String,
    pub arm: String,
    /// When it may be removed by anyone. None for one that stays, and for one without its anchor.
    pub expires: Option<Timestamp>,
    /// Pods with their state, as the cluster tells it.
    pub pods: Vec<(String, String)>,
}

/// All stacks of a namespace, by their pods.
pub fn stacks(target: &KubernetesTarget) -> Result<Vec<StackState>, DeployError> {
    let cluster = connect(target)?;
    let mut found = standing(&cluster)?;
    for pod in cluster.list::<Pod>(&all_stacks())? {
        let Some((stack, arm)) = stack_of(&pod.metadata) else { continue };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let state = pod.status.and_then(|status| status.phase).unwrap_or_default();
        let of = found.entry(stack.clone());
        of.or_insert(StackState { stack, arm, expires: None, pods: Vec::new() })
            .pods
            .push((name, state));
    }
    Ok(found.into_values().collect())
}

/// By name, with their arms.
fn standing(cluster: &Cluster) -> Result<BTreeMap<String, StackState>, DeployError> {
    let anchors: Vec<ConfigMap> = cluster.list(&format!("{},{}", all_stacks(), anchors()))?;
    let of = |anchor: ConfigMap| {
        let (stack, arm) = stack_of(&anchor.metadata)?;
        let annotations = anchor.metadata.annotations.unwrap_or_default();
        let expires = annotations.get(EXPIRES).and_then(|time| time.parse().ok());
        Some((stack.clone(), StackState { stack, arm, expires, pods: Vec::new() }))
    };
    Ok(anchors.into_iter().filter_map(of).collect())
}

fn stack_of(metadata: &ObjectMeta) -> Option<(String, String)> {
    let labels = metadata.labels.as_ref()?;
    Some((labels.get(STACK)?.clone(), labels.get(ARM).cloned().unwrap_or_default()))
}

/// Which stacks of a namespace to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackChoice<'a> {
    /// And what lost its stack.
    All,
    Named(&'a str),
    /// Whoever they belong to.
    Expired,
}

/// Removes what Weir has in a namespace. Volumes of models stay. A stack that another `holder` uses
/// is left alone, and its user named.
pub fn take_down(
    target: &KubernetesTarget,
    choice: StackChoice<'_>,
    holder: &str,
    patience: Duration,
    stopped: &dyn Fn() -> bool,
) -> Result<Removed, DeployError> {
    let cluster = connect(target)?;
    let now = Timestamp::now();
    let mut chosen = standing(&cluster)?;
    chosen.retain(|name, state| match choice {
        StackChoice::All => true,
        StackChoice::Named(stack) => name == stack,
        StackChoice::Expired => state.expires.is_some_and(|expires| expires <= now),
    });
    let leases = chosen.keys().map(|name| cluster.lease(&lease_of(name), holder));
    let _leases = leases.collect::<Result<Vec<LeaseGuard>, _>>()?;
    if choice == StackChoice::Expired {
        // Somebody may have used one until just now.
        let still = standing(&cluster)?;
        chosen
            .retain(|name, state| still.get(name).is_some_and(|now| now.expires == state.expires));
    }
    let labels = match choice {
        StackChoice::All => all_stacks(),
        StackChoice::Named(stack) => format!("{},{STACK}={stack}", all_stacks()),
        StackChoice::Expired if chosen.is_empty() => return Ok(Removed::default()),
        StackChoice::Expired => {
            let names: Vec<&str> = chosen.keys().map(String::as_str).collect();
            format!("{},{STACK} in ({})", all_stacks(), names.join(","))
        }
    };
    let how = Removal {
        anchors: anchors(),
        keep: vec!["persistentvolumeclaims".to_owned()],
        until: Instant::now() + patience,
        stopped,
        strip_finalizers: false,
    };
    Ok(cluster.remove(&labels, &how)?)
}
