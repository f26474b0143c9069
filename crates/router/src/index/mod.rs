//! Which replica holds which blocks, as far as a router can know.
//!
//! Owns the seam [`BlockIndex`] and its two implementations: what this router sent where
//! ([`ApproximateIndex`]) and what the engines say they hold ([`PreciseIndex`]). Both keep runs of
//! blocks in a radix tree over symbolic prompts, so a shared prefix of ten thousand tokens costs
//! one step, whatever its number of blocks.

mod approximate;
mod extent;
mod precise;

pub use approximate::{ApproximateIndex, MIN_BLOCK_TOKENS};
pub use precise::{PreciseIndex, TierWeights};

use weir_model::{KvEvent, Prompt};

/// What an index believes that one replica holds of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Match {
    /// Blocks that count as held.
    pub blocks: u32,
    /// The same, each weighted by the best tier that holds it.
    pub score: f64,
}

/// An index of blocks. Both inputs exist on every index; each listens to one of them.
pub trait BlockIndex {
    /// Fills `matches`, one per replica from number 0 on, and returns the number of blocks that
    /// were asked for.
    fn lookup(&self, prompt: &Prompt, matches: &mut [Match]) -> u32;

    fn placed(&mut self, replica: u16, prompt: &Prompt);

    /// An engine's event takes effect. Its path must be canonical, as that of a [`Prompt`] is.
    fn apply(&mut self, replica: u16, event: &KvEvent);

    fn block_tokens(&self) -> u32;

    /// Distinct blocks that some replica is believed to hold: the keys of a stored index.
    fn known_blocks(&self) -> u64;

    /// Runs of blocks that the index keeps apart: what its memory and its walks grow with. As few
    /// as the branches of the prompts and the differences between their blocks allow.
    fn extents(&self) -> usize;

    fn clear(&mut self);
}
