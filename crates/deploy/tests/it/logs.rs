//! Excerpts of logs of vLLM 0.32.0 (CPU) and `LMCache` 0.5.6.

use weir_deploy::log::{StartUp, cause, running_facts};
use weir_model::{FactKind, FactValue, RunningFacts};

fn excerpt(name: &str) -> String {
    let path = format!("{}/tests/it/logs/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Excerpts of failed starts, with the beginnings of cause and remedy.
const FAILED: [(&str, &str, &str); 16] = [
    (
        "kv-transfer-config-no-json",
        "vllm serve: error: argument --kv-transfer-config: 1 validation error for \
         KVTransferConfig: Invalid JSON: EOF while parsing a value at line 1 column 16",
        "see the connector's settings",
    ),
    (
        "kv-transfer-config-no-role",
        "vllm serve: error: argument --kv-transfer-config: 1 validation error for \
         KVTransferConfig: Value error, Please specify kv_role",
        "see the connector's settings",
    ),
    (
        "unknown-argument",
        "vllm: error: unrecognized arguments: --no-such-thing 3",
        "this version has no such argument",
    ),
    (
        "unknown-connector",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig: Value \
         error, Unsupported connector type: NoSuchConnector",
        "this version has no such connector",
    ),
    (
        "module-missing",
        "ModuleNotFoundError: No module named 'no_such_module'",
        "install what is missing",
    ),
    (
        "model-missing",
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form",
        "write the model's folder in target.local.weights",
    ),
    (
        "model-len-too-long",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig: Value \
         error, User-specified max_model_len (100000) is greater than the derived",
        "lower engine.max_model_len",
    ),
    (
        "kv-cache-too-small",
        "ValueError: To serve at least one request with the model's max seq len (4096)",
        "lower engine.max_model_len, or raise engine.kv_tokens",
    ),
    (
        "kv-cache-too-large",
        "ValueError: Available memory on node 0 (15.39/18.84 GiB) on kv cache allocation is less",
        "lower engine.kv_tokens",
    ),
    ("vllm-port-in-use", "OSError: [Errno 98] Address already in use", "a port was taken"),
    (
        "lmcache-port-in-use",
        "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:8195')",
        "a port was taken",
    ),
    (
        "lmcache-http-port-in-use",
        "[Errno 98] error while attempting to bind on address ('127.0.0.1', 8195): address \
         already in use",
        "a port was taken",
    ),
    (
        "lmcache-adapter-no-json",
        "ValueError: Invalid JSON for --l2-adapter #1: Expecting value",
        "this version of LMCache",
    ),
    (
        "block-size-16",
        "ValueError: No common block size for 16 (CPU_ATTN: [MultipleOf(32)]).",
        "write another engine.block_size",
    ),
    (
        "lmcache-chunk-48",
        "ValueError: LMCache chunk size 48 must be a multiple of 32",
        "write a chunk of whole blocks",
    ),
    (
        "engine-killed",
        "[shutdown] MPClient: engine core exited unexpectedly",
        "it was killed by somebody, or by the kernel for want of memory",
    ),
];

#[test]
fn the_log_of_each_failed_start_tells_its_cause_and_a_remedy() {
    for (name, line, remedy) in FAILED {
        let cause = cause(&excerpt(name)).unwrap_or_else(|| panic!("{name}: no cause"));
        assert!(cause.line.starts_with(line), "{name}: {}", cause.line);
        assert!(cause.remedy.starts_with(remedy), "{name}: {}", cause.remedy);
        assert_eq!(cause.is_port_taken(), name.ends_with("port-in-use"), "{name}");
    }
}

#[test]
fn starts_that_went_well_tell_no_cause() {
    for name in ["native-up", "lmcache-server-connector-up", "lmcache-server-up"] {
        assert_eq!(cause(&excerpt(name)), None, "{name}");
    }
    assert_eq!(cause(""), None);
}

#[test]
fn what_is_only_warned_of_is_no_cause() {
    let log = "\
(APIServer pid=1) WARNING 11-27 20:11:44 [a.py:1] Failed to import: No module named 'x'
[2026-11-27 20:12:03,491] LMCache WARNING: Cannot allocate memory that is pinned (a.py:1:a)
/venv/a.py:254: UserWarning: MemoryError: maybe
Traceback (most recent call last):
  File \"/venv/a.py\", line 1, in a
KeyError: 'real'
";
    let cause = cause(log).unwrap();
    assert_eq!((cause.line.as_str(), cause.remedy), ("KeyError: 'real'", ""));
}

#[test]
fn the_last_error_of_a_logger_is_better_than_nothing() {
    let log = "\
[2026-11-27 20:12:03,491] LMCache ERROR: The store does not answer (a.py:1:a)
(APIServer pid=1) ERROR 11-27 20:11:44 [a.py:1] AsyncLLM output_handler failed.
(APIServer pid=1) INFO 11-27 20:11:44 [a.py:1] bye
";
    assert_eq!(cause(log).unwrap().to_string(), "The store does not answer");
}

#[test]
fn a_start_with_native_offloading_tells_its_facts_and_the_lines() {
    let facts = StartUp::of(&excerpt("native-up"));
    assert_eq!(facts.version.as_deref(), Some("0.32.0"));
    assert_eq!(facts.lmcache, None);
    assert_eq!(
        (facts.kv_tokens, facts.blocks, facts.block_size),
        (Some(6432), Some(201), Some(32))
    );
    assert_eq!(facts.connectors, ["OffloadingConnector", "WeirCpuOffloadingSpec"]);
    assert!(facts.warnings.is_empty(), "{:?}", facts.warnings);
    let size = "CPU KV cache size: 6,432 tokens, Maximum concurrency for 4,096 tokens per request: \
                1.57x";
    assert!(facts.lines.iter().any(|line| line == size), "{:#?}", facts.lines);
    assert_eq!(facts.lines.len(), 6, "{:#?}", facts.lines);
}

#[test]
fn a_start_with_lmcache_tells_both_versions() {
    let facts = StartUp::of(&excerpt("lmcache-server-connector-up"));
    assert_eq!(facts.version.as_deref(), Some("0.32.0"));
    assert_eq!(facts.lmcache.as_deref(), Some("0.5.6"));
    assert_eq!(facts.connectors, ["LMCacheMPConnector"]);
    assert!(facts.warnings.is_empty(), "{:?}", facts.warnings);
    let server = StartUp::of(&excerpt("lmcache-server-up"));
    assert_eq!(server.version.as_deref(), Some("0.5.6"));
    assert_eq!(server.kv_tokens, None);
}

#[test]
fn an_lmcache_that_only_recomputes_warns() {
    let facts = StartUp::of(&excerpt("lmcache-degraded-up"));
    assert_eq!(facts.connectors, ["LMCacheConnectorV1"]);
    assert_eq!(
        facts.warnings,
        [
            "RuntimeError: No supported cpu connector found.",
            "System will operate in degraded mode (recompute).",
            "Skipping post_init due to previous initialization failure",
        ]
    );
}

#[test]
fn logs_of_other_versions_tell_what_they_can() {
    let old = "\
INFO 03-01 10:00:00 [api_server.py:585] vLLM API server version 0.7.3
INFO 03-01 10:00:09 executor_base.py:111] # GPU blocks: 27,100, # CPU blocks: 2048
";
    let facts = StartUp::of(old);
    assert_eq!(facts.version.as_deref(), Some("0.7.3"));
    assert_eq!(facts.blocks, Some(27100));
    assert_eq!(facts.lines.len(), 2);
    let newer = "(EngineCore pid=7) INFO 11-27 19:52:36 [a.py:7] GPU KV cache size: 12,345 tokens";
    assert_eq!(StartUp::of(newer).kv_tokens, Some(12345));
    assert_eq!(StartUp::of("\u{1b}[32m\u{fffd} nothing of it"), StartUp::default());
}

#[test]
fn what_was_read_is_kept_and_old_records_are_understood() {
    let facts = StartUp::of(&excerpt("native-up"));
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<StartUp>(&text).unwrap(), facts);
    let old: StartUp = serde_json::from_str(r#"{"version": "0.32.0", "blocks": 7}"#).unwrap();
    assert_eq!((old.blocks, old.lines.len()), (Some(7), 0));
}

fn value(facts: &RunningFacts, kind: FactKind) -> Option<FactValue> {
    facts.all(kind).first().map(|fact| fact.value.clone())
}

#[test]
fn a_start_says_what_its_engine_is() {
    let facts = running_facts(&excerpt("native-config"), "vllm-0");
    let count = |of| Some(FactValue::Count(of));
    let flag = |of| Some(FactValue::Flag(of));
    let text = |of| Some(FactValue::text(of));
    let expected = [
        (FactKind::PrefixCaching, flag(true)),
        (FactKind::Dtype, text("bfloat16")),
        // The cache has the type of the weights, which its metrics lack.
        (FactKind::KvDtype, text("bfloat16")),
        (FactKind::MaxModelLen, count(512)),
        (FactKind::ChunkedPrefill, flag(true)),
        (FactKind::TensorParallel, count(1)),
        (FactKind::Eager, flag(true)),
        (FactKind::ServedModel, text("weir/tiny-qwen3")),
        (FactKind::MaxSequences, count(8)),
        (FactKind::MaxBatchedTokens, count(512)),
        (FactKind::BlockSize, count(32)),
        (FactKind::EngineVersion, text("0.32.0")),
        (FactKind::HostBytes, count(104857600)),
        (FactKind::LmcacheVersion, None),
        (FactKind::ChunkTokens, None),
        (FactKind::Connector, Some(FactValue::Words(vec!["OffloadingConnector".to_owned()]))),
    ];
    for (kind, wanted) in expected {
        assert_eq!(value(&facts, kind), wanted, "{kind:?}");
    }
    // A log with the engine's start and no connector: there is none.
    let log = excerpt("native-config");
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("Creating")).collect();
    let without = running_facts(&lines.join("\n"), "vllm-0");
    assert_eq!(value(&without, FactKind::Connector), Some(FactValue::Words(Vec::new())));
}

#[test]
fn lmcache_says_its_chunk_in_the_engine_and_beside_it() {
    let chunk = Some(FactValue::Count(64));
    let server = running_facts(&excerpt("lmcache-server-up"), "lmcache");
    assert_eq!(value(&server, FactKind::ChunkTokens), chunk);
    assert_eq!(value(&server, FactKind::LmcacheVersion), Some(FactValue::text("0.5.6")));
    // Only an engine's log shows that there is none.
    assert_eq!(value(&server, FactKind::Connector), None);
    let inside = running_facts(&excerpt("lmcache-degraded-up"), "vllm-0");
    assert_eq!(value(&inside, FactKind::ChunkTokens), chunk);
    let connector = FactValue::Words(vec!["LMCacheConnectorV1".to_owned()]);
    assert_eq!(value(&inside, FactKind::Connector), Some(connector));
}
