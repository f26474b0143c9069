//! Bad input: one line that says what to do, the right exit code, and no files.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use crate::binary::weir;
use crate::folder::{assert_same, example, files, with_small};

/// `weir run ... --out run` must be refused without files.
#[track_caller]
fn refused(folder: &Path, code: i32, args: &[&str]) -> String {
    let before = files(folder);
    let args = [&["run"], args, &["--out", "run"]].concat();
    let message = weir(folder, &args).refusal(code, folder);
    assert!(!folder.join("run").exists(), "a folder was left behind");
    assert_same(&before, &files(folder));
    message
}

#[track_caller]
fn refused_set(set: &str) -> String {
    let folder = with_small();
    refused(folder.path(), 2, &["small.yaml", "--set", set])
}

#[test]
fn wrong_yaml_is_named_by_file_line_and_column() {
    let folder = with_small();
    let refused_file = |text: &str| {
        fs::write(folder.path().join("bad.yaml"), text).unwrap();
        refused(folder.path(), 2, &["bad.yaml"])
    };
    let small = crate::folder::SMALL;
    assert_snapshot!(refused_file(&small.replace("users", "usrs")), @"weir: bad.yaml:7:8: unknown key `load.usrs` (did you mean `users`?); expected one of users, constant, poisson, gamma, trace, duration, warmup, ramp, max_requests");
    assert_snapshot!(refused_file(&small.replace("duration: 10s", "duration: 10")), @"weir: bad.yaml:7:30: invalid type: integer `10`, expected a duration with its unit, such as `100ms` or `120s`");
    assert_snapshot!(refused_file(&format!("{small}name: twice\n")), @"weir: bad.yaml:8:1: duplicate mapping key: name not allowed here");
    for text in ["", "name: [", "\t", "- a\n- b\n", "name: \u{0}", "just words"] {
        let message = refused_file(text);
        assert!(message.starts_with("weir: bad.yaml:"), "{text:?}: {message}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = with_small();
    assert_snapshot!(refused(folder.path(), 2, &["nowhere.yaml"]), @"weir: cannot read experiment file nowhere.yaml: No such file or directory (os error 2); check the path");
    assert_snapshot!(refused(folder.path(), 2, &["."]), @"weir: cannot read experiment file .: Is a directory (os error 21); check the path");
}

#[test]
fn routes_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let route = |args: &[&str]| {
        let args = [&["route", "--listen", "127.0.0.1:0"], args].concat();
        weir(folder.path(), &args).refusal(2, folder.path())
    };
    let precise = |more: &[&str]| {
        route(&[&["http://127.0.0.1:1", "--policy", "precise-prefix"], more].concat())
    };
    assert_snapshot!(route(&["localhost:8000"]), @r#"weir: replica "localhost:8000" has no scheme: write http://localhost:8000"#);
    assert_snapshot!(route(&["https://h:1"]), @"weir: replica https://h:1: https is unsupported; give the address that the engine itself serves");
    assert_snapshot!(route(&["http://h:1", "http://h:1"]), @"weir: replica http://h:1 is given twice; give each once");
    assert_snapshot!(route(&["http://h:1", "--index", "redis://h"]), @"weir: --index is used by the policy precise-prefix only; remove it, or use --policy precise-prefix");
    assert_snapshot!(route(&["http://h:1", "--policy", "{policy: random, block_tokens: 7}"]), @"weir: --policy.block_tokens: the policy `random` has no such parameter; remove it, or use another policy");
    assert_snapshot!(precise(&[]), @"weir: precise-prefix knows caches from KV events; give --kv-events with one ZeroMQ endpoint per replica, for example tcp://127.0.0.1:5557");
    assert_snapshot!(precise(&["--kv-events", "tcp://h:1", "--index", "redis-cluster://h:1"]), @"weir: --index redis-cluster://h:1: a cluster is unsupported, as in llm-d; give a single server");
}

#[test]
fn unknown_names_bring_the_nearest_known_one() {
    assert_snapshot!(refused_set("models=[Qwen/Qwen3-8b-AWQ2]"), @"weir: small.yaml: models: unknown model `Qwen/Qwen3-8b-AWQ2` (did you mean `Qwen/Qwen3-32B-AWQ`?); `weir list models` prints the known ones");
    assert_snapshot!(refused_set("models=[somebody/else]"), @"weir: small.yaml: models: unknown model `somebody/else`; `weir list models` prints the known ones");
    assert_snapshot!(refused_set("hardware=2x-l40z"), @"weir: small.yaml: hardware: unknown accelerator `l40z` (did you mean `l40s`?); `weir list hardware` prints the known ones");
    assert_snapshot!(refused_set("arms=[no-offload, native-ofload]"), @"weir: small.yaml: arms: unknown arm `native-ofload` (did you mean `native-offload`?); `weir list arms` prints the known ones");
}

#[test]
fn values_that_cannot_be_are_refused_with_what_to_write() {
    assert_snapshot!(refused_set("load.users=[]"), @"weir: small.yaml: load.users: the list is empty; write at least one level");
    assert_snapshot!(refused_set("load.users=[0]"), @"weir: small.yaml: load.users: 0 users; write a number from 1 to 1000000");
    assert_snapshot!(refused_set("workload.shared-prefix.prefix_tokens=50000"), @"weir: small.yaml: workload.shared-prefix: a request can have 50120 tokens with its answer, and the engine takes 40960; shorten it, or use a model with a longer context");
    assert_snapshot!(refused_set("arms=[no-offload, {preset: native-offload, bytes: 1MB}]"), @"weir: small.yaml: arms.native-offload.bytes: 976.6 KiB are less than one chunk of 16 tokens, which has 2.2 MiB; raise it, or lower chunk_tokens");
}

#[test]
fn overrides_that_cannot_be_applied_are_named_by_their_flag() {
    assert_snapshot!(refused_set("load.usrs=[1]"), @"weir: --set load.usrs=[1]: unknown key `load.usrs` (did you mean `users`?); expected one of users, constant, poisson, gamma, trace, duration, warmup, ramp, max_requests");
    assert_snapshot!(refused_set("load.users"), @"weir: --set load.users: no `=`; write for example `--set load.duration=60s`");
    assert_snapshot!(refused_set("load.duration=[1"), @"weir: --set load.duration=[1: the value is not YAML: value:1:1: unclosed bracket '['");
    let folder = with_small();
    assert_snapshot!(refused(folder.path(), 2, &["--jobs", "0"]), @"weir: --jobs 0: no cell would ever run; write 1 or more, or leave it out");
}

/// With `trace.jsonl` in the folder.
const TRACE: [&str; 4] = [
    "--set",
    "workload={trace: {format: mooncake, path: trace.jsonl}}",
    "--set",
    "load={trace: {speed: 10}}",
];

fn request(at: u64, ids: &str) -> String {
    format!(
        "{{\"timestamp\": {at}, \"input_length\": 1000, \"output_length\": 10, \"hash_ids\": {ids}}}\n"
    )
}

#[test]
fn a_malformed_line_of_a_trace_is_named_by_file_and_line() {
    let folder = with_small();
    let args = [&["small.yaml"][..], &TRACE].concat();
    assert_snapshot!(refused(folder.path(), 2, &args), @"weir: small.yaml: workload: cannot open the trace `[folder]/trace.jsonl`: No such file or directory (os error 2); get a Mooncake trace, for example conversation_trace.jsonl in FAST25-release/traces of https://github.com/kvcache-ai/Mooncake, and point to it with `--set workload.trace.path=FILE`");
    let trace = folder.path().join("trace.jsonl");
    let refused_trace = |text: &str| {
        fs::write(&trace, text).unwrap();
        refused(folder.path(), 2, &args)
    };
    let good = request(0, "[1, 2]");
    assert_snapshot!(refused_trace(&format!("{good}{{\"timestamp\": 27, \"input\n{good}")), @r"weir: small.yaml: workload: `[folder]/trace.jsonl`, line 2: is not a Mooncake request: control character (\u0000-\u001F) found while parsing a string (column 0); each line must be a JSON object with timestamp, input_length, output_length and hash_ids");
    assert_snapshot!(refused_trace(&format!("{good}{good}not JSON\n")), @"weir: small.yaml: workload: `[folder]/trace.jsonl`, line 3: is not a Mooncake request: expected ident (column 2); each line must be a JSON object with timestamp, input_length, output_length and hash_ids");
    assert_snapshot!(refused_trace(&format!("{good}{}", request(5, "[1, -2]"))), @"weir: small.yaml: workload: `[folder]/trace.jsonl`, line 2: is not a Mooncake request: invalid value: integer `-2`, expected u64 (column 78); each line must be a JSON object with timestamp, input_length, output_length and hash_ids");
    assert_snapshot!(refused_trace(""), @"weir: small.yaml: workload: the trace `[folder]/trace.jsonl` holds no requests: check `workload.trace.path` and `workload.trace.format`");
}

#[test]
fn a_trace_that_changed_after_the_plan_stops_a_resume() {
    let folder = with_small();
    let trace = folder.path().join("trace.jsonl");
    let good: String = (0..20).map(|i| request(i * 500, "[1, 2]")).collect();
    fs::write(&trace, &good).unwrap();
    let args = [&["run", "small.yaml", "--out", "run"][..], &TRACE].concat();
    weir(folder.path(), &args).done();
    let cell =
        folder.path().join("run/cells/Qwen--Qwen3-8B/2x-l40s/no-offload/trace-x10/0/cell.json");
    fs::remove_file(&cell).unwrap();
    // Another valid trace: its cells must not stand beside those of the first.
    fs::write(&trace, good.replace("\"output_length\": 10", "\"output_length\": 11")).unwrap();
    let message = weir(folder.path(), &["run", "--resume", "run"]).refusal(2, folder.path());
    assert_snapshot!(message, @"weir: [folder]/trace.jsonl has changed since the run was planned; restore it, or start a new run");
    assert!(!cell.exists());
    fs::write(&trace, &good).unwrap();
    weir(folder.path(), &["run", "--resume", "run"]).done();
    assert!(cell.exists());
}

#[test]
fn a_run_is_the_same_from_any_folder_and_by_any_spelling_of_its_trace() {
    let folder = with_small();
    let at = |name: &str| folder.path().join(name);
    let text: String = (0..20).map(|i| request(i * 500, "[1, 2]")).collect();
    fs::write(at("trace.jsonl"), &text).unwrap();
    fs::create_dir_all(at("far/away")).unwrap();
    let args = [&["run", "small.yaml", "--out", "run"][..], &TRACE].concat();
    weir(folder.path(), &args).done();
    let cell = at("run/cells/Qwen--Qwen3-8B/2x-l40s/no-offload/trace-x10/0/cell.json");
    let again = |folder: &Path, more: &[&str]| {
        fs::remove_file(&cell).unwrap();
        let run = cell.ancestors().nth(7).unwrap().to_str().unwrap().to_owned();
        weir(folder, &[&["run", "--resume", &run][..], more].concat()).done();
        assert!(cell.exists());
    };
    // Without the file the run finds its trace by itself.
    again(&at("far/away"), &[]);
    // With the file, from elsewhere and by another path from there; then the trace has moved.
    let other = |path: &str| format!("workload={{trace: {{format: mooncake, path: {path}}}}}");
    let spelled = other("away/../../trace.jsonl");
    again(&at("far"), &["../small.yaml", "--set", &spelled, "--set", TRACE[3]]);
    fs::rename(at("trace.jsonl"), at("far/moved.jsonl")).unwrap();
    let moved = other("moved.jsonl");
    again(&at("far"), &["../small.yaml", "--set", &moved, "--set", TRACE[3]]);
    // Another trace is another run, whatever its path.
    fs::write(at("trace.jsonl"), text.replacen("1000", "1001", 1)).unwrap();
    let args = [&["run", "--resume", "run", "small.yaml"][..], &TRACE].concat();
    let message = weir(folder.path(), &args).refusal(2, folder.path());
    assert!(message.contains("plan"), "{message}");
}

#[test]
fn a_second_run_in_a_folder_is_refused_and_the_first_stays() {
    let folder = with_small();
    weir(folder.path(), &["run", "small.yaml", "--out", "run"]).done();
    let before = files(folder.path());
    let call = |args: &[&str]| weir(folder.path(), args).refusal(2, folder.path());
    assert_snapshot!(call(&["run", "small.yaml", "--out", "run"]), @"weir: run: the folder is not empty; pick another `--out`, or continue the run in it with `--resume`");
    assert_snapshot!(call(&["run", "small.yaml", "--out", "."]), @"weir: .: the folder is not empty; pick another `--out`, or continue the run in it with `--resume`");
    assert_same(&before, &files(folder.path()));
}

#[test]
fn a_resumed_run_whose_plan_changed_is_refused_and_stays() {
    let folder = with_small();
    weir(folder.path(), &["run", "small.yaml", "--out", "run"]).done();
    let run = folder.path().join("run");
    fs::remove_dir_all(run.join("cells")).unwrap();
    let without_lock = || {
        let mut files = files(&run);
        // It names the last reader.
        files.remove("lock");
        files
    };
    let before = without_lock();
    let call = |args: &[&str]| weir(folder.path(), args).refusal(2, folder.path());
    let changed = call(&["run", "small.yaml", "--resume", "run", "--set", "seed=7"]);
    insta::with_settings!({ filters => [(r"[0-9a-f]{32}", "[hash]")] }, {
        assert_snapshot!(changed, @"weir: run: the plan has changed since this run was started (was [hash], is [hash]); undo the change, or start a new run with another `--out`");
    });
    assert_snapshot!(call(&["run", "--resume", "run", "--set", "seed=7"]), @"weir: --set changes the plan, and a resumed run keeps its own; start a new run");
    assert_same(&before, &without_lock());
    // The same plan is no change, wherever it is written.
    fs::copy(folder.path().join("small.yaml"), folder.path().join("copy.yaml")).unwrap();
    weir(folder.path(), &["run", "copy.yaml", "--resume", "run"]).done();
}

#[test]
fn what_is_no_run_cannot_be_resumed_reported_or_compared() {
    let folder = with_small();
    let before = files(folder.path());
    let call = |args: &[&str]| weir(folder.path(), args).refusal(2, folder.path());
    assert_snapshot!(call(&["run", "--resume", "."]), @"weir: .: no environment.json, so this is not the folder of a run; check the path, or start a new run with `--out`");
    assert_snapshot!(call(&["report", "nowhere"]), @"weir: nowhere: no environment.json, so this is not the folder of a run; check the path, or start a new run with `--out`");
    assert_snapshot!(call(&["compare", "nowhere", "."]), @"weir: nowhere: no environment.json, so this is not the folder of a run; check the path, or start a new run with `--out`");
    assert_same(&before, &files(folder.path()));
}

#[test]
fn an_example_without_its_trace_says_where_to_get_one() {
    let folder = with_small();
    // Beside a copy of the example: a trace beside the original must not be found.
    fs::copy(example("mooncake.yaml"), folder.path().join("mooncake.yaml")).unwrap();
    assert_snapshot!(refused(folder.path(), 2, &["mooncake.yaml"]), @"weir: mooncake.yaml: workload: cannot open the trace `traces/conversation_trace.jsonl`: No such file or directory (os error 2); get a Mooncake trace, for example conversation_trace.jsonl in FAST25-release/traces of https://github.com/kvcache-ai/Mooncake, and point to it with `--set workload.trace.path=FILE`");
}

#[test]
fn other_commands_refuse_in_one_line_too() {
    let folder = with_small();
    let before = files(folder.path());
    let call = |args: &[&str]| weir(folder.path(), args).refusal(2, folder.path());
    assert_snapshot!(call(&["spec", "new", "small.yaml"]), @"weir: small.yaml exists; name another file");
    assert_snapshot!(call(&["spec", "new", "no/folder.yaml"]), @"weir: cannot create no/folder.yaml: no folder no; make it first, or name another file");
    assert_snapshot!(call(&["spec", "check", "nowhere.yaml"]), @"weir: cannot read experiment file nowhere.yaml: No such file or directory (os error 2); check the path");
    assert_snapshot!(call(&["plan", "small.yaml", "--set", "repeats=0"]), @"weir: small.yaml: repeats: 0 repeats; write a number from 1 to 10000");
    let size = ["size", "--hardware", "2x-l40s", "--model"];
    let sized = |more: &[&str]| call(&[&size[..], more].concat());
    assert_snapshot!(sized(&["Qwen/Qwen3-8B", "--tp", "3"]), @"weir: engine.tensor_parallel: 3 ranks on the 2 accelerators of 2x-l40s; write a number from 1 to 2");
    assert_snapshot!(sized(&["Qwen/Qwen3-8B", "--prefix", "0"]), @"weir: --prefix 0: a prefix has at least one token");
    assert_snapshot!(sized(&["Qwen/Qwen3-8B", "--arm", "nope"]), @"weir: arms: unknown arm `nope`; `weir list arms` prints the known ones");
    assert_snapshot!(sized(&["nowhere.json"]), @"weir: cannot read model configuration nowhere.json: No such file or directory (os error 2); check the path");
    assert_same(&before, &files(folder.path()));
}
