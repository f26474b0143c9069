//! llm-d's picker behind Envoy in front of two real vLLM.

use std::fs;

use rustix::process::Signal;
use weir_model::Product;

use crate::binary::{Running, weir};
use crate::routing::{self, has_router, signal, started_by};

use super::local::{PATIENCE, evidence, measured, nothing_is_left, ready};

/// Two boots of vLLM, beside each other.
#[test]
fn the_real_picker_routes_by_the_events_of_real_engines() {
    let test = "the_real_picker_routes_by_the_events_of_real_engines";
    let _alone = match ready(test, &[]) {
        Some(alone) if has_router(test) => alone,
        _ => return,
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Each engine holds five of the sixteen prefixes.
    let text = format!(
        "\
name: local
target: {{local: {{weights: generated, start_timeout: {}s}}}}
models: [weir/tiny-qwen3]
hardware: 1x-cpu
replicas: 2
engine: {{kv_tokens: 3072, block_size: 32, max_model_len: 1024, max_num_seqs: 4, \
         max_num_batched_tokens: 1024, kv_cache_dtype: float32}}
arms:
  - llm-d-inmemory
workload:
  shared-prefix: {{prefixes: 16, prefix_tokens: 480, prompt_tokens: 32, output_tokens: 4}}
load: {{users: [2], duration: 24s, warmup: 10s}}
client: {{request_timeout: 30s}}
",
        PATIENCE.as_secs()
    );
    fs::write(folder.join("local.yaml"), text).unwrap();
    let answer = measured(folder);
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    let evidence = evidence(folder, "llm-d-inmemory");
    let (routed, uniform, best) = (
        signal(&evidence, "routed-hit-tokens"),
        signal(&evidence, "uniform-hit-tokens"),
        signal(&evidence, "best-hit-tokens"),
    );
    assert!(best > 2000.0 && routed > 0.8 * best, "{routed} of {best} tokens, {uniform} by chance");
    assert!(signal(&evidence, "index-hits") > 0.0 && signal(&evidence, "replicas") == 2.0);
    nothing_is_left();
}

/// Here, because other tests of this lane look for what is left as well.
#[test]
fn what_a_killed_weir_left_in_front_is_torn_down() {
    let test = "what_a_killed_weir_left_in_front_is_torn_down";
    let Some(_alone) = ready(test, &[Product::Redis]).filter(|_| has_router(test)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = routing::experiment(folder, "killed", "  - llm-d-redis");
    let set = "arms=[llm-d-redis]";
    let mut running = Running::start(folder, &["run", &file, "--out", "run", "--set", set]);
    let logs = routing::cell(folder, "llm-d-redis").join("logs");
    let run = running.id();
    running.wait_until("Envoy runs", || started_by(run, "envoy").is_some());
    let parts = ["llm-d-epp", "envoy"].map(|program| started_by(run, program).expect("it runs"));
    running.signal_to_death(Signal::KILL);
    let answer = weir(folder, &["teardown"]);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    for pid in parts {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // Its id may be another process's by now.
        assert!(!line.contains(logs.to_str().unwrap()), "{pid} is there: {line}");
    }
    let again = weir(folder, &["teardown"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), ""), "{}", again.err);
}
