//! Held blocks against a plain reference that keeps every event and replays them all per request.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_model::{ChoiceHits, Nanos, Tokens};
use weir_observe::UnixNanos;
use weir_observe::kv_events::{HeardEvent, HeldBlocks, HeldGaps, KvEventChange};

const BLOCK: u32 = 2;
const ENGINES: usize = 3;
/// Of a prompt, in blocks.
const LONGEST: usize = 4;

#[derive(Debug, Clone)]
enum Change {
    /// The blocks of a prompt from one on, that are not held.
    Stored {
        path: Vec<u32>,
        from: usize,
    },
    /// The block at the end of the path.
    Removed(Vec<u32>),
    Cleared,
    Lost,
    Restarted,
}

/// The engine's own hash of a path; engines differ.
fn hash(engine: usize, path: &[u32]) -> u64 {
    let mixed = |hash: u64, token: &u32| {
        hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(*token) + 1)
    };
    path.iter().fold(engine as u64 + 7, mixed)
}

fn event(change: KvEventChange, hashes: Vec<u64>) -> HeardEvent {
    HeardEvent {
        change,
        hashes,
        parent: None,
        token_ids: Vec::new(),
        medium: "gpu".to_owned(),
        lora: None,
        extra: Vec::new(),
        group: None,
    }
}

fn stored(engine: usize, path: &[u32], from: usize) -> HeardEvent {
    let block = BLOCK as usize;
    let ends = (from + 1..=path.len() / block).map(|blocks| blocks * block);
    let hashes = ends.map(|end| hash(engine, &path[..end])).collect();
    HeardEvent {
        parent: (from > 0).then(|| hash(engine, &path[..from * block])),
        token_ids: path[from * block..].to_vec(),
        group: Some(0),
        ..event(KvEventChange::Stored, hashes)
    }
}

fn removed(engine: usize, path: &[u32]) -> HeardEvent {
    event(KvEventChange::Removed, vec![hash(engine, path)])
}

/// Copies of each path in an engine at a time, and whether that is known.
#[derive(Debug, Clone, Default)]
struct Plain {
    copies: BTreeMap<Vec<u32>, u32>,
    is_unknown: bool,
    heard: bool,
}

/// The engine after all changes until `at`. A loss reaches back to the batch before it.
fn replayed(changes: &[(u64, usize, Change)], engine: usize, at: u64) -> Plain {
    let mut plain = Plain::default();
    for (time, _, change) in changes.iter().filter(|(_, of, _)| *of == engine) {
        if *time > at {
            // What is lost came after the last batch heard.
            plain.is_unknown |= matches!(change, Change::Lost | Change::Restarted);
            break;
        }
        match change {
            Change::Lost => plain.is_unknown = true,
            Change::Cleared | Change::Restarted => {
                (plain.copies, plain.is_unknown) = (BTreeMap::new(), false);
            }
            Change::Stored { path, from } => {
                for blocks in from + 1..=path.len() / BLOCK as usize {
                    *plain.copies.entry(path[..blocks * BLOCK as usize].to_vec()).or_default() += 1;
                }
            }
            Change::Removed(path) => {
                if let Some(copies) = plain.copies.get_mut(path) {
                    *copies -= 1;
                    if *copies == 0 {
                        plain.copies.remove(path);
                    }
                }
            }
        }
        plain.heard = true;
    }
    plain
}

fn expected(
    changes: &[(u64, usize, Change)],
    heard: [bool; ENGINES],
    at: u64,
    ids: &[u32],
    chosen: usize,
) -> Option<ChoiceHits> {
    let engines: Vec<Plain> = (0..ENGINES).map(|engine| replayed(changes, engine, at)).collect();
    if engines.iter().any(|engine| engine.is_unknown) || !heard[chosen] {
        return None;
    }
    let most = ids.len().saturating_sub(1) / BLOCK as usize;
    let held = |engine: &Plain| {
        let whole = |blocks: &usize| engine.copies.contains_key(&ids[..blocks * BLOCK as usize]);
        (1..=most).take_while(whole).count() as u32 * BLOCK
    };
    let held: Vec<u32> = engines.iter().map(held).collect();
    Some(ChoiceHits {
        routed: Tokens(held[chosen]),
        uniform: held.iter().sum::<u32>() as f32 / ENGINES as f32,
        best: Tokens(*held.iter().max().unwrap()),
    })
}

fn prompts() -> impl Strategy<Value = Vec<u32>> {
    vec(0..2_u32, 0..=LONGEST * BLOCK as usize + 1)
}

#[derive(Debug, Clone)]
struct Step {
    wait: u64,
    engine: usize,
    kind: u8,
    prompt: Vec<u32>,
    back: u64,
}

fn step() -> impl Strategy<Value = Step> {
    (0..3_u64, 0..ENGINES, 0..40_u8, prompts(), 0..30_u64)
        .prop_map(|(wait, engine, kind, prompt, back)| Step { wait, engine, kind, prompt, back })
}

/// A change that an engine in this state can make.
fn change(step: &Step, now: &Plain) -> Option<Change> {
    let whole = step.prompt.len() / BLOCK as usize * BLOCK as usize;
    let path = step.prompt[..whole].to_vec();
    match step.kind {
        0 => Some(Change::Lost),
        1 => Some(Change::Restarted),
        2..4 => Some(Change::Cleared),
        4..15 => {
            let held: Vec<&Vec<u32>> = now.copies.keys().collect();
            let place = (step.back as usize).checked_rem(held.len())?;
            Some(Change::Removed(held[place].clone()))
        }
        kind => {
            let blocks = whole / BLOCK as usize;
            let from = (0..=blocks)
                .rev()
                .find(|from| *from == 0 || now.copies.contains_key(&path[..from * BLOCK as usize]))
                .unwrap_or(0);
            // Some engines compute and store a block again.
            let from = if kind == 39 { from.saturating_sub(1) } else { from };
            let is_rooted = from == 0 || now.copies.contains_key(&path[..from * BLOCK as usize]);
            (from < blocks && is_rooted).then_some(Change::Stored { path, from })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn hits_are_those_of_a_full_replay(steps in vec(step(), 1..60)) {
        let mut blocks = HeldBlocks::new(ENGINES, Nanos(1_000));
        let mut changes: Vec<(u64, usize, Change)> = Vec::new();
        let mut heard = [false; ENGINES];
        let mut now = 100;
        for step in &steps {
            now += step.wait;
            let at = UnixNanos(now);
            let state = replayed(&changes, step.engine, u64::MAX);
            // Of an engine with unknown contents nothing can be said but that it is empty.
            let change = change(step, &state)
                .filter(|change| !state.is_unknown || matches!(change, Change::Cleared));
            if let Some(change) = change {
                let engine = step.engine;
                match &change {
                    Change::Lost => blocks.lose(engine, at),
                    Change::Restarted => blocks.restart(engine, at),
                    Change::Cleared => {
                        let cleared = event(KvEventChange::Cleared, Vec::new());
                        blocks.apply(engine, at, &[cleared]);
                    }
                    Change::Stored { path, from } => {
                        blocks.apply(engine, at, &[stored(engine, path, *from)]);
                    }
                    Change::Removed(path) => blocks.apply(engine, at, &[removed(engine, path)]),
                }
                let is_batch = !matches!(change, Change::Lost | Change::Restarted);
                heard[engine] |= is_batch;
                changes.push((now, engine, change));
            }
            let then = now - step.back.min(now);
            let chosen = step.kind as usize % ENGINES;
            prop_assert_eq!(
                blocks.hits(UnixNanos(then), &step.prompt, chosen),
                expected(&changes, heard, then, &step.prompt, chosen),
                "at {} of {}: {:?}", then, now, changes
            );
        }
    }
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_chain_with_an_unknown_beginning_makes_contents_unknown_until_all_is_cleared() {
    let mut blocks = HeldBlocks::new(2, Nanos(100 * SECOND));
    let path = [1, 2, 3, 4, 5, 6];
    blocks.apply(0, UnixNanos(SECOND), &[stored(0, &path, 0)]);
    blocks.apply(1, UnixNanos(2 * SECOND), &[stored(1, &path, 2)]);
    let routed = |blocks: &HeldBlocks, at: u64| {
        blocks.hits(UnixNanos(at * SECOND), &path, 0).map(|hits| hits.routed.0)
    };
    // One token is left to compute.
    assert_eq!((routed(&blocks, 1), routed(&blocks, 2)), (Some(4), None));
    assert_eq!(blocks.gaps(), HeldGaps { gaps: 1, orphans: 1, is_full: false });
    let cleared = event(KvEventChange::Cleared, Vec::new());
    blocks.apply(1, UnixNanos(3 * SECOND), &[cleared]);
    assert_eq!((routed(&blocks, 2), routed(&blocks, 3)), (None, Some(4)));
}

#[test]
fn other_media_and_groups_are_not_the_gpus_prefixes() {
    let mut blocks = HeldBlocks::new(2, Nanos(SECOND));
    let path = [1, 2, 3];
    let at = UnixNanos(SECOND);
    let host = HeardEvent { medium: "cpu".to_owned(), ..stored(0, &path[..2], 0) };
    let mut sliding = stored(0, &path[..2], 0);
    sliding.group = Some(1);
    blocks.apply(0, at, &[host, sliding]);
    assert_eq!(blocks.hits(at, &path, 0), Some(ChoiceHits::default()));
    assert_eq!(blocks.hits(at, &path, 1), None, "it never published");
    blocks.apply(0, at, &[stored(0, &path[..2], 0)]);
    let hits = ChoiceHits { routed: Tokens(2), uniform: 1.0, best: Tokens(2) };
    assert_eq!(blocks.hits(at, &path, 0), Some(hits));
}

#[test]
fn what_left_is_forgotten_after_its_time_and_memory_is_bounded() {
    let mut blocks = HeldBlocks::new(1, Nanos(10 * SECOND));
    let path = [1, 2, 3];
    let at = |second: u64| UnixNanos(second * SECOND);
    blocks.apply(0, at(1), &[stored(0, &path[..2], 0)]);
    blocks.apply(0, at(5), &[removed(0, &path[..2])]);
    let routed =
        |blocks: &HeldBlocks, second| blocks.hits(at(second), &path, 0).map(|hits| hits.routed.0);
    assert_eq!((routed(&blocks, 4), routed(&blocks, 5)), (Some(2), Some(0)));
    blocks.apply(0, at(15), &[]);
    assert_eq!((routed(&blocks, 4), routed(&blocks, 5)), (None, Some(0)));
    let many = HeardEvent {
        token_ids: (0..4_000_004).collect(),
        ..event(KvEventChange::Stored, (0..2_000_002).collect())
    };
    blocks.apply(0, at(16), &[many]);
    assert!(blocks.gaps().is_full);
    assert_eq!(routed(&blocks, 16), None);
}
