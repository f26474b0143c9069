//! The plan: the experiment file with every default filled in. All that later stages see.
//!
//! It is written to the run folder as `plan.json`; its hash guards `--resume`.

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

/// Version of the plan's own format; a reader refuses another.
pub const PLAN_FORMAT: u32 = 1;

pub use weir_workload::ClientOptions;

pub use crate::document::local::{GENERATED, LmcacheMode, LocalTarget, flag};
pub use crate::document::target::{
    EmulatedTarget, EndpointTarget, HeaderValue, LiveTarget, Movement, Target,
};

/// Where a value of the plan came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    Default,
    /// A catalogue entry, by name.
    Catalogue(String),
    /// Written in the experiment file.
    File,
    /// A per-model override in the file.
    Override(String),
    Set(String),
    Endpoint,
}

/// Objectives that goodput is counted against; an absent one does not bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Longest time to first token.
    pub ttft: Option<Nanos>,
    /// Longest time per output token after the first.
    pub tpot: Option<Nanos>,
    /// Longest time of the whole request.
    pub e2e: Option<Nanos>,
}

impl Slo {
    pub const fn binds(&self) -> bool {
        self.ttft.is_some() || self.tpot.is_some() || self.e2e.is_some()
    }
}

/// What things cost; an absent price leaves the cost columns empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub gpu_hour: Option<f64>,
    /// One GiB of host memory for a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_gib_month: Option<f64>,
    /// One GiB of disk for a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gib_month: Option<f64>,
    /// One GiB of a remote store for a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_gib_month: Option<f64>,
    /// The same of a Kvrocks, whose bytes are on disks; nothing where it is that of all stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kvrocks_gib_month: Option<f64>,
    pub currency: String,
}

impl Prices {
    /// Price of one GiB of a kind of tier, or of a store by its product, for a month; the GPU's
    /// memory has none of its own.
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
    /// Name as written: `2x-l40s`.
    pub name: String,
    pub count: u32,
    pub accelerator: Accelerator,
}

impl Hardware {
    /// True for a processor that runs vLLM without a GPU.
    pub fn is_processor(&self) -> bool {
        self.accelerator.name == accelerators::CPU
    }
}

/// How an arm takes part in comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmRole {
    /// The baseline all others are compared with.
    Control,
    /// The baseline again: the noise floor.
    ControlAgain,
    /// Routing by chance: the baseline of routing arms.
    RoutingControl,
    /// A mechanism under test.
    Treatment,
    /// Whatever an endpoint has: nothing is claimed of it.
    AsDeployed,
}

/// One arm for one deployment, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Unique in the experiment; the preset's name unless the file gives another.
    pub name: String,
    pub preset: String,
    /// Its part in comparisons.
    pub role: ArmRole,
    /// One line for reports.
    pub description: String,
    pub offload: Option<OffloadConfig>,
    /// Where its remote store listens, for live targets; nothing: it is brought up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_access: Option<StoreAccess>,
    /// The product that the figures of its store were measured on; nothing where they are those of
    /// the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_measured_on: Option<String>,
    /// How its processes are started where they really run.
    #[serde(default, skip_serializing_if = "Processes::is_default")]
    pub processes: Processes,
    /// Its engine, where the connector makes vLLM's pool another one than that of other arms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineConfig>,
    /// Routing over the replicas.
    pub routing: RouterConfig,
    /// True when the arm's claim is its routing.
    pub routing_is_claim: bool,
}

impl Arm {
    /// The catalogue's profile of its store, where that is assumed and nothing else was named.
    pub fn assumed_store(&self) -> Option<&'static LinkProfile> {
        let store = self.offload.as_ref()?.store.as_ref()?;
        let profile = links::find(&links::STORES, store.product.name())?;
        let is_assumed = self.store_measured_on.is_none() && !profile.measured;
        (is_assumed && store.link == profile.link()).then_some(profile)
    }

    /// Its store's product and the one that its figures were measured on, where they differ.
    pub fn foreign_figures(&self) -> Option<(&str, &str)> {
        let product = self.offload.as_ref()?.store.as_ref()?.product.name();
        Some(product).zip(self.store_measured_on.as_deref()).filter(|(of, on)| of != on)
    }

    /// True where it is known that nothing lies behind the GPU. Of a deployment of which nothing is
    /// claimed, it is not known.
    pub fn is_gpu_only(&self) -> bool {
        self.offload.is_none() && self.role != ArmRole::AsDeployed
    }

    pub fn mechanism(&self) -> Option<&'static MechanismTraits> {
        self.offload.as_ref().map(OffloadConfig::traits)
    }
}

/// Ranks of a replica whose LMCache keeps blocks. Each takes the sizes that LMCache is given for
/// itself; of latent attention, which all ranks hold alike, only the first one stores
/// (`save_only_first_rank`).
pub fn lmcache_ranks(model: &ModelShape, tensor_parallel: u32) -> u32 {
    if model.kv_is_replicated() { 1 } else { tensor_parallel }
}

/// What an arm's processes get beside what its preset says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processes {
    /// Which part of LMCache serves it; nothing: what the installed version is meant for.
    pub lmcache_mode: Option<LmcacheMode>,
    /// Arguments of `vllm serve`. One that Weir writes as well takes the place of Weir's.
    pub vllm_args: Vec<String>,
    /// Environment variables of vLLM and LMCache.
    pub env: BTreeMap<String, String>,
}

impl Processes {
    /// True where nothing was written.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a remote store is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreAccess {
    /// `redis://host:6379`, without a password.
    pub address: String,
    /// File with the password. Its content is never recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// Whether keys that the run did not write may be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelLoad {
    /// Closed loop: this many users, each with one session at a time.
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
    /// The trace's own times.
    Trace {
        /// They are divided by it: 2 is twice as fast.
        speed: f64,
    },
}

impl LevelLoad {
    /// The arrival process of an open loop with a rate.
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
    /// The workload at this level: counts per user are multiplied out, and a trace's path is
    /// absolute.
    pub workload: WorkloadConfig,
    /// Load is offered and measured until here; nothing for a trace without limit.
    pub duration: Option<Nanos>,
    /// The measured window starts here.
    pub warmup: Nanos,
    /// Users start evenly over this time.
    #[serde(default)]
    pub ramp: Nanos,
    /// Most requests to issue.
    pub max_requests: Option<u64>,
}

impl Level {
    /// The measured window: from the warm-up to the duration, or to the last end of a request (that
    /// moment included) where the level has no duration or its requests ran out before it.
    pub fn window(&self, last_end: Nanos) -> Window {
        let last = Nanos(last_end.0.saturating_add(1));
        let end = self.duration.map_or(last, |duration| {
            // Idle time after the last request of a level that asks so many is not measured.
            if self.max_requests.is_some() { duration.min(last) } else { duration }
        });
        Window { start: self.warmup, end }
    }
}

/// Where the size of the KV pool comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolSize {
    /// The experiment gives it (`engine.kv_tokens`): engines are told.
    #[default]
    Given,
    /// It is computed from this share of the accelerators' memory; engines compute their own.
    Share(f64),
}

/// One model on one kind of hardware: what is stood up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    pub model: ModelShape,
    pub hardware: Hardware,
    /// Label in paths and tables: the hardware's name, with `-tpN` where TP is swept.
    pub label: String,
    pub tensor_parallel: u32,
    pub replicas: u32,
    /// vLLM's version, which decides defaults.
    pub vllm: String,
    pub engine: EngineConfig,
    /// Where the pool's size comes from, for engines that size their own.
    #[serde(default)]
    pub pool: PoolSize,
    /// vLLM's `--block-size`: the engine's blocks are longer where a page must hold a state, or
    /// layers are of different widths.
    pub vllm_block_size: u32,
    pub timing: TimingConfig,
    /// Arms, in the file's order.
    pub arms: Vec<Arm>,
    /// Levels, in the file's order.
    pub levels: Vec<Level>,
}

weir_model::words! {
    /// What becomes of what is asked again, by a replay against caches of the planned sizes.
    pub enum Regime {
        /// Under 1 % of the prompt tokens were asked before and are gone from the GPU's pool.
        FitsGpu = "fits-gpu",
        /// More are gone, and the largest tier is as large as the working set.
        FitsTier = "fits-tier",
        /// More are gone, and no tier is as large as the working set.
        Overflows = "overflows",
        /// Under 1 %, but only because the level ends before more of it is asked again.
        EndsBeforeReuse = "ends-before-reuse",
        /// More are gone, and nobody knows what tiers there are: an endpoint as it is deployed.
        ExceedsGpu = "exceeds-gpu",
        /// The size of the GPU's pool is not known.
        Unknown = "unknown",
    }
}

impl Regime {
    /// What the word means, for where it is printed.
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

/// What the plan predicts for a cell, from capacities alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// KV bytes that were asked and will be asked again, at the moment at which they are most, per
    /// replica; nothing where a token's bytes are not known.
    pub working_set: Option<Bytes>,
    pub regime: Regime,
    /// Tokens of the longest sequence that a request offers to the offload mechanism; nothing
    /// where there is none, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_offer: Option<u64>,
    /// Leading tokens that a request had in common with an earlier one, of the request with most;
    /// nothing where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_reuse: Option<u64>,
    pub verdict: Verdict,
    /// For verdicts that show nothing: what to change to see an effect.
    pub remedy: Option<Remedy>,
}

/// One cell: indices into the plan, and its folder.
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
    /// Seed of the workload: equal for all arms of a level and repeat, so that they are asked
    /// the same.
    pub seed: u64,
    pub prediction: Prediction,
}

impl Deployment {
    pub fn engine_of<'a>(&'a self, arm: &'a Arm) -> &'a EngineConfig {
        arm.engine.as_ref().unwrap_or(&self.engine)
    }

    /// Opens the workload of a level: predictions and all targets ask the same.
    pub fn open_source(&self, level: &Level, seed: u64) -> Result<Source, WorkloadError> {
        let options = SourceOptions {
            seed,
            max_model_len: Tokens(self.engine.max_model_len),
            trace_speed: match level.load {
                LevelLoad::Trace { speed } => speed,
                _ => 1.0,
            },
            // The plan's trace paths are absolute.
            trace_folder: PathBuf::new(),
        };
        open(&level.workload, &options)
    }
}

/// Everything that will run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub format: u32,
    pub name: String,
    pub target: Target,
    pub seed: u64,
    /// Repeats per cell, with workload seeds of their own.
    pub repeats: u32,
    /// Share of the eligible reuse that counts as `effective`.
    pub effective_share: f64,
    pub slo: Slo,
    pub prices: Prices,
    /// How live targets are asked.
    #[serde(default)]
    pub client: ClientOptions,
    /// Tells this run's prompts apart from those of other runs with the same seed; nothing where
    /// they are the same. All arms of a run are asked the same. No part of the plan's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<u64>,
    /// Files that the results depend on (traces, link profiles, the tokenizer), by absolute path,
    /// with the xxh3-128 of their content: a resumed run must be asked the same, of the same tiers.
    pub inputs: BTreeMap<String, String>,
    /// How the traces are read, and why so.
    #[serde(default)]
    pub traces: Vec<TraceReading>,
    pub deployments: Vec<Deployment>,
    pub cells: Vec<Cell>,
    /// Things the user should know before running (uncalibrated hardware, a tier smaller than
    /// the GPU pool, ...), each one sentence.
    pub warnings: Vec<String>,
    /// Origin of each value that the file can set, by path.
    pub origins: BTreeMap<String, Origin>,
}

impl Plan {
    /// Gives the prompts of a live run a salt of its own, unless it asks the same as others.
    pub fn salt_prompts(&mut self, nonce: u64) {
        if self.target.live().is_some() && !self.client.same_prompts {
            self.salt = Some(nonce);
        }
    }
}
