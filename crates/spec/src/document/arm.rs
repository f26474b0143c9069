//! `arms`: presets by name, or maps that change their parameters.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;
use weir_tier::EvictionPolicy;

use super::local::LmcacheMode;
use super::routing::RoutingSection;
use super::written::NameOr;
use weir_model::quantity::{Size, Span};

/// When loads from a tier happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoadWhen {
    /// Beside the passes: only the request that needs the blocks waits.
    Async,
    /// At the start of a pass, which waits for it.
    InPass,
}

/// A link to a tier, where it is not the preset's.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSection {
    /// GB/s towards the GPU, over all ranks.
    pub read_gb_per_s: Option<f64>,
    /// GB/s away from the GPU, over all ranks.
    pub write_gb_per_s: Option<f64>,
    /// Fixed time before the first byte.
    pub latency: Option<Span>,
    /// Issue cost of each contiguous copy.
    pub per_copy: Option<Span>,
    /// Transfers that proceed at once, each at its share of the bandwidth.
    pub lanes: Option<u32>,
}

/// The disk of an arm that has one.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSection {
    /// Capacity in total over the ranks of a replica; software that takes it per rank is told its
    /// share.
    pub bytes: Option<Size>,
    /// Eviction.
    pub policy: Option<EvictionPolicy>,
    /// A measured link by name (`nvme-gen4`, `ibm-vpc-block`, `cephfs`, `s3`), or a file that
    /// `weir probe DIR --profile FILE.yaml` wrote.
    pub profile: Option<String>,
    /// Link figures of one's own, over the profile's.
    pub link: Option<LinkSection>,
}

/// The remote store of an arm that has one.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Where it listens, for live targets: `redis://127.0.0.1:6379`. Without it, the emulated
    /// target starts one of the preset's kind on this machine.
    pub address: Option<String>,
    /// File with its password. Its content is never recorded.
    pub password_file: Option<String>,
    /// Whether keys that no run of Weir wrote may be removed, where the software gives the arm no
    /// keys of its own. Without it, a store that holds such keys ends the arm's cells.
    pub empty: Option<bool>,
    /// Bytes it may hold, in total over all replicas and ranks.
    pub bytes: Option<Size>,
    /// Its own eviction; `none` refuses stores when full.
    pub policy: Option<EvictionPolicy>,
    /// A measured store by name (`redis`, `redis-io-threads`, `valkey`, `kvrocks`), or a file
    /// that `weir probe redis://... --profile FILE.yaml` wrote.
    pub profile: Option<String>,
    /// The store's link figures, shared by all replicas, over the profile's.
    pub link: Option<LinkSection>,
    /// GB/s between one replica and the store, each direction.
    pub client_gb_per_s: Option<f64>,
    /// Time of one lookup round trip.
    pub lookup_latency: Option<Span>,
    /// Added per key that a lookup asks for.
    pub lookup_per_key: Option<Span>,
}

/// An arm written out, or (in `overrides`, without `preset` and `name`) changes to one.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArmSection {
    /// The preset it starts from.
    pub preset: Option<String>,
    /// Its name in paths and tables; the preset's without it.
    pub name: Option<String>,
    /// Host memory that it may use for KV blocks, in total over all ranks of a replica. Software
    /// that takes it per rank (LMCache in the engine, in GiB) is told its share: LMCache's
    /// `max_local_cpu_size: 5` at tensor parallelism 2 is `10GiB` here.
    pub bytes: Option<Size>,
    /// Tokens per stored chunk, a multiple of the block size.
    pub chunk_tokens: Option<u32>,
    /// Eviction in host memory.
    pub policy: Option<EvictionPolicy>,
    /// Only prompt chunks are stored, not generated ones.
    pub prompt_only: Option<bool>,
    /// When loads happen.
    pub load: Option<LoadWhen>,
    /// Time by which storing a chunk lengthens a pass.
    pub store_cost_per_chunk: Option<Span>,
    /// Contiguous copies per chunk and direction, on one rank.
    pub copies_per_chunk: Option<u32>,
    /// Figures of the link to host memory, over the accelerator's.
    pub link: Option<LinkSection>,
    /// The disk, for presets that have one.
    pub disk: Option<DiskSection>,
    /// The remote store, for presets that have one.
    pub store: Option<StoreSection>,
    /// Which part of LMCache serves the arm, for presets that have it. Without: the server where
    /// LMCache really runs and on a CPU without GPU, else LMCache in the engine.
    pub lmcache_mode: Option<LmcacheMode>,
    /// Arguments of `vllm serve`, where it really runs. One that Weir writes as well takes the
    /// place of Weir's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vllm_args: Vec<String>,
    /// Environment variables of vLLM and LMCache, where they really run. Their values are
    /// recorded: secrets belong into the environment that Weir itself is started in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Configuration file of llm-d's endpoint picker, in place of the one that Weir writes, where
    /// it really runs. docs/routing.md has the names that Weir fills in.
    pub picker_config: Option<String>,
    /// Routing over the replicas, in place of the experiment's.
    pub routing: Option<NameOr<RoutingSection>>,
}
