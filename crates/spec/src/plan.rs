//! The plan: the experiment file with every default filled in, the only input of later stages.
//!
//! The run folder has it as `plan.json`; its hash guards `--resume`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_engine::{EngineConfig, OffloadConfig, TimingConfig};
use weir_model::{
    Accelerator, Bytes, MechanismTraits, ModelShape, Nanos, Product, Remedy, TierKind, Tokens,
    Verdict, Window,
};
use weir_router::RouterConfig;
use weir_workload::trace::reading::TraceReading;
use weir_workload::{Arrivals, Source, SourceOptions, WorkloadConfig, WorkloadError, open};

use crate::catalogue::accelerators;
use crate::catalogue::links::{self, LinkProfile};

/// A reader refuses any other version.
pub const PLAN_FORMAT: u32 = 1;

pub use weir_workload::ClientOptions;

pub use crate::document::kubernetes::{Fresh, Images, KubernetesTarget, ModelVolume, SecretKey};
pub use crate::document::live_router::{LiveRouter, RouterKind};
pub use crate::document::local::{GENERATED, LmcacheMode, LocalTarget, flag};
pub use crate::document::target::{
    EmulatedTarget, EndpointTarget, HeaderValue, LiveTarget, Movement, Target,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    Default,
    Catalogue(String),
    File,
    /// A per-model override in the file.
    Override(String),
    Set(String),
    Endpoint,
}

/// For goodput; an absent objective does not bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    pub ttft: Option<Nanos>,
    /// Per output token after the first.
    pub tpot: Option<Nanos>,
    pub e2e: Option<Nanos>,
}

impl Slo {
    pub const fn binds(&self) -> bool {
        self.ttft.is_some() || self.tpot.is_some() || self.e2e.is_some()
    }
}

/// Without a price the cost columns stay empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub gpu_hour: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_gib_month: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gib_month: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_gib_month: Option<f64>,
    /// Kvrocks keeps its bytes on disks. None where the price of all stores applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kvrocks_gib_month: Option<f64>,
    pub currency: String,
}

impl Prices {
    /// For a month. The GPU's memory has no price of its own.
    pub fn gib_month(&self, kind: TierKind, product: Option<Product>) -> Option<f64> {
        match kind {
            TierKind::Gpu => None,
            TierKind::Host => self.host_gib_month,
            TierKind::Disk => self.disk_gib_month,
            TierKind::Remote => {
                let own = product.and_then(|product| match product {
                    Product::Redis | Product::Valkey => None,
                    Product::Kvrocks => self.kvrocks_gib_month,
                });
                own.or(self.store_gib_month)
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// As written: `2x-l40s`.
    pub name: String,
    pub count: u32,
    pub accelerator: Accelerator,
}

impl Hardware {
    /// True for a CPU that runs vLLM without a GPU.
    pub fn is_processor(&self) -> bool {
        self.accelerator.name == accelerators::CPU
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmRole {
    /// The baseline that all others are compared with.
    Control,
    /// The baseline again: the noise floor.
    ControlAgain,
    /// Routing by chance: the baseline of routing arms.
    RoutingControl,
    Treatment,
    /// An endpoint as it is: nothing is claimed.
    AsDeployed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Unique in the experiment; the preset's name unless the file gives another.
    pub name: String,
    pub preset: String,
    pub role: ArmRole,
    pub description: String,
    pub offload: Option<OffloadConfig>,
    /// For live targets. None where Weir starts the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_access: Option<StoreAccess>,
    /// The product that the store's figures were measured on. None for figures of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_measured_on: Option<String>,
    /// Where the target starts real processes.
    #[serde(default, skip_serializing_if = "Processes::is_default")]
    pub processes: Processes,
    /// None unless the connector changes vLLM's pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineConfig>,
    pub routing: RouterConfig,
    pub routing_is_claim: bool,
}

impl Arm {
    /// The catalogue's profile of its store, where that is an assumption.
    pub fn assumed_store(&self) -> Option<&'static LinkProfile> {
        let store = self.offload.as_ref()?.store.as_ref()?;
        let profile = links::find(&links::STORES, store.product.name())?;
        let is_assumed = self.store_measured_on.is_none() && !profile.measured;
        (is_assumed && store.link == profile.link()).then_some(profile)
    }

    /// The store's product and the product that its figures were measured on, where they differ.
    pub fn foreign_figures(&self) -> Option<(&str, &str)> {
        let product = self.offload.as_ref()?.store.as_ref()?.product.name();
        Some(product).zip(self.store_measured_on.as_deref()).filter(|(of, on)| of != on)
    }

    /// True where it is known that nothing is behind the GPU, which an arm as deployed does not
    /// show.
    pub fn is_gpu_only(&self) -> bool {
        self.offload.is_none() && self.role != ArmRole::AsDeployed
    }

    /// True where the choice of a replica is what the arm is about.
    pub fn is_routed(&self) -> bool {
        self.routing_is_claim || self.role == ArmRole::RoutingControl
    }

    pub fn mechanism(&self) -> Option<&'static MechanismTraits> {
        self.offload.as_ref().map(OffloadConfig::traits)
    }
}

/// Ranks of a replica whose LMCache keeps blocks; each takes the configured sizes. With latent
/// attention all ranks hold the same, and only the first one stores (`save_only_first_rank`).
pub fn lmcache_ranks(model: &ModelShape, tensor_parallel: u32) -> u32 {
    if model.kv_is_replicated() { 1 } else { tensor_parallel }
}

/// Settings beyond the preset's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processes {
    /// None: the mode that the installed version is meant for.
    pub lmcache_mode: Option<LmcacheMode>,
    /// Of `vllm serve`. They override those that Weir writes.
    pub vllm_args: Vec<String>,
    /// Of vLLM and LMCache.
    pub env: BTreeMap<String, String>,
    /// Of llm-d's picker, in place of Weir's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picker_config: Option<String>,
}

impl Processes {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreAccess {
    /// `redis://host:6379`, without a password.
    pub address: String,
    /// Its content is never recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// Whether keys that the run did not write may be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelLoad {
    /// Closed loop: users, each with one session at a time.
    Users(u32),
    /// Open loop: sessions per second with constant gaps.
    Constant(f64),
    /// Open loop: exponential gaps.
    Poisson(f64),
    /// Open loop: gamma gaps.
    Gamma {
        /// Sessions per second.
        rate: f64,
        /// Coefficient of variation of the gaps (1 is Poisson).
        cv: f64,
    },
    Trace {
        /// Times are divided by it: 2 is twice as fast.
        speed: f64,
    },
}

impl LevelLoad {
    pub const fn arrivals(&self) -> Option<Arrivals> {
        match *self {
            Self::Constant(rate) => Some(Arrivals::Constant { rate }),
            Self::Poisson(rate) => Some(Arrivals::Poisson { rate }),
            Self::Gamma { rate, cv } => Some(Arrivals::Gamma { rate, cv }),
            Self::Users(_) | Self::Trace { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// `c50`, `r10`, `trace`.
    pub name: String,
    pub load: LevelLoad,
    /// With counts per user resolved for this level, and an absolute trace path.
    pub workload: WorkloadConfig,
    /// End of load and measurement. None for a trace without limit.
    pub duration: Option<Nanos>,
    pub warmup: Nanos,
    #[serde(default)]
    pub ramp: Nanos,
    pub max_requests: Option<u64>,
}

impl Level {
    /// From the warm-up to the duration, or through the last end of a request where the level has
    /// no duration or its requests ran out earlier.
    pub fn window(&self, last_end: Nanos) -> Window {
        let last = Nanos(last_end.0.saturating_add(1));
        let end = self.duration.map_or(last, |duration| {
            // Idle time after the last request of a limited level is not measured.
            if self.max_requests.is_some() { duration.min(last) } else { duration }
        });
        Window { start: self.warmup, end }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolSize {
    /// From the experiment (`engine.kv_tokens`); engines get it.
    #[default]
    Given,
    /// Computed from this share of the accelerators' memory; engines compute their own.
    Share(f64),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    pub model: ModelShape,
    pub hardware: Hardware,
    /// For paths and tables: the hardware's name, with `-tpN` where TP is swept.
    pub label: String,
    pub tensor_parallel: u32,
    pub replicas: u32,
    pub vllm: String,
    pub engine: EngineConfig,
    #[serde(default)]
    pub pool: PoolSize,
    /// vLLM's `--block-size`. The engine's blocks are longer where a page must hold a state, or
    /// layers have different widths.
    pub vllm_block_size: u32,
    pub timing: TimingConfig,
    /// In the file's order.
    pub arms: Vec<Arm>,
    /// In the file's order.
    pub levels: Vec<Level>,
}

weir_model::words! {
    /// What happens to reuse, by a replay against caches of the planned sizes.
    pub enum Regime {
        /// Under 1 % of the prompt tokens are reuse that the GPU's pool lost.
        FitsGpu = "fits-gpu",
        /// More is lost, and the largest tier is as large as the working set.
        FitsTier = "fits-tier",
        /// More is lost, and no tier is as large as the working set.
        Overflows = "overflows",
        /// Under 1 %, but only because the level ends before more is requested again.
        EndsBeforeReuse = "ends-before-reuse",
        /// More is lost, and the tiers are unknown: an endpoint as deployed.
        ExceedsGpu = "exceeds-gpu",
        /// The size of the GPU's pool is unknown.
        Unknown = "unknown",
    }
}

impl Regime {
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::FitsGpu => {
                "less than 1 % of prompt tokens were asked before and are gone from the GPU pool"
            }
            Self::EndsBeforeReuse => {
                "the same, but only because the level ends before more of it is asked again"
            }
            Self::FitsTier => "more are gone, and the largest tier is as large as the working set",
            Self::Overflows => "more are gone, and no tier is as large as the working set",
            Self::ExceedsGpu => "more are gone, and the tiers are not known",
            Self::Unknown => "the size of the GPU pool is not known",
        }
    }
}

/// From capacities alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Largest KV bytes at one moment that were requested and will be again, per replica. None
    /// where a token's bytes are unknown.
    pub working_set: Option<Bytes>,
    pub regime: Regime,
    /// In tokens, of what requests offer to the offload mechanism. None without one, or where
    /// unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_offer: Option<u64>,
    /// Most leading tokens that a request had in common with an earlier one. None where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_reuse: Option<u64>,
    pub verdict: Verdict,
    /// For verdicts that show nothing: what to change to see an effect.
    pub remedy: Option<Remedy>,
}

/// Indices into the plan, and a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// `<model slug>/<hardware>/<arm>/<level>/<repeat>`, relative to `cells/`.
    pub path: String,
    /// Index into [`Plan::deployments`].
    pub deployment: usize,
    /// Index into [`Deployment::arms`].
    pub arm: usize,
    /// Index into [`Deployment::levels`].
    pub level: usize,
    /// From 0.
    pub repeat: u32,
    /// Equal for all arms of a level and repeat, so that their requests are the same.
    pub seed: u64,
    pub prediction: Prediction,
}

impl Deployment {
    pub fn engine_of<'a>(&'a self, arm: &'a Arm) -> &'a EngineConfig {
        arm.engine.as_ref().unwrap_or(&self.engine)
    }

    pub fn open_source(&self, level: &Level, seed: u64) -> Result<Source, WorkloadError> {
        open(&level.workload, &self.source_options(level, seed))
    }

    pub fn source_options(&self, level: &Level, seed: u64) -> SourceOptions {
        SourceOptions {
            seed,
            max_model_len: Tokens(self.engine.max_model_len),
            trace_speed: match level.load {
                LevelLoad::Trace { speed } => speed,
                _ => 1.0,
            },
            trace_folder: PathBuf::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub format: u32,
    pub name: String,
    pub target: Target,
    pub seed: u64,
    /// Per cell. Each has its own workload seed.
    pub repeats: u32,
    /// Share of the eligible reuse that counts as `effective`.
    pub effective_share: f64,
    pub slo: Slo,
    pub prices: Prices,
    #[serde(default)]
    pub client: ClientOptions,
    /// Distinguishes this run's prompts from those of runs with the same seed. None where they are
    /// the same. Equal for all arms, and not part of the plan's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<u64>,
    /// Files that the results depend on (traces, link profiles, the tokenizer), by absolute path,
    /// with the xxh3-128 of their content: a resumed run must have the same.
    pub inputs: BTreeMap<String, String>,
    #[serde(default)]
    pub traces: Vec<TraceReading>,
    pub deployments: Vec<Deployment>,
    pub cells: Vec<Cell>,
    /// For the user before the run (uncalibrated hardware, a tier smaller than the GPU pool, ...),
    /// one sentence each.
    pub warnings: Vec<String>,
    /// Of each value that the file can set, by path.
    pub origins: BTreeMap<String, Origin>,
}

impl Plan {
    /// Gives the prompts of a live run their own salt, unless it uses the same prompts as others.
    pub fn salt_prompts(&mut self, nonce: u64) {
        if self.target.live().is_some() && !self.client.same_prompts {
            self.salt = Some(nonce);
        }
    }
}
