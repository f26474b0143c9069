//! Bad input: one line that names the place and the remedy.

use std::fmt::Write as _;

use crate::{SMALL, error};

fn with(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "the test's text has no `{from}`");
    SMALL.replacen(from, to, 1)
}

/// Checks many errors at once, so that one run shows all that differ.
fn refused(cases: &[(&str, &str, &str)]) {
    let mut wrong = String::new();
    for (from, to, message) in cases {
        let seen = error(&with(from, to), &[]);
        if seen != *message {
            let _ = write!(wrong, "\n{to}\n  seen     {seen}\n  expected {message}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_no_experiment_is_refused_with_line_and_column() {
    refused(&[
        (
            "duration: 10s",
            "durations: 10s",
            "test.yaml:8:20: unknown key `load.durations` (did you mean `duration`?); expected one of users, constant, \
             poisson, gamma, trace, duration, warmup, ramp, max_requests",
        ),
        (
            "arms: [no-offload, native-offload]",
            "arms:\n  - no-offload\n  - {preset: native-offload, byte: 1GiB}",
            "test.yaml:7:30: unknown key `arms.1.byte` (did you mean `bytes`?); expected one of preset, name, bytes, \
             chunk_tokens, policy, prompt_only, load, store_cost_per_chunk, copies_per_chunk, \
             link, disk, store, lmcache_mode, vllm_args, env, picker_config, routing",
        ),
        (
            "name: small",
            "name: small\nname: large",
            "test.yaml:2:1: duplicate mapping key: name not allowed here",
        ),
        (
            "duration: 10s",
            "duration: 10",
            "test.yaml:8:30: invalid type: integer `10`, expected a duration with its unit, such \
             as `100ms` or `120s`",
        ),
        (
            "duration: 10s",
            "duration: 10 seconds",
            "test.yaml:8:30: `10 seconds` is not a duration; write for example `100ms`, `2s`, \
             `5m` or `1h`",
        ),
        (
            "{max_num_seqs: 256}",
            "{vllm: 0.11}",
            "test.yaml:4:16: invalid type: floating point `0.11`, expected a version of vLLM in \
             quotes, such as \"0.11.2\"",
        ),
        (
            "native-offload",
            "{preset: native-offload, bytes: 20000}",
            "test.yaml:5:52: invalid type: integer `20000`, expected a size with its unit, such \
             as `64GiB`, `20GB`, `20000 blocks` or `10000 tokens`",
        ),
        ("name: small\n", "", "test.yaml:1:1: missing field `name`"),
        (
            "hardware: 2x-l40s",
            "hardware: 2x-l40s\ntarget: cloud",
            "test.yaml:4:9: target: unknown value `cloud`; expected one of simulated, emulated, \
             local, kubernetes, endpoint",
        ),
    ]);
}

#[test]
fn wrong_kinds_of_values_are_named_in_words() {
    refused(&[
        (
            "prefix_tokens: 1000",
            "prefix_tokens: -5",
            "test.yaml:7:47: not a whole number of 0 or more",
        ),
        ("users: [2]", "users: [2.5]", "test.yaml:8:16: not a whole number of 0 or more"),
        (
            "users: [2]",
            "users: two",
            "test.yaml:8:15: invalid type: string \"two\", expected a whole number of 0 or more",
        ),
        (
            "arms: [no-offload, native-offload]",
            "arms: no-offload",
            "test.yaml:5:7: expected a list, such as `[a, b]`",
        ),
        ("name: small", "name: [a]", "test.yaml:1:7: expected a text"),
        (
            "hardware: 2x-l40s",
            "hardware: [2x-l40s, 3]",
            "test.yaml:3:21: invalid type: integer `3`, expected a name or a map",
        ),
        (
            "{max_num_seqs: 256}",
            "{prefix_caching: \"on\"}",
            "test.yaml:4:26: invalid boolean (true or false expected)",
        ),
        (
            "prefixes: 4",
            "prefixs: 4",
            "test.yaml:7:19: unknown key `workload.shared-prefix.prefixs` (did you mean \
             `prefixes`?); expected one of prefixes, draw, prefix_tokens, turns, prompt_tokens, \
             output_tokens, think",
        ),
        (
            "shared-prefix:",
            "sharedprefix:",
            "test.yaml:7:3: workload: unknown value `sharedprefix` (did you mean \
             `shared-prefix`?); expected one of shared-prefix, long-context, agentic, trace",
        ),
    ]);
}

#[test]
fn a_slip_in_a_key_or_a_word_brings_the_nearest_known_one() {
    let arms = "arms: [no-offload, native-offload]";
    let hardware = "hardware: 2x-l40s";
    for (from, to, message) in [
        (hardware, "hardwar: 2x-l40s", "unknown key `hardwar` (did you mean `hardware`?)"),
        (
            hardware,
            "hardware: 2x-l40s\ntarget: emulatd",
            "target: unknown value `emulatd` (did you mean `emulated`?)",
        ),
        (
            hardware,
            "hardware: 2x-l40s\ntarget: {emulatd: {}}",
            "target: unknown value `emulatd` (did you mean `emulated`?)",
        ),
        (
            hardware,
            "hardware: 2x-l40s\ntarget: {endpoint: {ulr: \"http://a\"}}",
            "unknown key `target.endpoint.ulr` (did you mean `url`?)",
        ),
        (
            hardware,
            "hardware: 2x-l40s\ntarget: {emulated: {byte-scale: 0.5}}",
            "unknown key `target.emulated.byte-scale` (did you mean `byte_scale`?)",
        ),
        (
            arms,
            "arms: [no-offload, {preset: lmcache-redis, store: {link: {lane: 1}}}]",
            "unknown key `arms.1.store.link.lane` (did you mean `lanes`?)",
        ),
        (
            arms,
            "arms: [{preset: native-offload, policy: lur}]",
            "arms.0.policy: unknown value `lur` (did you mean `lru`?)",
        ),
        (
            arms,
            "arms: [no-offload]\noverrides: {Qwen/Qwen3-8B: {engin: {}}}",
            "unknown key `overrides.Qwen/Qwen3-8B.engin` (did you mean `engine`?)",
        ),
        (
            "prefixes: 4",
            "prefixes: {times_gpus: 2}",
            "unknown key `workload.shared-prefix.prefixes.times_gpus` (did you mean `times_gpu`?)",
        ),
        (
            "{max_num_seqs: 256}",
            "{timing: {fixd: {base: 1ms}}}",
            "engine.timing: unknown value `fixd` (did you mean `fixed`?)",
        ),
        (
            "{max_num_seqs: 256}",
            "{kv_cache_dtype: fp88}",
            "engine.kv_cache_dtype: unknown value `fp88` (did you mean `fp8`?)",
        ),
    ] {
        let seen = error(&with(from, to), &[]);
        assert!(seen.contains(message), "{to}\n  seen     {seen}\n  expected {message}");
    }
    let nonsense = error(&with(hardware, "hardware: 2x-l40s\nzz: 1"), &[]);
    assert!(!nonsense.contains("did you mean"), "{nonsense}");
}

#[test]
fn unknown_names_bring_the_nearest_known_one() {
    refused(&[
        (
            "Qwen/Qwen3-8B",
            "Qwen3-8B",
            "models: unknown model `Qwen3-8B` (did you mean `Qwen/Qwen3-8B`?); `weir list models` \
             prints the known ones",
        ),
        (
            "2x-l40s",
            "2x-l40",
            "hardware: unknown accelerator `l40` (did you mean `l40s`?); `weir list hardware` \
             prints the known ones",
        ),
        (
            "2x-l40s",
            "l40s",
            "hardware: `l40s` is not hardware; write the count and the accelerator, for example \
             `2x-l40s`",
        ),
        ("2x-l40s", "0x-l40s", "hardware: 0 accelerators per replica; write a count from 1 to 64"),
        (
            "native-offload",
            "native-ofload",
            "arms: unknown arm `native-ofload` (did you mean `native-offload`?); `weir list arms` \
             prints the known ones",
        ),
        (
            "native-offload",
            "{preset: no-offload, name: x, routing: leastloaded}",
            "arms.x.routing: unknown routing `leastloaded` (did you mean `least-loaded`?); `weir \
             list arms` prints the known ones",
        ),
        (
            "native-offload",
            "{preset: lmcache-disk, disk: {profile: nvme}}",
            "arms.lmcache-disk.disk.profile: unknown profile `nvme`; `weir list arms` prints the \
             known ones",
        ),
        (
            "duration: 10s}",
            "duration: 10s}\noverrides: {Qwen/Qwen3-14B: {}}",
            "overrides: unknown model `Qwen/Qwen3-14B` (did you mean `Qwen/Qwen3-8B`?); `weir list \
             models` prints the known ones",
        ),
        (
            "duration: 10s}",
            "duration: 10s}\noverrides: {Qwen/Qwen3-8B: {arms: {native: {bytes: 1GiB}}}}",
            "overrides: unknown arm `native`; `weir list arms` prints the known ones",
        ),
    ]);
}

#[test]
fn limits_of_the_top_level() {
    refused(&[
        (
            "duration: 10s}",
            "duration: 10s}\nrepeats: 0",
            "repeats: 0 repeats; write a number from 1 to 10000",
        ),
        (
            "duration: 10s}",
            "duration: 10s}\nreplicas: 0",
            "replicas: 0 replicas; write a number from 1 to 4096",
        ),
        (
            "duration: 10s}",
            "duration: 10s}\nverdict: {effective_share: 2}",
            "verdict.effective_share: 2 is not a share; write a number above 0 and up to 1, for \
             example 0.1",
        ),
        (
            "[no-offload, native-offload]",
            "[]",
            "arms: the list is empty; write `arms: [no-offload, native-offload]`",
        ),
        (
            "[no-offload, native-offload]",
            "[no-offload, no-offload]",
            "arms: `no-offload` stands there twice; give one of them another `name`",
        ),
        (
            "[no-offload, native-offload]",
            "[{preset: no-offload, name: a/b}]",
            "arms: `a/b` cannot be a folder's name; use letters, digits, `.`, `_` and `-`",
        ),
        (
            "[no-offload, native-offload]",
            "[{name: a}]",
            "arms: an arm has no `preset`; write for example `{preset: native-offload, bytes: \
             64GiB}`",
        ),
    ]);
}

#[test]
fn limits_of_the_load() {
    refused(&[
        ("users: [2]", "users: []", "load.users: the list is empty; write at least one level"),
        ("users: [2]", "users: [0]", "load.users: 0 users; write a number from 1 to 1000000"),
        ("users: [2]", "users: [2, 2]", "load: `c2` stands there twice; remove the double level"),
        (
            "users: [2]",
            "poisson: [-1]",
            "load.poisson: -1 is out of range; write a number above 0 and up to 1000000",
        ),
        (
            "users: [2], ",
            "",
            "load: it does not say how requests arrive; write one of `users`, `constant`, \
             `poisson`, `gamma` and `trace`",
        ),
        (
            "users: [2]",
            "users: [2], poisson: [1]",
            "load: `users` and `poisson` exclude each other; write one of `users`, `constant`, \
             `poisson`, `gamma` and `trace`",
        ),
        (
            "users: [2]",
            "trace: {speed: 1}",
            "load.trace: only a trace has times of its own, and the workload is another kind; write \
             `load: {users: ...}` or a rate, or a `workload: {trace: ...}`",
        ),
        (
            "duration: 10s",
            "duration: 10s, warmup: 10s",
            "load.warmup: 10s leaves nothing of the duration of 10s; lower it, or raise \
             load.duration",
        ),
        ("duration: 10s", "duration: 0s", "load.duration: 0s; write for example `120s`"),
    ]);
}

#[test]
fn limits_of_the_engine() {
    refused(&[
        (
            "{max_num_seqs: 256}",
            "{max_num_seqs: 1024, max_num_batched_tokens: 512}",
            "engine.max_num_batched_tokens: 512 tokens per pass are fewer than the 1024 sequences \
             of max_num_seqs; raise it, or lower engine.max_num_seqs",
        ),
        (
            "{max_num_seqs: 256}",
            "{tensor_parallel: 4}",
            "engine.tensor_parallel: 4 ranks on the 2 accelerators of 2x-l40s; write a number \
             from 1 to 2",
        ),
        (
            "{max_num_seqs: 256}",
            "{gpu_memory_utilization: 90}",
            "engine.gpu_memory_utilization: 90 is not a share; write a number above 0 and up to \
             1, for example 0.9",
        ),
        (
            "{max_num_seqs: 256}",
            "{max_model_len: 50000}",
            "engine.max_model_len: 50000 exceeds the 40960 tokens of Qwen/Qwen3-8B; lower it, or \
             remove it",
        ),
        (
            "{max_num_seqs: 256}",
            "{kv_tokens: 20000}",
            "engine.max_model_len: the GPUs hold 20000 KV tokens, fewer than one sequence of \
             40960; set engine.max_model_len to at most 20000, or use more memory",
        ),
        (
            "{max_num_seqs: 256}",
            "{block_size: 0}",
            "engine.block_size: 0 is out of range; write a number from 1 to 1024",
        ),
        (
            "{max_num_seqs: 256}",
            "{tensor_parallel: []}",
            "engine.tensor_parallel: the list is empty; write a number or remove it",
        ),
        (
            "hardware: 2x-l40s",
            "hardware: 3x-l40s",
            "engine.tensor_parallel: 3 ranks cannot share the 32 heads of Qwen/Qwen3-8B; write a \
             number that divides 32",
        ),
        (
            "Qwen/Qwen3-8B",
            "meta-llama/Llama-3.1-70B",
            "models: meta-llama/Llama-3.1-70B does not fit: each of 2 l40s offers 40.5 GiB, and \
             needs 65.7 GiB of weights and 3.3 GiB besides; use more or larger accelerators, or a \
             quantized model",
        ),
    ]);
}

#[test]
fn limits_of_arms_and_workload() {
    refused(&[
        (
            "native-offload",
            "{preset: native-offload, bytes: 1MB}",
            "arms.native-offload.bytes: 976.6 KiB are less than one chunk of 16 tokens, which has \
             2.2 MiB; raise it, or lower chunk_tokens",
        ),
        (
            "native-offload",
            "{preset: native-offload, chunk_tokens: 20}",
            "arms.native-offload.chunk_tokens: 20 tokens are not whole blocks of 16; write a \
             multiple of 16",
        ),
        (
            "[no-offload, native-offload]",
            "[{preset: no-offload, bytes: 1GiB}]",
            "arms.no-offload.bytes: the preset `no-offload` does not offload; remove it, or use \
             `native-offload`",
        ),
        (
            "native-offload",
            "{preset: lmcache-local, store: {bytes: 1GiB}}",
            "arms.lmcache-local.store: the preset `lmcache-local` has no remote store; remove it, \
             or use `lmcache-redis`",
        ),
        (
            "native-offload",
            "{preset: llm-d-random, routing: {policy: random, block_tokens: 16}}",
            "arms.llm-d-random.routing.block_tokens: the policy `random` has no such parameter; \
             remove it, or use another policy",
        ),
        (
            "native-offload",
            "{preset: llm-d-approx, routing: {policy: llm-d-approx, normalization: share}}",
            "arms.llm-d-approx.routing.normalization: the policy `llm-d-approx` has no such \
             parameter; remove it, or use another policy",
        ),
        (
            "native-offload",
            "{preset: llm-d-inmemory, routing: {policy: llm-d-inmemory, weights: {no_hit_lru: -1}}}",
            "arms.llm-d-inmemory.routing.weights.no_hit_lru: unsupported weight -1; write a \
             number of at least 0",
        ),
        (
            "native-offload]",
            "native-offload, lmcache-disk]\nequal_resources: {bytes: 1GiB}",
            "equal_resources.bytes: 1 GiB leave nothing behind the 10 GiB of host memory of the \
             arm `lmcache-disk`; raise it, or lower arms.lmcache-disk.bytes",
        ),
        (
            "prefix_tokens: 1000",
            "prefix_tokens: 50000",
            "workload.shared-prefix: a request can have 50120 tokens with its answer, and the \
             engine takes 40960; shorten it, or use a model with a longer context",
        ),
        (
            "prefixes: 4",
            "prefixes: 0",
            "workload: `workload.shared-prefix.prefixes` must be at least 1",
        ),
    ]);
}

#[test]
fn counts_per_user_need_users() {
    let text = with("prefixes: 4", "prefixes: {per_user: 2}");
    let text = text.replace("users: [2]", "poisson: [2]");
    assert_eq!(
        error(&text, &[]),
        "workload.shared-prefix: a count is per user, and the load has no users; write a plain \
         number, or `load: {users: ...}`"
    );
}

#[test]
fn files_that_are_not_there_are_named() {
    let text = with("[Qwen/Qwen3-8B]", "[{config: nowhere/config.json}]");
    let message = error(&text, &[]);
    assert!(message.starts_with("cannot read model configuration nowhere/config.json: "));
    let missing = weir_spec::Experiment::read(std::path::Path::new("nowhere.yaml"), &[]);
    let message = missing.unwrap_err().to_string();
    assert!(message.starts_with("cannot read experiment file nowhere.yaml: "), "{message}");
}

/// No text makes the reader panic.
#[test]
fn broken_texts_are_errors() {
    for end in 0..SMALL.len() {
        let _ = crate::plan(&SMALL[..end], &[]);
    }
    for text in ["", "[]", "a: &a [*a]", "name: !!binary x", "? {}", "\u{0}", "- - -", "{"] {
        error(text, &[]);
    }
}

/// Contains nearly every number of the format.
const RICH: &str = "\
name: rich
models: [Qwen/Qwen3-8B]
hardware: [{accelerator: l40s, count: 2, memory_gib: 40, memory_gb_per_s: 800, host_link_gb_per_s: 20}]
replicas: 2
engine:
  tensor_parallel: 2
  gpu_memory_utilization: 0.8
  max_num_seqs: 64
  max_num_batched_tokens: 2048
  block_size: 16
  max_model_len: 9000
  kv_tokens: 30000
  watermark: 0.01
  cpu_per_pass: 2ms
  cpu_per_sequence: 40us
  front_end: 12ms
  timing: {fixed: {base: 3ms, per_token: 7us}}
arms:
  - {preset: native-fs, bytes: 9GB, chunk_tokens: 64, copies_per_chunk: 3, disk: {bytes: 90000 blocks}}
  - preset: lmcache-redis
    bytes: 60000 tokens
    link: {read_gb_per_s: 5, write_gb_per_s: 6, latency: 8us, per_copy: 4us, lanes: 11}
    store: {bytes: 70GB, client_gb_per_s: 1.5, lookup_latency: 22us, lookup_per_key: 33us}
    routing: {policy: llm-d-redis, weights: {queue: 2.5, kv_usage: 3.5, prefix: 4.5, no_hit_lru: 5.5}, scrape_interval: 45ms, block_tokens: 48, index: {event_delay: 21ms, gpu_weight: 1.1, tier_weight: 0.7}}
  - {preset: no-offload, routing: {policy: llm-d-approx, lru_blocks_per_replica: 77, max_prefix_tokens: 88}}
workload:
  shared-prefix: {prefixes: {per_user: 3}, draw: {zipf: {exponent: 1.2}}, prefix_tokens: 1000, turns: 4, prompt_tokens: 150, output_tokens: 20, think: 5s}
load: {users: [10], duration: 17s, warmup: 1s, max_requests: 99}
repeats: 2
seed: 18
slo: {ttft: 2s}
prices: {gpu_hour: 1.9 USD}
verdict: {effective_share: 0.15}
";

/// Each number replaced by absurd ones gives a result or a one-line error.
#[test]
fn absurd_numbers_never_panic() {
    crate::plan(RICH, &[]).unwrap();
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let mut place = 0;
    let mut refused = 0;
    while let Some(start) = RICH[place..].find(|c: char| c.is_ascii_digit()).map(|at| place + at) {
        let length = RICH[start..].find(|c| !digits(c)).unwrap_or(RICH.len() - start);
        place = start + length;
        for absurd in ["0", "1", "-1", "0.5", "4294967295", "18446744073709551615", "1e300", ".nan"]
        {
            let text = format!("{}{absurd}{}", &RICH[..start], &RICH[place..]);
            if let Err(error) = crate::plan(&text, &[]) {
                refused += 1;
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
    assert!(refused > 200, "{refused} were refused");
}

#[test]
fn absurd_models_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
    ];
    let file = folder.path().join("config.json");
    let text = SMALL.replace("[Qwen/Qwen3-8B]", "[{config: config.json}]");
    for value in ["1", "4096", "1048576", "4294967295"] {
        for odd in keys {
            let pairs: Vec<String> = keys
                .iter()
                .map(|key| format!("\"{key}\": {}", if *key == odd { "64" } else { value }))
                .collect();
            std::fs::write(&file, format!("{{{}}}", pairs.join(", "))).unwrap();
            let experiment =
                weir_spec::Experiment::parse(&text, "test.yaml", folder.path(), &[]).unwrap();
            if let Err(error) = weir_spec::Plan::resolve(&experiment) {
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
}
