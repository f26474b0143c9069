//! Where a tier's bytes are, and how loads are kept from being answered from memory.

use std::fmt;

use weir_model::HeldIn;

use crate::error::ProbeError;

/// The process whose reads are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockReader {
    /// Unknown: a remote tier, or another user's process.
    Unseen,
    Own,
    Process(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierOrigin {
    pub held: HeldIn,
    pub reader: BlockReader,
    pub direct: bool,
}

impl TierOrigin {
    pub const MEMORY: Self =
        Self { held: HeldIn::Memory, reader: BlockReader::Unseen, direct: false };
    pub const UNKNOWN: Self =
        Self { held: HeldIn::Uncounted, reader: BlockReader::Unseen, direct: false };

    /// Whether the tier waits for the same device accesses as a direct-access run does.
    pub(crate) fn has_device(self) -> bool {
        self.direct && self.reader == BlockReader::Own && self.held != HeldIn::Memory
    }
}

/// How the page cache of a tier is dropped.
pub struct Cold {
    pub how: String,
    pub cool: Box<dyn Fn() -> Result<(), ProbeError> + Send + Sync>,
}

impl fmt::Debug for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cold").field("how", &self.how).finish_non_exhaustive()
    }
}
