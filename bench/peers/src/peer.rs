//! The peer: `aisimulate-core`, a replay of the same requests on one worker.
//!
//! As its documentation recommends for closed loops, requests are generated when a slot is free,
//! and nothing is kept per request by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aisimulate_core::engine::{Backend, EngineConfig, TimingModel, TimingModelConfig};
use aisimulate_core::replay::loadgen::GeneratedRequests;
use aisimulate_core::replay::{
    CURRENT_REPLAY_SPEC_VERSION, DirectRequest, ReplayAdapters, ReplayCaptureOptions,
    ReplayDeterminism, ReplayEngineConfig, ReplayEngineFactory, ReplayReport, ReplayRuntimeInput,
    ReplaySpec, ReplayTopology, Replayer, SlaThresholds,
};
use anyhow::{Result, ensure};

use crate::workload::{
    BLOCK_TOKENS, BLOCKS, IN_FLIGHT, MAX_MODEL_TOKENS, MAX_SEQUENCES, OUTPUT_TOKENS, OWN_TOKENS,
    PASS_MS, Size, TOKEN_BUDGET, Work,
};

/// Per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Sums and sketches only: its cheapest mode.
    Summed,
    Kept,
}

pub(crate) fn simulate(size: Size, rows: Rows) -> Result<Work> {
    let report = run(size, rows, ReplayEngineFactory::new())?;
    Ok(work_of(&report))
}

/// With the same pass times from a timing model that counts passes, which the peer's report does
/// not.
pub(crate) fn counted(size: Size) -> Result<Work> {
    let passes = Arc::new(CountedTiming::default());
    let factory = ReplayEngineFactory::with_timing_model(passes.clone());
    let report = run(size, Rows::Summed, factory)?;
    let mut work = work_of(&report);
    work.passes = Some(passes.passes.load(Ordering::Relaxed));
    Ok(work)
}

/// Only makes the prompts of a run: their share of the peer's time. Returns a digest, so that the
/// work cannot be optimised away.
pub(crate) fn prompts(size: Size) -> u64 {
    let prefix = prefix(size.prefix_tokens);
    (0..size.requests).fold(0, |sum, index| {
        let request = std::hint::black_box(request(&prefix, index));
        sum ^ u64::from(request.tokens[request.tokens.len() - 1])
    })
}

fn run(size: Size, rows: Rows, factory: ReplayEngineFactory) -> Result<ReplayReport> {
    let engine = ReplayEngineConfig {
        rank: EngineConfig {
            block_size: BLOCK_TOKENS as usize,
            num_gpu_blocks: BLOCKS as usize,
            max_model_len: Some(MAX_MODEL_TOKENS as usize),
            max_num_seqs: MAX_SEQUENCES as usize,
            max_num_batched_tokens: TOKEN_BUDGET as usize,
            enable_prefix_caching: true,
            // A pass takes the sum of both: the constant for any mix (except the few passes at the
            // start without a decode).
            timing_model: TimingModelConfig::Fixed { prefill_ms: 0.0, decode_ms: PASS_MS as f64 },
            ..EngineConfig::for_backend(Backend::Vllm)
        },
        ..ReplayEngineConfig::default()
    };
    let spec = ReplaySpec {
        version: CURRENT_REPLAY_SPEC_VERSION,
        topology: ReplayTopology::aggregated(1),
        engine: serde_json::to_value(engine)?,
        adapters: ReplayAdapters::default(),
        max_sim_time_ms: None,
        max_in_flight: Some(IN_FLIGHT as usize),
        record_per_request: rows == Rows::Kept,
        sla: SlaThresholds::default(),
        requests: Vec::new(),
    };
    let prefix = prefix(size.prefix_tokens);
    let requests = GeneratedRequests::new(size.requests as usize, move |index| {
        Ok(request(&prefix, index as u64))
    });
    let report = Replayer::new(spec, factory)?
        .with_runtime_input(ReplayRuntimeInput::GeneratedRequests(requests))
        .with_capture_options(ReplayCaptureOptions {
            capture_per_request: rows == Rows::Kept,
            determinism: ReplayDeterminism::CanonicalV1,
            ..ReplayCaptureOptions::default()
        })
        .run()?;
    let kept = report.per_request.len() as u64;
    let wanted = if rows == Rows::Kept { size.requests } else { 0 };
    ensure!(kept == wanted, "the peer kept {kept} request records, {wanted} were wanted");
    Ok(report)
}

fn work_of(report: &ReplayReport) -> Work {
    let counts = &report.request_counts;
    let prompt_tokens = counts.total_input_tokens as u64;
    Work {
        completed: counts.completed_requests as u64,
        prompt_tokens,
        // Without preemption, tokens that were not computed came from the cache.
        hit_tokens: prompt_tokens.saturating_sub(report.committed_prefill_tokens),
        output_tokens: counts.total_output_tokens as u64,
        passes: None,
        virtual_s: report.throughput.duration_ms / 1e3,
    }
}

fn prefix(tokens: u32) -> Vec<u32> {
    (0..u64::from(tokens)).map(|place| token(u64::MAX, place)).collect()
}

fn request(prefix: &[u32], index: u64) -> DirectRequest {
    let mut tokens = Vec::with_capacity(prefix.len() + OWN_TOKENS as usize);
    tokens.extend_from_slice(prefix);
    tokens.extend((0..u64::from(OWN_TOKENS)).map(|place| token(index, place)));
    DirectRequest { tokens, max_output_tokens: OUTPUT_TOKENS as usize, ..DirectRequest::default() }
}

/// The finaliser of `SplitMix64` over text and place.
fn token(text: u64, place: u64) -> u32 {
    let mut z = (text << 16 ^ place).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as u32
}

/// The peer's fixed timing, with a count of passes. In each pass the peer times first the prompt
/// part and then the decode part, without empty parts. So the count is one short where a pass of
/// prompts alone precedes one of decodes alone. In a closed loop of many requests, prompts are
/// waiting after every pass of prompts alone.
#[derive(Default)]
struct CountedTiming {
    passes: AtomicU64,
    prefilled: AtomicBool,
}

impl TimingModel for CountedTiming {
    fn predict_prefill_ms(&self, _: usize, _: usize, _: usize) -> Result<f64> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.prefilled.store(true, Ordering::Relaxed);
        Ok(0.0)
    }

    fn predict_decode_ms(&self, _: usize, _: usize, _: usize, _: usize) -> Result<f64> {
        // A decode part after a prompt part belongs to a counted pass.
        if !self.prefilled.swap(false, Ordering::Relaxed) {
            self.passes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(PASS_MS as f64)
    }
}
