//! `target`: where the arms run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::written::OneOrMany;

/// Where arms run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Virtual time, modelled engines and tiers.
    #[default]
    Simulated,
    /// Weir's own engine in real time, brought up afresh for each cell and asked over HTTP.
    Emulated,
    /// Something that is deployed already.
    Endpoint(EndpointTarget),
}

impl Target {
    /// The word in files and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Emulated => "emulated",
            Self::Endpoint(_) => "endpoint",
        }
    }

    /// True where requests are sent and answered in real time.
    pub const fn is_live(&self) -> bool {
        !matches!(self, Self::Simulated)
    }
}

/// A deployment of somebody else's.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Where metrics are read (`<url>/metrics` of each URL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<OneOrMany<String>>,
    /// File with the bearer token. Its content is never recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_file: Option<String>,
    /// Further headers of each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// File with the certificates that servers are checked against (the system's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
}
