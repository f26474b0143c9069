//! Exports read by llm-d-benchmark's own package (`llmd-benchmark-report` 0.2.1): converters and
//! models of the Benchmark Report.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use weir_model::RequestRow;
use weir_report::exports::{Export, OfferedLoad};

use crate::exports::{rows, written, written_under};
use crate::foreign;

const CLOSED: OfferedLoad = OfferedLoad::Users { users: 4, ramp_s: 0.5 };
const LOADS: [OfferedLoad; 3] =
    [CLOSED, OfferedLoad::Gamma { per_s: 33.0, shape: 0.5 }, OfferedLoad::Trace { speed: 2.0 }];

/// The package reads JSON as YAML, in pure Python: a few requests.
fn few() -> Vec<RequestRow> {
    rows().into_iter().take(24).collect()
}

/// The package's reading of an export under every load, by its names for tool and report version.
fn read(
    python: &Path,
    export: Export,
    rows: &[RequestRow],
    readings: &[(&str, &str)],
) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(python);
    run.arg(foreign::script("convert.py"));
    for (at, load) in LOADS.into_iter().enumerate() {
        let file = folder.path().join(at.to_string());
        fs::write(&file, written_under(export, rows, load)).unwrap();
        for (tool, version) in readings {
            run.args([tool, version]).arg(&file);
        }
    }
    let run = run.output().unwrap();
    assert!(run.status.success(), "{export:?}: {}", String::from_utf8_lossy(&run.stderr));
    let reports: Vec<Value> = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(reports.len(), LOADS.len() * readings.len());
    reports
}

fn aggregate(report: &Value) -> &Value {
    match report["version"].as_str() {
        Some("0.1") => &report["metrics"],
        _ => &report["results"]["request_performance"]["aggregate"],
    }
}

#[test]
fn the_guidellm_report_converts_to_every_version() {
    let test = "the_guidellm_report_converts_to_every_version";
    let Some(python) = foreign::python(test, "benchmark-report") else { return };
    let readings = ["0.1", "0.2", "0.2.1"].map(|version| ("guidellm", version));
    let own: Value =
        serde_json::from_str(&written_under(Export::GuideLlm, &few(), CLOSED)).unwrap();
    let metrics = &own["benchmarks"][0]["metrics"];
    for report in read(&python, Export::GuideLlm, &few(), &readings) {
        let seen = aggregate(&report);
        assert_eq!(seen["requests"]["total"], metrics["request_totals"]["total"], "{report}");
        assert_eq!(seen["requests"]["failures"], metrics["request_totals"]["errored"], "{report}");
        let ttft = &metrics["time_to_first_token_ms"]["successful"];
        let shown = &seen["latency"]["time_to_first_token"];
        assert_eq!((&shown["mean"], &shown["units"]), (&ttft["mean"], &"ms".into()), "{report}");
        assert_eq!(shown["p90"], ttft["percentiles"]["p90"], "{report}");
    }
}

#[test]
fn the_vllm_result_converts_to_every_version() {
    let test = "the_vllm_result_converts_to_every_version";
    let Some(python) = foreign::python(test, "benchmark-report") else { return };
    let readings = ["0.1", "0.2", "0.2.1"].map(|version| ("vllm-benchmark", version));
    let own: Value =
        serde_json::from_str(&written_under(Export::VllmBench, &few(), CLOSED)).unwrap();
    for report in read(&python, Export::VllmBench, &few(), &readings) {
        let latency = &aggregate(&report)["latency"];
        for (metric, key) in [
            ("time_to_first_token", "ttft"),
            ("time_per_output_token", "tpot"),
            ("inter_token_latency", "itl"),
            ("request_latency", "e2el"),
        ] {
            assert_eq!(latency[metric]["mean"], own[format!("mean_{key}_ms")], "{report}");
            assert_eq!(latency[metric]["p99"], own[format!("p99_{key}_ms")], "{report}");
        }
    }
}

#[test]
fn the_benchmark_report_is_one() {
    let test = "the_benchmark_report_is_one";
    let Some(python) = foreign::python(test, "benchmark-report") else { return };
    for rows in [few(), Vec::new()] {
        for report in read(&python, Export::BenchmarkReport, &rows, &[("report", "0.2.1")]) {
            let total = &aggregate(&report)["requests"]["total"];
            assert_eq!(total.as_u64().unwrap() > 0, !rows.is_empty(), "{report}");
        }
    }
}

#[test]
fn the_figures_are_those_of_the_requests() {
    let seen: Value = serde_saphyr::from_str(&written(Export::BenchmarkReport)).unwrap();
    let other: Value = serde_json::from_str(&written(Export::VllmBench)).unwrap();
    let aggregate = &seen["results"]["request_performance"]["aggregate"];
    let mean = |group: &str, metric: &str| aggregate[group][metric]["mean"].as_f64().unwrap();
    for (group, metric, key) in [
        ("latency", "time_to_first_token", "mean_ttft_ms"),
        ("latency", "inter_token_latency", "mean_itl_ms"),
        ("latency", "time_per_output_token", "mean_tpot_ms"),
    ] {
        let expected = other[key].as_f64().unwrap();
        assert!((mean(group, metric) / expected - 1.0).abs() < 1e-9, "{metric}");
    }
    let of_window = other["weir"]["output_tokens_per_s_of_window"].as_f64().unwrap();
    assert_eq!(mean("throughput", "output_token_rate"), of_window);
    assert_eq!(seen["run"]["time"]["start"], "2026-11-18T11:06:40.123456Z");
    assert_eq!(seen["scenario"]["load"]["standardized"]["concurrency"], 4);
}
