//! Which replica holds which blocks, as a router knows it.
//!
//! [`ApproximateIndex`] uses the router's own decisions, [`PreciseIndex`] the engines' KV events.
//! Both keep runs of blocks in a radix tree of symbolic prompts, so a shared prefix costs one step,
//! whatever its length.

mod approximate;
mod extent;
mod keyed;
mod pending;
mod precise;

pub use approximate::ApproximateIndex;
pub use keyed::{KeyedIndex, Medium};
pub use precise::{PreciseIndex, TierWeights};

use weir_model::{KvEvent, Prompt};

/// Of one prompt and replica.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Match {
    pub blocks: u32,
    /// Blocks, each weighted by its best tier.
    pub score: f64,
}

/// Every index has both inputs and uses one of them.
pub trait BlockIndex {
    /// Fills `matches`, one per replica from 0 on. Returns the blocks looked up.
    fn lookup(&mut self, prompt: &Prompt, matches: &mut [Match]) -> u32;

    fn placed(&mut self, replica: u16, prompt: &Prompt);

    fn apply(&mut self, replica: u16, event: &KvEvent);

    fn block_tokens(&self) -> u32;

    /// Distinct blocks: the keys of a stored index.
    fn known_blocks(&mut self) -> u64;

    /// Runs of blocks with equal holders, as few as the prompts' branches allow. Memory and walks
    /// grow with them.
    fn extents(&mut self) -> usize;

    fn clear(&mut self);
}
