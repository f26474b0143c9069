//! How much of a workload is asked again, and after how much else: what a cache of a given size
//! could serve.
//!
//! The walk keeps an LRU stack of pieces, each named by its content and all that stands before
//! it. The distance of a reused token is the number of distinct tokens, itself included, that an
//! LRU cache must hold for the token to be there still. Pieces of one request are used tail
//! first, as engines free blocks, so the head of a prompt is evicted last. Where a piece is
//! reused whole, which is always so unless a trace was cut, distances are exact per token; where
//! a part of it is reused, all of it counts as used.
//!
//! Answers count as used when they end, because their KV entries occupy a cache too. What a
//! request needs while it runs is not part of the model: it is the engine's own working memory.

mod recency;

use std::collections::VecDeque;

use weir_model::Piece;

use crate::seen::{ChainMap, ROOT, chain_after, entry};
use crate::session::{SessionSource, Turn};
use recency::Recency;

/// The reuse of a workload. Sizes are in tokens; a model's KV bytes per token make them bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ReuseProfile {
    pub sessions: u64,
    /// Sessions that the source had.
    pub sessions_scanned: u64,
    pub requests: u64,
    pub prompt_tokens: u64,
    /// Leading prompt tokens, in whole blocks, that a cache without limits would serve.
    pub seen_tokens: u64,
    /// Distinct tokens asked or generated: what a cache without limits would hold at the end.
    pub unique_tokens: u64,
    /// The working set: distinct tokens that are asked again.
    pub asked_again_tokens: u64,
    /// Half of the seen tokens have at most this distance; 0 without reuse.
    pub reuse_distance_p50_tokens: u64,
    /// Nine tenths of the seen tokens have at most this distance.
    pub reuse_distance_p90_tokens: u64,
    /// The largest distance of a seen token.
    pub reuse_distance_max_tokens: u64,
    /// Prompt tokens per request.
    pub mean_prompt_tokens: f64,
    /// Output tokens per request.
    pub mean_output_tokens: f64,
    curve: Curve,
}

impl ReuseProfile {
    /// Seen tokens that an LRU cache of so many tokens would serve.
    pub fn hit_tokens_within(&self, tokens: u64) -> u64 {
        self.curve.within(tokens) as u64
    }

    /// Their share of the seen tokens, from 0 to 1; 0 without reuse.
    pub fn hit_share_within(&self, tokens: u64) -> f64 {
        match self.seen_tokens {
            0 => 0.0,
            seen => self.hit_tokens_within(tokens) as f64 / seen as f64,
        }
    }
}

/// Walks up to `sessions` sessions, one after the other. `block_tokens` is the size of the
/// blocks that caches hold, at least 1; less than a block at the end of a match is not reused.
pub fn profile(source: &mut dyn SessionSource, sessions: usize, block_tokens: u32) -> ReuseProfile {
    profile_interleaved(source, sessions, block_tokens, 1)
}

/// The same with so many users at a time, whose turns alternate: between two turns of a session,
/// each other user has one. A closed loop is close to this; sessions of one turn do not care.
pub fn profile_interleaved(
    source: &mut dyn SessionSource,
    sessions: usize,
    block_tokens: u32,
    users: usize,
) -> ReuseProfile {
    let mut walk = Walk::new(block_tokens);
    let mut scanned = 0;
    let mut users: VecDeque<std::vec::IntoIter<Turn>> =
        (0..users.max(1)).map(|_| Vec::new().into_iter()).collect();
    while let Some(mut turns) = users.pop_front() {
        let mut turn = turns.next();
        if turn.is_none()
            && scanned < sessions
            && let Some(session) = source.next_session()
        {
            scanned += 1;
            turns = session.turns.into_iter();
            turn = turns.next();
        }
        if let Some(turn) = turn {
            walk.request(&turn);
            users.push_back(turns);
        }
    }
    walk.finish(sessions as u64, scanned as u64)
}

/// A piece after its history.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Its longest length so far.
    tokens: u32,
    /// Leading tokens of it that were asked again.
    again: u32,
}

/// Tokens of one piece that were reused together: distances `after + 1 ..= after + tokens`.
#[derive(Debug, Clone, Copy)]
struct Reuse {
    entry: u32,
    after: u64,
    tokens: u32,
}

struct Walk {
    block_tokens: u64,
    index: ChainMap<u32>,
    known: Vec<Known>,
    recency: Recency,
    reuses: Vec<Reuse>,
    /// Entries of the request at hand; a field to keep its memory.
    path: Vec<u32>,
    requests: u64,
    prompt_tokens: u64,
    output_tokens: u64,
}

impl Walk {
    fn new(block_tokens: u32) -> Self {
        Self {
            block_tokens: u64::from(block_tokens.max(1)),
            index: ChainMap::default(),
            known: Vec::new(),
            recency: Recency::new(),
            reuses: Vec::new(),
            path: Vec::new(),
            requests: 0,
            prompt_tokens: 0,
            output_tokens: 0,
        }
    }

    /// Looks a request up, and then uses its pieces and its answer.
    fn request(&mut self, turn: &Turn) {
        self.requests += 1;
        self.prompt_tokens += u64::from(turn.prompt.tokens().get());
        self.output_tokens += u64::from(turn.output_tokens.get());
        let first_reuse = self.reuses.len();
        let mut chain = ROOT;
        let mut matching = true;
        self.path.clear();
        for piece in turn.prompt.pieces() {
            let (entry, before, after) = self.enter(chain, piece);
            if matching && before > 0 {
                let tokens = piece.len.min(before);
                let used_after = self.recency.used_after(entry);
                self.reuses.push(Reuse { entry, after: used_after, tokens });
            }
            matching &= piece.len <= before;
            chain = after;
        }
        self.enter(chain, &Piece::new(turn.output, turn.output_tokens.get()));
        self.keep_whole_blocks(first_reuse);
        for entry in self.path.iter().rev() {
            self.recency.touch(*entry, self.known[*entry as usize].tokens);
        }
    }

    /// The entry of a piece after `chain`, its length before, and the chain after it. The piece
    /// joins the path.
    fn enter(&mut self, chain: u64, piece: &Piece) -> (u32, u32, u64) {
        let name = entry(chain, piece);
        let entry = *self.index.entry(name).or_insert_with(|| {
            self.known.push(Known::default());
            self.known.len() as u32 - 1
        });
        let known = &mut self.known[entry as usize];
        let before = known.tokens;
        known.tokens = before.max(piece.len);
        self.path.push(entry);
        (entry, before, chain_after(name, piece.len))
    }

    /// Cuts what the last request reuses to whole blocks.
    fn keep_whole_blocks(&mut self, first_reuse: usize) {
        let matched: u64 = self.reuses[first_reuse..].iter().map(|r| u64::from(r.tokens)).sum();
        let mut left = matched / self.block_tokens * self.block_tokens;
        for reuse in &mut self.reuses[first_reuse..] {
            reuse.tokens = u64::from(reuse.tokens).min(left) as u32;
            left -= u64::from(reuse.tokens);
            let known = &mut self.known[reuse.entry as usize];
            known.again = known.again.max(reuse.tokens);
        }
    }

    fn finish(self, sessions: u64, sessions_scanned: u64) -> ReuseProfile {
        let curve = Curve::new(&self.reuses);
        let per_request = |tokens: u64| tokens as f64 / self.requests.max(1) as f64;
        ReuseProfile {
            sessions,
            sessions_scanned,
            requests: self.requests,
            prompt_tokens: self.prompt_tokens,
            seen_tokens: self.reuses.iter().map(|reuse| u64::from(reuse.tokens)).sum(),
            unique_tokens: self.recency.total(),
            asked_again_tokens: self.known.iter().map(|known| u64::from(known.again)).sum(),
            reuse_distance_p50_tokens: curve.quantile(0.5),
            reuse_distance_p90_tokens: curve.quantile(0.9),
            reuse_distance_max_tokens: curve.quantile(1.0),
            mean_prompt_tokens: per_request(self.prompt_tokens),
            mean_output_tokens: per_request(self.output_tokens),
            curve,
        }
    }
}

/// Reused tokens by distance. A run of tokens with the distances `a + 1 ..= b` contributes
/// `(c - a)+ - (c - b)+` tokens within `c`, so two sorted lists with running sums answer any `c`.
#[derive(Debug, Clone, PartialEq)]
struct Curve {
    begins: Ramps,
    ends: Ramps,
}

impl Curve {
    fn new(reuses: &[Reuse]) -> Self {
        let runs = || reuses.iter().filter(|reuse| reuse.tokens > 0);
        Self {
            begins: Ramps::new(runs().map(|reuse| reuse.after).collect()),
            ends: Ramps::new(runs().map(|reuse| reuse.after + u64::from(reuse.tokens)).collect()),
        }
    }

    /// Tokens with at most this distance.
    fn within(&self, distance: u64) -> u128 {
        self.begins.height(distance) - self.ends.height(distance)
    }

    /// The smallest distance that at least this share of the tokens have at most.
    fn quantile(&self, share: f64) -> u64 {
        let max = self.ends.starts.last().copied().unwrap_or(0);
        let wanted = (self.within(max) as f64 * share).ceil() as u128;
        let (mut low, mut high) = (0, max);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.within(middle) >= wanted {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// The sum of ramps that each rise by one per token from their start on.
#[derive(Debug, Clone, PartialEq)]
struct Ramps {
    starts: Vec<u64>,
    /// Sum of the first `i` starts.
    sums: Vec<u128>,
}

impl Ramps {
    fn new(mut starts: Vec<u64>) -> Self {
        starts.sort_unstable();
        let mut sums = vec![0];
        let mut sum = 0;
        for start in &starts {
            sum += u128::from(*start);
            sums.push(sum);
        }
        Self { starts, sums }
    }

    fn height(&self, at: u64) -> u128 {
        let risen = self.starts.partition_point(|start| *start < at);
        u128::from(at) * risen as u128 - self.sums[risen]
    }
}
