//! `target.emulated.router`, `target.local.router`: what chooses the replica of a request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouterKind {
    /// llm-d's endpoint picker behind Envoy (`weir setup router`).
    #[default]
    LlmD,
    /// Weir's own router, as in `weir route`.
    Weir,
    /// The emulated engine's own, in its process, over the simulator's index.
    Engine,
}

/// In front of the replicas of arms that compare routing. Other arms have none.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LiveRouter {
    pub kind: RouterKind,
    /// Program of an endpoint picker (`epp`) [default: that of `weir setup router`].
    pub picker: Option<String>,
    /// Program of Envoy [default: that of `weir setup router`].
    pub envoy: Option<String>,
    /// Whether Envoy sends requests to any replica while the picker does not answer. They fail
    /// otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fail_open: bool,
}

impl LiveRouter {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
