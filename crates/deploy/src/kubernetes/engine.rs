//! The engines of an arm: a Deployment, and a headless Service that gives each pod a name.

use std::collections::BTreeMap;

use weir_kubernetes::k8s_openapi::api::apps::v1 as apps;
use weir_kubernetes::k8s_openapi::api::core::v1::{
    ConfigMap, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, PodSpec, Probe, ResourceRequirements, SecretKeySelector, Service,
    ServiceSpec, Volume, VolumeMount,
};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use weir_kubernetes::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_model::{Bytes, TierKind};
use weir_spec::plan::{EmulatedTarget, Movement};

use super::arm::PodArm;
use super::command;
use super::names::Role;
use super::pod::{self, claim_or_folder, config_volume, field, mount, named, port, service_port};
use crate::error::DeployError;

pub(super) const PORT: u16 = 8000;
pub(super) const EVENTS_PORT: u16 = 5556;
pub(super) const CONTAINER: &str = "engine";

const PLAN_FOLDER: &str = "/etc/weir";
pub(super) const MODELS_FOLDER: &str = "/models";
pub(super) const DISK_FOLDER: &str = "/kv";

/// vLLM's ranks exchange tensors in shared memory; a container has 64 MiB by default.
const SHARED_MEMORY: Bytes = Bytes::from_gib(20);
/// Of an engine beside caches and shared memory.
const PROCESS: Bytes = Bytes::from_gib(8);
/// Weir's engine beside the bytes that it holds.
const EMULATED_PROCESS: Bytes = Bytes::from_gib(1);
/// vLLM's own offloading took 1.92 times its configured bytes (vllm#53042).
const HOST_FACTOR: u64 = 2;

/// Between two looks of the kubelet.
const PROBE_SECONDS: i32 = 5;
const EMULATED_PROBE_SECONDS: i32 = 1;

pub(super) fn deployment(of: &PodArm<'_>) -> Result<apps::Deployment, DeployError> {
    let mut deployment = pod::deployment(of, Role::Engine, of.deployment.replicas, pod_spec(of)?);
    deployment.spec.progress_deadline_seconds = Some(of.start_seconds());
    let metadata = deployment.spec.template.metadata.get_or_insert_default();
    // What other tools of llm-d select by.
    let theirs = [("llm-d.ai/inference-serving", "true"), ("llm-d.ai/role", "decode")];
    let theirs = theirs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    metadata.labels.get_or_insert_default().extend(theirs);
    Ok(deployment)
}

fn pod_spec(of: &PodArm<'_>) -> Result<PodSpec, DeployError> {
    let target = of.target;
    let secret = |name: &String| LocalObjectReference { name: name.clone() };
    Ok(PodSpec {
        // A Service named `vllm` would set VLLM_PORT, and vLLM would not start.
        enable_service_links: Some(false),
        automount_service_account_token: Some(false),
        service_account_name: target.service_account.clone(),
        node_selector: (!target.node_selector.is_empty())
            .then(|| target.node_selector.clone().into_iter().collect()),
        image_pull_secrets: target.pull_secret.as_ref().map(|name| vec![secret(name)]),
        termination_grace_period_seconds: Some(30),
        containers: vec![container(of)?],
        volumes: Some(volumes(of)),
        ..PodSpec::default()
    })
}

fn container(of: &PodArm<'_>) -> Result<Container, DeployError> {
    let (image, command, args, env) = if let Some(emulated) = &of.target.emulated {
        let image = of.target.images.weir.clone().unwrap_or_default();
        (image, None, emulated_args(of, emulated), Vec::new())
    } else {
        let (args, env) = command::vllm(of)?;
        let command = ["vllm", "serve"].map(str::to_owned).to_vec();
        (of.vllm_image(), Some(command), args, vllm_env(of, env))
    };
    let every = if of.target.emulated.is_some() { EMULATED_PROBE_SECONDS } else { PROBE_SECONDS };
    Ok(Container {
        name: CONTAINER.to_owned(),
        image: Some(image),
        command,
        args: Some(args),
        // Arguments may hold `$(POD_IP)`, which the kubelet replaces.
        env: Some([field("POD_IP", "status.podIP")].into_iter().chain(env).collect()),
        ports: Some(vec![port("http", PORT), port("kv-events", EVENTS_PORT)]),
        startup_probe: Some(Probe {
            failure_threshold: Some((of.start_seconds() / every).max(1)),
            ..probe("/health", every)
        }),
        // No liveness probe: it would end an engine that is busy.
        readiness_probe: Some(Probe { timeout_seconds: Some(5), ..probe("/v1/models", every) }),
        resources: Some(resources(of)),
        volume_mounts: Some(mounts(of)),
        ..Container::default()
    })
}

fn probe(path: &str, every: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(every),
        ..Probe::default()
    }
}

fn vllm_env(of: &PodArm<'_>, plain: BTreeMap<String, String>) -> Vec<EnvVar> {
    let value =
        |(name, value): (String, String)| EnvVar { name, value: Some(value), value_from: None };
    let mut env: Vec<EnvVar> = plain.into_iter().map(value).collect();
    if let Some(secret) = &of.target.hf_secret {
        let source = || EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.name.clone(),
                key: secret.key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        };
        env.extend(["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].map(|name| EnvVar {
            name: name.to_owned(),
            value: None,
            value_from: Some(source()),
        }));
    }
    env
}

fn emulated_args(of: &PodArm<'_>, emulated: &EmulatedTarget) -> Vec<String> {
    let bytes = match emulated.bytes {
        Movement::Real => "real",
        Movement::Modelled => "modelled",
    };
    let mut args: Vec<String> = [
        "serve",
        &format!("{PLAN_FOLDER}/plan.json"),
        "--one-replica",
        "--arm",
        &of.arm.name,
        "--host",
        "0.0.0.0",
        "--port",
        &PORT.to_string(),
        "--bytes",
        bytes,
        "--byte-scale",
        &emulated.byte_scale.to_string(),
        "--kv-events",
        &command::events_bind(),
        "--kv-topic",
        &command::events_topic(&of.deployment.model.name),
    ]
    .map(str::to_owned)
    .to_vec();
    if has_disk(of) {
        args.extend(["--disk".to_owned(), DISK_FOLDER.to_owned()]);
    }
    args
}

/// The plan that Weir's engine reads, with this arm alone.
pub(super) fn plan(of: &PodArm<'_>) -> Result<ConfigMap, DeployError> {
    Ok(pod::config_map(of, Role::Engine, &[("plan.json", of.plan()?)]))
}

/// Headless: an address per pod, and no balancing per connection.
pub(super) fn service(of: &PodArm<'_>) -> Service {
    Service {
        metadata: of.meta(Role::Engine),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(of.names.pods(Role::Engine)),
            ports: Some(vec![service_port("http", PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn resources(of: &PodArm<'_>) -> ResourceRequirements {
    let mut all = BTreeMap::from([
        ("cpu".to_owned(), Quantity(of.target.cpu.to_string())),
        ("memory".to_owned(), Quantity(memory(of).0.to_string())),
    ]);
    if of.target.emulated.is_none() {
        let gpus = of.deployment.tensor_parallel.to_string();
        all.insert(of.target.gpu_resource.clone(), Quantity(gpus));
    }
    ResourceRequirements {
        requests: Some(all.clone()),
        limits: Some(all),
        ..ResourceRequirements::default()
    }
}

/// Of one pod: requested and its limit, so that the kubelet never has to choose a victim.
fn memory(of: &PodArm<'_>) -> Bytes {
    if let Some(given) = of.target.memory {
        return of.bytes_of(given);
    }
    let host = host_bytes(of);
    match &of.target.emulated {
        Some(emulated) => {
            let held = match emulated.bytes {
                Movement::Real => (host.0 as f64 * emulated.byte_scale) as u64,
                Movement::Modelled => 0,
            };
            Bytes(held + EMULATED_PROCESS.0)
        }
        None => Bytes(HOST_FACTOR * host.0 + SHARED_MEMORY.0 + PROCESS.0),
    }
}

fn host_bytes(of: &PodArm<'_>) -> Bytes {
    let tiers = of.arm.offload.iter().flat_map(|offload| &offload.tiers);
    Bytes(tiers.filter(|tier| tier.kind == TierKind::Host).map(|tier| tier.capacity.0).sum())
}

fn has_disk(of: &PodArm<'_>) -> bool {
    let mut tiers = of.arm.offload.iter().flat_map(|offload| &offload.tiers);
    tiers.any(|tier| tier.kind == TierKind::Disk)
}

fn volumes(of: &PodArm<'_>) -> Vec<Volume> {
    let mut volumes = Vec::new();
    if of.target.emulated.is_some() {
        volumes.push(config_volume(of, Role::Engine, "plan"));
    } else {
        let memory = EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(Quantity(SHARED_MEMORY.0.to_string())),
            ..EmptyDirVolumeSource::default()
        };
        volumes.push(Volume { empty_dir: Some(memory), ..named("shm") });
        let claim = of.target.model_volume.as_ref().map(|volume| &volume.claim);
        volumes.push(claim_or_folder("models", claim));
    }
    if has_disk(of) {
        volumes.push(claim_or_folder("kv", of.target.disk_claim.as_ref()));
    }
    volumes
}

fn mounts(of: &PodArm<'_>) -> Vec<VolumeMount> {
    let mut mounts = if of.target.emulated.is_some() {
        vec![mount("plan", PLAN_FOLDER)]
    } else {
        vec![mount("shm", "/dev/shm"), mount("models", MODELS_FOLDER)]
    };
    if has_disk(of) {
        mounts.push(mount("kv", DISK_FOLDER));
    }
    mounts
}
