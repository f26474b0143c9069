//! The shape of a model, hence its KV bytes per token and its arithmetic.

use serde::{Deserialize, Serialize};

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
    /// Bytes of all weights as they are loaded.
    pub weight_bytes: Bytes,
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
}

impl ModelShape {
    /// KV bytes of one token over all layers and ranks that split it:
    /// `2 * layers * kv_heads * head_dim * element`, or `layers * (rank + rope) * element` with
    /// latent attention.
    pub fn kv_bytes_per_token(&self) -> Bytes {
        let per_layer = match self.latent {
            Some(latent) => latent.rank + latent.rope,
            None => 2 * self.kv_heads * self.head_dim,
        };
        Bytes(u64::from(self.layers) * u64::from(per_layer) * u64::from(self.kv_bytes_per_element))
    }

    /// KV bytes of one token on one tensor-parallel rank.
    pub fn kv_bytes_per_token_and_rank(&self, tensor_parallel: u32) -> Bytes {
        if self.latent.is_some() {
            return self.kv_bytes_per_token();
        }
        // Heads are replicated once there are more ranks than heads.
        let ranks = u64::from(tensor_parallel.min(self.kv_heads).max(1));
        Bytes(self.kv_bytes_per_token().0 / ranks)
    }
}
