//! The one workload that both sides simulate: a shared prefix, a closed loop, one replica.
//!
//! Pass times are a constant. In a closed loop without think time they do not change which
//! requests share a pass, so both sides have the same work whatever the constant is.

/// Tokens per KV block.
pub(crate) const BLOCK_TOKENS: u32 = 16;
/// KV blocks of the replica.
pub(crate) const BLOCKS: u32 = 24_419;
/// Most sequences in a pass.
pub(crate) const MAX_SEQUENCES: u32 = 1_024;
/// Most tokens in a pass.
pub(crate) const TOKEN_BUDGET: u32 = 2_048;
/// Longest sequence that the replica takes.
pub(crate) const MAX_MODEL_TOKENS: u32 = 40_960;
/// Tokens of each prompt that no other prompt has.
pub(crate) const OWN_TOKENS: u32 = 141;
/// Tokens of each answer.
pub(crate) const OUTPUT_TOKENS: u32 = 128;
/// Requests in flight.
pub(crate) const IN_FLIGHT: u32 = 500;
/// Duration of a pass, milliseconds.
pub(crate) const PASS_MS: u64 = 20;
/// Length of the prefix that all prompts share, unless a run varies it.
pub(crate) const PREFIX_TOKENS: u32 = 10_000;

/// How much of the workload a run simulates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Requests.
    pub(crate) requests: u64,
    /// Length of the shared prefix.
    pub(crate) prefix_tokens: u32,
}

/// What a simulation did: equal on both sides, or they did not simulate the same thing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Work {
    /// Requests that got their whole answer.
    pub(crate) completed: u64,
    /// Prompt tokens of all requests.
    pub(crate) prompt_tokens: u64,
    /// Prompt tokens that the prefix cache served.
    pub(crate) hit_tokens: u64,
    /// Output tokens of all requests.
    pub(crate) output_tokens: u64,
    /// Passes of the replica; nothing where the simulation did not count them.
    pub(crate) passes: Option<u64>,
    /// Virtual time that went by, seconds.
    pub(crate) virtual_s: f64,
}
