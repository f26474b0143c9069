//! Why a pod does not come: what the cluster says of it, and how long that may last.

use std::fmt::{self, Write as _};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use crate::pods::{containers, name};

/// Pods that end hold their GPUs for a grace period of 30 s.
const SHORTAGE: Duration = Duration::from_mins(1);
/// A volume or a name of a container's last one may be freed.
const CONTAINER: Duration = Duration::from_mins(1);
/// A Secret may be created right after the pod.
const ADMISSION: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleCause {
    /// The image cannot be pulled: absent, private, or its registry is out of reach.
    ImagePull,
    InvalidImage,
    /// A Secret, a config map or one of their keys is absent.
    ContainerConfig,
    /// The container cannot be made: a mount, a program that is not in the image.
    ContainerStart,
    Unschedulable,
    Quota,
    /// Admission refuses the pod: Pod Security, a webhook, an absent account.
    Denied,
    OutOfMemory,
    CrashLoop,
    Exited,
    Evicted,
}

impl TroubleCause {
    pub fn name(self) -> &'static str {
        match self {
            Self::ImagePull => "the image cannot be pulled",
            Self::InvalidImage => "the image's name is invalid",
            Self::ContainerConfig => "its configuration is absent",
            Self::ContainerStart => "the container cannot be started",
            Self::Unschedulable => "no node takes it",
            Self::Quota => "the quota is exceeded",
            Self::Denied => "admission refuses it",
            Self::OutOfMemory => "it exceeded its memory limit (OOMKilled)",
            Self::CrashLoop => "it ends again and again",
            Self::Exited => "it ended",
            Self::Evicted => "it was evicted",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `pod`, `replica set`
    pub kind: &'static str,
    pub name: String,
    pub container: Option<String>,
    pub cause: TroubleCause,
    /// In the cluster's words.
    pub message: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        if let Some(container) = &self.container {
            write!(f, ", container {container}")?;
        }
        write!(f, ": {}", self.cause.name())?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// A trouble, and after how long nobody needs to wait any more. None: it may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub(crate) trouble: Trouble,
    pub(crate) patience: Option<Duration>,
}

/// Of a replica set that may not create its pods.
pub(super) fn of_set(set: &ReplicaSet) -> Vec<Diagnosis> {
    let conditions = set.status.as_ref().and_then(|status| status.conditions.as_ref());
    let failures = conditions.into_iter().flatten().filter(|condition| {
        condition.type_.as_deref() == Some("ReplicaFailure")
            && condition.status.as_deref() == Some("True")
    });
    let found = failures.map(|condition| {
        let message = condition.message.clone().unwrap_or_default();
        let (cause, patience) = if message.contains("exceeded quota") {
            (TroubleCause::Quota, SHORTAGE)
        } else {
            (TroubleCause::Denied, ADMISSION)
        };
        let name = set.metadata.name.clone().unwrap_or_default();
        let trouble = Trouble { kind: "replica set", name, container: None, cause, message };
        Diagnosis { trouble, patience: Some(patience) }
    });
    found.collect()
}

pub(crate) fn of_pod(pod: &Pod) -> Vec<Diagnosis> {
    let trouble = |cause, message: Option<&String>| Trouble {
        kind: "pod",
        name: name(pod).to_owned(),
        container: None,
        cause,
        message: message.cloned().unwrap_or_default(),
    };
    let status = pod.status.as_ref();
    if status.and_then(|status| status.reason.as_deref()) == Some("Evicted") {
        let message = status.and_then(|status| status.message.as_ref());
        let trouble = trouble(TroubleCause::Evicted, message);
        return vec![Diagnosis { trouble, patience: Some(Duration::ZERO) }];
    }
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let unscheduled = conditions.into_iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        let trouble = trouble(TroubleCause::Unschedulable, condition.message.as_ref());
        // A claim is bound while the pod waits, which may take a storage system minutes.
        let waits_for_volume = trouble.message.contains("PersistentVolumeClaim");
        return vec![Diagnosis { trouble, patience: (!waits_for_volume).then_some(SHORTAGE) }];
    }
    let is_restarted = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    let is_restarted = is_restarted != Some("Never");
    containers(pod).filter_map(|container| of_container(pod, container, is_restarted)).collect()
}

fn of_container(pod: &Pod, container: &ContainerStatus, is_restarted: bool) -> Option<Diagnosis> {
    let state = container.state.as_ref()?;
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let found = |cause, message: String, patience| {
        let (name, container) = (name(pod).to_owned(), Some(container.name.clone()));
        let trouble = Trouble { kind: "pod", name, container, cause, message };
        Some(Diagnosis { trouble, patience })
    };
    if let Some(waiting) = &state.waiting {
        let message = waiting.message.clone().unwrap_or_default();
        let at_once = Some(Duration::ZERO);
        return match waiting.reason.as_deref().unwrap_or_default() {
            "ErrImagePull" => found(TroubleCause::ImagePull, message, None),
            "ImagePullBackOff" | "ErrImageNeverPull" => {
                found(TroubleCause::ImagePull, message, at_once)
            }
            "InvalidImageName" => found(TroubleCause::InvalidImage, message, at_once),
            "CreateContainerConfigError" => found(TroubleCause::ContainerConfig, message, at_once),
            "CreateContainerError" | "RunContainerError" => {
                found(TroubleCause::ContainerStart, message, Some(CONTAINER))
            }
            "CrashLoopBackOff" => {
                let (cause, message) = match last {
                    Some(last) => ended(last, TroubleCause::CrashLoop),
                    None => (TroubleCause::CrashLoop, message),
                };
                found(cause, message, (container.restart_count > 0).then_some(Duration::ZERO))
            }
            _ => None,
        };
    }
    let now = state.terminated.as_ref().filter(|ended| ended.exit_code != 0);
    let last = last.filter(|ended| ended.exit_code != 0);
    let is_again = now.is_some() && container.restart_count > 0;
    let else_cause = if is_again { TroubleCause::CrashLoop } else { TroubleCause::Exited };
    let (cause, message) = ended(now.or(last)?, else_cause);
    // One end may be chance: a port, a neighbour's memory. The second of a kind is the rule.
    let is_final = is_again || (now.is_some() && !is_restarted);
    found(cause, message, is_final.then_some(Duration::ZERO))
}

fn ended(end: &ContainerStateTerminated, else_cause: TroubleCause) -> (TroubleCause, String) {
    let reason = end.reason.as_deref().unwrap_or_default();
    let cause = match reason {
        "OOMKilled" => TroubleCause::OutOfMemory,
        "StartError" | "ContainerCannotRun" => TroubleCause::ContainerStart,
        _ => else_cause,
    };
    let mut message = format!("exit code {}", end.exit_code);
    if let Some(signal) = end.signal {
        let _ = write!(message, ", signal {signal}");
    }
    if let Some(text) = end.message.as_deref().filter(|text| !text.is_empty()) {
        let _ = write!(message, ": {}", text.trim());
    }
    (cause, message)
}
