//! Pods: where they are, and what they wait for.

use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};

use crate::cluster::Cluster;
use crate::error::KubernetesError;
use crate::resource::{CallSubject, ResourceKind};
use crate::transport::Call;

/// Of the end of a log. The kubelet keeps files of 10 MiB.
const MOST_LOG_BYTES: usize = 16 << 20;

/// A pod that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyPod {
    pub name: String,
    pub ip: IpAddr,
    pub uid: String,
    pub node: String,
    /// As the node resolved them, by container.
    pub image_ids: Vec<String>,
    pub restarts: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodState {
    pub name: String,
    pub phase: String,
    pub node: Option<String>,
    pub ready: bool,
    pub restarts: i32,
    pub is_ending: bool,
    /// What its first waiting container waits for.
    pub waits_for: Option<String>,
}

impl PodState {
    pub(crate) fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let waiting = |container: &&ContainerStatus| {
            let state = container.state.as_ref()?;
            state.waiting.as_ref()?.reason.clone()
        };
        Self {
            name: name(pod).to_owned(),
            phase: status.and_then(|status| status.phase.clone()).unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            ready: is_ready(pod),
            restarts: containers(pod).map(|container| container.restart_count).sum(),
            is_ending: pod.metadata.deletion_timestamp.is_some(),
            waits_for: containers(pod).find_map(|container| waiting(&container)),
        }
    }
}

impl fmt::Display for PodState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.is_ending, self.ready) {
            (true, _) => "ending",
            (false, true) => "ready",
            (false, false) => self.phase.as_str(),
        };
        write!(f, "pod {} {state}", self.name)?;
        if let Some(waits_for) = &self.waits_for {
            write!(f, " ({waits_for})")?;
        }
        if self.restarts > 0 {
            write!(f, ", {} restarts", self.restarts)?;
        }
        Ok(())
    }
}

impl Cluster {
    /// The end of a container's log; of its process before the last restart with `previous`.
    pub fn logs(
        &self,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<String, KubernetesError> {
        let kind = ResourceKind::of::<Pod>();
        let what = CallSubject::of("get", &kind, &self.namespace).named(pod).sub("log");
        let path = format!("{}/log", kind.object_path(&self.namespace, pod));
        let mut call = Call { accept: "*/*", ..Call::get(what, path) };
        call.query.push(("container", container.to_owned()));
        if previous {
            call.query.push(("previous", "true".to_owned()));
        }
        call.query.push(("limitBytes", MOST_LOG_BYTES.to_string()));
        Ok(String::from_utf8_lossy(&self.send(&call)?.body).into_owned())
    }
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// Those of a pod's initialization first.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.init_container_statuses.as_ref());
    let others = status.and_then(|status| status.container_statuses.as_ref());
    first.into_iter().flatten().chain(others.into_iter().flatten())
}

/// None until it has an address and a node.
pub(crate) fn ready_pod(pod: &Pod) -> Option<ReadyPod> {
    let status = pod.status.as_ref()?;
    let own = status.container_statuses.as_ref();
    Some(ReadyPod {
        name: name(pod).to_owned(),
        ip: status.pod_ip.as_ref()?.parse().ok()?,
        uid: pod.metadata.uid.clone()?,
        node: pod.spec.as_ref()?.node_name.clone()?,
        image_ids: own.into_iter().flatten().map(|container| container.image_id.clone()).collect(),
        restarts: own.into_iter().flatten().map(|container| container.restart_count).sum(),
    })
}

pub(crate) fn is_owned_by(owners: Option<&Vec<OwnerReference>>, uid: &str) -> bool {
    owners.is_some_and(|owners| owners.iter().any(|owner| owner.uid == uid))
}

/// As a query takes it.
pub(crate) fn query(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter().flatten();
    let equal = equal.map(|(key, value)| format!("{key}={value}"));
    let others = selector.match_expressions.iter().flatten().map(|rule| {
        let values = rule.values.as_ref().map(|values| values.join(",")).unwrap_or_default();
        match rule.operator.as_str() {
            "In" => format!("{} in ({values})", rule.key),
            "NotIn" => format!("{} notin ({values})", rule.key),
            "DoesNotExist" => format!("!{}", rule.key),
            _ => rule.key.clone(),
        }
    });
    equal.chain(others).collect::<Vec<_>>().join(",")
}
