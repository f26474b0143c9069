//! `target: kubernetes`: engines, router and stores as pods of a cluster.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;
use weir_model::Nanos;
use weir_model::quantity::{Size, Span, Version};

use super::live_router::LiveRouter;
use super::target::EmulatedTarget;

/// When pods of an arm are replaced, beside the change from one arm to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fresh {
    /// Before each cell.
    #[default]
    Cell,
    /// Once; caches are emptied between cells.
    Arm,
}

/// Container images, by what runs in them. A digest (`name@sha256:...`) is pinned best.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// vLLM, of the version `engine.vllm` (`docker.io/vllm/vllm-openai`).
    pub vllm: Option<String>,
    /// Weir, as `make image` writes it.
    pub weir: Option<String>,
    /// llm-d's endpoint picker.
    pub picker: Option<String>,
    pub envoy: Option<String>,
    /// By product: `redis`, `valkey`, `kvrocks`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stores: BTreeMap<String, String>,
}

/// A volume with the model's weights, made by somebody or by `weir standup`.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelVolume {
    /// Name of the `PersistentVolumeClaim`.
    pub claim: String,
    /// Path of the weights in it (the model's name, as vLLM downloads it to `HF_HOME`).
    pub path: Option<String>,
    /// With it, the claim is made where it is absent, and kept by `weir teardown`.
    pub size: Option<Size>,
    /// Storage class of a claim that is made (the cluster's default).
    pub class: Option<String>,
}

/// A key of a `Secret`. Its content is read by the pods only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    pub name: String,
    pub key: String,
}

/// Pods of a cluster, brought up for an arm.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesTarget {
    /// File with clusters and users (`KUBECONFIG`, `~/.kube/config`, or the account of the pod that
    /// Weir runs in).
    pub kubeconfig: Option<String>,
    /// Of the file, instead of its current one.
    pub context: Option<String>,
    /// URL of the API server, for a login by token.
    pub server: Option<String>,
    /// File with the token for `server`. Its content is never recorded.
    pub token_file: Option<String>,
    /// File with the certificates that `server` is checked against.
    pub ca_file: Option<String>,
    pub namespace: String,
    /// Make the namespace where it is absent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_namespace: bool,
    /// Weir's own engine in place of vLLM, with these settings. For clusters without GPUs.
    pub emulated: Option<EmulatedTarget>,
    #[serde(skip_serializing_if = "Images::is_default")]
    pub images: Images,
    /// LMCache in the image of vLLM; arms with LMCache need one that has it.
    pub lmcache: Option<Version>,
    /// CPUs of each engine's pod.
    pub cpu: u32,
    /// Memory of each engine's pod (the arm's host memory, shared memory and 8 GiB).
    pub memory: Option<Size>,
    /// Resource name of the accelerators.
    pub gpu_resource: String,
    /// Labels of the nodes for engines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// `Secret` for pulling images.
    pub pull_secret: Option<String>,
    /// Account of the engines' pods (the namespace's default).
    pub service_account: Option<String>,
    /// Without it, each engine's pod downloads the weights for itself.
    pub model_volume: Option<ModelVolume>,
    /// Hugging Face token, for models that ask for one.
    pub hf_secret: Option<SecretKey>,
    /// `PersistentVolumeClaim` of the disk tiers; an `emptyDir` of the pod without it.
    pub disk_claim: Option<String>,
    /// Arguments of `vllm serve` in all arms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vllm_args: Vec<String>,
    /// Environment variables of vLLM and LMCache in all arms. Their values are recorded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "LiveRouter::is_default")]
    pub router: LiveRouter,
    pub fresh: Fresh,
    /// How long a stack stays after its last use, such as `8h`. `weir teardown --expired` removes
    /// it then, whoever calls it. It stays without this.
    pub ttl: Option<Span>,
    /// Longest time for an arm's pods to be ready.
    pub start_timeout: Span,
}

impl Images {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for KubernetesTarget {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            server: None,
            token_file: None,
            ca_file: None,
            namespace: "weir".to_owned(),
            create_namespace: false,
            emulated: None,
            images: Images::default(),
            lmcache: None,
            cpu: 8,
            memory: None,
            gpu_resource: "nvidia.com/gpu".to_owned(),
            node_selector: BTreeMap::new(),
            pull_secret: None,
            service_account: None,
            model_volume: None,
            hf_secret: None,
            disk_claim: None,
            vllm_args: Vec::new(),
            env: BTreeMap::new(),
            router: LiveRouter::default(),
            fresh: Fresh::default(),
            ttl: None,
            // Images are pulled, and a large model is read from a volume.
            start_timeout: Span(Nanos::from_secs(900)),
        }
    }
}
