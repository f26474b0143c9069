//! llm-d's picker and Envoy as one pod, which finds the engines by their labels.
//!
//! Releases before 0.9 read an `InferencePool` and ask a service of ours for tokens; later ones
//! read labels and ask the engines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use weir_kubernetes::Manifest;
use weir_kubernetes::k8s_openapi::api::apps::v1 as apps;
use weir_kubernetes::k8s_openapi::api::core::v1::{
    ConfigMap, Container, GRPCAction, PodSpec, Probe, Service, ServiceAccount, ServicePort,
    ServiceSpec,
};
use weir_kubernetes::k8s_openapi::api::rbac::v1::{
    PolicyRule, Role as RbacRole, RoleBinding, RoleRef, Subject,
};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_kubernetes::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_picker::config::{PickerPorts, PodPool};
use weir_picker::{ConfigError, Door, IndexStore, PickedReplicas, PickerConfig, PickerRelease};
use weir_router::PolicyConfig;
use xxhash_rust::xxh3::xxh3_64;

use super::arm::PodArm;
use super::engine::{EVENTS_PORT, PORT};
use super::names::Role;
use super::pod::{self, config_volume, field, folder, mount, open_port, port};
use crate::error::DeployError;

/// llm-d-router 0.10, and the Envoy of its chart.
const PICKER_IMAGE: &str = "ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0";
const ENVOY_IMAGE: &str = "docker.io/envoyproxy/envoy:distroless-v1.33.2";

pub(super) const DOOR_PORT: u16 = 8081;
pub(super) const METRICS_PORT: u16 = 9090;
const ADMIN_PORT: u16 = 19001;
const PICKER_PORTS: PickerPorts = PickerPorts { grpc: 9002, health: 9003, metrics: METRICS_PORT };

pub(super) const PICKER: &str = "picker";
pub(super) const ENVOY: &str = "envoy";
const TOKENIZER: &str = "tokenizer";

const CONFIG_FOLDER: &str = "/etc/router";
const TOKENS_FOLDER: &str = "/tokens";
/// Of a pod's template: a picker reads its configuration once, at its start.
const CONFIG: &str = "weir.dev/config";

/// Kinds that the old pickers watch, with their API groups.
const POOL_API: &str = "inference.networking.k8s.io";
const OBJECTIVES_API: &str = "inference.networking.x-k8s.io";

#[derive(Debug)]
pub(super) struct PodRouter<'a, 'b> {
    of: &'b PodArm<'a>,
    release: PickerRelease,
    picker: String,
    envoy: String,
}

impl<'a, 'b> PodRouter<'a, 'b> {
    pub(super) fn new(of: &'b PodArm<'a>) -> Result<Self, DeployError> {
        let images = &of.target.images;
        let picker = images.picker.clone().unwrap_or_else(|| PICKER_IMAGE.to_owned());
        let release = PickerRelease::of_image(&picker).ok_or_else(|| DeployError::Setting {
            key: "target.kubernetes.images.picker".to_owned(),
            problem: format!(
                "`{picker}` does not say which picker it is; expected `llm-d-router`, \
                 `llm-d-inference-scheduler` or `gateway-api-inference-extension` in the name"
            ),
        })?;
        let envoy = images.envoy.clone().unwrap_or_else(|| ENVOY_IMAGE.to_owned());
        Ok(Self { of, release, picker, envoy })
    }

    pub(super) const fn release(&self) -> PickerRelease {
        self.release
    }

    /// In the order of applying.
    pub(super) fn manifests(&self, namespace: &str) -> Result<Vec<Manifest>, DeployError> {
        let config = self.config(namespace)?;
        let digest = config.data.iter().flatten().map(|(_, text)| text.as_str());
        let digest = xxh3_64(digest.collect::<Vec<_>>().join("\n").as_bytes());
        let mut all = vec![
            Manifest::of(&self.account()),
            Manifest::of(&self.role()),
            Manifest::of(&self.binding(namespace)),
            Manifest::of(&config),
        ];
        if !self.release.reads_endpoints_file() {
            all.push(self.pool());
        }
        all.push(Manifest::of(&self.service()));
        all.push(Manifest::of(&self.deployment(namespace, digest)?));
        Ok(all)
    }

    fn name(&self) -> String {
        self.of.names.object(Role::Router)
    }

    fn meta(&self) -> ObjectMeta {
        self.of.meta(Role::Router)
    }

    fn account(&self) -> ServiceAccount {
        ServiceAccount { metadata: self.meta(), ..ServiceAccount::default() }
    }

    fn role(&self) -> RbacRole {
        let may_watch = |group: &str, kinds: &[&str]| PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(kinds.iter().map(|kind| (*kind).to_owned()).collect()),
            verbs: ["get", "list", "watch"].map(str::to_owned).to_vec(),
            ..PolicyRule::default()
        };
        let mut rules = vec![may_watch("", &["pods"])];
        if !self.release.reads_endpoints_file() {
            rules.push(may_watch(POOL_API, &["inferencepools"]));
            rules.push(may_watch(
                OBJECTIVES_API,
                &["inferenceobjectives", "inferencemodelrewrites"],
            ));
        }
        RbacRole { metadata: self.meta(), rules: Some(rules) }
    }

    fn binding(&self, namespace: &str) -> RoleBinding {
        RoleBinding {
            metadata: self.meta(),
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "Role".to_owned(),
                name: self.name(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: self.name(),
                namespace: Some(namespace.to_owned()),
                api_group: None,
            }]),
        }
    }

    fn pool(&self) -> Manifest {
        let labels = self.of.names.pods(Role::Engine);
        let metadata = serde_json::to_value(self.meta()).unwrap_or_default();
        let value = json!({
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "targetPorts": [{"number": PORT}],
                "endpointPickerRef": {
                    "name": self.name(),
                    "port": {"number": PICKER_PORTS.grpc},
                    // Else a dead picker becomes a gateway's own balancing, without a word.
                    "failureMode": "FailClose",
                },
            },
        });
        Manifest::custom(&format!("{POOL_API}/v1"), "InferencePool", "inferencepools", value)
    }

    fn picker_config(&self, namespace: &str) -> PickerConfig {
        let index = self.of.index_product().map_or(IndexStore::Memory, |product| {
            let host = self.of.names.object(Role::Index);
            let address = format!("redis://{host}:{}", product.traits().port);
            IndexStore::Server { product, address }
        });
        let labels = self.of.names.pods(Role::Engine);
        let selector: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        PickerConfig {
            policy: self.of.arm.routing.policy.clone(),
            model: self.of.deployment.model.name.clone(),
            replicas: PickedReplicas {
                addresses: Vec::new(),
                port: PORT,
                events_port: EVENTS_PORT,
            },
            index,
            tokenizer_socket: PathBuf::from(TOKENS_FOLDER).join("tokens.sock"),
            endpoints_file: PathBuf::new(),
            ports: PICKER_PORTS,
            pods: Some(PodPool {
                pool: self.name(),
                namespace: namespace.to_owned(),
                selector: selector.join(","),
                engines: self.engines(),
            }),
        }
    }

    fn engines(&self) -> String {
        format!("http://{}:{PORT}", self.of.names.object(Role::Engine))
    }

    fn config(&self, namespace: &str) -> Result<ConfigMap, DeployError> {
        let config = self.picker_config(namespace);
        let arm = self.of.arm;
        let picker = if let Some(own) = &arm.processes.picker_config {
            let failed =
                |source| DeployError::File { what: "picker_config", path: own.clone(), source };
            config.filled_in(&std::fs::read_to_string(own).map_err(failed)?)
        } else {
            let refused = |error: ConfigError| DeployError::Unsupported {
                arm: arm.name.clone(),
                problem: format!("{} cannot serve it", self.release.name()),
                remedy: error.to_string(),
            };
            format!("{:#}\n", config.document(self.release).map_err(refused)?)
        };
        let here = |port| ([127, 0, 0, 1], port).into();
        let door = Door {
            address: ([0, 0, 0, 0], DOOR_PORT).into(),
            admin: here(ADMIN_PORT),
            picker: here(PICKER_PORTS.grpc),
            picker_health: PICKER_PORTS.health,
            fail_open: Vec::new(),
        };
        let envoy = format!("{:#}\n", door.bootstrap());
        Ok(pod::config_map(
            self.of,
            Role::Router,
            &[("picker.json", picker), ("envoy.json", envoy)],
        ))
    }

    fn service(&self) -> Service {
        let port = |name: &str, port: u16, target: u16| ServicePort {
            name: Some(name.to_owned()),
            port: i32::from(port),
            target_port: Some(IntOrString::Int(i32::from(target))),
            ..ServicePort::default()
        };
        Service {
            metadata: self.meta(),
            spec: Some(ServiceSpec {
                selector: Some(self.of.names.pods(Role::Router)),
                ports: Some(vec![
                    port("http", 80, DOOR_PORT),
                    port("grpc-ext-proc", PICKER_PORTS.grpc, PICKER_PORTS.grpc),
                    port("http-metrics", METRICS_PORT, METRICS_PORT),
                ]),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    fn deployment(&self, namespace: &str, digest: u64) -> Result<apps::Deployment, DeployError> {
        let mut deployment = pod::deployment(self.of, Role::Router, 1, self.pod(namespace)?);
        let digest = BTreeMap::from([(CONFIG.to_owned(), format!("{digest:016x}"))]);
        pod::annotate(&mut deployment, digest);
        Ok(deployment)
    }

    fn pod(&self, namespace: &str) -> Result<PodSpec, DeployError> {
        let mut containers = vec![self.picker(namespace), self.envoy()];
        let mut volumes = vec![config_volume(self.of, Role::Router, "config")];
        if self.asks_for_tokens() {
            containers.push(self.tokenizer()?);
            volumes.push(folder("tokens"));
        }
        Ok(PodSpec {
            service_account_name: Some(self.name()),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(2),
            containers,
            volumes: Some(volumes),
            ..PodSpec::default()
        })
    }

    /// Later releases ask the engines themselves.
    fn asks_for_tokens(&self) -> bool {
        let is_precise = matches!(self.of.arm.routing.policy, PolicyConfig::PrecisePrefix { .. });
        is_precise && self.release == PickerRelease::Scheduler
    }

    fn picker(&self, namespace: &str) -> Container {
        let config = self.picker_config(namespace);
        let path = format!("{CONFIG_FOLDER}/picker.json");
        let mut mounts = vec![mount("config", CONFIG_FOLDER)];
        if self.asks_for_tokens() {
            mounts.push(mount("tokens", TOKENS_FOLDER));
        }
        Container {
            name: PICKER.to_owned(),
            image: Some(self.picker.clone()),
            args: Some(config.arguments(self.release, &path)),
            env: Some(vec![
                field("NAMESPACE", "metadata.namespace"),
                field("POD_NAME", "metadata.name"),
            ]),
            ports: Some(vec![
                port("grpc-ext-proc", PICKER_PORTS.grpc),
                port("grpc-health", PICKER_PORTS.health),
                port("http-metrics", PICKER_PORTS.metrics),
            ]),
            readiness_probe: Some(Probe {
                grpc: Some(GRPCAction {
                    port: i32::from(PICKER_PORTS.health),
                    service: Some("inference-extension".to_owned()),
                    ..GRPCAction::default()
                }),
                period_seconds: Some(1),
                ..Probe::default()
            }),
            volume_mounts: Some(mounts),
            ..Container::default()
        }
    }

    fn envoy(&self) -> Container {
        let path = format!("{CONFIG_FOLDER}/envoy.json");
        let args = ["--config-path", &path, "--disable-hot-restart", "--log-level", "warning"];
        Container {
            name: ENVOY.to_owned(),
            image: Some(self.envoy.clone()),
            args: Some(args.map(str::to_owned).to_vec()),
            ports: Some(vec![port("http", DOOR_PORT)]),
            readiness_probe: Some(open_port("http")),
            volume_mounts: Some(vec![mount("config", CONFIG_FOLDER)]),
            ..Container::default()
        }
    }

    fn tokenizer(&self) -> Result<Container, DeployError> {
        let Some(image) = self.of.target.images.weir.clone() else {
            return Err(DeployError::Unsupported {
                arm: self.of.arm.name.clone(),
                problem: format!(
                    "{} asks a service beside it for tokens, which is in Weir's image",
                    self.release.name()
                ),
                remedy: "write `images: {weir: ...}`, or use llm-d-router 0.9 or later".to_owned(),
            });
        };
        let socket = format!("{TOKENS_FOLDER}/tokens.sock");
        let engines = self.engines();
        let model = &self.of.deployment.model.name;
        let args = ["tokenizer", "--socket", &socket, "--model", model, &engines];
        Ok(Container {
            name: TOKENIZER.to_owned(),
            image: Some(image),
            args: Some(args.map(str::to_owned).to_vec()),
            volume_mounts: Some(vec![mount("tokens", TOKENS_FOLDER)]),
            ..Container::default()
        })
    }
}
