//! What is known of where the bytes of a tier are, and how loads are kept from memory before a
//! device.

use std::fmt;

use weir_model::HeldIn;

use crate::error::ProbeError;

/// Whose reads are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockReader {
    /// Nobody's: the tier is elsewhere, or its process is another user's.
    Unseen,
    /// This process reads the blocks itself.
    Own,
    Process(u32),
}

/// What is known of a tier before it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierOrigin {
    /// What holds its bytes.
    pub held: HeldIn,
    pub reader: BlockReader,
    /// Whether the page cache is passed by.
    pub direct: bool,
}

impl TierOrigin {
    pub const MEMORY: Self =
        Self { held: HeldIn::Memory, reader: BlockReader::Unseen, direct: false };
    /// A tier of which nothing is known.
    pub const UNKNOWN: Self =
        Self { held: HeldIn::Uncounted, reader: BlockReader::Unseen, direct: false };

    /// Whether the tier waits for the same as direct accesses to its device do.
    pub(crate) fn has_device(self) -> bool {
        self.direct && self.reader == BlockReader::Own && self.held != HeldIn::Memory
    }
}

/// How a tier is kept from answering out of the page cache.
pub struct Cold {
    pub how: String,
    /// Makes what is cached go.
    pub cool: Box<dyn Fn() -> Result<(), ProbeError> + Send + Sync>,
}

impl fmt::Debug for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cold").field("how", &self.how).finish_non_exhaustive()
    }
}
