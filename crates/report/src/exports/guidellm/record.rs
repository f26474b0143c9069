//! The record of one request.

use serde::Serialize;
use serde_json::{Value, json};
use weir_model::{Outcome, RequestRow};

use super::super::ExportInput;
use super::super::sample::Seen;
use super::metrics::{time_per_output_token_ms, tokens_per_later_event};

#[derive(Serialize)]
pub(super) struct Record<'a> {
    type_: &'static str,
    request_id: String,
    response_id: Option<()>,
    request_args: Option<()>,
    output: Option<()>,
    reasoning_output: Option<()>,
    tool_calls: Option<()>,
    info: Info<'a>,
    input_metrics: Usage,
    response_metrics: Option<()>,
    output_metrics: Usage,
    request_start_time: f64,
    request_end_time: f64,
    request_latency: f64,
    request_dispatch_delay: f64,
    turn_predecessor_delay: f64,
    turn_scheduling_delay: f64,
    request_scheduled_latency: f64,
    prompt_tokens: u32,
    cached_tokens: u32,
    output_tokens: u32,
    total_tokens: u64,
    time_to_first_token_ms: Option<f64>,
    time_to_last_round_trip_ms: Option<()>,
    avg_round_trip_time_ms: Option<()>,
    time_per_output_token_ms: Option<f64>,
    inter_token_latency_ms: Option<f64>,
    tokens_per_second: Option<f64>,
    output_tokens_per_second: Option<f64>,
    time_to_first_output_token_ms: Option<f64>,
    iter_tokens_per_iteration: Option<f64>,
    output_tokens_per_iteration: Option<f64>,
}

#[derive(Serialize)]
struct Info<'a> {
    request_id: String,
    conversation_id: String,
    history_len: u32,
    turn_index: u32,
    preceding_nodes: u32,
    node_id: String,
    agent_id: Option<()>,
    parent_node_ids: Vec<String>,
    status: &'static str,
    scheduler_node_id: u32,
    scheduler_process_id: u32,
    scheduler_start_time: f64,
    timings: Timings,
    settings: &'a Value,
    error: Option<String>,
    traceback: Option<()>,
    started_at: f64,
    completed_at: f64,
}

/// Unix seconds.
#[derive(Serialize)]
struct Timings {
    targeted_start: f64,
    predecessor_completed: Option<f64>,
    queued: f64,
    dequeued: f64,
    scheduled_at: f64,
    resolve_start: f64,
    request_start: f64,
    first_request_iteration: Option<f64>,
    first_token_iteration: Option<f64>,
    first_output_token_iteration: Option<f64>,
    last_token_iteration: Option<f64>,
    last_request_iteration: Option<f64>,
    request_iterations: u64,
    token_iterations: u64,
    last_request_sent: Option<f64>,
    request_sent_sum: f64,
    request_sent_count: u32,
    token_received_sum: f64,
    token_received_count: u64,
    request_end: f64,
    resolve_end: f64,
    finalized: f64,
}

#[derive(Serialize)]
struct Usage {
    text_tokens: u32,
    cached_tokens: Option<u32>,
    text_words: Option<()>,
    text_characters: Option<()>,
    image_tokens: Option<()>,
    image_count: Option<()>,
    image_pixels: Option<()>,
    image_bytes: Option<()>,
    video_tokens: Option<()>,
    video_frames: Option<()>,
    video_seconds: Option<()>,
    video_bytes: Option<()>,
    audio_tokens: Option<()>,
    audio_samples: Option<()>,
    audio_seconds: Option<()>,
    audio_bytes: Option<()>,
    tool_call_tokens: Option<()>,
    mixed_content_tool_tokens: Option<()>,
    tool_call_count: Option<()>,
    total_tokens: u32,
}

/// No request came from a trace that `GuideLLM` scheduled.
pub(super) fn settings() -> Value {
    json!({"relative_timestamp": null, "requeue_delay": null, "trace_duration": null})
}

fn usage(tokens: u32, cached_tokens: Option<u32>) -> Usage {
    Usage {
        text_tokens: tokens,
        cached_tokens,
        text_words: None,
        text_characters: None,
        image_tokens: None,
        image_count: None,
        image_pixels: None,
        image_bytes: None,
        video_tokens: None,
        video_frames: None,
        video_seconds: None,
        video_bytes: None,
        audio_tokens: None,
        audio_samples: None,
        audio_seconds: None,
        audio_bytes: None,
        tool_call_tokens: None,
        mixed_content_tool_tokens: None,
        tool_call_count: None,
        total_tokens: tokens,
    }
}

impl<'a> Record<'a> {
    pub(super) fn of(input: &ExportInput<'_>, row: &RequestRow, settings: &'a Value) -> Self {
        let seen = Seen::of(row);
        let latency_s = seen.latency() as f64 / 1e9;
        let per_second = |tokens: f64| (latency_s > 0.0).then(|| tokens / latency_s);
        let delay = seen.start.saturating_sub(seen.due) as f64 / 1e9;
        let total_tokens = u64::from(seen.prompt) + u64::from(seen.output);
        let ttft_ms = seen.ttft().map(|ns| ns as f64 / 1e6);
        Self {
            type_: "generative_request_stats",
            request_id: row.request.to_string(),
            response_id: None,
            request_args: None,
            output: None,
            reasoning_output: None,
            tool_calls: None,
            info: info(input, row, &seen, settings),
            input_metrics: usage(seen.prompt, Some(seen.cached)),
            response_metrics: None,
            output_metrics: usage(seen.output, None),
            request_start_time: input.unix_s(seen.start),
            request_end_time: input.unix_s(seen.end),
            request_latency: latency_s,
            request_dispatch_delay: delay,
            turn_predecessor_delay: 0.0,
            turn_scheduling_delay: delay,
            request_scheduled_latency: seen.end.saturating_sub(seen.due) as f64 / 1e9,
            prompt_tokens: seen.prompt,
            cached_tokens: seen.cached,
            output_tokens: seen.output,
            total_tokens,
            time_to_first_token_ms: ttft_ms,
            time_to_last_round_trip_ms: None,
            avg_round_trip_time_ms: None,
            time_per_output_token_ms: time_per_output_token_ms(&seen),
            inter_token_latency_ms: seen.mean_gap().map(|ns| ns / 1e6),
            tokens_per_second: per_second(total_tokens as f64),
            output_tokens_per_second: per_second(f64::from(seen.output)),
            time_to_first_output_token_ms: ttft_ms,
            iter_tokens_per_iteration: tokens_per_later_event(&seen),
            output_tokens_per_iteration: (seen.chunks > 0)
                .then(|| f64::from(seen.output) / seen.chunks as f64),
        }
    }
}

fn info<'a>(
    input: &ExportInput<'_>,
    row: &RequestRow,
    seen: &Seen,
    settings: &'a Value,
) -> Info<'a> {
    let status = match row.outcome {
        Outcome::Done => "completed",
        Outcome::Unfinished => "cancelled",
        Outcome::Failed => "errored",
    };
    let node = |turn: u32| format!("{}-{turn}", row.session);
    Info {
        request_id: row.request.to_string(),
        conversation_id: row.session.to_string(),
        history_len: row.turn,
        turn_index: row.turn,
        preceding_nodes: row.turn,
        node_id: node(row.turn),
        agent_id: None,
        parent_node_ids: row.turn.checked_sub(1).map(node).into_iter().collect(),
        status,
        scheduler_node_id: 0,
        scheduler_process_id: 0,
        scheduler_start_time: input.unix_s(0),
        timings: timings(input, seen),
        settings,
        error: row.error.clone(),
        traceback: None,
        started_at: input.unix_s(seen.start),
        completed_at: input.unix_s(seen.end),
    }
}

fn timings(input: &ExportInput<'_>, seen: &Seen) -> Timings {
    let at = |ns: u64| input.unix_s(ns);
    let (first, last) = (seen.first.map(at), seen.last.map(at));
    Timings {
        targeted_start: at(seen.due),
        predecessor_completed: None,
        queued: at(seen.due),
        dequeued: at(seen.due),
        scheduled_at: at(seen.due),
        resolve_start: at(seen.due),
        request_start: at(seen.start),
        first_request_iteration: first,
        first_token_iteration: first,
        first_output_token_iteration: first,
        last_token_iteration: last,
        last_request_iteration: last,
        request_iterations: seen.chunks,
        token_iterations: seen.chunks,
        last_request_sent: None,
        request_sent_sum: 0.0,
        request_sent_count: 0,
        token_received_sum: 0.0,
        token_received_count: 0,
        request_end: at(seen.end),
        resolve_end: at(seen.end),
        finalized: at(seen.end),
    }
}
