//! What the pods of engines, stores and routers have in common.

use std::collections::BTreeMap;

use weir_kubernetes::k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use weir_kubernetes::k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Probe,
    ServicePort, TCPSocketAction, Volume, VolumeMount,
};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::arm::PodArm;
use super::names::Role;

/// Pods of the old arm go before those of the new one come: with a rolling update these would wait
/// for the GPUs of the old ones, and two pickers would each see half of the requests.
pub(super) fn deployment(of: &PodArm<'_>, role: Role, replicas: u32, pod: PodSpec) -> Deployment {
    let strategy = DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    let template = ObjectMeta {
        labels: Some(of.names.labels(role, of.arm)),
        annotations: of.annotations(),
        ..ObjectMeta::default()
    };
    Deployment {
        metadata: of.meta(role),
        spec: DeploymentSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            strategy: Some(strategy),
            selector: LabelSelector {
                match_labels: Some(of.names.pods(role)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod) },
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

pub(super) fn config_map(of: &PodArm<'_>, role: Role, files: &[(&str, String)]) -> ConfigMap {
    let data = files.iter().map(|(name, text)| ((*name).to_owned(), text.clone()));
    ConfigMap { metadata: of.meta(role), data: Some(data.collect()), ..ConfigMap::default() }
}

pub(super) fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        ..ContainerPort::default()
    }
}

/// Of a Service, to the container's port of the same name.
pub(super) fn service_port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}

/// Ready once the port is open, looked at every second.
pub(super) fn open_port(name: &str) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::String(name.to_owned()),
            host: None,
        }),
        period_seconds: Some(1),
        ..Probe::default()
    }
}

/// A variable with a field of the pod.
pub(super) fn field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.to_owned(), api_version: None };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

pub(super) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// The `ConfigMap` of the role.
pub(super) fn config_volume(of: &PodArm<'_>, role: Role, name: &str) -> Volume {
    let map =
        ConfigMapVolumeSource { name: of.names.object(role), ..ConfigMapVolumeSource::default() };
    Volume { config_map: Some(map), ..named(name) }
}

/// A folder that goes with the pod.
pub(super) fn folder(name: &str) -> Volume {
    Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..named(name) }
}

/// A claim of the user's, where there is one.
pub(super) fn claim_or_folder(name: &str, claim: Option<&String>) -> Volume {
    let Some(claim) = claim else { return folder(name) };
    let source = PersistentVolumeClaimVolumeSource { claim_name: claim.clone(), read_only: None };
    Volume { persistent_volume_claim: Some(source), ..named(name) }
}

pub(super) fn named(name: &str) -> Volume {
    Volume { name: name.to_owned(), ..Volume::default() }
}

/// Added to what the pods of a template have.
pub(super) fn annotate(deployment: &mut Deployment, more: BTreeMap<String, String>) {
    let metadata = deployment.spec.template.metadata.get_or_insert_default();
    metadata.annotations.get_or_insert_default().extend(more);
}
