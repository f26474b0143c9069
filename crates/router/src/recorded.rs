//! What llm-d's picker scored and picked, against this crate.
//!
//! The recordings are of llm-d-inference-scheduler 0.7.1 (`tests/fixtures/llm-d-0.7.1/record.py`
//! says how they are made). The picker breaks ties by chance, so its pick must be among the best
//! here; then the step goes on with the picker's choice.

use serde::Deserialize;
use weir_model::{ContentId, KvChange, KvEvent, Piece, Prompt, TierKind};

use crate::config::{Normalization, ScorerWeights};
use crate::index::{ApproximateIndex, BlockIndex, Match, PreciseIndex, TierWeights};
use crate::score::{ReplicaLoad, ReplicaScores, Scorers};

/// Sums of weights of single blocks there, products of weights and runs of blocks here.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Case(Case),
    /// Waiting requests and KV usage per replica.
    Loads(Vec<(u32, f64)>),
    Event(Event),
    Request(Request),
}

#[derive(Deserialize)]
struct Case {
    policy: String,
    block_tokens: u32,
    lru_blocks_per_replica: Option<u32>,
    max_prefix_tokens: Option<u32>,
    weights: Weights,
    requests: usize,
    replicas: usize,
}

/// Absent: the profile has no such scorer.
#[derive(Deserialize)]
struct Weights {
    queue: f64,
    kv_usage: f64,
    prefix: f64,
    no_hit_lru: Option<f64>,
}

/// Content, start and length.
type Path = Vec<(u64, u32, u32)>;

#[derive(Deserialize)]
struct Event {
    replica: u16,
    change: String,
    tier: String,
    path: Path,
    from: u32,
    to: u32,
}

#[derive(Deserialize)]
struct Request {
    prompt: Path,
    scores: Scores,
    picked: u16,
}

#[derive(Deserialize)]
struct Scores {
    queue: Vec<f64>,
    kv_usage: Vec<f64>,
    prefix: Vec<f64>,
    no_hit_lru: Option<Vec<f64>>,
}

fn prompt(path: &Path) -> Prompt {
    Prompt::new(path.iter().map(|(content, start, len)| Piece {
        content: ContentId(*content),
        start: *start,
        len: *len,
    }))
}

fn kv_event(event: &Event) -> KvEvent {
    KvEvent {
        change: match event.change.as_str() {
            "stored" => KvChange::Stored,
            "removed" => KvChange::Removed,
            "cleared" => KvChange::Cleared,
            other => panic!("change {other}"),
        },
        tier: if event.tier == "gpu" { TierKind::Gpu } else { TierKind::Host },
        path: prompt(&event.path),
        from_token: event.from,
        to_token: event.to,
    }
}

fn weights(case: &Case) -> ScorerWeights {
    ScorerWeights {
        queue: case.weights.queue,
        kv_usage: case.weights.kv_usage,
        prefix: case.weights.prefix,
        no_hit_lru: case.weights.no_hit_lru.unwrap_or(0.0),
    }
}

fn best(scores: &[ReplicaScores], weights: &ScorerWeights) -> Vec<u16> {
    let sums: Vec<f64> = scores.iter().map(|score| score.sum(weights)).collect();
    let highest = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (0..sums.len() as u16)
        .filter(|replica| highest - sums[usize::from(*replica)] < TOLERANCE)
        .collect()
}

fn parts(case: &Case, weights: ScorerWeights) -> (Box<dyn BlockIndex>, Scorers) {
    match case.policy.as_str() {
        "precise" => {
            let tiers = TierWeights { gpu: 1.0, below: 0.8 };
            let index = PreciseIndex::new(case.block_tokens, tiers, false);
            (Box::new(index), Scorers::new(weights, Normalization::MinMax, 1))
        }
        "approximate" => {
            let (lru, most) = (case.lru_blocks_per_replica, case.max_prefix_tokens);
            let index = ApproximateIndex::new(
                case.block_tokens,
                lru.expect("the case has it"),
                most.expect("the case has it"),
            );
            (Box::new(index), Scorers::new(weights, Normalization::Share, 1))
        }
        other => panic!("policy {other}"),
    }
}

fn assert_alike(what: &str, ours: impl Iterator<Item = f64>, theirs: &[f64], line: usize) {
    let ours: Vec<f64> = ours.collect();
    let alike = ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() < TOLERANCE);
    assert!(alike, "line {line}: {what} is {ours:?} here and {theirs:?} at the picker");
}

struct Replay {
    weights: ScorerWeights,
    index: Box<dyn BlockIndex>,
    scorers: Scorers,
    loads: Vec<ReplicaLoad>,
    matches: Vec<Match>,
    /// Replicas that had a prompt without any match.
    had_cold: Vec<bool>,
    choices: usize,
    /// Choices between equals.
    ties: usize,
}

impl Replay {
    fn new(case: &Case) -> Self {
        let weights = weights(case);
        let (index, scorers) = parts(case, weights);
        Self {
            weights,
            index,
            scorers,
            loads: vec![ReplicaLoad::default(); case.replicas],
            matches: vec![Match::default(); case.replicas],
            had_cold: vec![false; case.replicas],
            choices: 0,
            ties: 0,
        }
    }

    fn step(&mut self, line: usize, step: Line) {
        match step {
            Line::Case(_) => panic!("line {line}: a second case"),
            Line::Loads(gauges) => {
                for (load, (waiting, kv_usage)) in self.loads.iter_mut().zip(gauges) {
                    *load = ReplicaLoad { in_flight: 0, waiting, kv_usage };
                }
            }
            Line::Event(event) => self.index.apply(event.replica, &kv_event(&event)),
            Line::Request(request) => self.request(line, &request),
        }
    }

    fn request(&mut self, line: usize, request: &Request) {
        let Request { prompt: path, scores, picked } = request;
        let asked = prompt(path);
        let total_blocks = self.index.lookup(&asked, &mut self.matches);
        self.scorers.score(&self.loads, &self.matches, total_blocks);
        let ours = self.scorers.scores();
        assert_alike("queue", ours.iter().map(|it| it.queue), &scores.queue, line);
        assert_alike("usage", ours.iter().map(|it| it.kv_usage), &scores.kv_usage, line);
        assert_alike("prefix", ours.iter().map(|it| it.prefix), &scores.prefix, line);
        let best = best(ours, &self.weights);
        let mut is_ordered = true;
        if let Some(theirs) = &scores.no_hit_lru {
            let (mut ours, mut theirs): (Vec<f64>, _) =
                (ours.iter().map(|it| it.no_hit_lru).collect(), theirs.clone());
            // The picker's order of replicas that never had a cold prompt is arbitrary.
            is_ordered = self.had_cold.iter().filter(|had| !**had).count() < 2;
            if !is_ordered {
                ours.sort_by(f64::total_cmp);
                theirs.sort_by(f64::total_cmp);
            }
            assert_alike("no-hit-lru", ours.into_iter(), &theirs, line);
        }
        if is_ordered {
            assert!(best.contains(picked), "line {line}: {best:?} here, {picked} there");
        }
        let is_cold = self.matches.iter().all(|found| found.blocks == 0);
        self.had_cold[usize::from(*picked)] |= is_cold;
        self.scorers.chosen(*picked, &self.matches);
        self.index.placed(*picked, &asked);
        self.choices += 1;
        self.ties += usize::from(best.len() > 1);
    }
}

/// Returns the choices, and those between equals.
fn replay(recording: &str) -> (usize, usize) {
    let mut lines = recording.lines().map(|line| serde_json::from_str(line).expect("a line"));
    let Some(Line::Case(case)) = lines.next() else { panic!("the first line is the case") };
    let mut replay = Replay::new(&case);
    for (line, step) in lines.enumerate() {
        replay.step(line + 2, step);
    }
    assert_eq!(replay.choices, case.requests);
    (replay.choices, replay.ties)
}

#[test]
fn precise_scores_and_choices_are_those_of_the_picker() {
    let (choices, ties) = replay(include_str!("../tests/fixtures/llm-d-0.7.1/precise.jsonl"));
    assert_eq!((choices, ties), (60, 13));
}

#[test]
fn precise_choices_with_the_order_of_cold_requests_are_those_of_the_picker() {
    let recording = include_str!("../tests/fixtures/llm-d-0.7.1/precise-no-hit-lru.jsonl");
    assert_eq!(replay(recording), (40, 3));
}

#[test]
fn approximate_scores_and_choices_are_those_of_the_picker() {
    let (choices, ties) = replay(include_str!("../tests/fixtures/llm-d-0.7.1/approximate.jsonl"));
    assert_eq!((choices, ties), (60, 16));
}

#[test]
fn approximate_choices_with_the_order_of_cold_requests_are_those_of_the_picker() {
    let recording = include_str!("../tests/fixtures/llm-d-0.7.1/approximate-no-hit-lru.jsonl");
    assert_eq!(replay(recording), (40, 1));
}
