//! Reuse that an offload mechanism without limits could serve.
//!
//! Less than all repeated tokens: requests in flight have stored nothing, local tiers lack other
//! replicas' chunks, and most mechanisms do not store generated tokens.

use weir_engine::OffloadConfig;
use weir_model::{Piece, Request};
use weir_tier::EvictionPolicy;
use weir_tier::chunk_cache::{ChunkCache, Fit};

/// Memory bound per scope: 67 million tokens in chunks of 16.
const REMEMBERED_CHUNKS: u32 = 1 << 22;

pub(crate) struct UnlimitedTiers {
    /// Per replica, or one for a shared store.
    scopes: Vec<ChunkCache>,
    chunk_tokens: u32,
    prompt_only: bool,
}

impl UnlimitedTiers {
    pub(crate) fn new(offload: &OffloadConfig, replicas: u16) -> Self {
        let scopes = if offload.store.is_some() { 1 } else { usize::from(replicas) };
        let chunk_tokens = offload.chunk_tokens;
        let scope = ChunkCache::new(REMEMBERED_CHUNKS, chunk_tokens, EvictionPolicy::Lru);
        Self { scopes: vec![scope; scopes], chunk_tokens, prompt_only: offload.prompt_only }
    }

    fn scope(&mut self, replica: u16) -> &mut ChunkCache {
        let last = self.scopes.len() - 1;
        &mut self.scopes[usize::from(replica).min(last)]
    }

    /// At the first token: tokens after the GPU's hit that could be served. Later requests can hit
    /// the prompt.
    pub(crate) fn started(&mut self, replica: u16, request: &Request, gpu_hit: u32) -> u32 {
        let chunk = self.chunk_tokens;
        let prompt = request.prompt.tokens().0;
        let from = gpu_hit / chunk;
        let scope = self.scope(replica);
        let found = scope.lookup(request.prompt.pieces(), from, prompt / chunk).chunks;
        let end = ((from + found) * chunk).min(prompt.saturating_sub(1));
        remember(scope, request.prompt.pieces(), prompt / chunk);
        if found == 0 { 0 } else { end.saturating_sub(gpu_hit) }
    }

    /// Later requests can hit the answer, if the mechanism stores answers.
    pub(crate) fn ended(&mut self, replica: u16, request: &Request) {
        if self.prompt_only {
            return;
        }
        let answer = Piece::new(request.output, request.output_tokens.0);
        let whole = request.prompt.followed_by([answer]);
        // The last token's KV is never computed.
        let chunks = (whole.tokens().0 - 1) / self.chunk_tokens;
        remember(self.scope(replica), whole.pieces(), chunks);
    }
}

fn remember(scope: &mut ChunkCache, sequence: &[Piece], chunks: u32) {
    let reserved = scope.reserve(sequence, 0, chunks, Fit::Front);
    for span in &reserved.spans {
        scope.commit(sequence, span.from, span.to);
    }
    scope.touch(sequence, 0, chunks, &reserved.spans);
}
