//! The engine of a deployment: vLLM's defaults by version and accelerator, and its refusals.

use weir_engine::config::AnalyticConfig;
use weir_engine::{EngineConfig, TimingConfig};
use weir_model::{KvKind, KvLayers, ModelShape, Nanos};

use super::deployment::Point;
use super::{HOUR, SECOND, check_span};
use crate::capacity;
use crate::catalogue::accelerators;
use crate::document::engine::{EngineSection, KvCacheDtype, TimingSection};
use crate::error::SpecError;
use crate::kv_pool::{KvPool, offloaded};
use crate::plan::Hardware;
use weir_model::quantity::Version;

/// Applies where the file names none.
pub(crate) const VLLM: Version = Version { major: 0, minor: 32, patch: 0 };
/// Fitted on H100 and L40S.
const CPU_PER_PASS: Nanos = Nanos(2_500_000);
/// Fitted on H100 with vLLM 0.12.
const CPU_PER_SEQUENCE: Nanos = Nanos(40_000);
/// Fitted on the shared-prefix rows of the published evaluation (0.11.2 on L40S) with cascade
/// attention.
const CPU_PER_SEQUENCE_BEFORE_12: Nanos = Nanos(140_000);
/// Per replica: sums of many still fit 64 bits.
const MOST_POOL_BYTES: u64 = 1 << 50;
/// HTTP, tokenizer and queue in front of the scheduler.
const FRONT_END: Nanos = Nanos(12_000_000);
/// Shorter contexts come from commands without a workload. The pool is then counted in sequences of
/// full length, as vLLM reports it.
const LEAST_CONTEXT: u64 = 256;

pub(super) struct Engine {
    pub(super) version: Version,
    /// vLLM's `--block-size`.
    pub(super) block_size: u32,
    pub(super) model: ModelShape,
    pub(super) pool: KvPool,
    pub(super) config: EngineConfig,
    pub(super) timing: TimingConfig,
}

#[derive(Clone, Copy)]
pub(super) struct EngineInput<'a> {
    pub(super) section: &'a EngineSection,
    pub(super) model: &'a ModelShape,
    pub(super) hardware: &'a Hardware,
    pub(super) point: Point,
    /// Length of the workload's sequences. None where it is unknown.
    pub(super) context: Option<u64>,
}

/// With vLLM's hybrid KV cache manager. Fills in defaults and checks every limit.
pub(super) fn resolve(input: EngineInput<'_>) -> Result<Engine, SpecError> {
    let EngineInput { section, hardware, point, .. } = input;
    check_point(input.model, hardware, point)?;
    let mut model = input.model.clone();
    match section.kv_cache_dtype {
        Some(KvCacheDtype::Fp8) => model.kv_bytes_per_element = 1,
        Some(KvCacheDtype::Float32) => model.kv_bytes_per_element = 4,
        Some(KvCacheDtype::Auto) | None => {}
    }
    pack_sparse_latents(&mut model, hardware);
    let cached = model.clone();
    with_caches(input, model, &cached)
}

/// Latents under a sparse index are kept in 8 bits as `FlashMLA` packs them (`fp8_ds_mla` of vLLM
/// 0.32): fp8, a 32-bit scale per 128 of them, and the rotary part in 16 bits. Blackwell's kernels
/// read them in plain fp8.
fn pack_sparse_latents(model: &mut ModelShape, hardware: &Hardware) {
    let Some(latent) = model.latent else { return };
    let sparse = |of: &KvLayers| matches!(of.kind, KvKind::SparseIndex { ratio: 1 });
    let plain =
        model.kv_bytes_per_element != 1 || accelerators::is_blackwell(&hardware.accelerator);
    if plain || !model.kv_layers.iter().any(sparse) {
        return;
    }
    let packed = u64::from(latent.rank + latent.rank / 128 * 4 + 2 * latent.rope);
    for of in model.kv_layers.iter_mut().filter(|of| of.kind == KvKind::Latent) {
        (of.elements, of.bytes) = (0, packed);
    }
}

impl Engine {
    /// None where vLLM does not start the model with the hybrid manager off.
    pub(super) fn without_hybrid_manager(
        &self,
        input: EngineInput<'_>,
    ) -> Result<Option<Self>, SpecError> {
        let cached = offloaded::without_hybrid_manager(&self.model);
        cached.map(|cached| with_caches(input, self.model.clone(), &cached)).transpose()
    }
}

/// The engine of a model with the caches of `cached`.
fn with_caches(
    input: EngineInput<'_>,
    model: ModelShape,
    cached: &ModelShape,
) -> Result<Engine, SpecError> {
    let EngineInput { section, hardware, point, context, .. } = input;
    let version = section.vllm.unwrap_or(VLLM);
    let large = capacity::is_large(&hardware.accelerator);
    let max_num_seqs = section.max_num_seqs.unwrap_or(if large { 1024 } else { 256 });
    let block_size = section.block_size.unwrap_or(16);
    check_range("block_size", block_size, 1024)?;
    let pool = KvPool::of(cached, point.tensor_parallel, block_size, version);
    let config = EngineConfig {
        block_size: pool.block_size,
        blocks: 0,
        max_num_seqs,
        max_num_batched_tokens: section.max_num_batched_tokens.unwrap_or(if large {
            8192
        } else {
            2048
        }),
        max_model_len: section.max_model_len.unwrap_or(model.context),
        prefix_caching: section.prefix_caching.unwrap_or(true),
        watermark: section.watermark.unwrap_or(0.0),
        kv_bytes_per_token: cached.kv_bytes_per_token_over(point.tensor_parallel).0,
    };
    check_limits(&config, &model)?;
    let blocks = if let Some(tokens) = section.kv_tokens {
        blocks(tokens, tokens, &config)?
    } else {
        let (ranks, share) = (point.tensor_parallel, point.gpu_memory_utilization);
        let bytes = capacity::kv_bytes(&model, &hardware.accelerator, ranks, share, max_num_seqs)?;
        let longest = u64::from(config.max_model_len);
        let context = context.filter(|context| *context >= LEAST_CONTEXT);
        let context = context.unwrap_or(longest).min(longest);
        blocks(pool.tokens(bytes, context), pool.tokens(bytes, longest), &config)?
    };
    let config = EngineConfig { blocks, ..config };
    check_spans(section)?;
    let timing = timing(section, version, &model, hardware, point);
    Ok(Engine { version, block_size, model, pool, config, timing })
}

fn check_point(model: &ModelShape, hardware: &Hardware, point: Point) -> Result<(), SpecError> {
    let ranks = point.tensor_parallel;
    let key = "engine.tensor_parallel";
    if ranks == 0 || ranks > hardware.count {
        return Err(SpecError::value(
            key,
            format!("{ranks} ranks on the {} accelerators of {}", hardware.count, hardware.name),
            format!("write a number from 1 to {}", hardware.count),
        ));
    }
    if !model.heads.is_multiple_of(ranks) {
        return Err(SpecError::value(
            key,
            format!("{ranks} ranks cannot share the {} heads of {}", model.heads, model.name),
            format!("write a number that divides {}", model.heads),
        ));
    }
    let share = point.gpu_memory_utilization;
    if !(share > 0.0 && share <= 1.0) {
        return Err(SpecError::value(
            "engine.gpu_memory_utilization",
            format!("{share} is not a share"),
            "write a number above 0 and up to 1, for example 0.9",
        ));
    }
    Ok(())
}

fn check_range(key: &str, value: u32, most: u32) -> Result<(), SpecError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(SpecError::value(
        format!("engine.{key}"),
        format!("{value} is out of range"),
        format!("write a number from 1 to {most}"),
    ))
}

fn check_limits(config: &EngineConfig, model: &ModelShape) -> Result<(), SpecError> {
    for (key, value, most) in [
        ("max_num_seqs", config.max_num_seqs, 65_536),
        ("max_num_batched_tokens", config.max_num_batched_tokens, 1 << 20),
        ("max_model_len", config.max_model_len, 1 << 24),
    ] {
        check_range(key, value, most)?;
    }
    if config.max_num_batched_tokens < config.max_num_seqs {
        return Err(SpecError::value(
            "engine.max_num_batched_tokens",
            format!(
                "{} tokens per pass are fewer than the {} sequences of max_num_seqs",
                config.max_num_batched_tokens, config.max_num_seqs
            ),
            "raise it, or lower engine.max_num_seqs",
        ));
    }
    if config.max_model_len > model.context {
        return Err(SpecError::value(
            "engine.max_model_len",
            format!(
                "{} exceeds the {} tokens of {}",
                config.max_model_len, model.context, model.name
            ),
            "lower it, or remove it",
        ));
    }
    if !(0.0..1.0).contains(&config.watermark) {
        return Err(SpecError::value(
            "engine.watermark",
            format!("{} is not a share", config.watermark),
            "write a number from 0 to below 1",
        ));
    }
    Ok(())
}

/// Like vLLM, refuses a pool that cannot hold a single longest sequence. `longest` is its capacity
/// in such sequences.
fn blocks(tokens: u64, longest: u64, config: &EngineConfig) -> Result<u32, SpecError> {
    let whole = u32::try_from(tokens / u64::from(config.block_size)).ok();
    let bytes = tokens.checked_mul(config.kv_bytes_per_token);
    let Some(whole) = whole.filter(|_| bytes.is_some_and(|bytes| bytes <= MOST_POOL_BYTES)) else {
        return Err(SpecError::value(
            "engine.kv_tokens",
            format!("{tokens} tokens are more than any replica holds"),
            "lower it",
        ));
    };
    if longest < u64::from(config.max_model_len) {
        return Err(SpecError::PoolTooSmall {
            arm: None,
            holds: longest,
            max_model_len: config.max_model_len,
        });
    }
    Ok(whole)
}

fn check_spans(section: &EngineSection) -> Result<(), SpecError> {
    let fixed = match section.timing {
        Some(TimingSection::Fixed { base, per_token }) => [Some(base), Some(per_token)],
        _ => [None, None],
    };
    for (key, span, most) in [
        ("timing.fixed.base", fixed[0], HOUR),
        ("timing.fixed.per_token", fixed[1], SECOND),
        ("cpu_per_pass", section.cpu_per_pass, HOUR),
        ("cpu_per_sequence", section.cpu_per_sequence, SECOND),
        ("front_end", section.front_end, HOUR),
    ] {
        if let Some(span) = span {
            check_span(&format!("engine.{key}"), span.0, most)?;
        }
    }
    Ok(())
}

fn timing(
    section: &EngineSection,
    version: Version,
    model: &ModelShape,
    hardware: &Hardware,
    point: Point,
) -> TimingConfig {
    if let Some(TimingSection::Fixed { base, per_token }) = section.timing {
        return TimingConfig::Fixed { base: base.0, per_token: per_token.0 };
    }
    let cpu_per_sequence =
        if version.at_least(12) { CPU_PER_SEQUENCE } else { CPU_PER_SEQUENCE_BEFORE_12 };
    TimingConfig::Analytic(Box::new(AnalyticConfig {
        model: model.clone(),
        accelerator: hardware.accelerator.clone(),
        tensor_parallel: point.tensor_parallel,
        async_scheduling: section.async_scheduling.unwrap_or(version.at_least(12)),
        // vLLM switched it off in March 2026.
        cascade_attention: section.cascade_attention.unwrap_or(!version.at_least(17)),
        cpu_per_pass: section.cpu_per_pass.map_or(CPU_PER_PASS, |span| span.0),
        cpu_per_sequence: section.cpu_per_sequence.map_or(cpu_per_sequence, |span| span.0),
        front_end: section.front_end.map_or(FRONT_END, |span| span.0),
    }))
}
