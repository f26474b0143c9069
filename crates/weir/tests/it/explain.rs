//! Runs in words, and a simulated run beside another.

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
  small: simulated target, 2 of 2 cells completed, 2 valid
  What follows is what the model predicts; it cannot find a fault in real software.

  Qwen/Qwen3-8B on 2x-l40s (2 GPUs, 1 replica, tensor parallel 2)
    The GPU's KV pool is planned with 430,144 tokens (59.1 GiB) per replica.

  native-offload (against no-offload)
    vLLM's OffloadingConnector to host memory.
    c2 (2 users): overhead-only (fits-gpu); it counts.
      Regime: the working set, what is asked again at its peak, is 562.5 MiB per replica; the GPU
      pool holds 59.1 GiB, the tiers host 64 GiB: the GPU pool holds it (fits-gpu).
      Of 73,700 prompt tokens, 90.2 % came from the GPU's cache, 0.0 % from host memory, 9.8 % were
      computed.
      Reusable: 90.9 % of prompt tokens; 0.0 % missed the GPU cache.
      Stored: 891 MiB (simulator).
      Loaded: 0 B (simulator).
      Held at the end: host memory 1.5 GiB (simulator).
      Claim "it served at least 10 % of the reuse that the GPU did not hold": failed (nothing to
      serve: 0 tokens missed the GPU cache).
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

/// Plan, run and explanation report a profile of another store.
#[test]
fn figures_of_another_store_are_warned_of_and_assumed_ones_are_in_the_decision() {
    let folder = with_small();
    let path = folder.path().join("my.yaml");
    let profile = "format: 1\nkind: store\nproduct: redis\nplace: here\nmeasured: 2026-11-20\n\
                   weir: 0.1.0\ncommand: weir probe redis\nblock_bytes: 2097152\n\
                   figures: {read_gb_per_s: 2.5, write_gb_per_s: 1.25, latency: 90us, \
                   per_block: 30us, lanes: 2, lookup_latency: 70us, lookup_per_key: 3us}\n\
                   fit: {points: 16, rms_error_percent: 3.0}\n";
    fs::write(path, profile).unwrap();
    let arm = |store: &str| format!("arms=[no-offload, {{preset: lmcache-kvrocks{store}}}]");
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = "were measured on redis, and its store is kvrocks";
    let measured = arm(", store: {profile: my.yaml}");
    let plan = weir(folder.path(), &["plan", "small.yaml", "--set", &measured]).done();
    assert!(joined(&(plan.out + &plan.err)).contains(words));
    let run =
        weir(folder.path(), &["run", "small.yaml", "--out", "run", "--set", &measured]).done();
    assert!(joined(&(run.out + &run.err)).contains(words));
    let told = joined(&weir(folder.path(), &["explain", "run"]).done().out);
    assert!(told.contains(words) && !told.contains("are assumed"), "{told}");
    let decided = "The figures of kvrocks (lmcache-kvrocks) are those of redis";
    assert!(told.contains(decided), "{told}");
    let args = ["run", "small.yaml", "--out", "assumed", "--set", &arm("")];
    weir(folder.path(), &args).done();
    let told = joined(&weir(folder.path(), &["explain", "assumed"]).done().out);
    assert!(
        told.contains("The figures of kvrocks (lmcache-kvrocks) are assumed: no profile"),
        "{told}"
    );
}
