//! What each software keeps behind the GPU of layers that do not keep every token, and its
//! connector's effect on vLLM's pool.
//!
//! | software | vLLM's hybrid manager | a chunk holds | a load moves |
//! |---|---|---|---|
//! | vLLM's `OffloadingConnector`, 0.22 on | stays on | blocks of the pool, per group: of windows those that a hit can need, one state | all full layers; the window and state where the hit ends |
//! | LMCache's server, vLLM 0.22 on | stays on | all layers; of a window its last tokens in the chunk; one state | the same |
//! | LMCache in the engine, and any connector before 0.22 | off | all layers, every token | the same |
//!
//! Read in vLLM 0.32.0 (`config/vllm.py`, `kv_connector/v1/offloading/{config,scheduler}.py`,
//! `v1/core/{kv_cache_utils,single_type_kv_cache_manager}.py`) and LMCache 0.5.6
//! (`v1/kv_layer_groups.py`, without `--separate-object-groups`). Until 0.21 vLLM switched the
//! manager off for every connector (vllm-project/vllm#41847).

use weir_engine::ChunkBytes;
use weir_model::mechanism::HybridChunks;
use weir_model::{KvKind, KvLayers, Mechanism, ModelShape};

use super::{KvGroup, KvPool, PACKED_BLOCK, PoolRule};
use weir_model::quantity::Version;

/// The first vLLM that leaves its hybrid manager on for connectors that support it.
const FIRST_HYBRID: u32 = 22;

/// How a mechanism keeps layers that do not keep every token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffloadedRule {
    EveryToken,
    PoolBlocks,
    /// Windows of packed pages. Their padding is unknown: more may be kept.
    PackedBlocks,
    /// All layers; of a window, its last tokens in each chunk.
    WindowsOfChunks,
}

/// True where vLLM's hybrid KV cache manager stays on for connectors that support it.
pub const fn keeps_hybrid_manager_for_some(version: Version) -> bool {
    version.at_least(FIRST_HYBRID)
}

pub const fn keeps_hybrid_manager(mechanism: Mechanism, version: Version) -> bool {
    mechanism.traits().hybrid_chunks.is_some() && keeps_hybrid_manager_for_some(version)
}

/// The model as vLLM caches it with its hybrid manager off: windows and chunks keep every token.
/// None where vLLM does not start it (states, or only windows of several lengths).
pub fn without_hybrid_manager(model: &ModelShape) -> Option<ModelShape> {
    let mut layers = model.kv_layers();
    let first = layers.first()?.kind;
    if layers.iter().all(|of| of.kind == first) {
        return Some(model.clone());
    }
    let states = layers.iter().any(|of| of.kind == KvKind::State);
    if states || layers.iter().all(|of| of.kind.growth().is_none()) {
        return None;
    }
    for of in &mut layers {
        of.kind = match of.kind {
            KvKind::SlidingWindow { .. } | KvKind::Chunked { .. } => KvKind::Full,
            KvKind::LatentWindow { .. } => KvKind::Latent,
            kind => kind,
        };
    }
    Some(ModelShape { kv_layers: layers, ..model.clone() })
}

/// `hybrid` is true where the hybrid manager is on.
pub fn rule(pool: &KvPool, mechanism: Mechanism, hybrid: bool) -> OffloadedRule {
    match mechanism.traits().hybrid_chunks.filter(|_| hybrid) {
        Some(HybridChunks::PoolBlocks) if pool.rule == PoolRule::Packed => {
            OffloadedRule::PackedBlocks
        }
        Some(HybridChunks::PoolBlocks) => OffloadedRule::PoolBlocks,
        Some(HybridChunks::Windows) => OffloadedRule::WindowsOfChunks,
        None => OffloadedRule::EveryToken,
    }
}

/// Over all ranks. `pool` is that of the arm's own engine.
pub fn chunk_bytes(
    model: &ModelShape,
    ranks: u32,
    pool: &KvPool,
    rule: OffloadedRule,
    chunk_tokens: u32,
) -> ChunkBytes {
    let element = model.kv_bytes_per_element;
    let tokens = u64::from(chunk_tokens);
    // Each rank keeps its own part; replicated data is kept once.
    let copies = if model.kv_is_replicated() { 1 } else { ranks };
    let layers = model.kv_layers();
    let one = match rule {
        OffloadedRule::EveryToken => {
            let bytes = layers.iter().map(|of| entries(of, element, copies, tokens, tokens));
            ChunkBytes::whole(bytes.sum())
        }
        OffloadedRule::WindowsOfChunks => {
            let held = |of: &KvLayers| of.kind.limit().map_or(tokens, u64::from).min(tokens);
            let bytes = layers.iter().map(|of| entries(of, element, copies, tokens, held(of)));
            ChunkBytes::whole(bytes.sum())
        }
        OffloadedRule::PackedBlocks => packed(&layers, element, copies, tokens),
        OffloadedRule::PoolBlocks => {
            let all_alike = layers.iter().all(KvLayers::is_replicated);
            let ranks = if all_alike { 1 } else { ranks };
            return times(pool.chunk(tokens), u64::from(ranks));
        }
    };
    times(one, u64::from(copies))
}

const fn times(of: ChunkBytes, ranks: u64) -> ChunkBytes {
    ChunkBytes {
        kept: of.kept * ranks,
        loaded: of.loaded * ranks,
        loaded_once: of.loaded_once * ranks,
    }
}

/// On one rank. Windows hold `held` tokens of the chunk.
fn entries(of: &KvLayers, element: u32, ranks: u32, tokens: u64, held: u64) -> u64 {
    let entry = of.entry_bytes(element, ranks) * u64::from(of.count);
    match (of.kind, of.kind.growth()) {
        (KvKind::State, _) => entry,
        (_, Some(ratio)) => (entry * tokens).div_ceil(u64::from(ratio.max(1))),
        (_, None) => entry * held,
    }
}

/// Windows of packed pages are kept before each boundary of the longest block.
fn packed(layers: &[KvLayers], element: u32, ranks: u32, tokens: u64) -> ChunkBytes {
    let block = u64::from(PACKED_BLOCK).max(1);
    let mut bytes = ChunkBytes::default();
    for of in layers {
        let window = of.kind.limit().map_or(0, u64::from);
        if of.kind.growth().is_some() {
            let all = entries(of, element, ranks, tokens, tokens);
            bytes.kept += all;
            bytes.loaded += all;
        } else {
            bytes.kept += entries(of, element, ranks, tokens, window.min(block)) * tokens / block;
            bytes.loaded_once += entries(of, element, ranks, tokens, window);
        }
    }
    bytes
}

impl KvPool {
    /// On one rank, in blocks of the pool.
    fn chunk(&self, tokens: u64) -> ChunkBytes {
        // Chunks of all groups have the same number of blocks.
        let blocks = (tokens / u64::from(self.block_size.max(1))).max(1);
        let mut bytes = ChunkBytes::default();
        for group in &self.groups {
            let table = group.tables * self.bytes_per_block;
            let dense = (table * tokens).div_ceil(group.block);
            if group.kind.growth().is_some() {
                bytes.kept += dense;
                bytes.loaded += dense;
                continue;
            }
            let needed = group.needed();
            bytes.loaded_once += table * needed;
            bytes.kept += match group.kind {
                // Where full layers keep one chunk, the window's end suffices.
                KvKind::SlidingWindow { .. } if tokens.is_multiple_of(group.block) => {
                    (table * blocks * needed.div_ceil(blocks)).min(dense)
                }
                _ => dense,
            };
        }
        bytes
    }
}

impl KvGroup {
    /// Blocks that a hit needs, for layers that do not keep every token.
    fn needed(&self) -> u64 {
        match (self.kind, self.kind.limit()) {
            (KvKind::Chunked { tokens }, _) => u64::from(tokens).div_ceil(self.block),
            (_, Some(window)) => u64::from(window.saturating_sub(1)).div_ceil(self.block).max(1),
            (_, None) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, layers, with};
    use super::*;
    use crate::catalogue::models;

    /// As vLLM 0.32 runs it.
    fn of(model: &ModelShape, ranks: u32, mechanism: Mechanism, chunk: u32) -> ChunkBytes {
        let hybrid = keeps_hybrid_manager(mechanism, NOW);
        let cached =
            if hybrid { model.clone() } else { without_hybrid_manager(model).expect("starts") };
        let pool = KvPool::of(&cached, ranks, 16, NOW);
        chunk_bytes(model, ranks, &pool, rule(&pool, mechanism, hybrid), chunk)
    }

    #[test]
    fn layers_that_keep_every_token_are_kept_and_loaded_whole_by_all() {
        let model = models::find("Qwen/Qwen3-8B").unwrap();
        for mechanism in Mechanism::ALL {
            // 147,456 bytes per token.
            assert_eq!(of(&model, 2, mechanism, 256), ChunkBytes::whole(147_456 * 256));
        }
        // 61 latents of 1152 bytes: one copy of eight ranks.
        let latents = with(vec![layers(61, KvKind::Latent, 1, 576, 0)]);
        for mechanism in Mechanism::ALL {
            assert_eq!(of(&latents, 8, mechanism, 256), ChunkBytes::whole(70_272 * 256));
        }
    }

    #[test]
    fn windows_shorter_than_a_chunk_count_by_software() {
        // gpt-oss-120b: 18 full layers and 18 windows of 128 tokens, 2048 bytes per token each.
        let model = models::find("openai/gpt-oss-120b").unwrap();
        // Two tables, each a block of 18 x 2048 x 16 bytes for 16 tokens; a load ends with the 8
        // blocks of 127 tokens.
        let native = of(&model, 1, Mechanism::Native, 16);
        let table = 18 * 2048 * 16;
        let expected = ChunkBytes { kept: 2 * table, loaded: table, loaded_once: 8 * table };
        assert_eq!(native, expected);
        // Chunks of 32 blocks: the windows' chunk is kept whole, since its end is needed.
        assert_eq!(of(&model, 1, Mechanism::Native, 512).kept, 2 * table * 32);
        // 256 tokens of full layers, the last 128 of windows.
        let server = 36_864 * (256 + 128);
        assert_eq!(of(&model, 1, Mechanism::LmcacheServer, 256), ChunkBytes::whole(server));
        let in_engine = of(&model, 1, Mechanism::Lmcache, 256);
        assert_eq!(in_engine, ChunkBytes::whole(2 * 36_864 * 256));
    }

    #[test]
    fn windows_longer_than_a_chunk_are_kept_of_every_token() {
        // gemma-4-26B-A4B: 5 full layers of 4096 bytes, 25 windows of 1024 tokens of 8192.
        let model = with(vec![
            layers(25, KvKind::SlidingWindow { tokens: 1024 }, 8, 512, 0),
            layers(5, KvKind::Full, 2, 1024, 0),
        ]);
        let per_token = 5 * 4096 + 25 * 8192;
        for mechanism in Mechanism::ALL {
            assert_eq!(of(&model, 1, mechanism, 256).kept, per_token * 256, "{mechanism:?}");
        }
        // Blocks of 16 windows' tokens: 64 of them, in five tables.
        let native = of(&model, 1, Mechanism::Native, 256);
        assert_eq!((native.loaded, native.loaded_once), (20_480 * 256, 5 * 64 * 5 * 16 * 8192));
    }

    #[test]
    fn chunked_attention_is_kept_of_every_token() {
        // Llama-4: 12 full layers, 36 that see their chunk of 8192; 4096 bytes per token.
        let model = with(vec![
            layers(36, KvKind::Chunked { tokens: 8192 }, 8, 256, 0),
            layers(12, KvKind::Full, 8, 256, 0),
        ]);
        for mechanism in Mechanism::ALL {
            assert_eq!(of(&model, 8, mechanism, 256).kept, 48 * 4096 * 256, "{mechanism:?}");
        }
    }

    #[test]
    fn a_model_of_windows_alone_keeps_them_in_its_pool_and_all_of_them_in_tiers() {
        // Mistral-7B-v0.1: 32 layers of 4096 bytes with windows of 4096 tokens.
        let model = with(vec![layers(32, KvKind::SlidingWindow { tokens: 4096 }, 8, 256, 0)]);
        for mechanism in Mechanism::ALL {
            assert_eq!(of(&model, 1, mechanism, 256).kept, 32 * 4096 * 256, "{mechanism:?}");
        }
        assert_eq!(without_hybrid_manager(&model), Some(model.clone()));
        // 4095 tokens in blocks of 16.
        assert_eq!(of(&model, 1, Mechanism::Native, 16).loaded_once, 256 * 32 * 4096 * 16);
    }

    #[test]
    fn states_are_kept_once_per_chunk_and_do_not_start_without_the_manager() {
        // Qwen3.5-27B: 16 full layers of 4096 bytes per token, 48 states of 3,207,168.
        let model = with(vec![
            layers(48, KvKind::State, 1, 0, 3_207_168),
            layers(16, KvKind::Full, 4, 512, 0),
        ]);
        assert_eq!(without_hybrid_manager(&model), None);
        // A page of 784 tokens in each of three tables of states beside the full layers'.
        let page = 16 * 784 * 4096;
        let native = ChunkBytes { kept: 4 * page, loaded: page, loaded_once: 3 * page };
        assert_eq!(of(&model, 1, Mechanism::Native, 784), native);
        let server = 16 * 784 * 4096 + 48 * 3_207_168;
        assert_eq!(of(&model, 1, Mechanism::LmcacheServer, 784), ChunkBytes::whole(server));
    }

    #[test]
    fn packed_windows_are_kept_before_each_block() {
        // DeepSeek-V4: 43 windows of 128 latents and 20 layers with one latent of 4 tokens.
        let model = with(vec![
            layers(43, KvKind::LatentWindow { tokens: 128 }, 1, 0, 584),
            layers(20, KvKind::Compressed { ratio: 4 }, 1, 0, 584),
        ]);
        let (growth, window) = (20 * 584 / 4, 43 * 584 * 128);
        let native = of(&model, 8, Mechanism::Native, 512);
        assert_eq!(native.kept, growth * 512 + 2 * window);
        assert_eq!((native.loaded, native.loaded_once), (growth * 512, window));
        let server = of(&model, 8, Mechanism::LmcacheServer, 256);
        assert_eq!(server, ChunkBytes::whole(growth * 256 + window));
        // Without the manager windows are latents of every token.
        let in_engine = of(&model, 8, Mechanism::Lmcache, 256);
        assert_eq!(in_engine, ChunkBytes::whole((growth + 43 * 584) * 256));
    }

    #[test]
    fn connectors_switched_the_manager_off_until_0_21() {
        let before = Version { major: 0, minor: 21, patch: 0 };
        let from = Version { major: 0, minor: 22, patch: 0 };
        for mechanism in Mechanism::ALL {
            assert!(!keeps_hybrid_manager(mechanism, before));
        }
        assert!(keeps_hybrid_manager(Mechanism::Native, from));
        assert!(keeps_hybrid_manager(Mechanism::LmcacheServer, from));
        assert!(!keeps_hybrid_manager(Mechanism::Lmcache, from));
    }
}
