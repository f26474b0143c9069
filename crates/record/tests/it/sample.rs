use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;
use weir_model::{
    Bytes, ChoiceHits, Claim, Claimed, FactKind, FactSource, FactValue, LoadNote, Nanos,
    OffloadReason, Outcome, Remedy, RequestRow, RunningFacts, SignalKind, SignalSource, Signals,
    StepRow, TierKind, TokenShare, Tokens, Verdict,
};
use weir_record::{
    CellFigures, Distribution, Environment, Evidence, RecordError, RunFolder, SeriesRow,
    ShortWindow,
};

pub(crate) const CELL: &str = "qwen3-8b/2x-l40s/native-offload/c50/0";
pub(crate) const PLAN_HASH: &str = "9f2c";

pub(crate) fn environment() -> Environment {
    Environment {
        started: "2026-11-20T10:00:00Z".to_owned(),
        weir: "0.1.0".to_owned(),
        host: BTreeMap::from([("kernel".to_owned(), "6.18".to_owned())]),
    }
}

pub(crate) fn create(path: &Path) -> Result<RunFolder, RecordError> {
    let plan = serde_json::json!({"name": "sample", "seed": 889});
    RunFolder::create(path, "name: sample\n", &plan, PLAN_HASH, &environment())
}

/// The folder is removed with the first value.
pub(crate) fn run() -> (TempDir, RunFolder) {
    let folder = tempfile::tempdir().unwrap();
    let run = create(&folder.path().join("run")).unwrap();
    (folder, run)
}

/// The finaliser of `SplitMix64`, for values without a pattern.
fn mixed(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
    z ^ (z >> 31)
}

/// Differs from its neighbours in every column.
pub(crate) fn request(index: u64) -> RequestRow {
    let noise = mixed(index);
    let tokens = |shift: u32| Tokens((noise >> shift) as u32 % 10_000);
    let failed = noise.is_multiple_of(7);
    RequestRow {
        request: index,
        session: noise % 50,
        turn: (noise >> 8) as u32 % 9,
        prompt_id: noise,
        replica: (!noise.is_multiple_of(11)).then_some(noise as u16 % 4),
        due: Nanos(index * 1_000_003),
        start: Nanos(index * 1_000_003 + noise % 1000),
        connected: noise.is_multiple_of(3).then_some(Nanos(noise % 5000)),
        first_byte: noise.is_multiple_of(5).then_some(Nanos(noise % 6000)),
        first_token: (!failed).then_some(Nanos(index * 1_000_003 + noise % 100_000)),
        end: Nanos(index * 1_000_003 + noise % 1_000_000_000),
        prompt_tokens: tokens(3),
        output_tokens: tokens(5),
        seen_tokens: tokens(7),
        cached_tokens: [tokens(9), tokens(11), tokens(13), tokens(15)],
        preemptions: (noise >> 40) as u16,
        first_step: noise % 100_000,
        chunk_gaps: (0..noise % 5).map(|gap| Nanos(mixed(noise ^ gap) % 20_000_000)).collect(),
        events_per_read: noise.is_multiple_of(4).then_some(noise as f32 / 3.0),
        outcome: match noise % 7 {
            0 => Outcome::Failed,
            1 => Outcome::Unfinished,
            _ => Outcome::Done,
        },
        error: failed.then(|| format!("connection reset after {} bytes", noise % 11)),
        output_digest: noise.is_multiple_of(2).then_some(noise.rotate_left(7)),
        error_bound: Nanos(noise % 1000),
        hits: (!noise.is_multiple_of(13)).then(|| ChoiceHits {
            routed: tokens(17),
            uniform: (noise % 1000) as f32 / 7.0,
            best: tokens(19),
        }),
        shard: (!noise.is_multiple_of(5)).then_some(noise as u16 % 3),
    }
}

pub(crate) fn step(index: u64) -> StepRow {
    let noise = mixed(index);
    StepRow {
        replica: (index % 2) as u16,
        step: index / 2,
        end: Nanos(index * 20_000_000 + noise % 1000),
        gap: Nanos(20_000_000 + noise % 1000),
        decoding: noise as u32 % 256,
        tokens: noise as u32 % 8192,
        running: noise as u32 % 300,
        waiting: noise as u32 % 900,
        used_blocks: noise as u32 % 20_000,
    }
}

pub(crate) fn series(index: u64) -> SeriesRow {
    SeriesRow {
        time: Nanos::from_secs(index),
        source: "redis INFO".to_owned(),
        metric: format!("metric_{}", index % 3),
        labels: format!("replica=\"{}\"", index % 2),
        value: index as f64 / 3.0,
    }
}

const SERVED: TokenShare = TokenShare { part: 12_000.0, whole: 20_000.0 };

pub(crate) fn evidence() -> Evidence {
    let mut signals = Signals::default();
    signals.add(SignalKind::ExternalHitTokens, 1.0 / 3.0, "simulator");
    let lookups = SignalSource::of("tiers (all)").metric("found").at_lookup();
    signals.add_of(TierKind::Host, SignalKind::HostHitTokens, 0.1 + 0.2, lookups);
    let mut facts = RunningFacts::default();
    let off = FactValue::Flag(false);
    facts.add(FactKind::PrefixCaching, "vllm-0", off, FactSource::Metrics);
    let connectors = FactValue::Words(vec!["OffloadingConnector".to_owned()]);
    facts.add(FactKind::Connector, "vllm-0", connectors, FactSource::StartUpLog);
    facts.add(FactKind::Blocks, "http://h", FactValue::Count(33), FactSource::Metrics);
    Evidence {
        signals,
        facts,
        verdict: Verdict::Effective,
        predicted: true,
        claims: vec![Claim {
            claim: Claimed::ServedEnough { least: 0.1, served: SERVED },
            held: Some(true),
        }],
        reason: Some(OffloadReason::Served(SERVED).into()),
        other_half: Some(Verdict::Effective),
        remedy: Some(Remedy::LargerTier(Some(Bytes(3)))),
        notes: vec![LoadNote::NeverSteady { window: Nanos(7) }.into()],
        short_window: ShortWindow::of(Nanos::from_secs(4), Nanos::from_secs(1)),
    }
}

/// Decimal forms need every digit.
pub(crate) fn figures() -> CellFigures {
    let awkward = Distribution {
        count: 3,
        mean: 0.1 + 0.2,
        stddev: 1.0 / 3.0,
        p99: 2.2250738585072014e-308,
        max: 1.7976931348623157e308,
        ..Distribution::default()
    };
    CellFigures { window_s: 120.0, ttft_ms: awkward, completed: 3, ..CellFigures::default() }
}

/// One line with `path`.
#[track_caller]
pub(crate) fn assert_one_line(error: &RecordError, path: &Path) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "more than one line: {text}");
    assert!(text.contains(&path.display().to_string()), "does not name {}: {text}", path.display());
    assert!(text.contains("; "), "says no remedy: {text}");
}
