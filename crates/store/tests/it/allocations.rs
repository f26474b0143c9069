//! Moving a block allocates nothing: the allocations of a call do not grow with its blocks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_store::suite::{content, key};
use weir_store::{
    Block, Checked, DiskOptions, DiskTier, EngineChoice, Get, Loaded, MemoryOptions, MemoryTier,
    Put, SharingOptions, SingleFlight, Slab, Stored, Tier,
};
use weir_tier::EvictionPolicy;

use crate::blocks::later;

/// Counts the allocations of all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator that counts")]
// SAFETY: every call goes to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }
}

pub(crate) const BLOCK_BYTES: usize = 8192;
const CAPACITY: u32 = 96;

/// Allocations of storing and loading a batch of new blocks.
fn per_call(tier: &dyn Tier, blocks: &mut [Block], next: &mut u64) -> (u64, u64) {
    let names: Vec<_> = (*next..*next + blocks.len() as u64).map(key).collect();
    *next += blocks.len() as u64;
    for (name, block) in names.iter().zip(&mut *blocks) {
        content(*name, block);
    }
    let puts: Vec<Put<'_>> =
        names.iter().zip(&*blocks).map(|(key, bytes)| Put { key: *key, bytes }).collect();
    let mut stored = vec![Stored::Full; puts.len()];
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    tier.put(&puts, later(), &mut stored);
    let put = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(stored.iter().all(|outcome| *outcome == Stored::Stored));
    let mut gets: Vec<Get<'_>> =
        names.iter().zip(blocks).map(|(key, into)| Get { key: *key, into }).collect();
    let mut loaded = vec![Loaded::Miss; gets.len()];
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    tier.get(&mut gets, later(), &mut loaded);
    let get = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(loaded.iter().all(|outcome| *outcome == Loaded::Hit));
    (put, get)
}

/// Counts of a small and a large batch, after filling the tier many times.
pub(crate) fn small_and_large(tier: &dyn Tier, slab: &Arc<Slab>) -> [(u64, u64); 2] {
    let mut blocks: Vec<Block> = std::iter::from_fn(|| slab.take()).take(64).collect();
    let mut next = 0;
    for _ in 0..40 {
        per_call(tier, &mut blocks, &mut next);
        per_call(tier, &mut blocks[..4], &mut next);
    }
    [4, 64].map(|size| per_call(tier, &mut blocks[..size], &mut next))
}

#[test]
#[ignore = "the child of no_tier_allocates_per_block: it must be alone in its process"]
fn child_that_counts() {
    let slab = Slab::new(64, BLOCK_BYTES).unwrap();
    let memory = |eviction| {
        MemoryTier::new(MemoryOptions { capacity: CAPACITY, block_bytes: BLOCK_BYTES, eviction })
            .unwrap()
    };
    for eviction in [EvictionPolicy::Lru, EvictionPolicy::Arc] {
        let tier = memory(eviction);
        assert_eq!(small_and_large(&tier, &slab), [(0, 0); 2], "memory with {eviction:?}");
    }
    let tier = Checked::new(memory(EvictionPolicy::Lru), 50);
    assert_eq!(small_and_large(&tier, &slab), [(0, 0); 2], "checked memory");
    let tier = memory(EvictionPolicy::Lru);
    let tier = SingleFlight::new(tier, SharingOptions { flights: 100, copies: 4 }).unwrap();
    let [small, large] = small_and_large(&tier, &slab);
    // Its lists grow by doubling, not block by block.
    assert_eq!((small.0, large.0), (0, 0), "single flight stores");
    assert!(large.1 <= small.1 + 10, "single flight: {small:?}, {large:?}");
    let (given, other) = (Some(Arc::clone(&slab)), Slab::new(64, BLOCK_BYTES).unwrap());
    for (engine, registered, page_cache) in [
        (EngineChoice::Auto, given.clone(), false),
        (EngineChoice::Auto, None, false),
        (EngineChoice::Threads, given.clone(), false),
        (EngineChoice::Threads, None, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let tier = DiskTier::open(&DiskOptions {
            engine,
            slab: registered,
            page_cache,
            ..DiskOptions::new(folder.path(), CAPACITY, BLOCK_BYTES)
        })
        .unwrap();
        let [small, large] = small_and_large(&tier, &other);
        assert_eq!(small, large, "{}", tier.engine());
        assert!(large.0 <= 2 && large.1 <= 2, "{}: {large:?}", tier.engine());
    }
    let folder = tempfile::tempdir().unwrap();
    let odd = Slab::new(64, 5001).unwrap();
    let tier = DiskTier::open(&DiskOptions::new(folder.path(), CAPACITY, 5001)).unwrap();
    let [small, large] = small_and_large(&tier, &odd);
    assert_eq!(small, large, "through bounce buffers");
    println!("counted");
}

#[test]
fn no_tier_allocates_per_block() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["allocations::child_that_counts", "--exact", "--ignored", "--nocapture"])
        .arg("--test-threads=1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("counted"), "{said}{errors}");
}
