//! One arm of a deployment, as it is to stand in a namespace.

use std::collections::BTreeMap;

use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use weir_model::quantity::Size;
use weir_model::{Bytes, Product};
use weir_spec::plan::{
    Arm, ClientOptions, Deployment, KubernetesTarget, PLAN_FORMAT, Plan, Prices, Slo, StoreAccess,
};

use super::names::{Role, StackNames};
use crate::error::DeployError;
use crate::front;

/// Of a pod's template: another value makes another pod.
const CELL: &str = "weir.dev/cell";

#[derive(Debug, Clone, Copy)]
pub(super) struct PodArm<'a> {
    pub(super) target: &'a KubernetesTarget,
    pub(super) deployment: &'a Deployment,
    pub(super) arm: &'a Arm,
    pub(super) names: &'a StackNames,
    /// The anchor, once it stands: what belongs to it goes with it.
    pub(super) owner: Option<&'a OwnerReference>,
    /// Pods of another cell are replaced. None keeps those that fit.
    pub(super) cell: Option<&'a str>,
}

impl PodArm<'_> {
    pub(super) fn meta(&self, role: Role) -> ObjectMeta {
        self.names.meta(role, self.arm, self.owner)
    }

    pub(super) fn annotations(&self) -> Option<BTreeMap<String, String>> {
        let cell = self.cell?;
        Some(BTreeMap::from([(CELL.to_owned(), cell.to_owned())]))
    }

    /// Blocks and tokens are the model's.
    pub(super) fn bytes_of(&self, size: Size) -> Bytes {
        let engine = self.deployment.engine_of(self.arm);
        let per_token = engine.kv_bytes_per_token;
        size.resolve(engine.block_size, |tokens| Bytes(tokens.saturating_mul(per_token)))
    }

    /// Whole seconds, at least one.
    pub(super) fn start_seconds(&self) -> i32 {
        i32::try_from(self.target.start_timeout.0.0 / 1_000_000_000).unwrap_or(i32::MAX).max(1)
    }

    pub(super) fn vllm_image(&self) -> String {
        let given = self.target.images.vllm.clone();
        given.unwrap_or_else(|| format!("docker.io/vllm/vllm-openai:v{}", self.deployment.vllm))
    }

    /// True where a router stands in front of the engines.
    pub(super) fn is_routed(&self) -> bool {
        front::is_needed(&self.target.router, self.arm, self.deployment.replicas)
    }

    /// The store of blocks that is started for the arm. None without one, or with one of the
    /// user's.
    pub(super) fn own_store(&self) -> Option<Product> {
        let store = self.arm.offload.as_ref()?.store.as_ref()?;
        self.arm.store_access.is_none().then_some(store.product)
    }

    pub(super) fn index_product(&self) -> Option<Product> {
        if self.is_routed() { front::index_product(self.arm) } else { None }
    }

    /// Of the store of blocks, as pods reach it.
    pub(super) fn store_address(&self) -> Option<String> {
        if let Some(access) = &self.arm.store_access {
            return Some(access.address.clone());
        }
        let product = self.own_store()?;
        Some(format!("redis://{}:{}", self.names.object(Role::Store), product.traits().port))
    }

    /// For Weir's engine: the deployment with this arm alone, as JSON.
    pub(super) fn plan(&self) -> Result<String, DeployError> {
        let mut arm = self.arm.clone();
        if let (None, Some(address)) = (&arm.store_access, self.store_address()) {
            // It was started for the arm, and is empty.
            let access = StoreAccess { address, password_file: None, empty: true };
            arm.store_access = Some(access);
        }
        let emulated = self.target.emulated.clone().unwrap_or_default();
        let plan = Plan {
            format: PLAN_FORMAT,
            name: self.names.stack().to_owned(),
            target: emulated.into(),
            seed: 0,
            repeats: 1,
            effective_share: 0.0,
            slo: Slo::default(),
            prices: Prices::default(),
            client: ClientOptions::default(),
            salt: None,
            inputs: BTreeMap::new(),
            traces: Vec::new(),
            deployments: vec![Deployment {
                arms: vec![arm],
                levels: Vec::new(),
                ..self.deployment.clone()
            }],
            cells: Vec::new(),
            warnings: Vec::new(),
            origins: BTreeMap::new(),
        };
        serde_json::to_string_pretty(&plan)
            .map_err(|error| DeployError::Emulated(error.to_string()))
    }
}
