//! `--set`.

use crate::{SMALL, error, plan};
use weir_spec::plan::{LevelLoad, Origin};

#[test]
fn values_of_every_shape_are_set() {
    let plan = plan(
        SMALL,
        &[
            "engine.tensor_parallel=1",
            "engine.vllm=0.11",
            "load.users=[1, 3]",
            "arms=[no-offload, lmcache-local, native-offload]",
            "arms.native-offload.bytes=1GiB",
            "models=[Qwen/Qwen3-0.6B]",
            "slo.ttft=2s",
            "overrides.\"Qwen/Qwen3-0.6B\".load.users=[7]",
        ],
    )
    .unwrap();
    let deployment = &plan.deployments[0];
    assert_eq!(deployment.tensor_parallel, 1);
    assert_eq!(deployment.vllm, "0.11.0");
    assert_eq!(deployment.model.name, "Qwen/Qwen3-0.6B");
    assert_eq!(deployment.arms.len(), 3);
    assert_eq!(deployment.levels.len(), 1);
    assert_eq!(deployment.levels[0].load, LevelLoad::Users(7));
    assert_eq!(plan.slo.ttft, Some(weir_model::Nanos::from_secs(2)));
    let set = Origin::Set("engine.tensor_parallel=1".to_owned());
    assert_eq!(plan.origins["engine.tensor_parallel"], set);
    assert_eq!(plan.origins["engine.max_num_seqs"], Origin::File);
    assert_eq!(plan.origins["engine.block_size"], Origin::Default);
}

#[test]
fn another_form_of_load_or_workload_takes_the_place() {
    let plan = plan(
        SMALL,
        &[
            "load.poisson=[0.5, 2]",
            "workload.long-context={documents: 8, document_tokens: 2000, question_tokens: 50, output_tokens: 20}",
        ],
    )
    .unwrap();
    let names: Vec<&str> = plan.deployments[0].levels.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["r0.5", "r2"]);
}

#[test]
fn paths_of_flags_start_from_the_working_directory_and_those_of_the_file_from_its_folder() {
    use std::path::Path;
    let folder = tempfile::tempdir().unwrap();
    let here = std::env::current_dir().unwrap();
    let parse = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        weir_spec::Experiment::parse(SMALL, "e.yaml", folder.path(), &sets).unwrap().spec
    };
    let text = |sets: &[&str]| serde_json::to_value(parse(sets)).unwrap();
    let at = |path: &str| here.join(path).display().to_string();
    for (flag, pointer, path) in [
        (
            "workload={trace: {format: mooncake, path: a/x.jsonl}}",
            "/workload/trace/path",
            "a/x.jsonl",
        ),
        ("models=[{config: m/config.json}]", "/models/0/config", "m/config.json"),
        ("client.tokenizer=t.json", "/client/tokenizer", "t.json"),
        ("target.emulated.disk=kv", "/target/emulated/disk", "kv"),
        ("target.local.disk=kv", "/target/local/disk", "kv"),
        (
            "target.endpoint={url: 'http://a:1', ca_file: ca.pem}",
            "/target/endpoint/ca_file",
            "ca.pem",
        ),
        (
            "arms=[{preset: lmcache-redis, store: {profile: ./p.yaml, password_file: pw}}]",
            "/arms/0/store/password_file",
            "pw",
        ),
        ("arms.native-offload.disk={profile: p.yaml}", "/arms/1/disk/profile", "p.yaml"),
    ] {
        let set = text(&[flag]);
        assert_eq!(set.pointer(pointer).unwrap(), &at(path), "{flag}");
    }
    for (flag, pointer, kept) in [
        ("arms.native-offload.disk={profile: nvme-gen4}", "/arms/1/disk/profile", "nvme-gen4"),
        ("client.tokenizer=/t.json", "/client/tokenizer", "/t.json"),
        ("models=[Qwen/Qwen3-0.6B]", "/models/0", "Qwen/Qwen3-0.6B"),
        ("target.local.python=python3", "/target/local/python", "python3"),
    ] {
        assert_eq!(text(&[flag]).pointer(pointer).unwrap(), kept, "{flag}");
    }
    assert!(Path::new(&at("x")).is_absolute());
}

#[test]
fn a_model_file_in_place_of_a_name_is_told_how_to_be_written() {
    for (flag, written) in [
        ("models=/m/config.json", "--set 'models=[{config: /m/config.json}]'"),
        ("models.0=m.json", "--set 'models.0={config: m.json}'"),
    ] {
        let line = error(SMALL, &[flag]);
        assert!(line.contains(written), "{line}");
    }
    for name in ["m/config.json", "models/mine"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("models/mine")).unwrap();
        std::fs::write(folder.path().join("models/mine/config.json"), "{}").unwrap();
        let text = SMALL.replace("Qwen/Qwen3-8B", name);
        let experiment = weir_spec::Experiment::parse(&text, "e.yaml", folder.path(), &[]).unwrap();
        let line = weir_spec::Plan::resolve(&experiment).unwrap_err().to_string();
        assert!(line.contains("is a path") && line.contains("config: m"), "{line}");
    }
}

#[test]
fn errors_name_the_flag() {
    for (flag, message) in [
        ("engine", "--set engine: no `=`; write for example `--set load.duration=60s`"),
        (
            "engine.tensorparallel=1",
            "--set engine.tensorparallel=1: unknown key `engine.tensorparallel` (did you mean \
             `tensor_parallel`?); expected one of vllm, tensor_parallel, gpu_memory_utilization, \
             max_num_seqs, max_num_batched_tokens, block_size, max_model_len, prefix_caching, \
             kv_tokens, watermark, async_scheduling, cascade_attention, kv_cache_dtype, timing, \
             cpu_per_pass, cpu_per_sequence, front_end",
        ),
        (
            "load.duration=10",
            "--set load.duration=10: invalid type: integer `10`, expected a duration with its unit, \
             such as `100ms` or `120s`",
        ),
        ("seed=x", "--set seed=x: not a whole number of 0 or more"),
        ("seed.x=1", "--set seed.x=1: `seed` is a value and has no key `x`"),
        ("arms.5.bytes=1GiB", "--set arms.5.bytes=1GiB: `arms` has 2 elements and none is `5`"),
        ("engine=5", "--set engine=5: expected a map, such as `{key: value}`"),
        ("arms=no-offload", "--set arms=no-offload: expected a list, such as `[a, b]`"),
        ("a..b=1", "--set a..b=1: `a..b` is not a path; write keys with dots between them"),
        ("seed=[", "--set seed=[: the value is not YAML"),
    ] {
        let seen = error(SMALL, &[flag]);
        assert!(seen.starts_with(message), "\n{seen}\n{message}");
    }
}

#[test]
fn an_error_of_the_file_is_not_blamed_on_a_flag() {
    let text = SMALL.replace("name: small", "nam: small");
    assert!(error(&text, &["seed=2"]).starts_with("test.yaml:1:1: "));
}
