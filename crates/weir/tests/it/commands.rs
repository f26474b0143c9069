use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::binary::{WEIR, weir};
use crate::folder::{files, with_small};

#[test]
fn a_plan_shows_tiers_working_sets_and_predictions() {
    let folder = with_small();
    let answer = weir(folder.path(), &["plan", "small.yaml"]).done();
    assert_eq!(answer.err, "");
    insta::with_settings!({ filters => [(r"plan [0-9a-f]{32}", "plan [hash]")] }, {
        assert_snapshot!(answer.out, @"
    small: 2 cells on the simulated target (plan [hash], seed 0); about 150 requests, less than 10 s of simulation

    Qwen/Qwen3-8B on 2x-l40s, 1 x TP 2, vLLM 0.32.0
      GPU pool 430144 tokens (59.1 GiB, 144 KiB per token), at most 256 sequences and 2048 tokens per pass

      Arms
      arm             tier      capacity  tokens  x GPU pool
      no-offload      GPU only
      native-offload  host        64 GiB  466033        1.08

      Cells (per repeat)
      arm             level  working set  regime    predicted verdict
      no-offload      c2       562.5 MiB  fits-gpu  control
      native-offload  c2       562.5 MiB  fits-gpu  overhead-only (fits-gpu)
      Working set: KV bytes that were asked and will be asked again, at their peak, per replica.
      Regimes, by a replay without time: fits-gpu: less than 1 % of prompt tokens were asked before and
      are gone from the GPU pool.
      - native-offload: more prefixes or users, or a lower gpu_memory_utilization, so that the GPU pool
      loses what is asked again
    ");
    });
    let dry = weir(folder.path(), &["run", "small.yaml", "--dry-run", "--out", "run"]).done();
    assert_eq!(dry.out, answer.out);
    assert_eq!(files(folder.path()).len(), 1, "a plan writes nothing");
}

#[test]
fn a_plan_as_json_is_the_plan_of_the_run() {
    let folder = with_small();
    let answer = weir(folder.path(), &["plan", "small.yaml", "--json"]).done();
    weir(folder.path(), &["run", "small.yaml", "--out", "run", "--quiet"]).done();
    assert_eq!(answer.out, fs::read_to_string(folder.path().join("run/plan.json")).unwrap());
}

#[test]
fn sizes_are_the_arithmetic_of_one_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["size", "--model", "Qwen/Qwen3-8B", "--hardware", "2x-l40s", "--tp", "2"];
    let answer = weir(folder.path(), &args).done();
    assert_snapshot!(answer.out, @"
    Qwen/Qwen3-8B on 2x-l40s, TP 2
      KV bytes per token                 147456
      weights                            15.3 GiB
      GPU pool                           430144 tokens in 26884 blocks
      one prefix of 10000 tokens         1.4 GiB
      prefixes in the GPU pool           43
      time to compute one                859.8ms
      loading beats computing from       1.71 GB/s on

      native-offload (computing a prefix takes 859.8ms)
      tier  capacity  tokens  prefixes  load one prefix  against computing
      host    64 GiB  466033        46           32.9ms      26.1 x faster

      lmcache-redis (computing a prefix takes 859.8ms)
      tier   capacity  tokens  prefixes  load one prefix  against computing
      host     10 GiB   72817         7           30.9ms      27.9 x faster
      redis    64 GiB  466033        46            1.14s       1.3 x SLOWER
    ");
    // 2 (K and V) x 36 layers x 8 heads x 128 x 2 bytes.
    assert!(answer.out.contains(&format!(" {}\n", 2 * 36 * 8 * 128 * 2)));
}

#[test]
fn sizes_show_every_arm_and_what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["size", "--model", "Qwen/Qwen3-8B", "--hardware", "2x-l40s"];
    // The example of its own help: the list has one arm, which offloads.
    let arms = "arms=[{preset: native-offload, bytes: 200GiB}]";
    let prices = "prices={gpu_hour: 1.8 USD, host_gib_month: 2 USD}";
    let more = ["--arm", "native-offload", "--set", arms, "--set", prices];
    let answer = weir(folder.path(), &[&args[..], &more].concat()).done();
    let host = answer.out.lines().find(|line| line.trim_start().starts_with("host")).unwrap();
    // 200 GiB at 2; a load saves 0.827 s of two GPUs at 1.8 an hour, 0.000827: 483,678 loads.
    assert!(host.contains("200 GiB") && host.contains("400.00"), "{host}");
    let loads: f64 = host.split_whitespace().last().unwrap().parse().unwrap();
    assert!((loads / 483_678.0 - 1.0).abs() < 0.01, "{host}");
}

#[test]
fn sizes_say_how_tiers_keep_windows_and_which_arms_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let size = |more: &[&str]| {
        let args = ["size", "--model", "openai/gpt-oss-120b", "--hardware", "2x-h100"];
        weir(folder.path(), &[&args, more].concat()).done()
    };
    let line = |out: &str, key: &str| {
        let line = out.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_default();
        line.trim_start().trim_start_matches(key).trim().to_owned()
    };
    let native = size(&["--arm", "native-offload", "--prefix", "16000"]);
    // 16,000 x 73,728 in the tier; 36,864 of each and 128 tokens of windows are loaded.
    assert_eq!(line(&native.out, "one prefix in its tiers"), "1.1 GiB", "{}", native.out);
    assert_eq!(line(&native.out, "loading one moves"), "567 MiB", "{}", native.out);
    assert!(line(&native.out, "rule of its tiers").contains("blocks of the GPU pool"));
    let in_engine = size(&["--arm", "lmcache-redis", "--set", "engine.max_model_len=65536"]);
    assert!(line(&in_engine.out, "GPU pool of this arm").contains("hybrid KV cache manager off"));
    let routed = size(&["--arm", "llm-d-redis"]);
    let words =
        "llm-d-redis: keeps KV on the GPU alone (routing by a precise prefix index in Redis)";
    assert!(routed.out.contains(words), "{}", routed.out);
    // The model takes 131,072 tokens.
    for (prefix, told) in [("131071", false), ("131072", true), ("300000", true)] {
        let said = size(&["--prefix", prefix]).err.contains("at most 131072 tokens");
        assert_eq!(said, told, "{prefix}");
    }
}

#[test]
fn sizes_answer_where_the_engine_would_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let size = |model: &str, hardware: &str| {
        weir(folder.path(), &["size", "--model", model, "--hardware", hardware]).done()
    };
    let figure = |out: &str, key: &str| {
        let line = out.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_default();
        line.trim_start().trim_start_matches(key).trim().to_owned()
    };
    let large = size("meta-llama/Llama-3.1-70B", "1x-l4");
    assert!(large.err.contains("does not fit"), "{}", large.err);
    assert_eq!(figure(&large.out, "KV bytes per token"), "327680");
    assert_eq!(figure(&large.out, "GPU pool"), "-");
    assert!(large.out.contains("native-offload"), "{}", large.out);

    let config = |more: &str| {
        let text = format!(
            r#"{{"num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32,
                "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288,
                "vocab_size": 151936, "max_position_embeddings": 10485760{more}}}"#
        );
        fs::write(folder.path().join("config.json"), text).unwrap();
        size("config.json", "1x-h100")
    };
    // No memory holds the context: the pool is shown all the same.
    let long = config("");
    assert!(long.err.contains("fewer than one sequence of 10485760"), "{}", long.err);
    assert!(figure(&long.out, "GPU pool").contains("tokens in"), "{}", long.out);
    let strange = config(r#", "quantization_config": {"quant_method": "sorcery"}"#);
    assert!(strange.err.contains("`sorcery`") && strange.err.contains("weight_bytes"));
    assert_eq!(figure(&strange.out, "KV bytes per token"), "147456");
    assert_eq!(figure(&strange.out, "weights"), "-");
    assert_eq!(figure(&strange.out, "time to compute one"), "-");
}

#[test]
fn lists_name_what_files_may_name() {
    let folder = tempfile::tempdir().unwrap();
    let all = weir(folder.path(), &["list"]).done().out;
    let parts =
        ["models", "hardware", "arms"].map(|what| weir(folder.path(), &["list", what]).done().out);
    assert_eq!(all, parts.join("\n"));
    let [models, hardware, arms] = parts;
    for (text, names) in [
        (&models, &["Qwen/Qwen3-0.6B", "Qwen/Qwen3-32B-AWQ", "meta-llama/Llama-3.1-70B"][..]),
        (&hardware, &["l40s", "h100"]),
        (&arms, &["no-offload", "native-offload", "lmcache-redis", "llm-d-valkey"]),
    ] {
        for name in names {
            let is_first = |line: &str| line.split_whitespace().next() == Some(name);
            assert!(text.lines().any(is_first), "{name} is not in\n{text}");
        }
    }
}

/// A reader that leaves after the first bytes, as `head -1` does.
#[test]
fn a_reader_that_leaves_is_no_error() {
    for args in [&["list"][..], &["spec", "schema"], &["completions", "bash"], &["--help"]] {
        let mut child = Command::new(WEIR)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Closed before the first byte: each write meets a broken pipe.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), words.as_str()), (Some(0), ""), "{args:?}");
    }
    let mut child = Command::new("sh")
        .args(["-c", "\"$0\" list | head -1", WEIR])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    child.stdout.take().unwrap().read_to_string(&mut first).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(first.lines().count(), 1, "{first}");
}

#[test]
fn a_new_experiment_file_is_valid_and_commented() {
    let folder = tempfile::tempdir().unwrap();
    let made = weir(folder.path(), &["spec", "new"]).done();
    assert_snapshot!(made.err.trim_end(), @"wrote experiment.yaml; `weir plan experiment.yaml` shows what it would run");
    let text = fs::read_to_string(folder.path().join("experiment.yaml")).unwrap();
    assert_eq!(weir(folder.path(), &["spec", "new", "-"]).done().out, text);
    assert!(text.lines().filter(|line| line.contains('#')).count() >= 5, "{text}");
    let checked = weir(folder.path(), &["spec", "check", "experiment.yaml"]).done();
    assert_snapshot!(checked.out.trim_end(), @"my-experiment: valid, 12 cells in 1 deployments");
}

#[test]
fn the_schema_is_json_with_the_files_keys() {
    let folder = tempfile::tempdir().unwrap();
    let answer = weir(folder.path(), &["spec", "schema"]).done();
    let schema: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    for key in ["name", "models", "hardware", "engine", "arms", "workload", "load", "repeats"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn completions_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = weir(folder.path(), &["completions", shell]).done().out;
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let script = weir(folder.path(), &["completions", "bash"]).done().out;
    let checked = Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(checked.success(), "bash does not take its completions");
}

const COMMANDS: [&str; 17] = [
    "run",
    "plan",
    "load",
    "agent",
    "serve",
    "route",
    "probe",
    "list",
    "size",
    "report",
    "explain",
    "teardown",
    "compare",
    "calibrate",
    "spec",
    "setup",
    "completions",
];

#[test]
fn every_command_has_help_and_examples_that_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let help = weir(folder.path(), &["--help"]).done().out;
    assert_snapshot!(help, @"
    Evaluate KV-cache offloading for LLM serving: run one experiment on any target, and check for each
    arm that its mechanism acted

    Usage: weir [OPTIONS] <COMMAND>

    Commands:
      run          Run an experiment and write its report
      plan         Print what would run: cells, working sets, tiers, predicted verdicts and time
      load         Benchmark an OpenAI-compatible server
      agent        Generate a load from several processes, or from inside a cluster
      serve        Run the emulated engine behind a vLLM-compatible API
      route        Route requests to replicas, by the policies of the experiment file
      tokenizer    Give an endpoint picker in the same pod the tokens of prompts
      probe        Benchmark a KV-cache tier with KV-shaped transfers, and show where the time goes
      list         List known models, hardware and arms
      size         Calculate KV bytes, tokens in GPU memory, prefixes per tier and break-even bandwidth
      report       Write the report of a run folder again
      explain      Explain each arm's result: where tokens came from and why it counts or not
      standup      Bring up an arm in a Kubernetes cluster, step by step
      render       Write the Kubernetes objects of an arm
      status       Print what stands in a Kubernetes namespace
      smoketest    Ask each engine in a Kubernetes cluster, and the router, for the same answer
      teardown     Remove what stands in a cluster, or what killed runs left on this machine
      compare      Compare two runs cell by cell
      calibrate    Fit the timing model's constants to a recorded run of a live target
      spec         Write, check or describe experiment files
      setup        Install vLLM with LMCache for the CPU, install llm-d's router, or write a model
      completions  Print shell completions
      help         Print this message or the help of the given subcommand(s)

    Options:
      -q, --quiet    Print only errors to stderr
      -h, --help     Print help
      -V, --version  Print version

    Exit codes: 0 done; 1 done, but a cell failed, or is void or unverified against the plan's
    prediction; 2 invalid input; 3 a fault of the environment; 101 a defect of Weir; 130 stopped by a
    second Ctrl-C.
    ");
    for command in COMMANDS {
        let line = help.lines().find(|line| line.trim_start().starts_with(command));
        let about = line.and_then(|line| line.trim_start().strip_prefix(command)).unwrap().trim();
        let own = weir(folder.path(), &[command, "--help"]).done();
        assert!(own.out.starts_with(about), "{command}:\n{}", own.out);
        assert!(own.out.contains(&format!("Usage: weir {command}")), "{command}:\n{}", own.out);
        assert_eq!(own.err, "");
    }
    let usage = weir(folder.path(), &["runn"]);
    assert_eq!(usage.code, Some(2));
    assert!(usage.err.contains("a similar subcommand exists: 'run'"), "{}", usage.err);
    assert!(weir(folder.path(), &["--version"]).done().out.starts_with("weir "));
}
