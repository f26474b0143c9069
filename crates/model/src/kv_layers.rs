//! Kinds of layers, their cache entries, and the bytes of a sequence that follow.

use serde::{Deserialize, Serialize};

/// What of a sequence the cache of a layer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum KvKind {
    /// Keys and values of every token.
    Full,
    /// Keys and values of the last tokens.
    SlidingWindow {
        /// Tokens that a token sees, itself included.
        tokens: u32,
    },
    /// Keys and values of the chunk that a token is in.
    Chunked {
        /// Tokens of a chunk.
        tokens: u32,
    },
    /// One compressed vector of every token (multi-head latent attention).
    Latent,
    /// Compressed vectors of the last tokens.
    LatentWindow {
        /// Tokens that a token sees, itself included.
        tokens: u32,
    },
    /// One vector for so many tokens.
    Compressed {
        /// Tokens of one vector.
        ratio: u32,
    },
    /// Keys of the indexer that chooses which tokens a sparse layer reads.
    SparseIndex {
        /// Tokens of one key.
        ratio: u32,
    },
    /// A state of fixed size per sequence: linear attention, Mamba, short convolutions.
    State,
}

impl KvKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full attention",
            Self::SlidingWindow { .. } => "sliding window",
            Self::Chunked { .. } => "chunked attention",
            Self::Latent => "latent attention",
            Self::LatentWindow { .. } => "sliding window of latents",
            Self::Compressed { .. } => "compressed attention",
            Self::SparseIndex { .. } => "sparse index",
            Self::State => "linear attention or convolution state",
        }
    }

    /// Tokens per entry, where entries are added as a sequence grows.
    pub const fn growth(self) -> Option<u32> {
        match self {
            Self::Full | Self::Latent => Some(1),
            Self::Compressed { ratio } | Self::SparseIndex { ratio } => Some(ratio),
            Self::SlidingWindow { .. }
            | Self::Chunked { .. }
            | Self::LatentWindow { .. }
            | Self::State => None,
        }
    }

    /// Most tokens of a sequence that are kept, where the kind has a limit.
    pub const fn limit(self) -> Option<u32> {
        match self {
            Self::SlidingWindow { tokens }
            | Self::Chunked { tokens }
            | Self::LatentWindow { tokens } => Some(tokens),
            Self::Full
            | Self::Latent
            | Self::Compressed { .. }
            | Self::SparseIndex { .. }
            | Self::State => None,
        }
    }
}

/// Layers of one kind whose entries have one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvLayers {
    /// How many.
    pub count: u32,
    /// What they keep.
    pub kind: KvKind,
    /// Heads of an entry. Tensor-parallel ranks share them; more ranks than heads hold copies.
    /// A vector without heads (latent, index) is one head.
    pub heads: u32,
    /// Elements per head in the cache's type, keys and values together.
    pub elements: u32,
    /// Bytes per head besides, in types of their own. Of a state: all of it, shared by the ranks.
    pub bytes: u64,
}

impl KvLayers {
    pub fn entry_bytes(&self, bytes_per_element: u32, ranks: u32) -> u64 {
        if self.kind == KvKind::State {
            return self.bytes.div_ceil(u64::from(ranks.max(1)));
        }
        let heads = u64::from((self.heads / ranks.max(1)).max(1));
        heads * (u64::from(self.elements) * u64::from(bytes_per_element) + self.bytes)
    }

    /// True for vectors without heads: each rank holds all of them, and one copy stands for all.
    pub const fn is_replicated(&self) -> bool {
        match self.kind {
            KvKind::Latent
            | KvKind::LatentWindow { .. }
            | KvKind::Compressed { .. }
            | KvKind::SparseIndex { .. } => true,
            KvKind::Full
            | KvKind::SlidingWindow { .. }
            | KvKind::Chunked { .. }
            | KvKind::State => false,
        }
    }

    /// Bytes that all layers add per token on one rank, in parts of `ratio` tokens; 0 for kinds
    /// that do not grow.
    fn growth_bytes(&self, bytes_per_element: u32, ranks: u32) -> f64 {
        let entry = self.entry_bytes(bytes_per_element, ranks) as f64 * f64::from(self.count);
        self.kind.growth().map_or(0.0, |ratio| entry / f64::from(ratio.max(1)))
    }

    /// Bytes of windows and states for a sequence of `context` tokens on one rank.
    fn sequence_bytes(&self, bytes_per_element: u32, ranks: u32, context: u64) -> u64 {
        let entry = self.entry_bytes(bytes_per_element, ranks) * u64::from(self.count);
        match (self.kind, self.kind.limit()) {
            (KvKind::State, _) => entry,
            (_, Some(limit)) => entry * context.min(u64::from(limit)),
            (_, None) => 0,
        }
    }
}

/// Bytes that one token adds to a sequence for as long as it grows, on one rank. Entries of
/// several tokens count with their share.
pub fn bytes_per_token(layers: &[KvLayers], bytes_per_element: u32, ranks: u32) -> u64 {
    let sum: f64 = layers.iter().map(|of| of.growth_bytes(bytes_per_element, ranks)).sum();
    sum.round() as u64
}

/// Bytes that one of the first tokens of a sequence takes, while no window is full, on one rank.
pub fn bytes_per_first_token(layers: &[KvLayers], bytes_per_element: u32, ranks: u32) -> u64 {
    let windows = layers.iter().filter(|of| of.kind.limit().is_some());
    let held = windows.map(|of| of.entry_bytes(bytes_per_element, ranks) * u64::from(of.count));
    bytes_per_token(layers, bytes_per_element, ranks) + held.sum::<u64>()
}

/// Bytes of windows and states of one sequence of `context` tokens, on one rank.
pub fn bytes_per_sequence(
    layers: &[KvLayers],
    bytes_per_element: u32,
    ranks: u32,
    context: u64,
) -> u64 {
    layers.iter().map(|of| of.sequence_bytes(bytes_per_element, ranks, context)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(count: u32, kind: KvKind, heads: u32, elements: u32, bytes: u64) -> KvLayers {
        KvLayers { count, kind, heads, elements, bytes }
    }

    #[test]
    fn windows_count_per_sequence_and_full_layers_per_token() {
        let model = [
            layers(18, KvKind::Full, 8, 128, 0),
            layers(18, KvKind::SlidingWindow { tokens: 128 }, 8, 128, 0),
        ];
        // 18 layers x 8 heads x 128 elements x 2 bytes.
        assert_eq!(bytes_per_token(&model, 2, 1), 36_864);
        assert_eq!(bytes_per_token(&model, 1, 1), 18_432);
        assert_eq!(bytes_per_sequence(&model, 2, 1, 10_000), 36_864 * 128);
        assert_eq!(bytes_per_sequence(&model, 2, 1, 100), 36_864 * 100);
        assert_eq!(bytes_per_first_token(&model, 2, 1), 2 * 36_864);
        // 16 ranks on 8 heads hold two copies of each.
        assert_eq!(16 * bytes_per_token(&model, 2, 16), 2 * 36_864);
    }

    #[test]
    fn states_are_shared_by_the_ranks_and_do_not_follow_the_caches_type() {
        let model = [layers(48, KvKind::State, 1, 0, 3_207_168)];
        assert_eq!(bytes_per_token(&model, 2, 1), 0);
        assert_eq!(bytes_per_sequence(&model, 2, 1, 5), 48 * 3_207_168);
        assert_eq!(bytes_per_sequence(&model, 1, 4, 5), 48 * 801_792);
    }

    #[test]
    fn one_vector_of_many_tokens_counts_with_its_share() {
        let model = [
            layers(61, KvKind::Latent, 1, 576, 0),
            layers(20, KvKind::Compressed { ratio: 128 }, 1, 0, 584),
        ];
        // 61 x 576 x 2 = 70,272, and 20 x 584 / 128 = 91.25; each rank has all of it.
        assert_eq!(bytes_per_token(&model, 2, 1), 70_363);
        assert_eq!(bytes_per_token(&model, 2, 8), 70_363);
        assert!(model.iter().all(KvLayers::is_replicated));
    }
}
