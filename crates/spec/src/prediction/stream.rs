//! The requests of a level in their likely order.

use std::collections::VecDeque;

use weir_model::{Nanos, Piece};
use weir_workload::{Session, SessionSource, Turn, WorkloadConfig};
use xxhash_rust::xxh3::xxh3_64;

use super::cache::Unit;
use crate::error::SpecError;
use crate::plan::{Deployment, Level, LevelLoad};

/// Shorter units follow partial evictions more closely and cost more.
const UNIT_TOKENS: u32 = 2048;
/// Longer cells repeat the pattern of their beginning.
const MOST_REQUESTS: u64 = 6_000;
/// Assumed duration of a session in an open loop.
const OPEN_LOOP_SECONDS: f64 = 10.0;
/// More sessions at once behave the same, slower.
const MOST_SESSIONS: usize = 4_096;

#[derive(Debug, Clone)]
pub(super) struct Asked {
    units: Vec<Unit>,
    prompt_units: usize,
    pub(super) prompt_tokens: u64,
    pub(super) output_tokens: u32,
    pub(super) seen_tokens: u64,
}

impl Asked {
    pub(super) fn prompt(&self) -> &[Unit] {
        &self.units[..self.prompt_units]
    }
    pub(super) fn whole(&self) -> &[Unit] {
        &self.units
    }
}

#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) requests: Vec<Asked>,
    /// At once, over all replicas.
    pub(super) in_flight: usize,
    /// None where the level has no end in time.
    pub(super) seconds: Option<f64>,
}

impl Stream {
    pub(super) fn read(
        deployment: &Deployment,
        level: &Level,
        seed: u64,
    ) -> Result<Self, SpecError> {
        let mut source = deployment.open_source(level, seed)?;
        let slots = sessions(&level.load);
        let most = most_requests(level);
        let mut turns = Interleaved::new(slots);
        let traced = matches!(level.load, LevelLoad::Trace { .. });
        let mut requests = Vec::new();
        while (requests.len() as u64) < most {
            let Some(turn) = turns.next(&mut source) else {
                break;
            };
            requests.push(asked(&turn));
        }
        if let Some(error) = source.error() {
            return Err(error.clone().into());
        }
        let seconds = level.duration.map(Nanos::as_secs_f64);
        let in_flight = match turns.rate() {
            Some(rate) if traced => at_once(rate),
            _ => slots,
        };
        Ok(Self { requests, in_flight, seconds })
    }
}

fn sessions(load: &LevelLoad) -> usize {
    match load {
        LevelLoad::Users(users) => (*users as usize).min(MOST_SESSIONS),
        LevelLoad::Constant(rate) | LevelLoad::Poisson(rate) | LevelLoad::Gamma { rate, .. } => {
            at_once(*rate)
        }
        // A trace has its own order.
        LevelLoad::Trace { .. } => 1,
    }
}

fn at_once(rate: f64) -> usize {
    ((rate * OPEN_LOOP_SECONDS).ceil() as usize).clamp(1, MOST_SESSIONS)
}

/// An upper bound without durations.
fn most_requests(level: &Level) -> u64 {
    let rate = match level.load {
        LevelLoad::Constant(rate) | LevelLoad::Poisson(rate) | LevelLoad::Gamma { rate, .. } => {
            Some(rate)
        }
        LevelLoad::Users(_) | LevelLoad::Trace { .. } => None,
    };
    // An agent's turns are drawn; the others' are known.
    let turns = match &level.workload {
        WorkloadConfig::SharedPrefix(config) => Some(config.turns),
        WorkloadConfig::LongContext(config) => Some(config.questions),
        WorkloadConfig::Agentic(_) | WorkloadConfig::Trace(_) => None,
    };
    let offered = match (rate, turns, level.duration) {
        (Some(rate), Some(turns), Some(duration)) => {
            (rate * duration.as_secs_f64() * f64::from(turns)).ceil() as u64
        }
        _ => MOST_REQUESTS,
    };
    offered.min(MOST_REQUESTS).min(level.max_requests.unwrap_or(u64::MAX))
}

/// Sessions side by side, one turn of each in turn.
struct Interleaved {
    slots: usize,
    active: VecDeque<VecDeque<Turn>>,
    /// Sessions begun, and the time of the last one where a trace gives it.
    begun: u64,
    last_start: Option<Nanos>,
}

impl Interleaved {
    fn new(slots: usize) -> Self {
        Self { slots, active: VecDeque::new(), begun: 0, last_start: None }
    }

    fn rate(&self) -> Option<f64> {
        let seconds = self.last_start?.as_secs_f64();
        (seconds > 0.0).then(|| self.begun as f64 / seconds)
    }

    fn next(&mut self, source: &mut impl SessionSource) -> Option<Turn> {
        while self.active.len() < self.slots {
            let Some(Session { turns, start, .. }) = source.next_session() else {
                break;
            };
            self.begun += 1;
            self.last_start = start.or(self.last_start);
            self.active.push_back(turns.into());
        }
        let mut session = self.active.pop_front()?;
        let turn = session.pop_front()?;
        if !session.is_empty() {
            self.active.push_back(session);
        }
        Some(turn)
    }
}

fn asked(turn: &Turn) -> Asked {
    let mut units = Vec::new();
    let mut key = 0;
    for piece in turn.prompt.pieces() {
        split(*piece, &mut key, &mut units);
    }
    let prompt_units = units.len();
    split(Piece::new(turn.output, turn.output_tokens.get()), &mut key, &mut units);
    Asked {
        units,
        prompt_units,
        prompt_tokens: u64::from(turn.prompt.tokens().get()),
        output_tokens: turn.output_tokens.get(),
        seen_tokens: u64::from(turn.seen_tokens.get()),
    }
}

/// `key` is the hash of everything before them.
fn split(piece: Piece, key: &mut u64, units: &mut Vec<Unit>) {
    let end = piece.start + piece.len;
    let mut start = piece.start;
    while start < end {
        // Cut at multiples, so that a piece and its continuation are cut alike.
        let tokens = (UNIT_TOKENS - start % UNIT_TOKENS).min(end - start);
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&key.to_le_bytes());
        bytes[8..16].copy_from_slice(&piece.content.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&start.to_le_bytes());
        bytes[20..].copy_from_slice(&tokens.to_le_bytes());
        *key = xxh3_64(&bytes);
        units.push(Unit { key: *key, tokens });
        start += tokens;
    }
}
