//! The workload of both sides: a shared prefix, a closed loop, one replica.
//!
//! Pass times are a constant. In a closed loop without think time they do not change which
//! requests share a pass, so both sides do the same work for any constant.

pub(crate) const BLOCK_TOKENS: u32 = 16;
/// KV blocks of the replica.
pub(crate) const BLOCKS: u32 = 24_419;
pub(crate) const MAX_SEQUENCES: u32 = 1_024;
pub(crate) const TOKEN_BUDGET: u32 = 2_048;
pub(crate) const MAX_MODEL_TOKENS: u32 = 40_960;
/// Tokens of each prompt that no other prompt has.
pub(crate) const OWN_TOKENS: u32 = 141;
pub(crate) const OUTPUT_TOKENS: u32 = 128;
pub(crate) const IN_FLIGHT: u32 = 500;
pub(crate) const PASS_MS: u64 = 20;
/// Of the prefix shared by all prompts, unless a run varies it.
pub(crate) const PREFIX_TOKENS: u32 = 10_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) requests: u64,
    pub(crate) prefix_tokens: u32,
}

/// Equal on both sides, or they did not simulate the same.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Work {
    pub(crate) completed: u64,
    pub(crate) prompt_tokens: u64,
    /// Prompt tokens from the prefix cache.
    pub(crate) hit_tokens: u64,
    pub(crate) output_tokens: u64,
    /// None where the simulation did not count them.
    pub(crate) passes: Option<u64>,
    pub(crate) virtual_s: f64,
}
