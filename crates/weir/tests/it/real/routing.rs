//! llm-d's picker behind Envoy in front of two real vLLM.

use std::fs;

use crate::routing::{has_router, signal};

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
    // Each engine holds five of the eight prefixes.
    let text = format!(
        "\
name: local
target: {{local: {{weights: generated, start_timeout: {}s}}}}
models: [weir/tiny-qwen3]
hardware: 1x-cpu
replicas: 2
engine: {{kv_tokens: 3072, block_size: 32, max_model_len: 1024, max_num_seqs: 4, \
         max_num_batched_tokens: 1024, kv_cache_dtype: float32}}
arms: [llm-d-inmemory]
workload:
  shared-prefix: {{prefixes: 8, prefix_tokens: 480, prompt_tokens: 32, output_tokens: 4}}
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
