//! Signals: observed quantities of a mechanism, with unit, source and reset behaviour.
//!
//! The evidence of a cell is a set of signals. The simulator derives them from its block movements,
//! a live target from `/metrics`, `INFO` and start-up logs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tier_kind::TierKind;

/// Which quantity. Values are differences over the measured window unless the doc says otherwise.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SignalKind {
    /// Prompt tokens of all requests that were scheduled.
    PromptTokens,
    /// Leading prompt tokens that a cache without limits would have held.
    SeenTokens,
    /// Prompt tokens served by the GPU's prefix cache.
    GpuHitTokens,
    /// Prompt tokens that some cache served, whichever it was.
    CachedTokens,
    /// Tokens asked of the offload mechanism (prompt minus GPU hits).
    ExternalQueryTokens,
    /// Tokens that the offload mechanism served, all tiers.
    ExternalHitTokens,
    /// The part of them that came from host memory.
    HostHitTokens,
    /// The part that came from disk.
    DiskHitTokens,
    /// The part that came from a remote store.
    RemoteHitTokens,
    /// Tokens that the mechanism could have served had its tiers no limits, and that the GPU's
    /// cache did not; without a mechanism, all that was seen and not in the GPU's cache.
    EligibleTokens,
    /// Bytes written from the GPU to tiers.
    StoredBytes,
    /// Bytes loaded from tiers to the GPU.
    LoadedBytes,
    /// Bytes of a tier's blocks that were read from a device, and not from memory before it.
    DeviceReadBytes,
    /// Bytes evicted from tiers.
    EvictedBytes,
    /// Stores that a tier did not take: it was full, or refused to be written.
    StoreFailures,
    /// Loads that did not bring their blocks, which were computed instead.
    LoadFailures,
    /// Blocks that came with other bytes than were stored, and were not used.
    WrongBlocks,
    /// Gauge: capacity of a tier; of the whole, that of the largest.
    TierCapacityBytes,
    /// Gauge: bytes that a tier held at the end.
    TierUsedBytes,
    /// Gauge: keys in the remote store at the end.
    StoreKeys,
    /// Keys that the remote store gained, of everybody, with those that it let go of by itself.
    StoreKeysAdded,
    /// Gauge: files of the disk tier at the end.
    DiskFiles,
    /// Bytes evicted from the GPU pool.
    GpuEvictedBytes,
    /// Requests preempted for want of blocks.
    Preemptions,
    /// Gauge: replicas a request could go to.
    Replicas,
    /// Routing decisions with at least two candidates.
    RoutingChoices,
    /// Largest share of the decisions that went to one replica, in percent.
    RoutingMaxSharePercent,
    /// Requests that a gateway sent to a replica of its own choice, because its router did not
    /// answer.
    UnroutedRequests,
    /// Tokens in the chosen replica's cache at the decisions.
    RoutedHitTokens,
    /// The same for a uniform choice (expectation).
    UniformHitTokens,
    /// The same for the best choice.
    BestHitTokens,
    /// KV events that reached the index.
    IndexEvents,
    /// Gauge: blocks known to the precise index at the end.
    IndexKeys,
    /// Gauge: blocks in a router's memory of its own choices, the approximate index, at the end.
    ApproximateKeys,
    /// Lookups in the index.
    IndexLookups,
    /// Lookups that found something.
    IndexHits,
}

impl SignalKind {
    pub const fn hits_of(tier: TierKind) -> Self {
        match tier {
            TierKind::Gpu => Self::GpuHitTokens,
            TierKind::Host => Self::HostHitTokens,
            TierKind::Disk => Self::DiskHitTokens,
            TierKind::Remote => Self::RemoteHitTokens,
        }
    }

    /// The unit of the value: "tokens", "bytes", "count" or "percent".
    pub const fn unit(self) -> &'static str {
        match self {
            Self::PromptTokens
            | Self::SeenTokens
            | Self::GpuHitTokens
            | Self::CachedTokens
            | Self::ExternalQueryTokens
            | Self::ExternalHitTokens
            | Self::HostHitTokens
            | Self::DiskHitTokens
            | Self::RemoteHitTokens
            | Self::EligibleTokens
            | Self::RoutedHitTokens
            | Self::UniformHitTokens
            | Self::BestHitTokens => "tokens",
            Self::StoredBytes
            | Self::LoadedBytes
            | Self::DeviceReadBytes
            | Self::EvictedBytes
            | Self::TierCapacityBytes
            | Self::TierUsedBytes
            | Self::GpuEvictedBytes => "bytes",
            Self::RoutingMaxSharePercent => "percent",
            Self::StoreFailures
            | Self::LoadFailures
            | Self::WrongBlocks
            | Self::StoreKeys
            | Self::StoreKeysAdded
            | Self::DiskFiles
            | Self::Preemptions
            | Self::Replicas
            | Self::RoutingChoices
            | Self::UnroutedRequests
            | Self::IndexEvents
            | Self::IndexKeys
            | Self::ApproximateKeys
            | Self::IndexLookups
            | Self::IndexHits => "count",
        }
    }

    /// True for levels, which are not differences over the window.
    pub const fn is_gauge(self) -> bool {
        matches!(
            self,
            Self::TierCapacityBytes
                | Self::TierUsedBytes
                | Self::StoreKeys
                | Self::DiskFiles
                | Self::Replicas
                | Self::IndexKeys
                | Self::ApproximateKeys
                | Self::RoutingMaxSharePercent
        )
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// In [`SignalKind::unit`].
    pub value: f64,
    #[serde(flatten)]
    pub source: SignalSource,
    /// None for the mechanism as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierKind>,
}

/// Only figures of one `who` may be divided by each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalSource {
    /// "simulator", "vLLM's /metrics", "redis INFO", ...
    #[serde(rename = "source")]
    pub who: String,
    /// Where the source has several values: "`vllm:prefix_cache_hits_total`", "`errorstat_OOM` 24",
    /// ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Counted at lookups over the whole prompt, including the GPU's blocks: not what was served.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_lookup: bool,
}

impl SignalSource {
    pub fn of(who: impl Into<String>) -> Self {
        Self { who: who.into(), metric: None, at_lookup: false }
    }

    #[must_use]
    pub fn metric(self, metric: impl Into<String>) -> Self {
        Self { metric: Some(metric.into()), ..self }
    }

    #[must_use]
    pub fn at_lookup(self) -> Self {
        Self { at_lookup: true, ..self }
    }
}

impl From<&str> for SignalSource {
    fn from(who: &str) -> Self {
        Self::of(who)
    }
}

/// "redis INFO (`errorstat_OOM` 24)".
impl fmt::Display for SignalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)?;
        self.metric.as_ref().map_or(Ok(()), |metric| write!(f, " ({metric})"))
    }
}

/// A missing kind was not observable, which differs from zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signals(pub BTreeMap<SignalKind, Vec<Signal>>);

impl Signals {
    /// For the mechanism as a whole.
    pub fn add(&mut self, kind: SignalKind, value: f64, source: impl Into<SignalSource>) {
        self.push(kind, Signal { value, source: source.into(), tier: None });
    }

    pub fn add_of(
        &mut self,
        tier: TierKind,
        kind: SignalKind,
        value: f64,
        source: impl Into<SignalSource>,
    ) {
        self.push(kind, Signal { value, source: source.into(), tier: Some(tier) });
    }

    fn push(&mut self, kind: SignalKind, signal: Signal) {
        self.0.entry(kind).or_default().push(signal);
    }

    /// The value of the mechanism as a whole, with the prompt tokens that the same source counts.
    /// Of a source that counts no prompts, with those of the first that does.
    pub fn of_prompts(&self, kind: SignalKind) -> Option<(f64, f64)> {
        let seen = self.0.get(&kind)?.iter().find(|signal| signal.tier.is_none())?;
        let prompts = self.0.get(&SignalKind::PromptTokens)?;
        let own = prompts.iter().find(|prompt| prompt.source.who == seen.source.who);
        Some((seen.value, own.or(prompts.first())?.value))
    }

    /// The first source's value for the mechanism as a whole. None where it was not observable.
    pub fn get(&self, kind: SignalKind) -> Option<f64> {
        self.first(kind, None)
    }

    pub fn get_of(&self, tier: TierKind, kind: SignalKind) -> Option<f64> {
        self.first(kind, Some(tier))
    }

    /// The value of the mechanism as a whole, or the sum over the tiers that report one.
    pub fn over_tiers(&self, kind: SignalKind) -> Option<f64> {
        self.get(kind).or_else(|| {
            let tiers = TierKind::ALL.into_iter().filter_map(|tier| self.get_of(tier, kind));
            tiers.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))
        })
    }

    fn first(&self, kind: SignalKind, tier: Option<TierKind>) -> Option<f64> {
        let mut seen = self.0.get(&kind)?.iter();
        seen.find(|signal| signal.tier == tier).map(|signal| signal.value)
    }
}
