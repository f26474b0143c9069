//! `client`: how live targets are asked. The simulator has no client.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with_macros::skip_serializing_none;

use super::quantity::{Span, Tolerance};

/// Which of `OpenAI`'s interfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `/v1/completions`.
    #[default]
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}

/// What later turns of a session quote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// Answers made beforehand: the prompt is the same whatever the server said, hence also what a
    /// cache can hold of it.
    #[default]
    Canned,
    /// The server's own, as token ids.
    Own,
}

/// The client section.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientSection {
    /// `completions` or `chat`.
    pub api: Option<Api>,
    /// Whether answers are streamed (true).
    pub stream: Option<bool>,
    /// A `tokenizer.json`: prompts are sent as text of exactly the length asked for. Without it
    /// they are sent as token ids, which `/v1/completions` takes.
    pub tokenizer: Option<String>,
    /// Token ids are drawn below this (the model's vocabulary).
    pub vocabulary: Option<u32>,
    /// What later turns quote: `canned` or `own`.
    pub answers: Option<Answers>,
    /// Ask for exactly the output length (`ignore_eos` and `min_tokens`; true).
    pub ignore_eos: Option<bool>,
    /// Ask the same prompts as other runs with the same seed (false: every run on a live target
    /// asks new ones of the same structure, so that no cache of an earlier run serves it).
    pub same_prompts: Option<bool>,
    /// Keep connections open between requests (true).
    pub reuse_connections: Option<bool>,
    /// Longest wait for a connection (10 s).
    pub connect_timeout: Option<Span>,
    /// Longest request (600 s).
    pub request_timeout: Option<Span>,
    /// Requests that were due in the measured window may take this much longer, while the load goes
    /// on (60 s); also in simulation. What is still open then is counted.
    pub drain: Option<Span>,
    /// Largest share of the measured requests that may fail before a level says nothing (0.01).
    pub max_failures: Option<f64>,
    /// Threads that send and time requests (1; one carries some 100,000 paced tokens/s).
    pub workers: Option<u32>,
    /// CPU that the first worker is pinned to; the others take the CPUs after it.
    pub pin: Option<u32>,
    /// Largest error of a time because of the client (5% of the control's figure or of the
    /// difference, whichever is larger, and at least 1 ms): a time (`5ms`) or a share (`5%`). Times
    /// with a larger one are shown as bounds and not compared.
    pub max_error: Option<Tolerance>,
    /// Further keys of each request's body.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub body: Map<String, Value>,
}
