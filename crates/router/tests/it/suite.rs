//! Conformance suite of [`BlockIndex`]: under random streams every index must equal its reference,
//! operation by operation.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use weir_model::{ContentId, KvChange, KvEvent, Piece, Prompt, TierKind};
use weir_router::{BlockIndex, Match};

pub(crate) const REPLICAS: u16 = 4;
/// Tokens of engine blocks and of host chunks: smaller and larger than the index blocks.
const GPU_BLOCK: u32 = 16;
const HOST_CHUNK: u32 = 128;

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Placed(u16, Prompt),
    Event(u16, KvEvent),
    Clear,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Feed {
    Events,
    Placements,
}

/// Few contents and lengths, so that prompts often share prefixes and differ inside blocks.
fn prompts() -> impl Strategy<Value = Prompt> {
    let len = prop::sample::select(vec![1_u32, 16, 40, 64, 128, 200, 512]);
    let piece = (0_u64..3, prop::bool::weighted(0.1), len).prop_map(|(content, later, len)| {
        Piece { content: ContentId(content), start: if later { 64 } else { 0 }, len }
    });
    vec(piece, 1..5).prop_map(Prompt::new)
}

fn events() -> impl Strategy<Value = Change> {
    let change = prop::sample::select(vec![
        KvChange::Stored,
        KvChange::Stored,
        KvChange::Stored,
        KvChange::Removed,
        KvChange::Removed,
    ]);
    let span = (prompts(), 0.0..1.0_f64, 0.0..1.0_f64, prop::bool::ANY);
    let event = (0..REPLICAS, change, span).prop_map(|(replica, change, span)| {
        let (prompt, from, to, gpu) = span;
        let (tier, unit) =
            if gpu { (TierKind::Gpu, GPU_BLOCK) } else { (TierKind::Host, HOST_CHUNK) };
        let units = f64::from(prompt.tokens().0 / unit);
        // Half of all spans begin at the first token, as most do.
        let from_token = ((2.0 * from - 1.0).max(0.0) * units) as u32 * unit;
        let to_token = (to * (units + 1.0)) as u32 * unit;
        let to_token = to_token.max(from_token);
        Change::Event(replica, KvEvent { change, tier, path: prompt, from_token, to_token })
    });
    let cleared = (0..REPLICAS, prop::bool::ANY).prop_map(|(replica, gpu)| {
        let tier = if gpu { TierKind::Gpu } else { TierKind::Host };
        let event = KvEvent {
            change: KvChange::Cleared,
            tier,
            path: Prompt::new([]),
            from_token: 0,
            to_token: 0,
        };
        Change::Event(replica, event)
    });
    prop_oneof![60 => event, 2 => cleared, 1 => Just(Change::Clear)]
}

fn placements() -> impl Strategy<Value = Change> {
    let placed =
        (0..REPLICAS, prompts()).prop_map(|(replica, prompt)| Change::Placed(replica, prompt));
    prop_oneof![60 => placed, 1 => Just(Change::Clear)]
}

/// The error is the first difference, shrunk. The streams are the same on every run.
pub(crate) fn equals_reference<I: BlockIndex, R: BlockIndex>(
    feed: Feed,
    index: impl Fn() -> I,
    reference: impl Fn() -> R,
) -> Result<(), String> {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let changes = match feed {
        Feed::Events => vec(events(), 1..60).boxed(),
        Feed::Placements => vec(placements(), 1..60).boxed(),
    };
    let streams = (changes, vec(prompts(), 1..8));
    let outcome = runner.run(&streams, |(changes, probes)| {
        let (mut index, mut reference) = (index(), reference());
        for change in &changes {
            step(&mut index, change);
            step(&mut reference, change);
            compare(&mut index, &mut reference, change, &probes)?;
        }
        Ok(())
    });
    outcome.map_err(|difference| difference.to_string())
}

fn step(index: &mut impl BlockIndex, change: &Change) {
    match change {
        Change::Placed(replica, prompt) => index.placed(*replica, prompt),
        Change::Event(replica, event) => index.apply(*replica, event),
        Change::Clear => index.clear(),
    }
}

fn compare(
    index: &mut impl BlockIndex,
    reference: &mut impl BlockIndex,
    change: &Change,
    probes: &[Prompt],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(index.extents(), reference.extents(), "extents");
    prop_assert_eq!(index.known_blocks(), reference.known_blocks(), "known blocks");
    let own = match change {
        Change::Placed(_, prompt) => Some(prompt.clone()),
        Change::Event(_, event) => Some(event.path.clone()),
        Change::Clear => None,
    };
    for prompt in probes.iter().chain(own.as_ref()) {
        let mut ours = [Match::default(); REPLICAS as usize];
        let mut theirs = ours;
        let total = index.lookup(prompt, &mut ours);
        prop_assert_eq!(total, reference.lookup(prompt, &mut theirs), "blocks asked for");
        prop_assert_eq!(ours, theirs, "matches of {:?}", prompt);
    }
    Ok(())
}

/// An empty index matches nothing, before and after use.
pub(crate) fn clear_forgets(index: &mut impl BlockIndex, feed: Feed) {
    let prompt = Prompt::new([Piece::new(ContentId(1), 1024)]);
    let fill = match feed {
        Feed::Placements => Change::Placed(1, prompt.clone()),
        Feed::Events => Change::Event(1, stored(&prompt)),
    };
    let mut matches = [Match::default(); REPLICAS as usize];
    for _ in 0..2 {
        index.lookup(&prompt, &mut matches);
        assert_eq!(matches, [Match::default(); REPLICAS as usize]);
        assert_eq!(index.known_blocks(), 0);
        step(index, &fill);
        index.lookup(&prompt, &mut matches);
        assert_eq!(matches[1].blocks * index.block_tokens(), 1024);
        assert_eq!(index.known_blocks(), u64::from(matches[1].blocks));
        index.clear();
    }
}

/// Whole prompt, in GPU memory.
pub(crate) fn stored(prompt: &Prompt) -> KvEvent {
    KvEvent {
        change: KvChange::Stored,
        tier: TierKind::Gpu,
        path: prompt.clone(),
        from_token: 0,
        to_token: prompt.tokens().0,
    }
}

/// Tests of one index: name, feed, constructor and reference.
macro_rules! index_suite {
    ($name:ident, $feed:expr, $index:expr, $reference:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn equals_its_reference() {
                if let Err(difference) = $crate::suite::equals_reference($feed, $index, $reference)
                {
                    panic!("{difference}");
                }
            }

            #[test]
            fn clear_forgets_everything() {
                $crate::suite::clear_forgets(&mut $index(), $feed);
            }
        }
    };
}
