//! Facts of the running software, as an engine, its connector and its store report them.
//!
//! Arms are compared as if they differed in their mechanism alone. The file that started them does
//! not prove that: arguments are overridden, settings ignored, other servers queried. So each
//! part's own report is recorded beside the signals.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Which property of the running software.
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
pub enum FactKind {
    /// Whether the engine keeps a prefix cache.
    PrefixCaching,
    /// KV blocks of one engine, vLLM's null block included.
    Blocks,
    /// Tokens per KV block.
    BlockSize,
    /// Element type of weights and activations.
    Dtype,
    /// Element type of the KV cache.
    KvDtype,
    /// Most sequences in a pass (`max_num_seqs`).
    MaxSequences,
    /// Most tokens in a pass (`max_num_batched_tokens`).
    MaxBatchedTokens,
    /// Longest sequence, tokens.
    MaxModelLen,
    /// Whether prompts are computed in pieces beside decoding.
    ChunkedPrefill,
    /// Tensor-parallel ranks of one engine.
    TensorParallel,
    /// Whether the engine runs without compiled graphs.
    Eager,
    /// Name under which the model is served.
    ServedModel,
    /// Version of the engine.
    EngineVersion,
    /// The connectors that move blocks out of the GPU; empty without any.
    Connector,
    /// Bytes of host memory that vLLM's own connector was told to use.
    HostBytes,
    /// Version of `LMCache`.
    LmcacheVersion,
    /// The adapters of what `LMCache`'s server keeps behind host memory.
    SecondLevel,
    /// Tokens of a chunk of `LMCache`.
    ChunkTokens,
    /// Product of the remote store.
    StoreProduct,
    /// Version of the remote store.
    StoreVersion,
    /// The scorers of a router's profile, with their weights.
    Scorers,
    /// Tokens of a block of a router's precise index.
    IndexBlock,
    /// Seed of the block keys of that index, where one is set.
    IndexSeed,
    /// What keeps that index: `memory`, `redis`, `valkey`.
    IndexStore,
    /// Port where a router hears the engines' KV events.
    EventsPort,
}

impl FactKind {
    /// All kinds, in the order of tables.
    pub const ALL: [Self; 25] = [
        Self::PrefixCaching,
        Self::Blocks,
        Self::BlockSize,
        Self::Dtype,
        Self::KvDtype,
        Self::MaxSequences,
        Self::MaxBatchedTokens,
        Self::MaxModelLen,
        Self::ChunkedPrefill,
        Self::TensorParallel,
        Self::Eager,
        Self::ServedModel,
        Self::EngineVersion,
        Self::Connector,
        Self::HostBytes,
        Self::LmcacheVersion,
        Self::SecondLevel,
        Self::ChunkTokens,
        Self::StoreProduct,
        Self::StoreVersion,
        Self::Scorers,
        Self::IndexBlock,
        Self::IndexSeed,
        Self::IndexStore,
        Self::EventsPort,
    ];

    /// Whether it belongs to an offload mechanism or to routing, in which arms may differ.
    pub const fn is_mechanism(self) -> bool {
        matches!(
            self,
            Self::Connector
                | Self::HostBytes
                | Self::LmcacheVersion
                | Self::SecondLevel
                | Self::ChunkTokens
                | Self::StoreProduct
                | Self::StoreVersion
                | Self::Scorers
                | Self::IndexBlock
                | Self::IndexSeed
                | Self::IndexStore
                | Self::EventsPort
        )
    }

    /// Whether it is another in each cell.
    pub const fn is_of_the_cell(self) -> bool {
        matches!(self, Self::EventsPort)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FactValue {
    Flag(bool),
    Count(u64),
    /// A word of the software itself.
    Text(String),
    /// Such as the names of connectors.
    Words(Vec<String>),
}

impl FactValue {
    pub fn text(of: &str) -> Self {
        Self::Text(of.to_owned())
    }

    /// Reads what software prints: Python's booleans, numbers, words.
    pub fn printed(text: &str) -> Self {
        match text {
            "True" | "true" => Self::Flag(true),
            "False" | "false" => Self::Flag(false),
            _ => text.parse().map_or_else(|_| Self::text(text), Self::Count),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactSource {
    /// Labels of `vllm:cache_config_info`, or which families there are.
    Metrics,
    VersionAnswer,
    /// `/v1/models`.
    ModelList,
    StartUpLog,
    /// `/status` of `LMCache`'s server.
    StatusAnswer,
    /// The command line it was started with: requested, and not contradicted.
    CommandLine,
    StoreInfo,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningFact {
    /// `vllm-0`, a URL, `redis`.
    pub place: String,
    pub value: FactValue,
    pub source: FactSource,
}

impl RunningFact {
    pub fn differs(&self, kind: FactKind, than: ComparedWith, was: FactValue) -> FactDifference {
        FactDifference {
            differs: Differing::Fact(kind),
            place: self.place.clone(),
            is: Some(self.value.clone()),
            than,
            was: Some(was),
            arguments: Vec::new(),
        }
    }
}

/// A missing kind could not be observed, which says nothing about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunningFacts(BTreeMap<FactKind, Vec<RunningFact>>);

impl RunningFacts {
    /// Keeps what a better source reported for the same place before.
    pub fn add(&mut self, kind: FactKind, place: &str, value: FactValue, source: FactSource) {
        let known = self.0.entry(kind).or_default();
        if known.iter().all(|fact| fact.place != place) {
            known.push(RunningFact { place: place.to_owned(), value, source });
        }
    }

    /// Adds facts only for places that have none yet.
    pub fn extend(&mut self, other: Self) {
        for (kind, facts) in other.0 {
            for RunningFact { place, value, source } in facts {
                self.add(kind, &place, value, source);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn all(&self, kind: FactKind) -> &[RunningFact] {
        self.0.get(&kind).map_or(&[], Vec::as_slice)
    }

    pub fn values(&self, kind: FactKind) -> BTreeSet<&FactValue> {
        self.all(kind).iter().map(|fact| &fact.value).collect()
    }

    /// Later facts of a place that differ from its earlier ones. A place that reports nothing any
    /// more has not changed.
    pub fn changes(&self, later: &Self) -> Vec<FactDifference> {
        let mut changes = Vec::new();
        for (kind, before) in &self.0 {
            for RunningFact { place, value: first, .. } in before {
                let now = later.all(*kind).iter().find(|fact| fact.place == *place);
                if let Some(now) = now.filter(|now| now.value != *first) {
                    changes.push(now.differs(*kind, ComparedWith::Earlier, first.clone()));
                }
            }
        }
        changes
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Differing {
    Fact(FactKind),
    /// The flag of `vllm_args`.
    Argument(String),
    /// The name in `env`. Values are not recorded.
    Variable(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComparedWith {
    Plan,
    Arm(String),
    Part(String),
    /// The same part before the load.
    Earlier,
}

/// A difference that keeps the comparison from showing the mechanism.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactDifference {
    pub differs: Differing,
    /// Empty for arguments and variables.
    pub place: String,
    /// None where it is not set, and for variables.
    pub is: Option<FactValue>,
    pub than: ComparedWith,
    /// None where it is not set, and for variables.
    pub was: Option<FactValue>,
    /// Arguments of the experiment file that it comes from, with the arm that has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<ArmArgument>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmArgument {
    pub arm: String,
    /// With its value: `--num-gpu-blocks-override 257`.
    pub argument: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(list: &[(FactKind, &str, FactValue)]) -> RunningFacts {
        let mut facts = RunningFacts::default();
        for (kind, place, value) in list {
            facts.add(*kind, place, value.clone(), FactSource::Metrics);
        }
        facts
    }

    #[test]
    fn printed_values_are_read() {
        assert_eq!(FactValue::printed("True"), FactValue::Flag(true));
        assert_eq!(FactValue::printed("257"), FactValue::Count(257));
        assert_eq!(FactValue::printed("float32"), FactValue::text("float32"));
        assert_eq!(FactValue::printed("0.32.0"), FactValue::text("0.32.0"));
    }

    #[test]
    fn the_first_source_of_a_place_stays_and_places_are_apart() {
        let mut seen = facts(&[(FactKind::Blocks, "a", FactValue::Count(33))]);
        seen.extend(facts(&[
            (FactKind::Blocks, "a", FactValue::Count(99)),
            (FactKind::Blocks, "b", FactValue::Count(34)),
        ]));
        let values: Vec<_> = seen.values(FactKind::Blocks).into_iter().collect();
        assert_eq!(values, [&FactValue::Count(33), &FactValue::Count(34)]);
        assert!(seen.values(FactKind::Eager).is_empty());
    }

    #[test]
    fn what_is_said_otherwise_later_has_changed_and_silence_has_not() {
        let before = facts(&[
            (FactKind::EngineVersion, "a", FactValue::text("0.32.0")),
            (FactKind::Blocks, "a", FactValue::Count(33)),
        ]);
        let later = facts(&[
            (FactKind::EngineVersion, "a", FactValue::text("0.31.0")),
            (FactKind::Connector, "a", FactValue::text("none")),
        ]);
        let changes = before.changes(&later);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].differs, Differing::Fact(FactKind::EngineVersion));
        assert_eq!(changes[0].was, Some(FactValue::text("0.32.0")));
        assert_eq!(changes[0].is, Some(FactValue::text("0.31.0")));
        assert!(before.changes(&before).is_empty());
    }
}
