//! What is told of runs: in words, and a simulated run beside another.

use std::fs;

use insta::assert_snapshot;

use crate::binary::weir;
use crate::folder::with_small;

#[test]
fn a_simulated_run_is_told_in_words() {
    let folder = with_small();
    weir(folder.path(), &["run", "small.yaml", "--out", "run", "--quiet"]).done();
    let all = weir(folder.path(), &["explain", "run"]).done();
    for words in ["no-offload (the control)", "native-offload (against no-offload)", "Decision"] {
        assert!(all.out.contains(words), "{words}:\n{}", all.out);
    }
    assert!(all.out.lines().all(|line| line.chars().count() <= 100), "{}", all.out);
    let one = weir(folder.path(), &["explain", "run", "--arm", "native-offload"]).done();
    assert_snapshot!(one.out, @r#"
  small: simulated target, 2 of 2 cells run, 2 count
  What follows is what the model foresees; it cannot find a fault in real software.

  Qwen/Qwen3-8B on 2x-l40s (2 GPUs, 1 replica, tensor parallel 2)
    The GPU's KV pool is planned with 430,144 tokens (59.1 GiB) per replica.

  native-offload (against no-offload)
    vLLM's OffloadingConnector to host memory.
    c2 (2 users): overhead-only (fits-gpu); it counts.
      Regime: the working set, what is asked again at its peak, is 562.5 MiB per replica; the GPU
      pool holds 59.1 GiB, the tiers host 64 GiB: the GPU pool holds it (fits-gpu).
      Of 73,700 prompt tokens, 90.2 % came from the GPU's cache, 0.0 % from host memory, 9.8 % were
      computed.
      Asked before: 90.9 % of the prompt tokens that were sent; left over by the GPU: 0.0 %.
      Stored: 891 MiB (simulator).
      Loaded: 0 B (simulator).
      Held at the end: host memory 1.5 GiB (simulator).
      Claim "it served at least 10 % of the reuse that the GPU did not hold": not borne out (0 of 0
      tokens (0.0 %)).
      Against no-offload at this level: Output throughput 0.0 %, TTFT mean 0.0 %, TPOT mean 0.0 %.
      Why: The GPU itself holds what is asked again: only 0.00 % of the prompt tokens were left for
      the tiers (the working set is 562.5 MiB per replica).
      To see an effect: more prefixes or users, or a lower gpu_memory_utilization, so that the GPU
      pool loses what is asked again.
    "#);
}

#[test]
fn what_cannot_be_told_is_refused_in_one_line() {
    let folder = with_small();
    weir(folder.path(), &["run", "small.yaml", "--out", "run", "--quiet"]).done();
    let refused = |args: &[&str]| weir(folder.path(), args).refusal(2, folder.path());
    let line = refused(&["explain", "run", "--arm", "lmcache-redis"]);
    assert!(line.contains("`lmcache-redis`") && line.contains("native-offload"), "{line}");
    let line = refused(&["explain", "run", "--level", "c3"]);
    assert!(line.contains("no level `c3`; the run has c2"), "{line}");
    assert!(refused(&["explain", "nowhere"]).contains("nowhere"));
    let line = refused(&["report", "run", "--prediction", "run"]);
    assert!(line.contains("give the live run first"), "{line}");
}

#[test]
fn a_run_without_cells_is_told_as_planned() {
    let folder = with_small();
    weir(folder.path(), &["run", "small.yaml", "--out", "run", "--quiet"]).done();
    fs::remove_dir_all(folder.path().join("run/cells")).unwrap();
    let answer = weir(folder.path(), &["explain", "run"]).done();
    assert!(answer.out.contains("c2 (2 users): not run"), "{}", answer.out);
    assert!(answer.err.contains("no cell has run yet"), "{}", answer.err);
}

#[test]
fn an_arm_without_a_control_is_not_called_one() {
    let folder = with_small();
    let arms = "arms=[native-offload, lmcache-local]";
    weir(folder.path(), &["run", "small.yaml", "--out", "run", "--quiet", "--set", arms]).done();
    let told = weir(folder.path(), &["explain", "run"]).done().out;
    assert!(told.contains("native-offload (this run has no control for it)"), "{told}");
    assert!(!told.contains("(the control)"), "{told}");
}
