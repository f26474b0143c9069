//! A tool's own results, from the files that it writes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) key: Key,
    /// On the tool's own clock; orders the requests.
    pub(crate) start_ns: u64,
    pub(crate) first_token_ns: f64,
    pub(crate) bound_ns: Option<f64>,
}

/// Matches a request to the server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Sent(String),
    /// The server's number in the answer's id.
    Answer(u64),
    /// The number at the end of the `X-Request-Id` that the tool sent.
    SentNumber(u64),
    Order,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Own {
    pub(crate) ttft_mean_ms: Option<f64>,
    pub(crate) ttft_p99_ms: Option<f64>,
    pub(crate) itl_mean_ms: Option<f64>,
    pub(crate) gap_p99_ms: Option<f64>,
    pub(crate) tokens_per_s: Option<f64>,
    pub(crate) failed: Option<f64>,
    /// Set where the tool itself calls its figures bounds.
    pub(crate) refused: Option<String>,
    pub(crate) requests: Vec<Request>,
}

fn json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("{} was not written", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", path.display()))
}

fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}

pub(crate) fn of_bare(figures: &Path, rows: &Path) -> Result<Own> {
    let value = json(figures)?;
    let mut requests = Vec::new();
    let mut reader = csv::Reader::from_path(rows)
        .with_context(|| format!("{} was not written", rows.display()))?;
    for row in reader.deserialize() {
        let (id, start_ns, first_token_ns, _, _, _): (String, u64, u64, u64, u64, u64) =
            row.with_context(|| format!("{} has a bad row", rows.display()))?;
        requests.push(Request {
            key: Key::Sent(id),
            start_ns,
            first_token_ns: first_token_ns.saturating_sub(start_ns) as f64,
            bound_ns: None,
        });
    }
    Ok(Own {
        ttft_mean_ms: number(&value, "/ttft_mean_ms"),
        ttft_p99_ms: number(&value, "/ttft_p99_ms"),
        itl_mean_ms: number(&value, "/itl_mean_ms"),
        gap_p99_ms: number(&value, "/gap_p99_ms"),
        tokens_per_s: number(&value, "/tokens_per_s"),
        failed: Some(0.0),
        refused: None,
        requests,
    })
}

/// `guidellm` 0.8: the JSON report. It records the id of each answer.
pub(crate) fn of_guidellm(report: &Path) -> Result<Own> {
    let value = json(report)?;
    let benchmark = value.pointer("/benchmarks/0").context("the report has no benchmark")?;
    let metric =
        |name: &str, of: &str| number(benchmark, &format!("/metrics/{name}/successful/{of}"));
    let rows = benchmark.pointer("/requests/successful").and_then(Value::as_array);
    let requests = rows.into_iter().flatten().filter_map(|row| {
        let id = row.get("response_id").and_then(Value::as_str).unwrap_or_default();
        // The mock counts in decimal digits.
        let number_of = id.rsplit('-').next().and_then(|digits| digits.parse::<u64>().ok());
        Some(Request {
            key: number_of.map_or(Key::Order, Key::Answer),
            start_ns: (number(row, "/request_start_time")? * 1e9) as u64,
            first_token_ns: number(row, "/time_to_first_token_ms")? * 1e6,
            bound_ns: None,
        })
    });
    Ok(Own {
        ttft_mean_ms: metric("time_to_first_token_ms", "mean"),
        ttft_p99_ms: metric("time_to_first_token_ms", "percentiles/p99"),
        itl_mean_ms: metric("inter_token_latency_ms", "mean"),
        gap_p99_ms: None,
        tokens_per_s: metric("output_tokens_per_second", "mean"),
        failed: number(benchmark, "/metrics/request_totals/errored"),
        refused: None,
        requests: requests.collect(),
    })
}

/// `aiperf` 0.13: the aggregate, and a record per request.
pub(crate) fn of_aiperf(folder: &Path) -> Result<Own> {
    let value = json(&folder.join("profile_export_aiperf.json"))?;
    let rows = folder.join("profile_export.jsonl");
    let text =
        fs::read_to_string(&rows).with_context(|| format!("{} was not written", rows.display()))?;
    let mut requests = Vec::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line)
            .with_context(|| format!("{} has a bad line", rows.display()))?;
        let id = row.pointer("/metadata/x_request_id").and_then(Value::as_str);
        let Some(ttft_ms) = number(&row, "/metrics/time_to_first_token/value") else { continue };
        requests.push(Request {
            key: id.map_or(Key::Order, |id| Key::Sent(id.to_owned())),
            start_ns: row
                .pointer("/metadata/request_start_ns")
                .and_then(Value::as_u64)
                .unwrap_or(0),
            first_token_ns: ttft_ms * 1e6,
            bound_ns: None,
        });
    }
    Ok(Own {
        ttft_mean_ms: number(&value, "/time_to_first_token/avg"),
        ttft_p99_ms: number(&value, "/time_to_first_token/p99"),
        itl_mean_ms: number(&value, "/inter_token_latency/avg"),
        // Its chunk gaps are averaged per request before they are ranked.
        gap_p99_ms: None,
        tokens_per_s: number(&value, "/output_token_throughput/avg"),
        failed: number(&value, "/error_request_count/avg").or(Some(0.0)),
        refused: None,
        requests,
    })
}

/// The JSON of vLLM's benchmarks, which several tools write.
pub(crate) fn of_vllm(report: &Path) -> Result<Own> {
    let value = json(report)?;
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    // Only with --save-detailed.
    let seconds = list("ttfts").into_iter().flatten().filter_map(Value::as_f64);
    let starts: Vec<f64> =
        list("start_times").into_iter().flatten().filter_map(Value::as_f64).collect();
    let requests = seconds.enumerate().map(|(place, ttft_s)| Request {
        key: Key::Order,
        start_ns: starts.get(place).map_or(place as u64, |start| (start * 1e9) as u64),
        first_token_ns: ttft_s * 1e9,
        bound_ns: None,
    });
    Ok(Own {
        ttft_mean_ms: number(&value, "/mean_ttft_ms"),
        ttft_p99_ms: number(&value, "/p99_ttft_ms"),
        itl_mean_ms: number(&value, "/mean_itl_ms"),
        gap_p99_ms: number(&value, "/p99_itl_ms"),
        tokens_per_s: number(&value, "/output_throughput"),
        failed: number(&value, "/failed"),
        refused: None,
        requests: requests.collect(),
    })
}

/// `cell.json` also has the figures of a refused level.
pub(crate) fn of_weir(record: &Path) -> Result<Own> {
    let value = json(record)?;
    Ok(Own {
        ttft_mean_ms: number(&value, "/figures/ttft_ms/mean"),
        ttft_p99_ms: number(&value, "/figures/ttft_ms/p99"),
        itl_mean_ms: number(&value, "/figures/itl_ms/mean"),
        gap_p99_ms: number(&value, "/figures/itl_ms/p99"),
        tokens_per_s: number(&value, "/figures/output_tokens_per_s"),
        failed: number(&value, "/figures/failed"),
        refused: value
            .pointer("/figures/certificate/refused/cause")
            .and_then(Value::as_str)
            .map(str::to_owned),
        requests: Vec::new(),
    })
}

/// The first file in `folder` in the form of vLLM's benchmarks.
pub(crate) fn of_any_vllm(folder: &Path) -> Option<Own> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let reports = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
    reports.filter_map(|path| of_vllm(path).ok()).find(|own| own.ttft_mean_ms.is_some())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Key, of_aiperf, of_any_vllm, of_guidellm};

    #[test]
    fn reports_of_the_tools_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let report = folder.path().join("report.json");
        let text = r#"{"benchmarks":[{"metrics":{
            "time_to_first_token_ms":{"successful":{"mean":103.5,"percentiles":{"p99":111.0}}},
            "inter_token_latency_ms":{"successful":{"mean":10.5}},
            "output_tokens_per_second":{"successful":{"mean":307.5}},
            "request_totals":{"errored":2}},
            "requests":{"successful":[{"response_id":"chatcmpl-00000000000000000000000000000017",
            "request_start_time":1.5,"time_to_first_token_ms":101.25}]}}]}"#;
        fs::write(&report, text).expect("written");
        let own = of_guidellm(&report).expect("a report");
        assert_eq!((own.ttft_mean_ms, own.ttft_p99_ms), (Some(103.5), Some(111.0)));
        assert_eq!((own.itl_mean_ms, own.failed), (Some(10.5), Some(2.0)));
        assert_eq!(own.requests[0].key, Key::Answer(17));
        assert!((own.requests[0].first_token_ns - 101_250_000.0).abs() < 1.0);

        let line = r#"{"metadata":{"x_request_id":"abc","request_start_ns":5},
            "metrics":{"time_to_first_token":{"value":2.5,"unit":"ms"}}}"#
            .replace('\n', "");
        fs::write(folder.path().join("profile_export.jsonl"), line).expect("written");
        let text = r#"{"time_to_first_token":{"avg":2.5,"p99":3.5},
            "inter_token_latency":{"avg":10.25},"output_token_throughput":{"avg":99.5}}"#;
        fs::write(folder.path().join("profile_export_aiperf.json"), text).expect("written");
        let own = of_aiperf(folder.path()).expect("an export");
        assert_eq!((own.itl_mean_ms, own.tokens_per_s), (Some(10.25), Some(99.5)));
        assert_eq!(own.requests[0].key, Key::Sent("abc".to_owned()));
    }

    #[test]
    fn a_peers_report_is_found_by_its_form() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(of_any_vllm(folder.path()).is_none());
        fs::write(folder.path().join("a.json"), r#"{"unrelated":1}"#).expect("written");
        let text = r#"{"mean_ttft_ms":4.5,"p99_ttft_ms":9.5,"mean_itl_ms":1.5,"p99_itl_ms":2.5,
            "output_throughput":7.5,"failed":0,"ttfts":[0.004,0.005],"start_times":[2.0,1.0]}"#;
        fs::write(folder.path().join("b.json"), text).expect("written");
        let own = of_any_vllm(folder.path()).expect("a report");
        assert_eq!((own.ttft_mean_ms, own.requests.len()), (Some(4.5), 2));
        assert_eq!(own.requests[1].start_ns, 1_000_000_000);
    }
}
