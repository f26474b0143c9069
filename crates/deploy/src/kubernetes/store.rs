//! A store of blocks, or of a router's index, as a pod with a Service.

use std::collections::BTreeMap;

use weir_kubernetes::k8s_openapi::api::apps::v1 as apps;
use weir_kubernetes::k8s_openapi::api::core::v1::{
    ConfigMap, Container, PodSpec, ResourceRequirements, Service, ServiceSpec,
};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use weir_model::{Bytes, Product};
use weir_store::server::StoreSettings;
use weir_tier::EvictionPolicy;

use super::arm::PodArm;
use super::names::Role;
use super::pod::{self, config_volume, folder, mount, open_port, port, service_port};
use crate::remote::settings_for;

const CONFIG_FOLDER: &str = "/etc/store";
const DATA_FOLDER: &str = "/data";
const INDEX_BYTES: Bytes = Bytes::from_gib(1);
/// Of a store beside its blocks: connections and what they send.
const PROCESS: Bytes = Bytes::from_gib(1);
/// A store counts what it allocated. Pages that it has only in part count for its pod.
const FRAGMENTATION: u64 = 8;

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

    fn settings(&self) -> StoreSettings {
        let store = self.of.arm.offload.as_ref().and_then(|offload| offload.store.as_ref());
        let settings = match store.filter(|_| self.role == Role::Store) {
            Some(store) => settings_for(store.policy, store.capacity),
            // A lost key of an index is a hit that is not seen, which nobody would notice.
            None => settings_for(EvictionPolicy::None, INDEX_BYTES),
        };
        StoreSettings { io_threads: Some(1), ..settings }
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
        pod::config_map(self.of, self.role, &[("store.conf", text)])
    }

    pub(super) fn service(&self) -> Service {
        Service {
            metadata: self.of.meta(self.role),
            spec: Some(ServiceSpec {
                selector: Some(self.of.names.pods(self.role)),
                ports: Some(vec![service_port("resp", self.port())]),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    pub(super) fn deployment(&self) -> apps::Deployment {
        pod::deployment(self.of, self.role, 1, self.pod())
    }

    fn pod(&self) -> PodSpec {
        PodSpec {
            enable_service_links: Some(false),
            automount_service_account_token: Some(false),
            termination_grace_period_seconds: Some(2),
            containers: vec![self.container()],
            volumes: Some(vec![config_volume(self.of, self.role, "config"), folder("data")]),
            ..PodSpec::default()
        }
    }

    fn container(&self) -> Container {
        let config = format!("{CONFIG_FOLDER}/store.conf");
        let traits = self.product.traits();
        let command = [Some(traits.program), traits.config_flag, Some(&config)];
        let command = command.into_iter().flatten().map(str::to_owned).collect();
        let memory = self.memory().0.to_string();
        let all = BTreeMap::from([("memory".to_owned(), Quantity(memory))]);
        Container {
            name: self.product.name().to_owned(),
            image: Some(self.image()),
            command: Some(command),
            ports: Some(vec![port("resp", self.port())]),
            readiness_probe: Some(open_port("resp")),
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
        match self.settings().capacity.filter(|_| self.product.traits().keeps_in_memory) {
            Some(held) => Bytes(held.0 + held.0 / FRAGMENTATION + PROCESS.0),
            None => Bytes(4 * PROCESS.0),
        }
    }

    fn image(&self) -> String {
        let given = self.of.target.images.stores.get(self.product.name());
        given.map_or(self.product.traits().image, String::as_str).to_owned()
    }
}
