use anyhow::{Context, Result};
use serde_json::json;
use weir_bench_load::machine::peak_memory;

use crate::stream::{Row, Seen};

/// A row per request: times on the machine's monotonic clock.
pub(crate) fn csv(seen: &Seen) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns =
        ["request_id", "start_ns", "first_token_ns", "last_token_ns", "tokens", "max_gap_ns"];
    writer.write_record(columns).context("the rows")?;
    for row in &seen.rows {
        let figures = [
            row.start_ns,
            row.first_token_ns,
            row.last_token_ns,
            u64::from(row.tokens),
            row.max_gap_ns,
        ];
        let id = format!("bare-{}", row.request);
        let record = std::iter::once(id).chain(figures.iter().map(u64::to_string));
        writer.write_record(record).context("the rows")?;
    }
    writer.into_inner().context("the rows")
}

pub(crate) fn json(seen: &Seen, processor_ns: u64) -> Result<String> {
    let mut first: Vec<u64> =
        seen.rows.iter().map(|row| row.first_token_ns - row.start_ns).collect();
    first.sort_unstable();
    let tokens: u64 = seen.rows.iter().map(|row| u64::from(row.tokens)).sum();
    let start = seen.rows.iter().map(|row| row.start_ns).min().unwrap_or(0);
    let end = seen.rows.iter().map(|row| row.last_token_ns).max().unwrap_or(0);
    let seconds = (end - start) as f64 / 1e9;
    let inter_token = seen.rows.iter().filter(|row| row.tokens > 1).map(inter_token_ns);
    let inter_token: Vec<f64> = inter_token.collect();
    let figures = json!({
        "requests": seen.rows.len(),
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_s": tokens as f64 / seconds,
        "processor_s_per_million_tokens": processor_ns as f64 / 1e9 / (tokens as f64 / 1e6),
        "peak_memory_mib": peak_memory().map(|bytes| bytes as f64 / f64::from(1 << 20)),
        "ttft_mean_ms": mean(first.iter().map(|ns| *ns as f64)) / 1e6,
        "ttft_p99_ms": quantile(&first, 0.99) / 1e6,
        "itl_mean_ms": mean(inter_token.iter().copied()) / 1e6,
        "gap_p99_ms": seen.gaps.value_at_quantile(0.99) as f64 / 1e6,
    });
    serde_json::to_string(&figures).context("the figures")
}

fn inter_token_ns(row: &Row) -> f64 {
    (row.last_token_ns - row.first_token_ns) as f64 / f64::from(row.tokens - 1)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0_u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / count as f64
}

fn quantile(sorted: &[u64], share: f64) -> f64 {
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).map_or(f64::NAN, |value| *value as f64)
}
