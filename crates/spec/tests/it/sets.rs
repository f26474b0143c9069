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
