//! Exports: each format's keys, units and sums, and `GuideLLM`'s by loading it with `GuideLLM`.

use std::process::Command;

use serde_json::Value;
use weir_model::{Nanos, Outcome, RequestRow, Window};
use weir_record::CellFigures;
use weir_report::exports::{Export, ExportError, ExportInput, OfferedLoad};
use weir_report::figures::{Measure, Stream, Streams, summarise_streams};
use weir_spec::plan::Slo;

use crate::foreign;
use crate::live::{MS, certificate, failed, streamed};

/// Noise of requests and gaps.
fn mixed(at: u64) -> u64 {
    let z = at.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 29)
}

/// Two-turn sessions over 4 s, in order of end: mostly complete ones, some with several tokens per
/// chunk, some refused or cut, one in flight at the end, one that ended in the warm-up.
pub(crate) fn rows() -> Vec<RequestRow> {
    let mut rows: Vec<RequestRow> = (0..120)
        .map(|at| {
            let gaps: Vec<u64> = (0..mixed(at) % 12).map(|gap| 8 + mixed(gap ^ at) % 5).collect();
            let due = 30 * at;
            match at % 17 {
                5 => failed(at, due, due + 3),
                9 => {
                    let cut = streamed(at, due, due + 60, &gaps, gaps.len() as u32 + 1);
                    let error = Some("truncated stream".to_owned());
                    RequestRow { outcome: Outcome::Failed, error, ..cut }
                }
                3 => streamed(at, due, due + 50, &gaps, 3 * (gaps.len() as u32 + 1)),
                _ => streamed(at, due, due + 40 + mixed(at) % 50, &gaps, gaps.len() as u32 + 1),
            }
        })
        .collect();
    let hanging = failed(120, 3500, 4200);
    rows.push(RequestRow { outcome: Outcome::Unfinished, error: None, ..hanging });
    rows.sort_by_key(|row| row.end);
    rows
}

const WINDOW: Window = Window { start: Nanos(200 * MS), end: Nanos(4000 * MS) };

fn figures(rows: &[RequestRow]) -> CellFigures {
    let slo = Slo::default();
    let measure = Measure { window: WINDOW, slo: &slo, hour_price: None };
    let mut streams = Streams::new(WINDOW, 0);
    for row in rows {
        streams.add(&Stream::of(row));
    }
    let figures = summarise_streams(&rows.iter().collect(), &streams, &measure).unwrap();
    CellFigures { certificate: Some(certificate()), ..figures }
}

fn written_with(
    export: Export,
    rows: &[RequestRow],
    change: impl Fn(&mut ExportInput<'_>),
) -> Result<Vec<u8>, ExportError> {
    let figures = figures(rows);
    let slo = Slo { ttft: Some(Nanos(80 * MS)), ..Slo::default() };
    let open = || -> Result<weir_report::exports::Rows<'_>, _> {
        Ok(Box::new(rows.iter().cloned().map(Ok)))
    };
    let mut input = ExportInput {
        rows: &open,
        figures: &figures,
        window: WINDOW,
        level: "c4",
        load: OfferedLoad::Users { users: 4, ramp_s: 0.5 },
        model: "Qwen/Qwen3-8B",
        endpoint: "http://127.0.0.1:8000",
        started_unix_ns: 1_795_000_000_123_456_789,
        seed: 889,
        workers: 1,
        slo: &slo,
    };
    change(&mut input);
    let mut bytes = Vec::new();
    export.write(&input, &mut bytes)?;
    Ok(bytes)
}

pub(crate) fn written(export: Export) -> String {
    String::from_utf8(written_with(export, &rows(), |_| {}).unwrap()).unwrap()
}

pub(crate) fn written_under(export: Export, rows: &[RequestRow], load: OfferedLoad) -> String {
    String::from_utf8(written_with(export, rows, |input| input.load = load).unwrap()).unwrap()
}

fn count(rows: &[RequestRow], outcome: Outcome) -> usize {
    rows.iter().filter(|row| row.outcome == outcome && WINDOW.measures(row.due)).count()
}

/// Counts the requests that `GuideLLM` would include.
fn count_ended(rows: &[RequestRow], outcome: Outcome) -> usize {
    let inside = |row: &&RequestRow| outcome == Outcome::Unfinished || WINDOW.contains(row.end);
    rows.iter().filter(|row| row.outcome == outcome).filter(inside).count()
}

type Length = fn(&RequestRow) -> u32;

#[test]
fn a_refused_level_is_not_exported() {
    for export in Export::ALL {
        let seen = figures(&rows());
        let mut seen_certificate = certificate();
        seen_certificate.refused =
            Some(weir_model::Refusal::Busy { share: 0.99, why: weir_model::Lateness::Busy });
        let refused = CellFigures { certificate: Some(seen_certificate), ..seen };
        let error = {
            let rows = rows();
            let slo = Slo::default();
            let open = || -> Result<weir_report::exports::Rows<'_>, _> {
                Ok(Box::new(rows.iter().cloned().map(Ok)))
            };
            let input = ExportInput {
                rows: &open,
                figures: &refused,
                window: WINDOW,
                level: "c512",
                load: OfferedLoad::Users { users: 512, ramp_s: 0.0 },
                model: "m",
                endpoint: "e",
                started_unix_ns: 0,
                seed: 1,
                workers: 1,
                slo: &slo,
            };
            let mut bytes = Vec::new();
            let error = export.write(&input, &mut bytes).unwrap_err();
            assert!(bytes.is_empty());
            error
        };
        assert!(error.to_string().contains("c512: the load generator was the limit"), "{error}");
        assert_eq!(Export::named(export.name()), Some(export));
    }
}

#[test]
fn every_format_survives_a_cell_without_requests_and_every_load() {
    for export in Export::ALL {
        for load in [
            OfferedLoad::Users { users: 1, ramp_s: 0.0 },
            OfferedLoad::Constant { per_s: 2.5 },
            OfferedLoad::Poisson { per_s: 2.5 },
            OfferedLoad::Gamma { per_s: 2.5, shape: 0.5 },
            OfferedLoad::Trace { speed: 2.0 },
        ] {
            let text = written_with(export, &rows()[..0], |input| input.load = load).unwrap();
            assert!(!text.is_empty());
            let text = written_with(export, &rows(), |input| input.load = load).unwrap();
            assert!(!String::from_utf8(text).unwrap().contains("NaN"));
        }
    }
}

/// Case of vllm-project/vllm#5895: nothing succeeded, and the file gave a duration of 0.
#[test]
fn what_nobody_saw_is_null_and_not_zero() {
    let rows: Vec<RequestRow> = (0..12)
        .map(|at| {
            let cut = streamed(at, 300 + at, 400 + at, &[10, 10], 3);
            let error = Some("truncated stream".to_owned());
            RequestRow { outcome: Outcome::Failed, error, ..cut }
        })
        .collect();
    let text = |export| String::from_utf8(written_with(export, &rows, |_| {}).unwrap()).unwrap();
    let seen: Value = serde_json::from_str(&text(Export::VllmBench)).unwrap();
    assert_eq!((seen["completed"].as_u64(), seen["failed"].as_u64()), (Some(0), Some(12)));
    for key in [
        "mean_ttft_ms",
        "p99_ttft_ms",
        "mean_itl_ms",
        "mean_e2el_ms",
        "output_throughput",
        "request_throughput",
        "max_output_tokens_per_s",
    ] {
        assert!(seen[key].is_null(), "{key}: {}", seen[key]);
    }
    let seen: Value = serde_saphyr::from_str(&text(Export::BenchmarkReport)).unwrap();
    let aggregate = &seen["results"]["request_performance"]["aggregate"];
    assert_eq!(aggregate["requests"]["failures"], 12);
    assert!(aggregate["latency"]["time_to_first_token"].is_null());
    assert!(aggregate["throughput"]["output_token_rate"].is_null());
    assert_eq!(text(Export::ScriptCsv).lines().count(), 1, "the head alone");
}

/// As `GuideLLM` 0.8.1: its reader takes null for these, and -1 is its average of nothing.
#[test]
fn what_guidellm_leaves_open_is_left_open() {
    let written = |rows: &[RequestRow], load| -> Value {
        let text = written_with(Export::GuideLlm, rows, |input| input.load = load).unwrap();
        let file: Value = serde_json::from_slice(&text).unwrap();
        file["benchmarks"][0].clone()
    };
    let closed = OfferedLoad::Users { users: 4, ramp_s: 0.0 };
    let seen = written(&rows(), closed);
    assert!(seen["metrics"]["root_dispatch_delay"].is_null());
    assert!(seen["metrics"]["text"]["tokens"]["input"]["total"]["count"].as_u64() > Some(0));
    let scheduler = &seen["scheduler_metrics"];
    assert_eq!(scheduler["queued_time_avg"], -1.0);
    assert!(scheduler["request_time_avg"].as_f64() > Some(0.0));
    let seen = written(&rows(), OfferedLoad::Constant { per_s: 2.5 });
    assert!(seen["metrics"]["root_dispatch_delay"]["count"].as_u64() > Some(0));
    // Without any request.
    let seen = written(&[], OfferedLoad::Constant { per_s: 2.5 });
    assert!(seen["metrics"]["root_dispatch_delay"].is_null());
    assert!(seen["metrics"]["text"]["tokens"]["output"].is_null());
    assert_eq!(seen["scheduler_metrics"]["request_time_avg"], -1.0);
    // Required numbers are 0 with a count of 0.
    let latency = &seen["metrics"]["request_latency"]["total"];
    assert_eq!((latency["count"].as_u64(), latency["mean"].as_f64()), (Some(0), Some(0.0)));
}

#[test]
fn a_full_disk_is_the_environments_fault() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (rows, slo) = (rows(), Slo::default());
    let figures = figures(&rows);
    let open = || -> Result<weir_report::exports::Rows<'_>, _> {
        Ok(Box::new(rows.iter().cloned().map(Ok)))
    };
    let input = ExportInput {
        rows: &open,
        figures: &figures,
        window: WINDOW,
        level: "c4",
        load: OfferedLoad::Trace { speed: 1.0 },
        model: "m",
        endpoint: "e",
        started_unix_ns: 0,
        seed: 1,
        workers: 1,
        slo: &slo,
    };
    for export in Export::ALL {
        let error = export.write(&input, &mut Full).unwrap_err();
        assert!(matches!(error, ExportError::Write { .. }), "{export:?}: {error}");
    }
}

#[test]
fn the_scripts_csv_has_their_columns_in_seconds() {
    let text = written(Export::ScriptCsv);
    let mut lines = text.lines();
    let head = lines.next().unwrap();
    assert_eq!(head, "request_id,label,prompt_len,gen_len,total_len,ttft,e2e,avg_itl");
    assert_eq!(lines.count(), count(&rows(), Outcome::Done));
    // Sent at 601, first token at 600 + 40 + noise.
    let row = rows().into_iter().find(|row| row.request == 20).unwrap();
    let ttft = (row.first_token.unwrap().0 - row.start.0) as f64 / 1e9;
    let e2e = (row.end.0 - row.start.0) as f64 / 1e9;
    let gaps: u64 = row.chunk_gaps.iter().map(|gap| gap.0).sum();
    let itl = gaps as f64 / row.chunk_gaps.len() as f64 / 1e9;
    let tokens = row.output_tokens.0;
    let expected = format!("20,c4,1000,{tokens},{},{ttft:.6},{e2e:.6},{itl:.6}", 1000 + tokens);
    assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
}

#[track_caller]
fn assert_has_vllms_keys(seen: &Value, requests: usize) {
    for list in [
        "input_lens",
        "output_lens",
        "ttfts",
        "itls",
        "latencies",
        "start_times",
        "queue_times",
        "generated_texts",
        "errors",
    ] {
        assert_eq!(seen[list].as_array().unwrap().len(), requests, "{list}");
    }
    for metric in ["ttft", "tpot", "itl", "e2el", "client_queue_time"] {
        for statistic in ["mean", "median", "std", "p99"] {
            assert!(seen[format!("{statistic}_{metric}_ms")].is_f64(), "{statistic} {metric}");
        }
    }
    for key in [
        "date",
        "endpoint_type",
        "backend",
        "label",
        "model_id",
        "tokenizer_id",
        "num_prompts",
        "request_rate",
        "burstiness",
        "max_concurrency",
        "duration",
        "total_input_tokens",
        "total_output_tokens",
        "request_throughput",
        "request_goodput",
        "output_throughput",
        "total_token_throughput",
        "max_output_tokens_per_s",
        "max_concurrent_requests",
        "rtfx",
    ] {
        assert!(!seen[key].is_null(), "{key}");
    }
}

#[test]
fn the_vllm_result_has_its_keys_and_its_lists_are_parallel() {
    let seen: Value = serde_json::from_str(&written(Export::VllmBench)).unwrap();
    let (done, lost) = (count(&rows(), Outcome::Done), count(&rows(), Outcome::Failed));
    assert_eq!(
        (seen["completed"].as_u64(), seen["failed"].as_u64()),
        (Some(done as u64), Some(lost as u64))
    );
    assert_has_vllms_keys(&seen, done + lost);
    let of = |list: &str| -> Vec<f64> {
        // What a failed request never had is null.
        let values = seen[list].as_array().unwrap().iter();
        values.map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
    };
    // By vLLM's own formulas from the lists.
    let outputs: f64 = of("output_lens").iter().sum();
    assert_eq!(seen["total_output_tokens"].as_f64(), Some(outputs));
    // Until the last of them ended, as vLLM does.
    let is_listed =
        |row: &&RequestRow| WINDOW.measures(row.due) && row.outcome != Outcome::Unfinished;
    let ended = rows().iter().filter(is_listed).map(|row| row.end).max();
    let duration = (ended.unwrap() - WINDOW.start).as_secs_f64();
    assert_eq!(seen["duration"].as_f64(), Some(duration));
    assert_eq!(seen["output_throughput"].as_f64(), Some(outputs / duration));
    let complete: Vec<usize> = (0..done + lost).filter(|&at| seen["errors"][at] == "").collect();
    assert!(complete.iter().all(|&at| seen["ttfts"][at].is_f64()));
    assert!(of("ttfts").iter().any(|ttft| ttft.is_nan()), "refused requests have no first token");
    let mean = |list: &str| {
        let values = of(list);
        complete.iter().map(|&at| values[at]).sum::<f64>() / complete.len() as f64 * 1e3
    };
    assert!((seen["mean_ttft_ms"].as_f64().unwrap() - mean("ttfts")).abs() < 1e-9);
    assert!((seen["mean_e2el_ms"].as_f64().unwrap() - mean("latencies")).abs() < 1e-9);
    assert!((seen["mean_client_queue_time_ms"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    let gaps: Vec<f64> = complete
        .iter()
        .flat_map(|&at| seen["itls"][at].as_array().unwrap())
        .map(|gap| gap.as_f64().unwrap() * 1e3)
        .collect();
    let mean_gap = gaps.iter().sum::<f64>() / gaps.len() as f64;
    assert!((seen["mean_itl_ms"].as_f64().unwrap() - mean_gap).abs() < 1e-9);
    let variance = gaps.iter().map(|gap| (gap - mean_gap).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((seen["std_itl_ms"].as_f64().unwrap() - variance.sqrt()).abs() < 1e-9);
    assert_eq!(seen["date"], "20261118-110640");
}

#[test]
fn guidellm_loads_its_report_and_agrees_with_its_figures() {
    let test = "guidellm_loads_its_report_and_agrees_with_its_figures";
    let Some(python) = foreign::python(test, "guidellm") else { return };
    let folder = tempfile::tempdir().unwrap();
    let rows = rows();
    let loads = [
        OfferedLoad::Users { users: 4, ramp_s: 0.5 },
        OfferedLoad::Constant { per_s: 33.0 },
        OfferedLoad::Gamma { per_s: 33.0, shape: 0.5 },
        OfferedLoad::Trace { speed: 2.0 },
    ];
    for (at, load) in loads.into_iter().enumerate() {
        let file = folder.path().join(format!("{at}.json"));
        let bytes = written_with(Export::GuideLlm, &rows, |input| input.load = load).unwrap();
        std::fs::write(&file, bytes).unwrap();
        let run = Command::new(&python)
            .arg(foreign::script("read_guidellm.py"))
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{load:?}: {said}");
        let counts = [Outcome::Done, Outcome::Unfinished, Outcome::Failed]
            .map(|outcome| count_ended(&rows, outcome).to_string());
        let expected = format!("loaded {}\n", counts.join(" "));
        assert_eq!(String::from_utf8_lossy(&run.stdout), expected);
    }
}

/// llm-d-benchmark's converters to Benchmark Report 0.1, 0.2 and 0.2.1 (`native_to_br0_1.py` and
/// `native_to_br0_2.py`, `import_guidellm`) read a data source with lengths as whole numbers above
/// 0 (pydantic's `SequenceLength`), a profile with streams or rates, and the model.
#[test]
fn the_guidellm_report_has_what_llm_d_benchmark_converts() {
    let report: Value = serde_json::from_str(&written(Export::GuideLlm)).unwrap();
    let spec = &report["config"]["spec"];
    let data = spec["data"].as_array().unwrap();
    assert_eq!(data.len(), 1, "it records the first source alone");
    let done: Vec<RequestRow> = rows()
        .into_iter()
        .filter(|row| row.outcome == Outcome::Done)
        .filter(|row| (WINDOW.start..=WINDOW.end).contains(&row.end))
        .collect();
    let lengths: [(&str, Length); 2] = [
        ("prompt_tokens", |row| row.prompt_tokens.0),
        ("output_tokens", |row| row.output_tokens.0),
    ];
    for (key, length) in lengths {
        let of: Vec<f64> = done.iter().map(|row| f64::from(length(row))).collect();
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        let value = data[0][key].as_u64().unwrap();
        assert!(value >= 1 && (value as f64 - mean).abs() <= 0.5, "{key}: {value} {mean}");
        let varies = of.iter().any(|one| *one != of[0]);
        for end in ["stdev", "min", "max"] {
            assert_eq!(data[0][format!("{key}_{end}")].is_u64(), varies, "{key}_{end}");
        }
        if varies {
            let most = of.iter().copied().fold(0.0, f64::max);
            assert_eq!(data[0][format!("{key}_max")].as_f64(), Some(most));
        }
    }
    assert_eq!(spec["profile"]["streams"], serde_json::json!([4]));
    assert_eq!(spec["backend"]["model"], "Qwen/Qwen3-8B");
}

#[test]
fn the_guidellm_report_states_its_definitions_and_its_generator() {
    let report: Value = serde_json::from_str(&written(Export::GuideLlm)).unwrap();
    assert_eq!(report["metadata"]["version"], 2);
    let labels = &report["config"]["metadata"]["labels"];
    assert!(labels["definitions"].as_str().unwrap().contains("first token included"));
    let benchmark = &report["benchmarks"][0];
    assert_eq!(benchmark["config"]["environment"]["certificate"]["busy_share"], 0.31);
    // Closed loops have no schedule; turns of sessions are separate.
    assert!(benchmark["metrics"]["request_scheduled_latency"].is_null());
    assert_eq!(benchmark["metrics"]["turns"].as_array().unwrap().len(), 2);
    let determined = benchmark["metrics"]["slo_determined_requests"].as_u64().unwrap();
    let expected = count_ended(&rows(), Outcome::Done) + count_ended(&rows(), Outcome::Failed);
    assert_eq!(determined, expected as u64);
    // Tokens are conserved through the grid of times.
    let tokens = &benchmark["metrics"]["output_tokens_per_second"]["total"];
    let shown = tokens["mean"].as_f64().unwrap() * 3.8;
    let came: f64 = rows()
        .iter()
        .filter(|row| row.outcome == Outcome::Unfinished || WINDOW.contains(row.end))
        .flat_map(|row| Stream::of(row).arrivals().collect::<Vec<_>>())
        .filter(|arrival| WINDOW.contains(arrival.0))
        .map(|arrival| f64::from(arrival.1))
        .sum();
    assert!((shown / came - 1.0).abs() < 1e-3, "{shown} {came}");
}
