//! A region of host memory cut into blocks of one size: mapped, faulted in, and allocated from a
//! free list, so that moving a block never allocates and memory is bounded.
//!
//! A block begins at a multiple of [`ALIGNMENT`], as `O_DIRECT` requires. The region begins at a
//! multiple of a huge page, so that the kernel can use huge pages and register it for fixed buffers
//! in few pieces.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use weir_model::Bytes;

/// Alignment of blocks: the largest sector and page size of supported machines.
pub const ALIGNMENT: usize = 4096;
/// Bytes of a huge page on `x86_64`, and of the usual one on `aarch64`.
const HUGE_PAGE: usize = 2 << 20;
/// No model's chunk comes near; a typing error must not map the whole machine.
pub const BLOCK_BYTES_MAX: usize = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum SlabError {
    #[error(
        "slab: {blocks} blocks of {block_bytes} bytes: give at least one block, of 1 byte to 1 GiB"
    )]
    Shape { blocks: u32, block_bytes: usize },
    #[error(
        "slab: {wanted} bytes of memory asked for, {available} available ({limit}): give fewer blocks"
    )]
    TooLarge { wanted: u64, available: u64, limit: &'static str },
    #[error(
        "slab: {wanted} bytes of memory: {call}: {errno}: give fewer blocks or raise the limit"
    )]
    Refused { wanted: u64, call: &'static str, errno: Errno },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    pub huge: Bytes,
    pub total: Bytes,
    /// Why not all of it is on huge pages, if known.
    pub note: Option<String>,
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes on huge pages", self.huge.0, self.total.0)?;
        self.note.as_ref().map_or(Ok(()), |note| write!(f, " ({note})"))
    }
}

/// Shared through an [`Arc`], which every [`Block`] holds.
pub struct Slab {
    mapping: Mapping,
    block_bytes: usize,
    stride: usize,
    blocks: u32,
    free: Mutex<Vec<u32>>,
    pages: Pages,
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("blocks", &self.blocks)
            .field("block_bytes", &self.block_bytes)
            .field("stride", &self.stride)
            .finish_non_exhaustive()
    }
}

impl Slab {
    pub fn new(blocks: u32, block_bytes: usize) -> Result<Arc<Self>, SlabError> {
        if blocks == 0 || block_bytes == 0 || block_bytes > BLOCK_BYTES_MAX {
            return Err(SlabError::Shape { blocks, block_bytes });
        }
        let stride = block_bytes.next_multiple_of(ALIGNMENT);
        // At most 2^32 blocks of 2^30 bytes: no overflow in 64 bits.
        let wanted = stride as u64 * u64::from(blocks);
        if let Some((available, limit)) = available_memory()
            && wanted > available
        {
            return Err(SlabError::TooLarge { wanted, available, limit });
        }
        let mapping = Mapping::new(wanted as usize)?;
        let pages = mapping.fault_in()?;
        Ok(Arc::new(Self {
            mapping,
            block_bytes,
            stride,
            blocks,
            free: Mutex::new((0..blocks).rev().collect()),
            pages,
        }))
    }

    pub const fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Distance between blocks, bytes: a multiple of [`ALIGNMENT`].
    pub const fn stride(&self) -> usize {
        self.stride
    }

    pub const fn blocks(&self) -> u32 {
        self.blocks
    }

    pub fn free_blocks(&self) -> u32 {
        self.free_list().len() as u32
    }

    pub const fn pages(&self) -> &Pages {
        &self.pages
    }

    /// A block with its previous content; None when all are taken.
    pub fn take(self: &Arc<Self>) -> Option<Block> {
        let index = self.free_list().pop()?;
        Some(Block { slab: Arc::clone(self), index })
    }

    pub(crate) fn region(&self) -> (usize, usize) {
        (self.mapping.start as usize, self.mapping.len)
    }

    fn free_list(&self) -> parking_lot::MutexGuard<'_, Vec<u32>> {
        self.free.lock()
    }

    fn address(&self, index: u32) -> *mut u8 {
        self.mapping.start.wrapping_add(index as usize * self.stride)
    }
}

/// Exclusive to its holder; returns to the free list when dropped.
pub struct Block {
    slab: Arc<Slab>,
    index: u32,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Block {
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The whole stride, padding included, for I/O in whole sectors.
    pub(crate) fn padded_mut(&mut self) -> &mut [u8] {
        let (start, len) = (self.slab.address(self.index), self.slab.stride);
        #[expect(unsafe_code, reason = "the slab's memory is not a Rust object")]
        // SAFETY: the range lies in the mapping, which lives as long as the slab that this block
        // holds; it is faulted in, and so initialised; and nobody else has this index.
        unsafe {
            std::slice::from_raw_parts_mut(start, len)
        }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (start, len) = (self.slab.address(self.index), self.slab.block_bytes);
        #[expect(unsafe_code, reason = "the slab's memory is not a Rust object")]
        // SAFETY: as in `padded_mut`; the stride is not less than the block.
        unsafe {
            std::slice::from_raw_parts(start, len)
        }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.slab.block_bytes;
        &mut self.padded_mut()[..len]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.slab.free_list().push(self.index);
    }
}

struct Mapping {
    base: *mut u8,
    base_len: usize,
    start: *mut u8,
    len: usize,
}

#[expect(unsafe_code, reason = "the mapping is plain memory, without a home thread")]
// SAFETY: the pointers are only turned into references by `Block`, of which each has its own range.
unsafe impl Send for Mapping {}
#[expect(unsafe_code, reason = "the mapping is plain memory, without a home thread")]
// SAFETY: as above; the fields never change.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize) -> Result<Self, SlabError> {
        let refused = |errno| SlabError::Refused { wanted: len as u64, call: "mmap", errno };
        let base_len = len.checked_add(HUGE_PAGE).ok_or_else(|| refused(Errno::NOMEM))?;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        #[expect(unsafe_code, reason = "mapping memory")]
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), base_len, protection, flags) };
        let base: *mut u8 = base.map_err(refused)?.cast();
        let start = base.wrapping_add(base.align_offset(HUGE_PAGE));
        Ok(Self { base, base_len, start, len })
    }

    /// Requests huge pages and faults everything in.
    fn fault_in(&self) -> Result<Pages, SlabError> {
        let asked = self.advise(Advice::LinuxHugepage);
        match self.advise(Advice::LinuxPopulateWrite) {
            Ok(()) => {}
            // Kernels before 5.14 lack this advice.
            Err(Errno::INVAL) => self.touch(),
            Err(errno) => {
                let wanted = self.len as u64;
                return Err(SlabError::Refused { wanted, call: "madvise(populate)", errno });
            }
        }
        let huge = huge_bytes(self.start as usize, self.len);
        let note = match (asked, huge) {
            (_, Some(huge)) if huge >= self.len => None,
            (Err(errno), _) => Some(format!("the kernel refused huge pages: {errno}")),
            (Ok(()), None) => Some("/proc/self/smaps does not say".to_owned()),
            (Ok(()), Some(_)) => {
                let mode = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
                let mode = mode.unwrap_or_else(|_| "unknown".to_owned());
                let mode = mode.trim();
                Some(format!("too small, no memory in one piece, or switched off: {mode}"))
            }
        };
        let (huge, total) = (Bytes(huge.unwrap_or(0) as u64), Bytes(self.len as u64));
        Ok(Pages { huge, total, note })
    }

    fn advise(&self, advice: Advice) -> Result<(), Errno> {
        #[expect(unsafe_code, reason = "advice on memory")]
        // SAFETY: the range is this mapping's, and neither advice changes its content.
        unsafe {
            madvise(self.start.cast(), self.len, advice)
        }
    }

    fn touch(&self) {
        for offset in (0..self.len).step_by(ALIGNMENT) {
            #[expect(unsafe_code, reason = "faulting memory in")]
            // SAFETY: the address lies in the mapping, to which nobody else has access yet.
            unsafe {
                self.start.add(offset).write_volatile(0);
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "unmapping memory")]
        // SAFETY: the mapping is this value's, and blocks hold the slab that holds it. A failure
        // leaves memory mapped, and there is nobody to tell.
        let _ = unsafe { munmap(self.base.cast(), self.base_len) };
    }
}

/// Bytes of a range on huge pages, as far as the kernel says.
fn huge_bytes(start: usize, len: usize) -> Option<usize> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let (mut inside, mut huge) = (false, 0);
    for line in smaps.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-') {
            let address = |text| usize::from_str_radix(text, 16);
            if let (Ok(from), Ok(to)) = (address(from), address(to)) {
                inside = from < start + len && to > start;
            }
        } else if inside && first == "AnonHugePages:" {
            let kib = line.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
            huge += kib? * 1024;
        }
    }
    // A neighbouring slab may share the kernel's entry.
    Some(huge.min(len))
}

/// Memory available to programs and to the page cache.
pub fn machine_memory() -> Option<Bytes> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Bytes(kib * 1024))
}

/// Bytes available on the machine or in the control group, and the source of the figure.
pub fn available_memory() -> Option<(u64, &'static str)> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let machine = machine_memory().map(|bytes| (bytes.0, "MemAvailable of /proc/meminfo"));
    // Only the group's limit is compared: its file caches count as used although they can be
    // reclaimed. This refuses only what can never fit.
    let group = number("/sys/fs/cgroup/memory.max").map(|limit| (limit, "memory.max of the group"));
    machine.into_iter().chain(group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_distinct_aligned_and_come_back() {
        let slab = Slab::new(3, 5000).unwrap();
        assert_eq!(slab.stride(), 8192);
        let mut blocks: Vec<Block> = (0..3).map(|_| slab.take().unwrap()).collect();
        assert!(slab.take().is_none());
        for (byte, block) in (1..).zip(&mut blocks) {
            assert_eq!(block.len(), 5000);
            assert_eq!(block.as_ptr() as usize % ALIGNMENT, 0);
            block.padded_mut().fill(byte);
        }
        for (byte, block) in (1..).zip(&blocks) {
            assert!(block.iter().all(|found| *found == byte));
        }
        blocks.pop();
        assert_eq!(slab.free_blocks(), 1);
        assert!(slab.take().is_some());
        // The mapping outlives the last handle while a block is held.
        drop(slab);
        assert_eq!(blocks[0][4999], 1);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_a_remedy() {
        for (blocks, block_bytes) in [(0, 10), (10, 0), (1, BLOCK_BYTES_MAX + 1)] {
            let error = Slab::new(blocks, block_bytes).unwrap_err();
            assert!(error.to_string().contains("at least one block"), "{error}");
        }
        let error = Slab::new(u32::MAX, BLOCK_BYTES_MAX).unwrap_err();
        assert!(error.to_string().contains("give fewer blocks"), "{error}");
    }

    #[test]
    fn pages_are_reported() {
        let slab = Slab::new(16, 2 << 20).unwrap();
        let pages = slab.pages();
        assert_eq!(pages.total, Bytes(32 << 20));
        assert!(pages.huge == pages.total || pages.note.is_some(), "{pages}");
    }
}
