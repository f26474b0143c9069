//! Arithmetic of `weir size`: what fits where, how fast a tier must be to be useful, and its cost.

use weir_model::{Bytes, ModelShape, Nanos, Product, TierKind};

use weir_engine::OffloadConfig;

use crate::capacity;
use crate::cost::month;
use crate::kv_pool::offloaded::{self, OffloadedRule};
use crate::kv_pool::{KvPool, PoolRule};
use crate::plan::{Arm, Deployment, PoolSize, Prices};

#[derive(Debug, Clone, PartialEq)]
pub struct TierSize {
    /// `gpu`, `host`, `disk`, or the store's product.
    pub name: String,
    pub capacity: Bytes,
    pub tokens: u64,
    pub prefixes: u64,
    /// Of one prefix. None for the GPU.
    pub load: Option<Nanos>,
    /// None without a price.
    pub cost: Option<TierCost>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierCost {
    pub per_month: f64,
    /// Price of the accelerator time that one load of a prefix saves; below 0 where computing is
    /// faster. None without a price of accelerators.
    pub saved_per_load: Option<f64>,
}

impl TierCost {
    /// Loads of a prefix in a month that pay for the tier.
    pub fn loads_to_pay(&self) -> Option<f64> {
        let saved = self.saved_per_load.filter(|saved| *saved > 0.0)?;
        Some(self.per_month / saved)
    }
}

/// Of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFigures {
    /// In sequences as long as the prefix.
    pub tokens: u64,
    /// Of all groups. None where only bytes decide.
    pub blocks: Option<u64>,
    /// Tokens. Prefix hits come in such blocks.
    pub block_size: u32,
    pub rule: PoolRule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloaded {
    pub rule: OffloadedRule,
    pub kept: Bytes,
    pub loaded: Bytes,
}

/// For one length of prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// Growth over all ranks; latents count once.
    pub kv_bytes_per_token: Bytes,
    /// Windows and states of a sequence as long as the prefix.
    pub kv_bytes_per_sequence: Bytes,
    /// Over all ranks. None where unknown.
    pub weight_bytes: Option<Bytes>,
    pub pool: PoolFigures,
    pub prefix_tokens: u32,
    /// On the GPU, with windows and states.
    pub prefix_bytes: Bytes,
    pub tiers: Vec<TierSize>,
    /// None without tiers.
    pub offloaded: Option<Offloaded>,
    /// From here on, loading a prefix beats recomputing it. Over all ranks.
    pub break_even_gb_per_s: Option<f64>,
}

/// With one arm's tiers. `prefill` is the time to compute the prefix.
pub fn sizes(
    deployment: &Deployment,
    arm: &Arm,
    prefix_tokens: u32,
    prefill: Option<Nanos>,
    prices: &Prices,
) -> Sizes {
    let kv = Bytes(deployment.engine_of(arm).kv_bytes_per_token);
    let ranks = deployment.tensor_parallel;
    let cached = cached(deployment, arm);
    let windows = cached.kv_bytes_per_sequence_over(ranks, u64::from(prefix_tokens));
    let prefix_bytes = kv * u64::from(prefix_tokens) + windows;
    let saved = |load: Nanos| {
        let hour = prices.gpu_hour? * f64::from(deployment.hardware.count);
        Some(hour / 3600.0 * (prefill?.as_secs_f64() - load.as_secs_f64()))
    };
    let place = |offload: &OffloadConfig,
                 kind: TierKind,
                 product: Option<Product>,
                 capacity: Bytes,
                 load: Option<Nanos>| {
        let tokens = offload.tokens(capacity);
        let month = month(prices, kind, product, capacity);
        let cost = |per_month| TierCost { per_month, saved_per_load: load.and_then(saved) };
        TierSize {
            name: product.map_or(kind.name(), Product::name).to_owned(),
            capacity,
            tokens,
            prefixes: tokens / u64::from(prefix_tokens.max(1)),
            load,
            cost: month.map(cost),
        }
    };
    let mut tiers = Vec::new();
    if let Some(offload) = &arm.offload {
        let chunks = u64::from(prefix_tokens / offload.chunk_tokens.max(1));
        let copies = chunks * u64::from(offload.copies_per_chunk);
        let moved = offload.loaded(u64::from(prefix_tokens));
        let load = |latency: Nanos, per_copy: Nanos, bytes_per_s: f64| {
            let moving = Nanos::from_secs_f64(moved.0 as f64 / bytes_per_s);
            Some(latency + per_copy * copies + moving)
        };
        for tier in &offload.tiers {
            let link = &tier.link;
            let time = load(link.base_latency, link.per_copy, link.read_bytes_per_s);
            tiers.push(place(offload, tier.kind, None, tier.capacity, time));
        }
        if let Some(store) = &offload.store {
            let rate = store.link.read_bytes_per_s.min(store.client_bytes_per_s);
            let lookups = store.lookup_latency + store.lookup_per_key * chunks;
            let time = load(store.link.base_latency + lookups, store.link.per_copy, rate);
            let product = Some(store.product);
            tiers.push(place(offload, TierKind::Remote, product, store.capacity, time));
        }
    }
    Sizes {
        kv_bytes_per_token: kv,
        kv_bytes_per_sequence: windows,
        weight_bytes: deployment.model.weight_bytes,
        pool: pool(deployment, arm, prefix_tokens),
        prefix_tokens,
        prefix_bytes,
        tiers,
        offloaded: arm
            .offload
            .as_ref()
            .map(|of| offloaded_prefix(deployment, arm, of, prefix_tokens)),
        break_even_gb_per_s: prefill.and_then(|time| break_even_gb_per_s(prefix_bytes, time)),
    }
}

fn cached(deployment: &Deployment, arm: &Arm) -> ModelShape {
    let off = arm.engine.is_some();
    let cached = off.then(|| offloaded::without_hybrid_manager(&deployment.model)).flatten();
    cached.unwrap_or_else(|| deployment.model.clone())
}

fn kv_pool(deployment: &Deployment, arm: &Arm) -> KvPool {
    let version = deployment.vllm.parse().unwrap_or(crate::resolve::VLLM);
    let cached = cached(deployment, arm);
    KvPool::of(&cached, deployment.tensor_parallel, deployment.vllm_block_size, version)
}

fn offloaded_prefix(
    deployment: &Deployment,
    arm: &Arm,
    offload: &OffloadConfig,
    prefix_tokens: u32,
) -> Offloaded {
    let version = deployment.vllm.parse().unwrap_or(crate::resolve::VLLM);
    let hybrid = offloaded::keeps_hybrid_manager(offload.mechanism, version);
    let tokens = u64::from(prefix_tokens);
    Offloaded {
        rule: offloaded::rule(&kv_pool(deployment, arm), offload.mechanism, hybrid),
        kept: offload.kept(tokens),
        loaded: offload.loaded(tokens),
    }
}

/// What the memory holds, or the given size.
fn pool(deployment: &Deployment, arm: &Arm, prefix_tokens: u32) -> PoolFigures {
    let engine = deployment.engine_of(arm);
    let ranks = deployment.tensor_parallel;
    let pool = kv_pool(deployment, arm);
    let given = u64::from(engine.blocks) * u64::from(engine.block_size);
    let bytes = match deployment.pool {
        PoolSize::Given => None,
        PoolSize::Share(share) => {
            let accelerator = &deployment.hardware.accelerator;
            let seqs = engine.max_num_seqs;
            capacity::kv_bytes(&deployment.model, accelerator, ranks, share, seqs).ok()
        }
    };
    let tokens = bytes.map_or(given, |bytes| pool.tokens(bytes, u64::from(prefix_tokens)));
    let packed = pool.rule == PoolRule::Packed;
    let blocks = bytes.map_or(u64::from(engine.blocks), |bytes| bytes / pool.bytes_per_block);
    PoolFigures {
        tokens,
        blocks: (!packed).then_some(blocks),
        block_size: pool.block_size,
        rule: pool.rule,
    }
}

/// Where moving these bytes takes as long as computing them. None where computing takes no time.
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

    #[test]
    fn a_tier_pays_for_itself_after_so_many_loads() {
        let cost = TierCost { per_month: 128.0, saved_per_load: Some(0.000_5) };
        assert_eq!(cost.loads_to_pay(), Some(256_000.0));
        let slower = TierCost { saved_per_load: Some(-0.1), ..cost };
        assert_eq!(slower.loads_to_pay(), None);
    }
}
