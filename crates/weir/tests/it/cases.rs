//! One case per kind of trace that people have and that was once misread, asked of the binary: what
//! it prints and records, or the line with which it refuses. The figures are done by hand.
//!
//! Other inputs of people are read by one crate, and tested where that is done:
//!
//! | input | tests |
//! |---|---|
//! | model configurations | `spec/src/catalogue/hugging_face/tests.rs`, `spec/tests/it/{model_configs,sizes}.rs` |
//! | settings of LMCache over ranks | `deploy/src/local/command.rs`, `spec/tests/it/sizes.rs` |
//! | servers' answers, refusals, redirects | `load/tests/it/{answers,faults}.rs`; whole loads: `servers.rs`, `failing.rs` |
//! | certificates | `http/tests/it/tls_session.rs`, `load/tests/it/secure.rs`, `store/tests/it/resp_secure.rs` |
//! | stores that refuse | `store/tests/it/resp_faults.rs`; whole probes: `probe.rs` |
//! | readers of exports | `report/tests/it/{exports,benchmark_report}.rs` |

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::weir;
use crate::folder::json;

/// An experiment that plays `trace` at its own times.
fn with_trace(name: &str, bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "name: case\ntarget: simulated\nmodels: [Qwen/Qwen3-8B]\nhardware: 1x-h100\n\
         arms: [no-offload]\nworkload:\n  trace: {{format: mooncake, path: {name}}}\n\
         load: {{trace: {{speed: 1.0}}}}\n"
    );
    fs::write(folder.path().join("case.yaml"), text).unwrap();
    fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

/// Requests of 640 tokens in blocks of 16, 5 s apart, with the first block shared.
fn blocks_of_16(requests: u64, more_fields: &str) -> String {
    let mut text = String::new();
    for request in 0..requests {
        let own = (1..40).map(|block| request * 39 + block);
        let ids: Vec<u64> = std::iter::once(0).chain(own).collect();
        writeln!(
            text,
            "{{{more_fields}\"timestamp\": {}.0, \"input_length\": 640, \"output_length\": 8, \
             \"hash_ids\": {ids:?}}}",
            request * 5
        )
        .unwrap();
    }
    text
}

fn run(folder: &Path, more: &[&str]) -> Value {
    weir(folder, &[&["run", "case.yaml", "--out", "run"], more].concat()).done();
    let cell = folder.join("run/cells/Qwen--Qwen3-8B/1x-h100/no-offload/trace/0");
    let signals = json(&cell.join("evidence.json"))["signals"].clone();
    let seen = signals["seen-tokens"][0]["value"].as_f64().unwrap();
    // All but the first of 20 requests find one block of 16: 304 of 12,800 tokens, 2.4 %.
    assert_eq!(seen, 304.0, "{signals:#}");
    let figures = json(&cell.join("cell.json"))["figures"].clone();
    assert_eq!(figures["completed"], 20, "{figures:#}");
    // 20 requests in 95 s and the last answer.
    let rate = figures["requests_per_s"].as_f64().unwrap();
    assert!((rate - 20.0 / 95.0).abs() < 0.005, "{rate}");
    json(&folder.join("run/plan.json"))["traces"][0].clone()
}

#[test]
fn a_trace_of_other_blocks_and_units_is_read_as_it_is() {
    // Given, where nothing shows the unit.
    let folder = with_trace("t.jsonl", blocks_of_16(20, "").as_bytes());
    let args = ["run", "case.yaml", "--out", "run"];
    let message = weir(folder.path(), &args).refusal(2, folder.path());
    assert!(message.contains("does not say in which unit"), "{message}");
    assert!(message.contains("`workload.trace.time_unit: s`"), "{message}");
    let given = run(folder.path(), &["--set", "workload.trace.time_unit=s"]);
    assert_eq!(
        (&given["block_tokens"], &given["block_basis"], &given["unit_basis"]),
        (&16.into(), &"only-fit".into(), &"given".into())
    );
    let told = weir(folder.path(), &["report", "run"]);
    let told = told.out.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = "20 requests over 95s, blocks of 16 tokens (no other size fits all requests), \
                 times in seconds (as given).";
    assert!(told.contains(words), "{told}");
    // Known, where the fields are those of a published data set; compressed or not.
    let fields = "\"chat_id\": 1, \"parent_chat_id\": -1, \"type\": \"text\", \"turn\": 1, ";
    let text = blocks_of_16(20, fields);
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(text.as_bytes()).unwrap();
    let folder = with_trace("t.jsonl", &writer.finish().unwrap());
    let known = run(folder.path(), &[]);
    assert_eq!(known["unit_basis"]["published"], "qwen-bailian", "{known}");
}

#[test]
fn a_trace_of_another_dialect_is_refused_by_its_name() {
    for (text, dialect) in [
        (
            "{\"session_id\": \"a\", \"timestamp\": 0, \"input_length\": 64, \"output_length\": 1, \
             \"hash_ids\": [0]}\n{\"session_id\": \"a\", \"delay\": 9, \"input_length\": 64, \
             \"output_length\": 1, \"hash_ids\": [1]}\n",
            "an AIPerf trace (session_id, delay)",
        ),
        (
            "{\"timestamp\": 0, \"input_length\": 64, \"output_length\": 1}\n",
            "a trace of lengths only (input_length without hash_ids)",
        ),
        (
            "{\"id\": \"c\", \"block_size\": 64, \"requests\": [{\"t\": 0.5, \"in\": 64}]}",
            "a kv-cache-tester (WEKA) trace (requests, block_size)",
        ),
    ] {
        let folder = with_trace("t.jsonl", text.as_bytes());
        let args = ["run", "case.yaml", "--out", "run"];
        let message = weir(folder.path(), &args).refusal(2, folder.path());
        assert!(message.contains(&format!("line 1: this is {dialect}; supported: ")), "{message}");
    }
}
