//! Which replica holds which blocks, as a router knows it.
//!
//! The seam [`BlockIndex`] has two implementations: from the router's own decisions
//! ([`ApproximateIndex`]) and from the engines' KV events ([`PreciseIndex`]). Both keep runs of
//! blocks in a radix tree over symbolic prompts, so a shared prefix of ten thousand tokens costs
//! one step, whatever its number of blocks.

mod approximate;
mod extent;
mod precise;

pub use approximate::{ApproximateIndex, MIN_BLOCK_TOKENS};
pub use precise::{PreciseIndex, TierWeights};

use weir_model::{KvEvent, Prompt};

/// The blocks of a prompt that one replica holds, by an index.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Match {
    /// Blocks that count as held.
    pub blocks: u32,
    /// The same, each weighted by the best tier that holds it.
    pub score: f64,
}

/// An index of blocks. Both inputs exist on every index; each listens to one of them.
pub trait BlockIndex {
    /// Fills `matches`, one per replica from number 0 on, and returns the number of blocks looked
    /// up.
    fn lookup(&self, prompt: &Prompt, matches: &mut [Match]) -> u32;

    fn placed(&mut self, replica: u16, prompt: &Prompt);

    /// The event's path must be canonical, as that of a [`Prompt`] is.
    fn apply(&mut self, replica: u16, event: &KvEvent);

    fn block_tokens(&self) -> u32;

    /// Distinct blocks in the index: the keys of a stored one.
    fn known_blocks(&self) -> u64;

    /// Runs of blocks with equal holders: memory and walks grow with their number, which is as
    /// small as the branches of the prompts allow.
    fn extents(&self) -> usize;

    fn clear(&mut self);
}
