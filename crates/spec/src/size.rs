//! Arithmetic of `weir size`: what fits where, and how fast a tier must be to be worth asking.

use weir_model::{Bytes, Nanos};

use crate::plan::{Arm, Deployment};

/// One place and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct TierSize {
    /// `gpu`, `host`, `disk`, or the store's product.
    pub name: String,
    /// Its capacity.
    pub capacity: Bytes,
    /// KV tokens that it holds.
    pub tokens: u64,
    /// Whole prefixes that it holds.
    pub prefixes: u64,
    /// Time to load one prefix from it; nothing for the GPU.
    pub load: Option<Nanos>,
}

/// Sizes of one deployment for one length of prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// KV bytes of one token, over all ranks.
    pub kv_bytes_per_token: Bytes,
    /// Weights of the model, over all ranks.
    pub weight_bytes: Option<Bytes>,
    /// Length of the prefix in question.
    pub prefix_tokens: u32,
    /// KV bytes of one prefix.
    pub prefix_bytes: Bytes,
    /// The GPU pool, then the arm's tiers.
    pub tiers: Vec<TierSize>,
    /// Bandwidth from which on loading a prefix beats recomputing it, GB/s over all ranks.
    pub break_even_gb_per_s: Option<f64>,
}

/// Sizes of a deployment with one arm's tiers. `prefill` is the time to compute the prefix.
pub fn sizes(deployment: &Deployment, arm: &Arm, prefix_tokens: u32, prefill: Nanos) -> Sizes {
    let engine = &deployment.engine;
    let kv = Bytes(engine.kv_bytes_per_token);
    let prefix_bytes = kv * u64::from(prefix_tokens);
    let place = |name: &str, capacity: Bytes, load: Option<Nanos>| {
        let tokens = capacity.0 / kv.0.max(1);
        TierSize {
            name: name.to_owned(),
            capacity,
            tokens,
            prefixes: tokens / u64::from(prefix_tokens.max(1)),
            load,
        }
    };
    let pool = u64::from(engine.blocks) * u64::from(engine.block_size);
    let mut tiers = vec![place("gpu", kv * pool, None)];
    if let Some(offload) = &arm.offload {
        let chunks = u64::from(prefix_tokens / offload.chunk_tokens.max(1));
        let copies = chunks * u64::from(offload.copies_per_chunk);
        let load = |latency: Nanos, per_copy: Nanos, bytes_per_s: f64| {
            let moving = Nanos::from_secs_f64(prefix_bytes.0 as f64 / bytes_per_s);
            Some(latency + per_copy * copies + moving)
        };
        for tier in &offload.tiers {
            let link = &tier.link;
            let time = load(link.base_latency, link.per_copy, link.read_bytes_per_s);
            tiers.push(place(tier.kind.name(), tier.capacity, time));
        }
        if let Some(store) = &offload.store {
            let rate = store.link.read_bytes_per_s.min(store.client_bytes_per_s);
            let lookups = store.lookup_latency + store.lookup_per_key * chunks;
            let time = load(store.link.base_latency + lookups, store.link.per_copy, rate);
            tiers.push(place(&store.product, store.capacity, time));
        }
    }
    Sizes {
        kv_bytes_per_token: kv,
        weight_bytes: deployment.model.weight_bytes,
        prefix_tokens,
        prefix_bytes,
        tiers,
        break_even_gb_per_s: break_even_gb_per_s(prefix_bytes, prefill),
    }
}

/// Bandwidth at which moving these bytes takes as long as computing them; nothing where
/// computing takes no time.
pub fn break_even_gb_per_s(bytes: Bytes, prefill: Nanos) -> Option<f64> {
    let seconds = prefill.as_secs_f64();
    (seconds > 0.0).then(|| bytes.0 as f64 / seconds / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn break_even_is_bytes_over_time() {
        let prefix = Bytes(1_310_720_000);
        // Llama-3.1-8B on H100: 10,000 tokens in 262 ms.
        let rate = break_even_gb_per_s(prefix, Nanos::from_millis(262)).unwrap();
        assert!((rate - 5.003).abs() < 0.001, "{rate}");
        assert_eq!(break_even_gb_per_s(prefix, Nanos::ZERO), None);
    }
}
