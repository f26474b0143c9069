//! What every handler needs to know of the server, fixed at its start.

use crate::tokenizer::Tokenizer;

/// The server, as its handlers see it.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Names that requests may use; the first is the one that answers carry.
    pub(crate) models: Vec<String>,
    pub(crate) tokenizer: Tokenizer,
    /// Longest sequence in tokens, prompt and answer.
    pub(crate) max_model_len: u32,
    /// Most tokens of a chat answer whose length nobody chose.
    pub(crate) chat_default_tokens: u32,
    /// Whether `usage` says how many prompt tokens came from caches.
    pub(crate) prompt_tokens_details: bool,
    /// Longest request body in bytes.
    pub(crate) body_limit: usize,
    pub(crate) block_tokens: u32,
    /// KV blocks of one engine.
    pub(crate) pool_blocks: u32,
    /// Starts the random part of request ids.
    pub(crate) seed: u64,
    /// Start of the server, seconds since 1970.
    pub(crate) created: u64,
}

/// The version of vLLM whose interface this is.
pub(crate) const VERSION: &str = "0.32.0";
/// What answers carry as `system_fingerprint`: this is not vLLM, and says so here.
pub(crate) const FINGERPRINT: &str = concat!("weir-", env!("CARGO_PKG_VERSION"));

impl Facts {
    /// The name that answers carry.
    pub(crate) fn model(&self) -> &str {
        self.models.first().map_or("", String::as_str)
    }
}
