//! A store of blocks, or of a router's index, as a pod with a Service.

use std::collections::BTreeMap;

use weir_kubernetes::k8s_openapi::api::apps::v1 as apps;
use weir_kubernetes::k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, Service, ServicePort, ServiceSpec,
    TCPSocketAction, Volume, VolumeMount,
};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_model::{Bytes, Product};
use weir_store::server::StoreSettings;

use super::arm::PodArm;
use super::names::Role;

const CONFIG_FOLDER: &str = "/etc/store";
const DATA_FOLDER: &str = "/data";
/// A store's allocator and metadata per byte of blocks.
const OVERHEAD: f64 = 1.3;
/// Of an index, and of a store beside its blocks.
const INDEX_BYTES: Bytes = Bytes::from_gib(1);
const PROCESS: Bytes = Bytes::from_gib(1);

/// A store with what it is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodStore<'a, 'b> {
    pub(super) of: &'b PodArm<'a>,
    pub(super) role: Role,
    pub(super) product: Product,
}

impl PodStore<'_, '_> {
    pub(super) fn port(&self) -> u16 {
        self.product.traits().port
    }

    fn capacity(&self) -> Bytes {
        if self.role == Role::Index {
            return INDEX_BYTES;
        }
        let store = self.of.arm.offload.as_ref().and_then(|offload| offload.store.as_ref());
        store.map_or(INDEX_BYTES, |store| store.capacity)
    }

    fn settings(&self) -> StoreSettings {
        // A lost key of an index is a hit that is not seen, which nobody would notice.
        let policy = if self.role == Role::Index { "noeviction" } else { "allkeys-lru" };
        StoreSettings {
            capacity: Some(self.capacity()),
            policy: policy.to_owned(),
            io_threads: Some(1),
            ..StoreSettings::default()
        }
    }

    /// The recipe of `docs/stores.md`, open to the pods of the namespace.
    pub(super) fn config(&self) -> ConfigMap {
        let mut lines = vec![
            "bind 0.0.0.0".to_owned(),
            format!("port {}", self.port()),
            format!("dir {DATA_FOLDER}"),
        ];
        if self.product.traits().keeps_in_memory {
            lines.push("protected-mode no".to_owned());
        }
        lines.extend(self.settings().recipe(self.product));
        let text = lines.join("\n") + "\n";
        ConfigMap {
            metadata: self.of.meta(self.role),
            data: Some(BTreeMap::from([("store.conf".to_owned(), text)])),
            ..ConfigMap::default()
        }
    }

    pub(super) fn service(&self) -> Service {
        Service {
            metadata: self.of.meta(self.role),
            spec: Some(ServiceSpec {
                selector: Some(self.of.names.pods(self.role)),
                ports: Some(vec![ServicePort {
                    name: Some("resp".to_owned()),
                    port: i32::from(self.port()),
                    target_port: Some(IntOrString::String("resp".to_owned())),
                    ..ServicePort::default()
                }]),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    pub(super) fn deployment(&self) -> apps::Deployment {
        let template = PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(self.of.names.labels(self.role, self.of.arm)),
                annotations: self.of.annotations(),
                ..ObjectMeta::default()
            }),
            spec: Some(self.pod()),
        };
        apps::Deployment {
            metadata: self.of.meta(self.role),
            spec: apps::DeploymentSpec {
                replicas: Some(1),
                strategy: Some(apps::DeploymentStrategy {
                    type_: Some("Recreate".to_owned()),
                    rolling_update: None,
                }),
                selector: LabelSelector {
                    match_labels: Some(self.of.names.pods(self.role)),
                    ..LabelSelector::default()
                },
                template,
                ..apps::DeploymentSpec::default()
            },
            status: None,
        }
    }

    fn pod(&self) -> PodSpec {
        let named = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
        let map = ConfigMapVolumeSource {
            name: self.of.names.object(self.role),
            ..ConfigMapVolumeSource::default()
        };
        PodSpec {
            enable_service_links: Some(false),
            automount_service_account_token: Some(false),
            termination_grace_period_seconds: Some(2),
            containers: vec![self.container()],
            volumes: Some(vec![
                Volume { config_map: Some(map), ..named("config") },
                Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..named("data") },
            ]),
            ..PodSpec::default()
        }
    }

    fn container(&self) -> Container {
        let config = format!("{CONFIG_FOLDER}/store.conf");
        let traits = self.product.traits();
        let command = [Some(traits.program), traits.config_flag, Some(&config)];
        let command = command.into_iter().flatten().map(str::to_owned).collect();
        let mount = |name: &str, path: &str| VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            ..VolumeMount::default()
        };
        let memory = self.memory().0.to_string();
        let all = BTreeMap::from([("memory".to_owned(), Quantity(memory))]);
        Container {
            name: self.product.name().to_owned(),
            image: Some(self.image()),
            command: Some(command),
            ports: Some(vec![ContainerPort {
                name: Some("resp".to_owned()),
                container_port: i32::from(self.port()),
                ..ContainerPort::default()
            }]),
            readiness_probe: Some(Probe {
                tcp_socket: Some(TCPSocketAction {
                    port: IntOrString::String("resp".to_owned()),
                    host: None,
                }),
                period_seconds: Some(1),
                ..Probe::default()
            }),
            resources: Some(ResourceRequirements {
                requests: Some(all.clone()),
                limits: Some(all),
                ..ResourceRequirements::default()
            }),
            volume_mounts: Some(vec![mount("config", CONFIG_FOLDER), mount("data", DATA_FOLDER)]),
            ..Container::default()
        }
    }

    /// A store on disks needs memory for its caches only.
    fn memory(&self) -> Bytes {
        if self.product.traits().keeps_in_memory {
            Bytes((self.capacity().0 as f64 * OVERHEAD) as u64 + PROCESS.0)
        } else {
            Bytes(4 * PROCESS.0)
        }
    }

    fn image(&self) -> String {
        let given = self.of.target.images.stores.get(self.product.name());
        given.map_or(self.product.traits().image, String::as_str).to_owned()
    }
}
