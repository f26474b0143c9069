//! `arms`: presets by name, or maps that change their parameters.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_tier::EvictionPolicy;

use super::local::LmcacheMode;
use super::quantity::{Size, Span};
use super::routing::RoutingSection;
use super::written::NameOr;

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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSection {
    /// GB/s towards the GPU, over all ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_gb_per_s: Option<f64>,
    /// GB/s away from the GPU, over all ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_gb_per_s: Option<f64>,
    /// Fixed time before the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Span>,
    /// Issue cost of each contiguous copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_copy: Option<Span>,
    /// Transfers that proceed at once, each at its share of the bandwidth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<u32>,
}

/// The disk of an arm that has one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSection {
    /// Capacity in total over the ranks of a replica; software that takes it per rank is told its
    /// share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// Eviction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<EvictionPolicy>,
    /// A measured link by name (`nvme-gen4`, `ibm-vpc-block`, `cephfs`, `s3`), or a file that
    /// `weir probe DIR --profile FILE.yaml` wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Link figures of one's own, over the profile's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkSection>,
}

/// The remote store of an arm that has one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Where it listens, for live targets: `redis://127.0.0.1:6379`. Without it, the emulated
    /// target starts one of the preset's kind on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// File with its password. Its content is never recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// Whether keys that no run of Weir wrote may be removed, where the software gives the arm no
    /// keys of its own. Without it, a store that holds such keys ends the arm's cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<bool>,
    /// Bytes it may hold, in total over all replicas and ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// Its own eviction; `none` refuses stores when full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<EvictionPolicy>,
    /// A measured store by name (`redis`, `redis-io-threads`, `valkey`, `kvrocks`), or a file
    /// that `weir probe redis://... --profile FILE.yaml` wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The store's link figures, shared by all replicas, over the profile's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkSection>,
    /// GB/s between one replica and the store, each direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_gb_per_s: Option<f64>,
    /// Time of one lookup round trip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup_latency: Option<Span>,
    /// Added per key that a lookup asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup_per_key: Option<Span>,
}

/// An arm written out, or (in `overrides`, without `preset` and `name`) changes to one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArmSection {
    /// The preset it starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Its name in paths and tables; the preset's without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Host memory that it may use for KV blocks, in total over all ranks of a replica. Software
    /// that takes it per rank (LMCache in the engine, in GiB) is told its share: LMCache's
    /// `max_local_cpu_size: 5` at tensor parallelism 2 is `10GiB` here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// Tokens per stored chunk, a multiple of the block size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_tokens: Option<u32>,
    /// Eviction in host memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<EvictionPolicy>,
    /// Only prompt chunks are stored, not generated ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_only: Option<bool>,
    /// When loads happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadWhen>,
    /// Time by which storing a chunk lengthens a pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_cost_per_chunk: Option<Span>,
    /// Contiguous copies per chunk and direction, on one rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies_per_chunk: Option<u32>,
    /// Figures of the link to host memory, over the accelerator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkSection>,
    /// The disk, for presets that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskSection>,
    /// The remote store, for presets that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSection>,
    /// Which part of LMCache serves the arm, for presets that have it. Without: the server where
    /// LMCache really runs and on a CPU without GPU, else LMCache in the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lmcache_mode: Option<LmcacheMode>,
    /// Arguments of `vllm serve`, where it really runs. One that Weir writes as well takes the
    /// place of Weir's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vllm_args: Vec<String>,
    /// Environment variables of vLLM and LMCache, where they really run. Their values are
    /// recorded: secrets belong into the environment that Weir itself is started in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Routing over the replicas, in place of the experiment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<NameOr<RoutingSection>>,
}

impl ArmSection {
    /// This arm with the changes of another section laid over it, key by key.
    #[must_use]
    pub fn changed_by(&self, change: &Self) -> Self {
        let (of, base) = (change.clone(), self.clone());
        Self {
            preset: base.preset,
            name: base.name,
            bytes: of.bytes.or(base.bytes),
            chunk_tokens: of.chunk_tokens.or(base.chunk_tokens),
            policy: of.policy.or(base.policy),
            prompt_only: of.prompt_only.or(base.prompt_only),
            load: of.load.or(base.load),
            store_cost_per_chunk: of.store_cost_per_chunk.or(base.store_cost_per_chunk),
            copies_per_chunk: of.copies_per_chunk.or(base.copies_per_chunk),
            link: overlaid(base.link, of.link, |base, of| of.over(&base)),
            disk: overlaid(base.disk, of.disk, |base, of| DiskSection {
                bytes: of.bytes.or(base.bytes),
                policy: of.policy.or(base.policy),
                profile: of.profile.or(base.profile),
                link: overlaid(base.link, of.link, |base, of| of.over(&base)),
            }),
            store: overlaid(base.store, of.store, |base, of| StoreSection {
                address: of.address.or(base.address),
                password_file: of.password_file.or(base.password_file),
                empty: of.empty.or(base.empty),
                bytes: of.bytes.or(base.bytes),
                policy: of.policy.or(base.policy),
                profile: of.profile.or(base.profile),
                link: overlaid(base.link, of.link, |base, of| of.over(&base)),
                client_gb_per_s: of.client_gb_per_s.or(base.client_gb_per_s),
                lookup_latency: of.lookup_latency.or(base.lookup_latency),
                lookup_per_key: of.lookup_per_key.or(base.lookup_per_key),
            }),
            lmcache_mode: of.lmcache_mode.or(base.lmcache_mode),
            vllm_args: if of.vllm_args.is_empty() { base.vllm_args } else { of.vllm_args },
            env: base.env.into_iter().chain(of.env).collect(),
            routing: of.routing.or(base.routing),
        }
    }
}

impl LinkSection {
    fn over(self, base: &Self) -> Self {
        Self {
            read_gb_per_s: self.read_gb_per_s.or(base.read_gb_per_s),
            write_gb_per_s: self.write_gb_per_s.or(base.write_gb_per_s),
            latency: self.latency.or(base.latency),
            per_copy: self.per_copy.or(base.per_copy),
            lanes: self.lanes.or(base.lanes),
        }
    }
}

/// One of two optional sections, or both merged.
fn overlaid<T>(base: Option<T>, of: Option<T>, merge: impl Fn(T, T) -> T) -> Option<T> {
    match (base, of) {
        (Some(base), Some(of)) => Some(merge(base, of)),
        (base, of) => of.or(base),
    }
}
