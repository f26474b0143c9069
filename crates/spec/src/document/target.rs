//! `target`: where the arms run.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_with_macros::skip_serializing_none;
use weir_model::Nanos;

use super::kubernetes::KubernetesTarget;
use super::live_router::LiveRouter;
use super::local::LocalTarget;
use super::written::OneOrMany;
use weir_model::quantity::Span;

/// Where arms run. In files a bare name, or a map of it with what it has to know.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Target {
    /// Virtual time, modelled engines and tiers.
    #[default]
    Simulated,
    Live(LiveTarget),
}

/// Where requests are sent and answered in real time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveTarget {
    /// Weir's own engine in real time, brought up afresh for each cell and asked over HTTP.
    Emulated(EmulatedTarget),
    /// Real vLLM, LMCache and stores as processes of this machine, brought up afresh for each cell.
    Local(Box<LocalTarget>),
    /// Engines, router and stores as pods of a cluster.
    Kubernetes(Box<KubernetesTarget>),
    /// Something that is deployed already.
    Endpoint(EndpointTarget),
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Simulated => serializer.serialize_str(self.name()),
            Self::Live(live) => live.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The same, in the only form that a derived visitor reads.
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Tagged {
            Simulated,
            Emulated(Option<EmulatedTarget>),
            Local(Option<LocalTarget>),
            Kubernetes(Option<Box<KubernetesTarget>>),
            Endpoint(Option<EndpointTarget>),
        }
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = Target;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`simulated`, `emulated`, `local`, `kubernetes`, `endpoint`, or a map with \
                     `emulated`, `local`, `kubernetes` or `endpoint`",
                )
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Target, E> {
                match name {
                    "emulated" => return Ok(EmulatedTarget::default().into()),
                    "local" => return Ok(LocalTarget::default().into()),
                    "kubernetes" => return Ok(KubernetesTarget::default().into()),
                    "endpoint" => return Ok(EndpointTarget::default().into()),
                    _ => {}
                }
                Tagged::deserialize(name.into_deserializer()).map(Target::from)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
                Tagged::deserialize(MapAccessDeserializer::new(map)).map(Target::from)
            }
        }
        impl From<Tagged> for Target {
            fn from(tagged: Tagged) -> Self {
                match tagged {
                    Tagged::Simulated => Self::Simulated,
                    Tagged::Emulated(target) => target.unwrap_or_default().into(),
                    Tagged::Local(target) => target.unwrap_or_default().into(),
                    Tagged::Kubernetes(target) => (*target.unwrap_or_default()).into(),
                    Tagged::Endpoint(target) => target.unwrap_or_default().into(),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let maps = [
            ("emulated", generator.subschema_for::<EmulatedTarget>()),
            ("local", generator.subschema_for::<LocalTarget>()),
            ("kubernetes", generator.subschema_for::<KubernetesTarget>()),
            ("endpoint", generator.subschema_for::<EndpointTarget>()),
        ];
        let names = ["simulated"].into_iter().chain(maps.iter().map(|(name, _)| *name));
        let mut any = vec![json_schema!({ "enum": names.collect::<Vec<_>>() })];
        any.extend(maps.iter().map(|(name, schema)| {
            json_schema!({
                "type": "object",
                "properties": { *name: schema },
                "required": [name],
                "additionalProperties": false
            })
        }));
        json_schema!({
            "description": "Where arms run: a bare name, or a map of it with what it has to know.",
            "anyOf": any
        })
    }
}

impl From<EmulatedTarget> for Target {
    fn from(target: EmulatedTarget) -> Self {
        Self::Live(LiveTarget::Emulated(target))
    }
}

impl From<LocalTarget> for Target {
    fn from(target: LocalTarget) -> Self {
        Self::Live(LiveTarget::Local(Box::new(target)))
    }
}

impl From<KubernetesTarget> for Target {
    fn from(target: KubernetesTarget) -> Self {
        Self::Live(LiveTarget::Kubernetes(Box::new(target)))
    }
}

impl From<EndpointTarget> for Target {
    fn from(target: EndpointTarget) -> Self {
        Self::Live(LiveTarget::Endpoint(target))
    }
}

impl Target {
    /// The word in files and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Live(LiveTarget::Emulated(_)) => "emulated",
            Self::Live(LiveTarget::Local(_)) => "local",
            Self::Live(LiveTarget::Kubernetes(_)) => "kubernetes",
            Self::Live(LiveTarget::Endpoint(_)) => "endpoint",
        }
    }

    /// The word, with what every result must say of it.
    pub fn words(&self) -> String {
        let Some(EmulatedTarget { bytes, byte_scale, .. }) = self.emulated() else {
            return self.name().to_owned();
        };
        match bytes {
            Movement::Modelled => format!("{} (modelled bytes)", self.name()),
            Movement::Real if *byte_scale == 1.0 => format!("{} (real bytes)", self.name()),
            Movement::Real => format!("{} (real bytes, scaled by {byte_scale})", self.name()),
        }
    }

    pub const fn live(&self) -> Option<&LiveTarget> {
        match self {
            Self::Simulated => None,
            Self::Live(live) => Some(live),
        }
    }

    pub const fn emulated(&self) -> Option<&EmulatedTarget> {
        match self {
            Self::Live(LiveTarget::Emulated(target)) => Some(target),
            _ => None,
        }
    }

    pub fn local(&self) -> Option<&LocalTarget> {
        match self {
            Self::Live(LiveTarget::Local(target)) => Some(target),
            _ => None,
        }
    }

    pub fn kubernetes(&self) -> Option<&KubernetesTarget> {
        match self {
            Self::Live(LiveTarget::Kubernetes(target)) => Some(target),
            _ => None,
        }
    }

    /// True where real vLLM is started.
    pub fn starts_vllm(&self) -> bool {
        match self {
            Self::Live(LiveTarget::Local(_)) => true,
            Self::Live(LiveTarget::Kubernetes(target)) => target.emulated.is_none(),
            _ => false,
        }
    }

    pub const fn endpoint(&self) -> Option<&EndpointTarget> {
        match self {
            Self::Live(LiveTarget::Endpoint(target)) => Some(target),
            _ => None,
        }
    }
}

impl LiveTarget {
    /// None where nothing is started.
    pub fn router(&self) -> Option<&LiveRouter> {
        match self {
            Self::Emulated(target) => Some(&target.router),
            Self::Local(target) => Some(&target.router),
            Self::Kubernetes(target) => Some(&target.router),
            Self::Endpoint(_) => None,
        }
    }
}

/// Who accounts for the time that bytes take.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Movement {
    /// Bytes really move to memory, disk or store.
    #[default]
    Real,
    /// Nothing moves, and the links' model says how long it would take.
    Modelled,
}

/// Weir's own engine.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmulatedTarget {
    /// Whether the tiers of the arms hold real bytes.
    pub bytes: Movement,
    /// Bytes moved per byte of the model's KV, above 0 and at most 1: shrinks payloads and
    /// capacities alike where a model's blocks would not fit this machine.
    pub byte_scale: f64,
    /// Folder of the disk tiers: on the disk that is meant to be measured.
    pub disk: Option<String>,
    /// Threads that move bytes.
    pub movers: u32,
    /// Whether each block of a remote store is compared with the checksum of what was stored (disks
    /// do so always): costs CPU time per byte.
    pub checksums: bool,
    /// Longest time of one transfer or lookup; what takes longer has failed, and is computed.
    pub deadline: Span,
    #[serde(skip_serializing_if = "LiveRouter::is_default")]
    pub router: LiveRouter,
}

impl Default for EmulatedTarget {
    fn default() -> Self {
        Self {
            bytes: Movement::Real,
            byte_scale: 1.0,
            disk: None,
            movers: 2,
            checksums: true,
            // LMCache's `blocking_timeout_secs`.
            deadline: Span(Nanos::from_secs(10)),
            router: LiveRouter::default(),
        }
    }
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderValue {
    /// As it is sent.
    Text(String),
    /// Found in the environment that Weir is started in.
    #[serde(rename_all = "snake_case")]
    Environment {
        /// The variable's name.
        from_env: String,
    },
}

/// A deployment of somebody else's.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointTarget {
    /// Base URLs (`http://host:8000`); with several, sessions go to them in turn.
    #[serde(default)]
    pub url: OneOrMany<String>,
    /// URLs of arms that are deployed elsewhere, by the arm's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arms: BTreeMap<String, OneOrMany<String>>,
    /// The name that the server gives the model (the experiment's name of it).
    pub model: Option<String>,
    /// Where metrics are read (`<url>/metrics` of each URL).
    pub metrics: Option<OneOrMany<String>>,
    /// File with the bearer token. Its content is never recorded.
    pub bearer_file: Option<String>,
    /// Further headers of each request. Their values are never recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderValue>,
    /// File with the certificates that servers are checked against (the system's).
    pub ca_file: Option<String>,
    /// Accept any certificate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

impl EndpointTarget {
    /// The URLs of an arm.
    pub fn urls(&self, arm: &str) -> &[String] {
        self.arms.get(arm).map_or(&self.url.0, |own| &own.0)
    }

    /// Every URL, each once.
    pub fn all_urls(&self) -> impl Iterator<Item = &str> {
        let all = self.url.0.iter().chain(self.arms.values().flat_map(|own| &own.0));
        let each: BTreeSet<&str> = all.map(String::as_str).collect();
        each.into_iter()
    }
}
