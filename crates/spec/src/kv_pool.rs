//! vLLM's pool of KV blocks for layers of several kinds (its hybrid KV cache manager): groups of
//! layers of one kind share one pool of equal blocks, and each group has a block table of its own.
//!
//! Rules of vLLM 0.32 (`v1/core/kv_cache_utils.py`, `platforms/interface.py`):
//!
//! - Layers that all keep every token, whatever their widths, are one group.
//! - Else each group has as many layers as the rarest kind has, or as the commonest where that is
//!   less than half more; the last group of a kind is padded with layers that hold nothing.
//! - Pages of all layers have one size: layers with smaller pages get more tokens per block, or
//!   padding where that does not come out even.
//! - A page of attention is made as large as a state: its block grows. A sequence has two states,
//!   the running one and the last one at a block's end (with prefix caching).
//! - Pages of compressed latents (DeepSeek-V4) are packed side by side, so bytes alone decide.

pub mod offloaded;

use weir_model::{KvKind, KvLayers, ModelShape};

use weir_model::quantity::Version;

/// Tokens that vLLM's attention kernels take at once.
const KERNEL_BLOCK: u32 = 16;
/// Where latents are beside states.
const LATENT_KERNEL_BLOCK: u32 = 128;
/// Of DeepSeek-V4's caches.
const PACKED_BLOCK: u32 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolRule {
    /// All layers keep every token.
    OneGroup,
    /// Groups of equally many layers.
    Groups {
        /// Block tables of a sequence.
        groups: u32,
        layers: u32,
        /// Layers that hold nothing, over all groups.
        padding: u32,
    },
    /// Pages of different sizes side by side.
    Packed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KvGroup {
    kind: KvKind,
    block: u64,
    tables: u64,
}

/// Of one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct KvPool {
    pub rule: PoolRule,
    /// Of layers that keep every token. Prefix hits come in such blocks.
    pub block_size: u32,
    pub bytes_per_block: u64,
    groups: Vec<KvGroup>,
    /// Only of packed pages.
    layers: Vec<KvLayers>,
    bytes_per_element: u32,
    ranks: u32,
}

/// Layers with equal blocks, on one rank.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    kind: KvKind,
    count: u32,
    /// Bytes per token; for a state, its bytes.
    entry: u64,
}

impl KvPool {
    /// `block_size` is vLLM's.
    pub fn of(model: &ModelShape, ranks: u32, block_size: u32, version: Version) -> Self {
        let layers = in_version(model.kv_layers(), version);
        let element = model.kv_bytes_per_element;
        let bucket = |of: &KvLayers| Bucket {
            kind: of.kind,
            count: of.count,
            entry: of.entry_bytes(element, ranks),
        };
        let buckets: Vec<Bucket> = layers.iter().map(bucket).collect();
        let mut pool = Self {
            rule: PoolRule::OneGroup,
            block_size,
            bytes_per_block: 1,
            groups: Vec::new(),
            layers,
            bytes_per_element: element,
            ranks,
        };
        if buckets.iter().any(|of| is_packed(of.kind)) {
            pool.rule = PoolRule::Packed;
            pool.block_size = block_size.max(PACKED_BLOCK);
        } else if let Some(kind) = one_kind(&buckets) {
            let per_token: u64 = buckets.iter().map(|of| of.entry * u64::from(of.count)).sum();
            pool.groups.push(KvGroup { kind, block: u64::from(block_size), tables: 1 });
            pool.bytes_per_block = (per_token * u64::from(block_size)).max(1);
        } else {
            pool.group(&buckets);
        }
        pool
    }

    fn group(&mut self, buckets: &[Bucket]) {
        self.block_size = block_with_states(buckets, self.block_size);
        let block = u64::from(self.block_size);
        let page = |of: &Bucket| if of.kind == KvKind::State { of.entry } else { of.entry * block };
        let largest = buckets.iter().map(page).max().unwrap_or(1).max(1);
        let layers = group_layers(buckets);
        let (mut groups, mut padding) = (0, 0);
        for of in buckets {
            let tables = of.count.div_ceil(layers);
            groups += tables;
            padding += tables * layers - of.count;
            // Smaller pages hold more tokens where that comes out even; else they are padded.
            let more =
                if largest.is_multiple_of(page(of).max(1)) { largest / page(of).max(1) } else { 1 };
            let tokens = if of.kind == KvKind::State { block } else { block * more };
            self.groups.push(KvGroup { kind: of.kind, block: tokens, tables: u64::from(tables) });
        }
        // A prefix hit needs these blocks of the layers that keep every token.
        let full = self.groups.iter().filter(|group| group.kind.growth().is_some());
        self.block_size = full.map(|group| group.block as u32).max().unwrap_or(self.block_size);
        self.bytes_per_block = largest * u64::from(layers);
        self.rule = PoolRule::Groups { groups, layers, padding };
    }

    /// In sequences of `context` tokens that share nothing.
    pub fn tokens(&self, bytes: u64, context: u64) -> u64 {
        let context = context.max(1);
        if self.rule == PoolRule::Packed {
            let (element, ranks) = (self.bytes_per_element, self.ranks);
            let growth = weir_model::kv_layers::bytes_per_token(&self.layers, element, ranks);
            let fixed =
                weir_model::kv_layers::bytes_per_sequence(&self.layers, element, ranks, context);
            let sequence = u128::from(growth) * u128::from(context) + u128::from(fixed);
            return (u128::from(bytes) * u128::from(context) / sequence.max(1)) as u64;
        }
        let blocks = bytes / self.bytes_per_block;
        if let [KvGroup { block, .. }] = self.groups.as_slice() {
            return blocks * block;
        }
        let held = self.blocks_per_sequence(context).max(1);
        (u128::from(blocks) * u128::from(context) / u128::from(held)) as u64
    }

    fn blocks_per_sequence(&self, context: u64) -> u64 {
        let blocks = |group: &KvGroup| {
            let all = context.div_ceil(group.block);
            match (group.kind, group.kind.limit()) {
                (KvKind::State, _) => 2,
                // A window need not begin at a block's start.
                (KvKind::SlidingWindow { tokens }, _) => {
                    all.min(u64::from(tokens.saturating_sub(1)).div_ceil(group.block) + 1)
                }
                (_, Some(tokens)) => all.min(u64::from(tokens).div_ceil(group.block)),
                (_, None) => all,
            }
        };
        self.groups.iter().map(|group| blocks(group) * group.tables).sum()
    }
}

const fn is_packed(kind: KvKind) -> bool {
    match kind {
        KvKind::LatentWindow { .. } | KvKind::Compressed { .. } => true,
        KvKind::SparseIndex { ratio } => ratio > 1,
        KvKind::Full
        | KvKind::SlidingWindow { .. }
        | KvKind::Chunked { .. }
        | KvKind::Latent
        | KvKind::State => false,
    }
}

/// Before 0.14, layers with chunked attention kept every token.
fn in_version(mut layers: Vec<KvLayers>, version: Version) -> Vec<KvLayers> {
    if !version.at_least(14) {
        for of in &mut layers {
            if matches!(of.kind, KvKind::Chunked { .. }) {
                of.kind = KvKind::Full;
            }
        }
    }
    layers
}

/// None unless all layers keep every token, or the same window.
fn one_kind(buckets: &[Bucket]) -> Option<KvKind> {
    if buckets.iter().all(|of| of.kind.growth() == Some(1)) {
        return Some(KvKind::Full);
    }
    let first = buckets.first()?;
    let windows = first.kind.limit().is_some() && buckets.iter().all(|of| of.kind == first.kind);
    windows.then_some(first.kind)
}

/// Tokens of a block whose page is at least as large as a state.
fn block_with_states(buckets: &[Bucket], block_size: u32) -> u32 {
    let states = buckets.iter().filter(|of| of.kind == KvKind::State).map(|of| of.entry).max();
    let attention = buckets.iter().filter(|of| of.kind != KvKind::State);
    let per_token = attention.clone().map(|of| of.entry).max();
    let (Some(state), Some(per_token)) = (states, per_token) else { return block_size };
    let latent = attention.clone().any(|of| of.kind == KvKind::Latent);
    let kernel = if latent { LATENT_KERNEL_BLOCK } else { KERNEL_BLOCK };
    let step = u64::from(kernel.max(block_size));
    let blocks = state.div_ceil((step * per_token).max(1));
    u32::try_from(step * blocks).unwrap_or(u32::MAX).max(block_size)
}

fn group_layers(buckets: &[Bucket]) -> u32 {
    let counts = || buckets.iter().map(|of| of.count);
    let (least, most) = (counts().min().unwrap_or(1), counts().max().unwrap_or(1));
    if f64::from(most) < f64::from(least) * 1.5 { most } else { least }.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::models;

    pub(super) const NOW: Version = Version { major: 0, minor: 32, patch: 0 };

    pub(super) fn with(layers: Vec<KvLayers>) -> ModelShape {
        ModelShape { kv_layers: layers, ..models::find("Qwen/Qwen3-8B").unwrap() }
    }

    pub(super) const fn layers(
        count: u32,
        kind: KvKind,
        heads: u32,
        elements: u32,
        bytes: u64,
    ) -> KvLayers {
        KvLayers { count, kind, heads, elements, bytes }
    }

    #[test]
    fn plain_attention_is_one_group_and_loses_nothing() {
        let pool = KvPool::of(&models::find("Qwen/Qwen3-8B").unwrap(), 2, 16, NOW);
        assert_eq!(pool.rule, PoolRule::OneGroup);
        // 36 layers x 4 heads x 2 x 128 x 2 bytes x 16 tokens.
        assert_eq!(pool.bytes_per_block, 73_728 * 16);
        assert_eq!(pool.tokens(73_728 * 1000, 1), 992);
        assert_eq!(pool.tokens(73_728 * 1000, 5000), 992);
    }

    #[test]
    fn windows_cost_their_blocks_per_sequence() {
        let pool = KvPool::of(&models::find("openai/gpt-oss-120b").unwrap(), 1, 16, NOW);
        assert_eq!(pool.rule, PoolRule::Groups { groups: 2, layers: 18, padding: 0 });
        // 18 layers x 8 heads x 128 elements x 2 bytes x 16 tokens.
        assert_eq!(pool.bytes_per_block, 589_824);
        // 10,000 tokens: 625 blocks of full layers; 127 tokens of a window: 8 blocks and one more.
        assert_eq!(pool.blocks_per_sequence(10_000), 634);
        assert_eq!(pool.blocks_per_sequence(32), 4);
        assert_eq!(pool.tokens(634 * 589_824, 10_000), 10_000);
    }

    #[test]
    fn a_page_grows_to_hold_a_state() {
        // Qwen3.5-27B: 16 full layers of 4 x 512 elements, 48 states of 3,207,168 bytes.
        let model = with(vec![
            layers(48, KvKind::State, 1, 0, 3_207_168),
            layers(16, KvKind::Full, 4, 512, 0),
        ]);
        let pool = KvPool::of(&model, 1, 16, NOW);
        // 3,207,168 / (16 x 4096) = 48.9: 49 x 16 tokens.
        assert_eq!(pool.block_size, 784);
        assert_eq!(pool.rule, PoolRule::Groups { groups: 4, layers: 16, padding: 0 });
        assert_eq!(pool.bytes_per_block, 16 * 784 * 4096);
        // 10,000 tokens: 13 blocks, and two states in each of three groups.
        assert_eq!(pool.blocks_per_sequence(10_000), 19);
    }

    #[test]
    fn wider_layers_make_blocks_of_narrower_ones_longer() {
        // gemma-4-26B-A4B: 5 full layers of 4096 bytes per token, 25 windows of 8192.
        let model = with(vec![
            layers(25, KvKind::SlidingWindow { tokens: 1024 }, 8, 512, 0),
            layers(5, KvKind::Full, 2, 1024, 0),
        ]);
        let pool = KvPool::of(&model, 1, 16, NOW);
        assert_eq!((pool.block_size, pool.bytes_per_block), (32, 5 * 16 * 8192));
        // 10,000 / 32 = 312.5; 1023 / 16 = 63.9 and one more, in five groups.
        assert_eq!(pool.blocks_per_sequence(10_000), 313 + 5 * 65);
    }

    #[test]
    fn chunks_kept_every_token_in_older_releases() {
        let chunks = layers(36, KvKind::Chunked { tokens: 8192 }, 8, 256, 0);
        let model = with(vec![chunks, layers(12, KvKind::Full, 8, 256, 0)]);
        let old = KvPool::of(&model, 1, 16, Version { major: 0, minor: 13, patch: 0 });
        assert_eq!((old.rule, old.bytes_per_block), (PoolRule::OneGroup, 48 * 4096 * 16));
        let now = KvPool::of(&model, 1, 16, NOW);
        assert_eq!(now.rule, PoolRule::Groups { groups: 4, layers: 12, padding: 0 });
        // 100,000 tokens: 6250 blocks, and 512 of a chunk in each of three groups.
        assert_eq!(now.blocks_per_sequence(100_000), 6250 + 3 * 512);
    }

    #[test]
    fn kinds_of_nearly_equal_number_are_padded_to_the_larger() {
        let model = with(vec![
            layers(12, KvKind::SlidingWindow { tokens: 128 }, 8, 128, 0),
            layers(13, KvKind::Full, 8, 128, 0),
        ]);
        let pool = KvPool::of(&model, 1, 16, NOW);
        assert_eq!(pool.rule, PoolRule::Groups { groups: 2, layers: 13, padding: 1 });
    }

    #[test]
    fn packed_pages_are_counted_in_bytes() {
        let model = with(vec![
            layers(43, KvKind::LatentWindow { tokens: 128 }, 1, 0, 584),
            layers(20, KvKind::Compressed { ratio: 4 }, 1, 0, 584),
        ]);
        let pool = KvPool::of(&model, 8, 16, NOW);
        assert_eq!((pool.rule, pool.block_size), (PoolRule::Packed, 256));
        // 20 x 584 / 4 per token, and 43 x 584 x 128 of windows.
        let sequence = 2920 * 10_000 + 43 * 584 * 128;
        assert_eq!(pool.tokens(3 * sequence, 10_000), 30_000);
    }
}
