//! One decision: what is looked up for a request, and what the policy makes of it.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use weir_model::Prompt;
use weir_router::{
    ApproximateIndex, BlockIndex, Match, PolicyConfig, ReplicaChooser, ReplicaView, RouterConfig,
};

use crate::index::prompt_keys;
use crate::known::SharedState;
use crate::prompt::{Asked, Route};
use crate::tokens::Tokens;
use crate::upstream::Upstream;

/// What was missing where a prefix policy decided without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmatched {
    /// No engine would take the body.
    Prompt,
    /// Neither a tokenizer nor a replica gave token ids.
    Tokens,
    /// The store of the index did not answer.
    Index,
}

impl Unmatched {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Prompt => "no-prompt",
            Self::Tokens => "no-tokens",
            Self::Index => "no-index",
        }
    }
}

/// What is known of a prompt when a replica is chosen.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// In blocks, for the approximate index.
    estimated: Option<Prompt>,
    /// Per replica; empty without an index.
    matches: Vec<Match>,
    total_blocks: u32,
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) unmatched: Option<Unmatched>,
}

#[derive(Debug)]
pub(crate) struct ReplicaChoice {
    pub(crate) replica: u16,
    /// Per replica; empty without an index.
    pub(crate) matched_tokens: Vec<u32>,
    /// Weighted sums per replica; None for those that were no choice. Empty without scorers.
    pub(crate) sums: Vec<Option<f64>>,
}

#[derive(Debug)]
pub(crate) struct Chooser {
    policy: PolicyConfig,
    router: ReplicaChooser,
    approximate: Option<ApproximateIndex>,
    /// Reused buffers.
    views: Vec<ReplicaView>,
}

impl Chooser {
    pub(crate) fn new(config: &RouterConfig) -> Self {
        let approximate = match &config.policy {
            PolicyConfig::ApproximatePrefix {
                block_tokens,
                lru_blocks_per_replica,
                max_prefix_tokens,
                ..
            } => Some(ApproximateIndex::new(
                *block_tokens,
                *lru_blocks_per_replica,
                *max_prefix_tokens,
            )),
            _ => None,
        };
        let policy = config.policy.clone();
        Self { policy, router: ReplicaChooser::new(config), approximate, views: Vec::new() }
    }

    pub(crate) fn approximate_blocks(&mut self) -> Option<u64> {
        self.approximate.as_mut().map(BlockIndex::known_blocks)
    }

    /// Among the replicas that are up, without `except`. None if there is none.
    pub(crate) fn choose(
        &mut self,
        shared: &SharedState,
        looked: &mut Looked,
        except: Option<u16>,
    ) -> Option<ReplicaChoice> {
        if let (Some(index), Some(prompt)) = (&mut self.approximate, &looked.estimated) {
            looked.matches.resize(shared.replicas.len(), Match::default());
            looked.total_blocks = index.lookup(prompt, &mut looked.matches);
        }
        self.views.clear();
        self.views.extend(shared.replicas.iter().enumerate().map(|(at, replica)| ReplicaView {
            is_candidate: replica.is_up() && except != Some(at as u16),
            load: replica.load(),
            found: looked.matches.get(at).copied().unwrap_or_default(),
        }));
        let replica = self.router.choose(&self.views, looked.total_blocks)?;
        if let (Some(index), Some(prompt)) = (&mut self.approximate, &looked.estimated) {
            index.placed(replica, prompt);
        }
        let block_tokens = block_tokens(&self.policy);
        let matched_tokens = looked.matches.iter().map(|it| it.blocks * block_tokens).collect();
        Some(ReplicaChoice { replica, matched_tokens, sums: self.router.sums().to_vec() })
    }
}

pub(crate) const fn block_tokens(policy: &PolicyConfig) -> u32 {
    match policy {
        PolicyConfig::ApproximatePrefix { block_tokens, .. }
        | PolicyConfig::PrecisePrefix { block_tokens, .. } => *block_tokens,
        PolicyConfig::Random | PolicyConfig::RoundRobin | PolicyConfig::LeastLoaded => 0,
    }
}

/// Everything that may take time, before the choice.
pub(crate) async fn look_up(
    policy: &PolicyConfig,
    route: Route,
    body: &Bytes,
    tokens: &Tokens,
    (shared, upstreams): (&Arc<SharedState>, &[Rc<Upstream>]),
) -> Looked {
    let mut looked = Looked::default();
    let block_tokens = block_tokens(policy);
    if block_tokens == 0 {
        return looked;
    }
    let Some(mut asked) = Asked::read(route, body) else {
        looked.unmatched = Some(Unmatched::Prompt);
        return looked;
    };
    let Some(index) = &shared.index else {
        looked.estimated = Some(asked.estimated(block_tokens));
        return looked;
    };
    let Some(ids) = tokens.of(&mut asked, body, (shared, upstreams)).await else {
        shared.counters.untokenized.add(1);
        looked.unmatched = Some(Unmatched::Tokens);
        return looked;
    };
    let hasher = shared.hasher(asked.model.as_deref());
    let keys = prompt_keys(hasher, &ids, block_tokens, asked.salt.as_deref());
    looked.prompt_tokens = Some(ids.len() as u32);
    looked.total_blocks = keys.len() as u32;
    looked.matches = vec![Match::default(); shared.replicas.len()];
    shared.counters.lookups.add(1);
    let done = if index.is_in_memory() {
        index.lookup(&keys, &mut looked.matches).is_ok()
    } else {
        // Streams must not wait for a store.
        let (shared, mut matches) = (Arc::clone(shared), std::mem::take(&mut looked.matches));
        let look = move || {
            let index = shared.index.as_ref();
            let done = index.is_some_and(|index| index.lookup(&keys, &mut matches).is_ok());
            (done, matches)
        };
        let (done, matches) = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        looked.matches = matches;
        done
    };
    if !done {
        shared.counters.lookup_failures.add(1);
        looked.unmatched = Some(Unmatched::Index);
        looked.matches.fill(Match::default());
    }
    let is_hit = looked.matches.iter().any(|found| found.blocks > 0);
    shared.counters.lookup_hits.add(u64::from(is_hit));
    looked
}
