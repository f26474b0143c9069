//! The experiment file as it was written: strict YAML, nothing resolved.
//!
//! Every type here reads and writes exactly what the file may hold. Enums are externally tagged
//! and the liberties (a bare name, one value for a list) are hand-written visitors, so that each
//! error keeps its line and column.

pub mod arm;
pub mod engine;
pub mod hardware;
pub mod kubernetes;
pub mod live_router;
pub mod load;
pub mod local;
pub mod model_file;
pub mod routing;
pub mod target;
pub(crate) mod tree;
pub mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;
use weir_workload::{ClientOptions, WorkloadConfig};

use self::arm::ArmSection;
use self::engine::EngineSection;
use self::hardware::HardwareSection;
use self::load::LoadSection;
use self::model_file::ModelFile;
use self::routing::RoutingSection;
use self::target::Target;
use self::written::{NameOr, OneOrMany};
use crate::error::SpecError;
use weir_model::quantity::{Money, Size, Span};

/// Objectives; goodput is counted against them.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SloSection {
    /// Longest time to first token.
    pub ttft: Option<Span>,
    /// Longest time per output token after the first.
    pub tpot: Option<Span>,
    /// Longest time of the whole request.
    pub e2e: Option<Span>,
}

/// Prices.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PriceSection {
    /// One accelerator for one hour: `1.9 USD`.
    pub gpu_hour: Option<Money>,
    /// One GiB of host memory for a month: `3 USD`.
    pub host_gib_month: Option<Money>,
    /// One GiB of disk for a month.
    pub disk_gib_month: Option<Money>,
    /// One GiB of a remote store for a month.
    pub store_gib_month: Option<Money>,
    /// The same of a store on disks (`lmcache-kvrocks`), where it differs from `store_gib_month`.
    pub kvrocks_gib_month: Option<Money>,
}

/// Thresholds of the verdicts.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerdictSection {
    /// Share of the eligible reuse that an arm must serve to be `effective` (0.1).
    pub effective_share: Option<f64>,
}

/// Gives all offload arms the same resources, whatever their own settings.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EqualResources {
    /// Bytes over all tiers of an arm: an arm with a disk or a store has what its host memory
    /// leaves there.
    pub bytes: Size,
    /// Tokens per chunk.
    pub chunk_tokens: Option<u32>,
}

/// What is different for one model.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelOverride {
    /// Engine settings, key by key.
    pub engine: Option<EngineSection>,
    /// Changes to arms, by the arm's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub arms: BTreeMap<String, ArmSection>,
    /// Load, key by key.
    pub load: Option<LoadSection>,
}

/// An experiment, as written.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its name, in reports and default folder names.
    pub name: String,
    /// Where it runs.
    #[serde(default)]
    pub target: Target,
    /// Models, by catalogue name or `config.json`.
    pub models: Vec<NameOr<ModelFile>>,
    /// Hardware of one replica; a list is a sweep.
    pub hardware: OneOrMany<NameOr<HardwareSection>>,
    /// Replicas behind the router.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Settings of the engine.
    #[serde(default)]
    pub engine: EngineSection,
    /// What is compared.
    pub arms: Vec<NameOr<ArmSection>>,
    /// Gives all offload arms the same bytes and chunk size.
    pub equal_resources: Option<EqualResources>,
    /// Routing of arms without their own (`least-loaded`).
    pub routing: Option<NameOr<RoutingSection>>,
    /// What is asked.
    pub workload: WorkloadConfig,
    /// Of an arm `as-deployed`: multiples of the server's GPU cache that the prefixes of a
    /// `shared-prefix` workload come to; 0 shares none. A list is a sweep.
    pub working_sets: Option<OneOrMany<f64>>,
    /// How it arrives.
    pub load: LoadSection,
    /// How live targets are asked.
    #[serde(default)]
    pub client: ClientOptions<Span>,
    /// What is different per model, by the model's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, ModelOverride>,
    /// Repeats of each cell, with workload seeds of their own.
    #[serde(default = "one")]
    pub repeats: u32,
    /// Master seed.
    #[serde(default)]
    pub seed: u64,
    /// Objectives.
    #[serde(default)]
    pub slo: SloSection,
    /// Prices.
    #[serde(default)]
    pub prices: PriceSection,
    /// Thresholds of the verdicts.
    #[serde(default)]
    pub verdict: VerdictSection,
}

const fn one() -> u32 {
    1
}

impl Spec {
    /// One without models, hardware and arms, and with the default of every key that has one.
    pub fn of(name: &str, workload: WorkloadConfig, load: LoadSection) -> Self {
        Self {
            name: name.to_owned(),
            target: Target::default(),
            models: Vec::new(),
            hardware: OneOrMany::default(),
            replicas: one(),
            engine: EngineSection::default(),
            arms: Vec::new(),
            equal_resources: None,
            routing: None,
            workload,
            working_sets: None,
            load,
            client: ClientOptions::default(),
            overrides: BTreeMap::new(),
            repeats: one(),
            seed: 0,
            slo: SloSection::default(),
            prices: PriceSection::default(),
            verdict: VerdictSection::default(),
        }
    }

    /// Reads an experiment's text; `file` stands in the errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        read_yaml(text, file)
    }
}

/// Reads one section of an experiment file on its own; `name` stands in the errors.
pub fn section<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Result<T, SpecError> {
    read_yaml(text, name)
}

/// Reads YAML into any type, with errors as `file:line:column: message`.
pub(crate) fn read_yaml<T: serde::de::DeserializeOwned>(
    text: &str,
    file: &str,
) -> Result<T, SpecError> {
    tree::typed(text).map_err(|mismatch| SpecError::Syntax {
        file: file.to_owned(),
        line: mismatch.line(),
        column: mismatch.column(),
        message: mismatch.message(),
    })
}
