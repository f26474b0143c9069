//! The disk passes the suite with all engines and options.

use tempfile::TempDir;
use weir_store::disk::EngineKind;
use weir_store::suite::Subject;
use weir_store::{DiskOptions, DiskTier, EngineChoice, Slab, tier_suite};
use weir_tier::EvictionPolicy;

const BLOCK_BYTES: usize = 8192;

fn options(folder: &TempDir, engine: EngineChoice) -> DiskOptions {
    DiskOptions { engine, depth: 4, ..DiskOptions::new(folder.path(), 24, BLOCK_BYTES) }
}

/// A tier with its folder; None if the kernel denies the engine.
fn subject(change: impl Fn(&mut DiskOptions), engine: EngineChoice) -> Option<Subject> {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut options = options(&folder, engine);
    change(&mut options);
    let open = |options: &DiskOptions| match DiskTier::open(options) {
        Ok(tier) => Some(tier),
        Err(weir_store::DiskError::NoRing { problem, .. }) if std::env::var_os("CI").is_none() => {
            println!("SKIPPED disk suite: {problem}");
            None
        }
        Err(error) => panic!("{error}"),
    };
    let tier = open(&options)?;
    let wanted = match engine {
        EngineChoice::Threads => EngineKind::Threads,
        EngineChoice::IoUring => EngineKind::IoUring,
        EngineChoice::Auto => tier.engine().kind,
    };
    assert_eq!(tier.engine().kind, wanted, "{}", tier.engine());
    let neighbour = tempfile::tempdir().expect("a scratch folder");
    options.folder = neighbour.path().into();
    let other = open(&options)?;
    let slab = options.slab.clone();
    let subject = Subject::new(tier).with_neighbour(other).with_guard((folder, neighbour));
    Some(match slab {
        Some(slab) => subject.with_slab(slab),
        None => subject,
    })
}

fn slab(options: &mut DiskOptions) {
    options.slab = Some(Slab::new(64, options.block_bytes).expect("some memory"));
}

tier_suite!(ring, || subject(|_| {}, EngineChoice::IoUring));
tier_suite!(ring_with_slab, || subject(slab, EngineChoice::IoUring));
tier_suite!(threads, || subject(slab, EngineChoice::Threads));
tier_suite!(page_cache, || subject(|options| options.page_cache = true, EngineChoice::Auto));
tier_suite!(odd_block_bytes, || subject(
    |options| {
        options.block_bytes = 5001;
        slab(options);
    },
    EngineChoice::Auto
));
tier_suite!(arc, || subject(|options| options.eviction = EvictionPolicy::Arc, EngineChoice::Auto));
tier_suite!(without_eviction, || subject(
    |options| options.eviction = EvictionPolicy::None,
    EngineChoice::Auto
));
tier_suite!(one_at_a_time, || subject(
    |options| {
        options.depth = 1;
        options.lanes = 1;
    },
    EngineChoice::Auto
));
