//! The offload mechanisms over several requests: vLLM's offloading and tiering, and LMCache's
//! server.

use weir_engine::{ChunkBytes, Engine, OffloadConfig, TransferKind, TransferOutcome};
use weir_model::{Bytes, KvChange, Mechanism, Nanos, TierKind, Tokens};
use weir_tier::{EvictionPolicy, TierConfig};

use crate::fixture::{Bench, config, link, native, request};

/// Runs a prompt with its stores; returns its tokens from GPU, host and disk.
fn served(bench: &mut Bench, pieces: &[(u64, u32)]) -> [u32; 3] {
    let id = bench.engine.counters().passes;
    bench.submit(&request(id, pieces, 1));
    let mut cached = None;
    while bench.engine.unfinished() > 0 {
        bench.end(TransferKind::Load, TransferOutcome::Ok);
        if bench.pass().is_some() {
            cached = cached.or(bench.effects.finished.first().map(|done| done.cached));
        }
        bench.end(TransferKind::Store, TransferOutcome::Ok);
    }
    let cached = cached.expect("it has ended");
    [TierKind::Gpu, TierKind::Host, TierKind::Disk].map(|tier| cached[tier.index()].0)
}

/// On an empty GPU.
fn served_by_tiers(bench: &mut Bench, pieces: &[(u64, u32)]) -> [u32; 2] {
    bench.engine.reset().expect("nothing runs");
    let [gpu, host, disk] = served(bench, pieces);
    assert_eq!(gpu, 0);
    [host, disk]
}

fn tier(kind: TierKind, chunks: u64, chunk_tokens: u32) -> TierConfig {
    TierConfig {
        kind,
        capacity: Bytes(chunks * u64::from(chunk_tokens) * 10),
        policy: EvictionPolicy::Lru,
        link: link(),
    }
}

/// Host memory of `host` chunks of 16 tokens, and a disk.
fn tiered(mechanism: Mechanism, host: u64) -> OffloadConfig {
    let tiers = vec![tier(TierKind::Host, host, 16), tier(TierKind::Disk, 1000, 16)];
    OffloadConfig { mechanism, tiers, ..native(0) }
}

fn server(host: u64) -> OffloadConfig {
    OffloadConfig {
        mechanism: Mechanism::LmcacheServer,
        tiers: vec![tier(TierKind::Host, host, 16)],
        ..native(0)
    }
}

#[test]
fn what_a_request_loaded_is_recent_when_it_ends() {
    let mut bench = Bench::new(config(100), Some(native(96)));
    served(&mut bench, &[(1, 49)]);
    served(&mut bench, &[(2, 49)]);
    assert_eq!(served_by_tiers(&mut bench, &[(1, 49)]), [48, 0]);
    // Two chunks more evict the other prompt's, last ones first.
    served(&mut bench, &[(3, 33)]);
    assert_eq!(served_by_tiers(&mut bench, &[(2, 17)]), [16, 0]);
    assert_eq!(served_by_tiers(&mut bench, &[(1, 49)]), [48, 0]);
}

#[test]
fn what_the_gpu_served_is_stored_again_where_nothing_was_loaded() {
    let mut bench = Bench::new(config(100), Some(native(96)));
    served(&mut bench, &[(1, 49)]);
    served(&mut bench, &[(2, 97)]);
    // The tier has only the second prompt, the GPU both.
    assert_eq!(served(&mut bench, &[(1, 49), (3, 16)]), [48, 0, 0]);
    assert_eq!(served_by_tiers(&mut bench, &[(1, 49), (3, 16)]), [64, 0]);
}

#[test]
fn an_offer_without_room_is_refused_whole_and_made_again() {
    // A prompt of six chunks in passes of four; a tier of three.
    let mut bench = Bench::new(config(100), Some(native(48)));
    served(&mut bench, &[(1, 97)]);
    assert_eq!(bench.engine.counters().stored_bytes, 0);
    assert!(bench.engine.counters().refused_chunks >= 6);
    assert_eq!(served_by_tiers(&mut bench, &[(1, 97)]), [0, 0]);
    // In a tier of five, the first four chunks are stored, then evicted by later ones, oldest
    // first.
    let mut bench = Bench::new(config(100), Some(native(80)));
    served(&mut bench, &[(1, 97)]);
    let cache = bench.engine.offload().and_then(|offload| offload.cache(TierKind::Host)).unwrap();
    let prompt = request(0, &[(1, 97)], 1).prompt;
    assert_eq!((cache.used(), cache.evicted()), (5, 1));
    assert_eq!(cache.lookup(prompt.pieces(), 0, 6).chunks, 0);
    assert_eq!(cache.lookup(prompt.pieces(), 1, 6).chunks, 5);
}

#[test]
fn a_store_moves_what_is_kept_and_a_load_what_it_needs() {
    // Six chunks with windows; a load needs those at its end.
    let bytes = ChunkBytes { kept: 1000, loaded: 160, loaded_once: 700 };
    let offload = OffloadConfig { chunk_bytes: bytes, ..native(1000) };
    assert_eq!(offload.tokens(Bytes(10_000)), 160);
    assert_eq!(offload.loaded(16), Bytes(860), "one chunk, and the windows at its end");
    let long = ChunkBytes { loaded_once: 9000, ..bytes };
    let long = OffloadConfig { chunk_bytes: long, ..offload.clone() };
    assert_eq!(long.loaded(16), Bytes(1000), "no more than is kept");
    let mut bench = Bench::new(config(100), Some(offload));
    served(&mut bench, &[(1, 97)]);
    bench.engine.reset().expect("nothing runs");
    served(&mut bench, &[(1, 97)]);
    let moved = bench.engine.counters();
    assert_eq!((moved.stored_bytes, moved.loaded_bytes), (6000, 6 * 160 + 700));
}

#[test]
fn less_than_a_chunk_more_than_the_gpu_has_is_not_loaded() {
    let offload =
        OffloadConfig { chunk_tokens: 32, chunk_bytes: ChunkBytes::whole(320), ..native(1000) };
    let mut bench = Bench::new(config(100), Some(offload));
    served(&mut bench, &[(1, 97)]);
    bench.engine.reset().expect("nothing runs");
    // The GPU has five blocks of it: two chunks and a half.
    assert_eq!(served(&mut bench, &[(1, 81)]), [0, 64, 0]);
    assert_eq!(served(&mut bench, &[(1, 97)]), [80, 0, 0]);
}

#[test]
fn tiering_brings_chunks_back_through_the_nearest_tier() {
    let mut bench = Bench::new(config(100), Some(tiered(Mechanism::Native, 6)));
    served(&mut bench, &[(1, 49)]);
    served(&mut bench, &[(2, 49)]);
    served(&mut bench, &[(3, 33)]);
    // The first prompt's last two chunks left host memory. Their load evicts its first, the oldest,
    // which is loaded too.
    assert_eq!(served_by_tiers(&mut bench, &[(1, 49)]), [0, 48]);
    assert_eq!(served_by_tiers(&mut bench, &[(1, 49)]), [48, 0]);
    let cache = bench.engine.offload().and_then(|offload| offload.cache(TierKind::Host)).unwrap();
    assert_eq!(cache.used(), 6);
    // Host memory is smaller than the prompt: loading its front and end evicts its middle, which
    // then has no room.
    let mut bench = Bench::new(config(100), Some(tiered(Mechanism::Native, 4)));
    served(&mut bench, &[(1, 97)]);
    assert_eq!(served_by_tiers(&mut bench, &[(1, 97)]), [0, 32]);
    bench.engine.reset().expect("nothing runs");
    assert!(bench.engine.is_quiescent());
}

#[test]
fn a_load_that_fails_leaves_no_room_taken() {
    let mut bench = Bench::new(config(100), Some(tiered(Mechanism::Native, 6)));
    for content in 1..4 {
        served(&mut bench, &[(content, 49)]);
    }
    bench.engine.reset().expect("nothing runs");
    bench.submit(&request(9, &[(1, 49)], 1));
    assert_eq!(bench.begin(), None);
    assert_eq!(bench.end(TransferKind::Load, TransferOutcome::Failed), 1);
    bench.drain();
    bench.end(TransferKind::Store, TransferOutcome::Ok);
    let cache = bench.engine.offload().and_then(|offload| offload.cache(TierKind::Host)).unwrap();
    let prompt = request(0, &[(1, 49)], 1).prompt;
    assert!(!cache.lookup(prompt.pieces(), 0, 3).pending);
    assert!(cache.used() <= 6);
}

#[test]
fn lmcaches_server_looks_from_the_first_token_on() {
    let mut bench = Bench::new(config(100), Some(server(10)));
    served(&mut bench, &[(1, 97)]);
    bench.engine.reset().expect("nothing runs");
    assert_eq!(served(&mut bench, &[(1, 49)]), [0, 48, 0]);
    // The GPU's three chunks are found too; only later ones are loaded.
    assert_eq!(served(&mut bench, &[(1, 97), (2, 8)]), [48, 48, 0]);
    let found = bench.engine.counters().lookup_hit_tokens;
    assert_eq!(found[TierKind::Host.index()], 48 + 96);
}

#[test]
fn lmcaches_server_evicts_by_the_clock_alone() {
    let second = |seconds: u64| Nanos::from_millis(1000 * seconds);
    let mut bench = Bench::new(config(100), Some(server(10)));
    served(&mut bench, &[(1, 97)]);
    served(&mut bench, &[(2, 49)]);
    // Nine of ten chunks are used. Two more do not fit, so neither is stored.
    served(&mut bench, &[(3, 33)]);
    let used = |bench: &Bench| {
        let offload = bench.engine.offload().unwrap();
        offload.cache(TierKind::Host).unwrap().used()
    };
    assert_eq!((used(&bench), bench.engine.counters().refused_chunks), (9, 2));
    // One round evicts a fifth of the nine, the oldest prompt's end; below the mark none is
    // evicted.
    bench.engine.advance(second(1));
    assert_eq!(used(&bench), 8);
    bench.engine.advance(second(2));
    assert_eq!(used(&bench), 7);
    bench.engine.advance(second(9));
    assert_eq!(used(&bench), 7);
    assert_eq!(served_by_tiers(&mut bench, &[(1, 97)]), [64, 0]);
    // A prompt is recent when it has ended, so the other one is the oldest.
    bench.engine.advance(second(10));
    assert_eq!(served_by_tiers(&mut bench, &[(2, 49)]), [32, 0]);
}

#[test]
fn the_servers_second_level_passes_through_the_first() {
    let mut bench = Bench::new(config(100), Some(tiered(Mechanism::LmcacheServer, 10)));
    served(&mut bench, &[(1, 97)]);
    bench.engine.advance(Nanos::from_millis(500));
    served(&mut bench, &[(2, 33)]);
    // At eight of ten one chunk is evicted; the disk has it.
    bench.engine.advance(Nanos::from_millis(1000));
    assert_eq!(served_by_tiers(&mut bench, &[(1, 97)]), [80, 16]);
    let used = |bench: &Bench| {
        let offload = bench.engine.offload().unwrap();
        offload.cache(TierKind::Host).unwrap().used()
    };
    assert_eq!(used(&bench), 7);
    // Without room for it only the front is found.
    served(&mut bench, &[(3, 49)]);
    assert_eq!(used(&bench), 10);
    assert_eq!(served_by_tiers(&mut bench, &[(1, 97)]), [80, 0]);
    assert_eq!(bench.engine.counters().prompt_tokens, u64::from(Tokens(97 + 33 + 97 + 49 + 97).0));
}

#[test]
fn who_asks_for_what_another_request_is_loading_waits_for_it() {
    let mut bench = Bench::new(config(100), Some(native(1000)));
    served(&mut bench, &[(1, 97)]);
    bench.engine.reset().expect("nothing runs");
    bench.submit(&request(8, &[(1, 97)], 1));
    bench.submit(&request(9, &[(1, 97), (2, 5)], 1));
    assert_eq!(bench.begin(), None);
    assert_eq!(bench.transfers.len(), 1);
    // The load has ended, so the second finds it on the GPU.
    bench.end(TransferKind::Load, TransferOutcome::Ok);
    bench.pass().expect("both run");
    let served = |tier: TierKind| {
        let finished = bench.effects.finished.iter();
        finished.map(|done| done.cached[tier.index()].0).collect::<Vec<_>>()
    };
    assert_eq!((served(TierKind::Gpu), served(TierKind::Host)), (vec![0, 96], vec![96, 0]));
}

/// Content, first and last token of what a tier announced.
type Told = Vec<(KvChange, u64, u32, u32)>;

/// Of host memory and disk for three prompts of three chunks each, one after another.
fn told_of_tiers(offload: OffloadConfig) -> [Told; 2] {
    let mut bench = Bench::new(config(100), None);
    bench.engine = Engine::new(config(100), Some(offload), true);
    for content in 1..=3 {
        served(&mut bench, &[(content, 49)]);
    }
    let mut events = Vec::new();
    bench.engine.take_events(&mut events);
    [TierKind::Host, TierKind::Disk].map(|tier| {
        let of_tier = events.iter().filter(|event| event.tier == tier);
        of_tier
            .map(|event| {
                assert!(event.path.tokens().0 >= event.to_token);
                let content = event.path.pieces()[0].content.0;
                (event.change, content, event.from_token, event.to_token)
            })
            .collect()
    })
}

#[test]
fn announced_is_what_the_mechanism_announces() {
    use KvChange::{Removed, Stored};
    let stored = [(Stored, 1, 0, 48), (Stored, 2, 0, 48), (Stored, 3, 0, 48)];
    // Room for two prompts in host memory; a disk says nothing of what leaves it.
    let small_disk = vec![tier(TierKind::Host, 6, 16), tier(TierKind::Disk, 6, 16)];
    let native = OffloadConfig { tiers: small_disk, ..native(0) };
    let [host, disk] = told_of_tiers(native.clone());
    assert_eq!((&host[..2], host.last()), (&stored[..2], stored.last()));
    let left: u32 = host[2..host.len() - 1]
        .iter()
        .map(|(change, content, from, to)| {
            assert_eq!((*change, *content), (Removed, 1));
            to - from
        })
        .sum();
    assert_eq!(left, 48);
    assert_eq!(disk, stored);
    for mechanism in [Mechanism::Lmcache, Mechanism::LmcacheServer] {
        let silent = OffloadConfig { mechanism, ..native.clone() };
        assert_eq!(told_of_tiers(silent), [vec![], vec![]]);
    }
}
