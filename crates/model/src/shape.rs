//! The shape of a model, hence its KV bytes per token and its arithmetic.

use serde::{Deserialize, Serialize};

use crate::kv_layers::{self, KvKind, KvLayers};
use crate::units::Bytes;

/// Mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// Experts per layer.
    pub count: u32,
    /// Experts a token is sent to.
    pub active: u32,
    /// Inner width of one expert.
    pub intermediate: u32,
}

/// Multi-head latent attention: the cache holds one compressed vector per token and layer,
/// replicated on every tensor-parallel rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatentAttention {
    /// Width of the compressed vector.
    pub rank: u32,
    /// Width of the rotary part.
    pub rope: u32,
}

/// An LLM's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Name as in the hub: `Qwen/Qwen3-8B`.
    pub name: String,
    /// Transformer layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of one head (not always hidden / heads).
    pub head_dim: u32,
    /// Inner width of the dense MLP (0 where every layer is sparse).
    pub intermediate: u32,
    /// Vocabulary.
    pub vocabulary: u32,
    /// Longest sequence, in tokens.
    pub context: u32,
    /// Bytes of all weights as they are loaded; nothing where the file does not tell.
    pub weight_bytes: Option<Bytes>,
    /// Bytes per weight in the matrix products (2 for bf16, about 0.55 for 4 bits with scales).
    pub bytes_per_weight: f64,
    /// Bytes per element of the KV cache (2 for bf16, 1 for fp8).
    pub kv_bytes_per_element: u32,
    /// Experts, where the model is sparse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
    /// Latent attention, where the model has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent: Option<LatentAttention>,
    /// Layers by what their caches hold; empty where all keep what `kv_heads` and `head_dim`, or
    /// `latent`, say of every token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kv_layers: Vec<KvLayers>,
}

impl ModelShape {
    /// Layers by what their caches hold.
    pub fn kv_layers(&self) -> Vec<KvLayers> {
        if !self.kv_layers.is_empty() {
            return self.kv_layers.clone();
        }
        let (kind, heads, elements) = match self.latent {
            Some(latent) => (KvKind::Latent, 1, latent.rank + latent.rope),
            None => (KvKind::Full, self.kv_heads, 2 * self.head_dim),
        };
        vec![KvLayers { count: self.layers, kind, heads, elements, bytes: 0 }]
    }

    /// KV bytes that one more token adds, over all layers, one copy of what ranks hold several
    /// times. Of plain attention `2 * layers * kv_heads * head_dim * element`, of latent attention
    /// `layers * (rank + rope) * element`; windows and states do not grow.
    pub fn kv_bytes_per_token(&self) -> Bytes {
        self.kv_bytes_per_token_over(1)
    }

    /// KV bytes that one more token adds over all ranks. Heads that ranks hold several times count
    /// several times; latents, of which every rank has all, count once.
    pub fn kv_bytes_per_token_over(&self, tensor_parallel: u32) -> Bytes {
        self.over(tensor_parallel, kv_layers::bytes_per_token)
    }

    /// The same of a sequence's first tokens, while no window is full.
    pub fn kv_bytes_per_first_token_over(&self, tensor_parallel: u32) -> Bytes {
        self.over(tensor_parallel, kv_layers::bytes_per_first_token)
    }

    /// KV bytes of one sequence of `context` tokens over all ranks beside those per token: what
    /// windows and states hold.
    pub fn kv_bytes_per_sequence_over(&self, tensor_parallel: u32, context: u64) -> Bytes {
        self.over(tensor_parallel, |layers, element, ranks| {
            kv_layers::bytes_per_sequence(layers, element, ranks, context)
        })
    }

    /// Bytes on one rank times the ranks, or of one copy that stands for all.
    fn over(&self, ranks: u32, on_one: impl Fn(&[KvLayers], u32, u32) -> u64) -> Bytes {
        let ranks = if self.kv_is_replicated() { 1 } else { ranks };
        Bytes(on_one(&self.kv_layers(), self.kv_bytes_per_element, ranks) * u64::from(ranks))
    }

    /// True where every rank holds the whole of what a token adds, as with latent attention. States
    /// beside it add nothing per token, and the ranks share them.
    pub fn kv_is_replicated(&self) -> bool {
        let layers = self.kv_layers();
        let mut growing = layers.iter().filter(|layers| layers.kind.growth().is_some()).peekable();
        growing.peek().is_some() && growing.all(KvLayers::is_replicated)
    }
}
