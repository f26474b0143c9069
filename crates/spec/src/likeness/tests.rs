use std::path::Path;

use weir_model::{FactSource, RunningFact};

use super::*;
use crate::Experiment;

fn plan(target: &str, engine: &str, arms: &str) -> Plan {
    let text = format!(
        "name: likeness\ntarget: {target}\nmodels: [weir/tiny-qwen3]\nhardware: 1x-cpu\nengine: \
         {{kv_tokens: 1024, block_size: 32, max_model_len: 512, max_num_seqs: 8, \
         max_num_batched_tokens: 512, kv_cache_dtype: float32{engine}}}\narms:\n{arms}workload: \
         {{shared-prefix: {{prefixes: 12, prefix_tokens: 320, prompt_tokens: 32, output_tokens: \
         8}}}}\nload: {{users: [2], duration: 20s, warmup: 6s}}\n"
    );
    let experiment = Experiment::parse(&text, "likeness.yaml", Path::new(""), &[]).unwrap();
    Plan::resolve(&experiment).unwrap()
}

fn local(arms: &str) -> Plan {
    plan("local", "", arms)
}

fn running(more: &[(FactKind, FactValue)]) -> RunningFacts {
    let count = FactValue::Count;
    let mut all = vec![
        (FactKind::PrefixCaching, FactValue::Flag(true)),
        (FactKind::Blocks, count(33)),
        (FactKind::BlockSize, count(32)),
        (FactKind::Dtype, FactValue::text("float32")),
        (FactKind::KvDtype, FactValue::text("float32")),
        (FactKind::MaxSequences, count(8)),
        (FactKind::MaxBatchedTokens, count(512)),
        (FactKind::MaxModelLen, count(512)),
        (FactKind::TensorParallel, count(1)),
        (FactKind::ServedModel, FactValue::text("weir/tiny-qwen3")),
        (FactKind::EngineVersion, FactValue::text("0.32.0")),
        (FactKind::Connector, FactValue::Words(Vec::new())),
    ];
    all.retain(|(kind, _)| more.iter().all(|(other, _)| other != kind));
    all.extend_from_slice(more);
    let mut facts = RunningFacts::default();
    for (kind, value) in all {
        facts.add(kind, "vllm-0", value, FactSource::StartUpLog);
    }
    facts
}

fn connector(name: &str) -> (FactKind, FactValue) {
    (FactKind::Connector, FactValue::Words(vec![name.to_owned()]))
}

/// Kind, actual value, planned value.
fn from_plan(
    plan: &Plan,
    arm: &str,
    facts: &RunningFacts,
) -> Vec<(FactKind, FactValue, FactValue)> {
    let arms = &plan.deployments[0].arms;
    let is_arm = |cell: &&Cell| arms[cell.arm].name == arm;
    let cell = plan.cells.iter().find(is_arm).unwrap();
    against_plan(plan, cell, facts).into_iter().map(told).collect()
}

fn told(difference: FactDifference) -> (FactKind, FactValue, FactValue) {
    let kind = told_kind(&difference).unwrap();
    (kind, difference.is.unwrap(), difference.was.unwrap())
}

fn between(
    plan: &Plan,
    (arm, here): (usize, &RunningFacts),
    (reference, there): (usize, &RunningFacts),
) -> Vec<FactDifference> {
    let deployment = &plan.deployments[0];
    let (arm, reference) = (&deployment.arms[arm], &deployment.arms[reference]);
    ArmPair { plan, deployment, arm, reference }.differences(here, there)
}

const ENDPOINTS: &str = "{endpoint: {url: 'http://h', arms: {native-offload: 'http://i'}}}";
const TWO: &str =
    "  - no-offload\n  - no-offload-aa\n  - {preset: native-offload, bytes: 100MiB}\n";

#[test]
fn software_as_planned_differs_in_nothing() {
    let plan = local(TWO);
    assert_eq!(from_plan(&plan, "no-offload", &running(&[])), []);
    let native = running(&[connector("OffloadingConnector")]);
    assert_eq!(from_plan(&plan, "native-offload", &native), []);
    assert_eq!(between(&plan, (2, &native), (0, &running(&[]))), []);
    assert_eq!(between(&plan, (1, &running(&[])), (0, &running(&[]))), []);
}

#[test]
fn each_fact_of_the_engine_is_held_to_the_plan() {
    let plan = local(TWO);
    let count = FactValue::Count;
    let cases = [
        (FactKind::PrefixCaching, FactValue::Flag(false), FactValue::Flag(true)),
        (FactKind::Blocks, count(257), count(33)),
        (FactKind::BlockSize, count(64), count(32)),
        (FactKind::KvDtype, FactValue::text("bfloat16"), FactValue::text("float32")),
        (FactKind::MaxSequences, count(1), count(8)),
        (FactKind::MaxBatchedTokens, count(64), count(512)),
        (FactKind::MaxModelLen, count(400), count(512)),
        (FactKind::TensorParallel, count(2), count(1)),
        (FactKind::ServedModel, FactValue::text("other"), FactValue::text("weir/tiny-qwen3")),
    ];
    for (kind, is, was) in cases {
        let facts = running(&[(kind, is.clone())]);
        assert_eq!(from_plan(&plan, "no-offload", &facts), [(kind, is, was)]);
    }
}

#[test]
fn a_control_has_no_connector_and_an_arm_its_own() {
    let plan = local(
        "  - no-offload\n  - {preset: native-offload, bytes: 100MiB}\n  - {preset: lmcache-local, \
         bytes: 100MiB, chunk_tokens: 64}\n",
    );
    let with = |name: &str| running(&[connector(name)]);
    let kinds = |arm: &str, facts: &RunningFacts| -> Vec<FactKind> {
        from_plan(&plan, arm, facts).into_iter().map(|(kind, ..)| kind).collect()
    };
    assert_eq!(kinds("no-offload", &with("OffloadingConnector")), [FactKind::Connector]);
    assert_eq!(kinds("native-offload", &with("LMCacheMPConnector")), [FactKind::Connector]);
    assert_eq!(kinds("native-offload", &running(&[])), [FactKind::Connector]);
    assert_eq!(kinds("lmcache-local", &with("OffloadingConnector")), [FactKind::Connector]);
    assert_eq!(kinds("lmcache-local", &with("LMCacheMPConnector")), []);
    let both = ["LMCacheMPConnector", "MultiConnector"].map(str::to_owned).to_vec();
    let both = running(&[(FactKind::Connector, FactValue::Words(both))]);
    assert_eq!(kinds("lmcache-local", &both), []);
    let chunk =
        running(&[connector("LMCacheMPConnector"), (FactKind::ChunkTokens, FactValue::Count(256))]);
    assert_eq!(kinds("lmcache-local", &chunk), [FactKind::ChunkTokens]);
}

#[test]
fn a_connector_that_was_told_another_size_is_not_what_was_planned() {
    let given = "{\"kv_connector\": \"OffloadingConnector\"}";
    let plan = local(&format!(
        "  - no-offload\n  - {{preset: native-offload, bytes: 100MiB}}\n  - {{preset: \
         native-offload, name: by-hand, bytes: 100MiB, vllm_args: [--kv-transfer-config, \
         '{given}']}}\n"
    ));
    let told = |mib: u64| FactValue::Count(mib << 20);
    let with = |mib| running(&[connector("OffloadingConnector"), (FactKind::HostBytes, told(mib))]);
    for arm in ["native-offload", "by-hand"] {
        let expected = (FactKind::HostBytes, told(1), told(100));
        assert_eq!(from_plan(&plan, arm, &with(1)), [expected]);
        assert_eq!(from_plan(&plan, arm, &with(100)), []);
        // Some versions get blocks, and do not show their bytes.
        assert_eq!(from_plan(&plan, arm, &running(&[connector("OffloadingConnector")])), []);
    }
}

#[test]
fn a_tier_behind_host_memory_that_the_arm_has_not_is_another_arm() {
    let plan = local(
        "  - no-offload\n  - {preset: lmcache-local, bytes: 100MiB, chunk_tokens: 64}\n  - \
         {preset: lmcache-disk, bytes: 100MiB, chunk_tokens: 64, disk: {bytes: 1GiB}}\n  - \
         {preset: lmcache-redis, bytes: 100MiB, chunk_tokens: 64, store: {bytes: 1GiB}}\n",
    );
    let differs = |arm: &str, name: &str| {
        let behind = FactValue::Words(vec![name.to_owned()]);
        let facts = running(&[connector("LMCacheMPConnector"), (FactKind::SecondLevel, behind)]);
        from_plan(&plan, arm, &facts).iter().any(|(kind, ..)| *kind == FactKind::SecondLevel)
    };
    for (arm, store, files) in [
        ("lmcache-local", true, true),
        ("lmcache-disk", true, false),
        ("lmcache-redis", false, true),
    ] {
        assert_eq!((differs(arm, "resp"), differs(arm, "fs")), (store, files), "{arm}");
    }
}

#[test]
fn a_variable_of_a_mechanism_on_a_control_is_a_difference() {
    let plan = local(
        "  - {preset: no-offload, env: {PYTHONPATH: /slow}}\n  - {preset: native-offload, bytes: \
         100MiB, env: {PYTHONHASHSEED: '1'}}\n",
    );
    let [control, arm] = &plan.deployments[0].arms[..] else { panic!("two arms") };
    assert_eq!(written_differences(arm, control), ["env.PYTHONPATH"]);
    let native = running(&[connector("OffloadingConnector")]);
    let pair = ArmPair { plan: &plan, deployment: &plan.deployments[0], arm, reference: control };
    let differences = pair.differences(&native, &running(&[]));
    let differs: Vec<&Differing> = differences.iter().map(|of| &of.differs).collect();
    assert_eq!(differs, [&Differing::Variable("PYTHONPATH".to_owned())]);
}

#[test]
fn another_store_than_the_arm_says_is_another_arm() {
    let plan = local(
        "  - no-offload\n  - {preset: lmcache-valkey, bytes: 16MiB, chunk_tokens: 64, store: \
         {bytes: 1GiB}}\n",
    );
    let store = |product: &str| {
        let facts =
            [connector("LMCacheMPConnector"), (FactKind::StoreProduct, FactValue::text(product))];
        from_plan(&plan, "lmcache-valkey", &running(&facts))
    };
    let expected = (FactKind::StoreProduct, FactValue::text("redis"), FactValue::text("valkey"));
    assert_eq!(store("redis"), [expected]);
    assert_eq!(store("valkey"), []);
    // A build under another name is accepted.
    assert_eq!(store("other"), []);
}

/// The file cripples the control: it differs from nothing that was planned, and no arm can be
/// compared with it.
#[test]
fn a_control_without_a_cache_is_no_control_of_arms_that_have_one() {
    let plan = local(
        "  - {preset: no-offload, vllm_args: [--no-enable-prefix-caching]}\n  - no-offload-aa\n  - \
         {preset: native-offload, bytes: 100MiB}\n",
    );
    let off = running(&[(FactKind::PrefixCaching, FactValue::Flag(false))]);
    let native = running(&[connector("OffloadingConnector")]);
    assert_eq!(from_plan(&plan, "no-offload", &off), []);
    let expected = FactDifference {
        differs: Differing::Fact(FactKind::PrefixCaching),
        place: "vllm-0".to_owned(),
        is: Some(FactValue::Flag(true)),
        than: ComparedWith::Arm("no-offload".to_owned()),
        was: Some(FactValue::Flag(false)),
        arguments: vec![ArmArgument {
            arm: "no-offload".to_owned(),
            argument: "--no-enable-prefix-caching".to_owned(),
        }],
    };
    assert_eq!(between(&plan, (2, &native), (0, &off)), std::slice::from_ref(&expected));
    assert_eq!(between(&plan, (1, &running(&[])), (0, &off)), [expected]);
}

#[test]
fn what_all_arms_have_differs_in_nothing() {
    let args = "vllm_args: [--no-enable-prefix-caching]";
    let plan = local(&format!(
        "  - {{preset: no-offload, {args}}}\n  - {{preset: native-offload, bytes: 100MiB, \
         {args}}}\n"
    ));
    let off = (FactKind::PrefixCaching, FactValue::Flag(false));
    let (control, native) =
        (running(std::slice::from_ref(&off)), running(&[off, connector("OffloadingConnector")]));
    assert_eq!(between(&plan, (1, &native), (0, &control)), []);
    assert_eq!(from_plan(&plan, "native-offload", &native), []);
}

#[test]
fn a_larger_pool_and_another_precision_are_named_with_their_arguments() {
    let plan = local(
        "  - no-offload\n  - {preset: native-offload, name: big-pool, bytes: 100MiB, vllm_args: \
         [--num-gpu-blocks-override, '257']}\n  - {preset: native-offload, name: bf16, bytes: \
         100MiB, vllm_args: [--dtype=bfloat16]}\n",
    );
    let big =
        running(&[connector("OffloadingConnector"), (FactKind::Blocks, FactValue::Count(257))]);
    let seen = between(&plan, (1, &big), (0, &running(&[])));
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(
        (&seen[0].is, &seen[0].was),
        (&Some(FactValue::Count(257)), &Some(FactValue::Count(33)))
    );
    assert_eq!(seen[0].arguments[0].argument, "--num-gpu-blocks-override 257");
    let half = FactValue::text("bfloat16");
    let bf16 = running(&[(FactKind::Dtype, half.clone()), (FactKind::KvDtype, half)]);
    let kinds: Vec<_> =
        between(&plan, (2, &bf16), (0, &running(&[]))).iter().filter_map(told_kind).collect();
    assert_eq!(kinds, [FactKind::Dtype, FactKind::KvDtype]);
}

#[test]
fn arguments_and_variables_that_nobody_sees_in_facts_differ_too() {
    let plan = local(
        "  - {preset: no-offload, env: {OMP_NUM_THREADS: '1'}}\n  - no-offload-aa\n  - {preset: \
         native-offload, bytes: 100MiB, vllm_args: [--scheduling-policy, priority]}\n  - {preset: \
         lmcache-local, bytes: 100MiB, env: {LMCACHE_LOG_LEVEL: DEBUG}, vllm_args: \
         [--disable-hybrid-kv-cache-manager]}\n",
    );
    let differs = |arm: usize| -> Vec<Differing> {
        let facts = running(&[]);
        let seen = between(&plan, (arm, &facts), (0, &facts));
        seen.into_iter().map(|difference| difference.differs).collect()
    };
    let threads = Differing::Variable("OMP_NUM_THREADS".to_owned());
    assert_eq!(differs(0), []);
    assert_eq!(differs(1), std::slice::from_ref(&threads));
    let policy = Differing::Argument("--scheduling-policy".to_owned());
    assert_eq!(differs(2), [policy, threads.clone()]);
    // Differences that belong to the mechanism are the subject of the comparison.
    assert_eq!(differs(3), [threads]);
}

#[test]
fn the_control_again_equals_its_control_also_in_what_a_mechanism_may_have() {
    let plan = local(
        "  - no-offload\n  - {preset: no-offload-aa, env: {PYTHONHASHSEED: '7'}, vllm_args: \
         ['--block-size=32']}\n",
    );
    let facts = running(&[]);
    let seen = between(&plan, (1, &facts), (0, &facts));
    let differs: Vec<_> = seen.into_iter().map(|difference| difference.differs).collect();
    let argument = Differing::Argument("--block-size".to_owned());
    assert_eq!(differs, [argument, Differing::Variable("PYTHONHASHSEED".to_owned())]);
}

#[test]
fn an_argument_whose_fact_is_the_same_makes_no_difference() {
    let plan = local(
        "  - no-offload\n  - {preset: native-offload, bytes: 100MiB, vllm_args: [--max-num-seqs, \
         '8']}\n",
    );
    assert_eq!(between(&plan, (1, &running(&[])), (0, &running(&[]))), []);
    // Without facts, the written arguments count.
    let none = RunningFacts::default();
    assert_eq!(between(&plan, (1, &none), (0, &none)).len(), 1);
}

#[test]
fn what_one_side_does_not_show_is_no_difference() {
    let plan = plan(ENDPOINTS, "", &TWO.replace("  - no-offload-aa\n", ""));
    let none = RunningFacts::default();
    assert_eq!(between(&plan, (1, &running(&[])), (0, &none)), []);
    assert_eq!(between(&plan, (1, &none), (0, &running(&[]))), []);
    assert_eq!(from_plan(&plan, "no-offload", &none), []);
}

#[test]
fn endpoints_are_held_to_what_the_file_can_know() {
    let plan = plan(ENDPOINTS, "", &TWO.replace("  - no-offload-aa\n", ""));
    // Endpoints keep their own pool and limits.
    let own = running(&[
        (FactKind::Blocks, FactValue::Count(4_096)),
        (FactKind::MaxSequences, FactValue::Count(256)),
    ]);
    assert_eq!(from_plan(&plan, "no-offload", &own), []);
    let off = running(&[(FactKind::PrefixCaching, FactValue::Flag(false))]);
    assert_eq!(from_plan(&plan, "no-offload", &off).len(), 1);
    let claims_native = running(&[connector("LMCacheMPConnector")]);
    assert_eq!(from_plan(&plan, "native-offload", &claims_native).len(), 1);
}

#[test]
fn pools_that_engines_size_may_differ_a_little() {
    let endpoints = plan(ENDPOINTS, "", &TWO.replace("  - no-offload-aa\n", ""));
    let of = |blocks| running(&[(FactKind::Blocks, FactValue::Count(blocks))]);
    assert_eq!(between(&endpoints, (1, &of(1_030)), (0, &of(1_000))), []);
    assert_eq!(between(&endpoints, (1, &of(1_100)), (0, &of(1_000))).len(), 1);
    // A given pool size must match exactly.
    assert_eq!(between(&local(TWO), (2, &of(34)), (0, &of(33))).len(), 1);
}

#[test]
fn replicas_of_an_arm_are_alike() {
    let plan = local("  - no-offload\n");
    let mut facts = running(&[]);
    let second = RunningFact {
        place: "vllm-1".to_owned(),
        value: FactValue::text("0.31.0"),
        source: FactSource::VersionAnswer,
    };
    facts.add(FactKind::EngineVersion, &second.place, second.value.clone(), second.source);
    let seen = against_plan(&plan, &plan.cells[0], &facts);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].than, ComparedWith::Part("vllm-0".to_owned()));
    assert_eq!((&seen[0].place, &seen[0].is), (&second.place, &Some(second.value)));
}

#[test]
fn a_mechanism_that_the_file_sets_up_itself_is_warned_of() {
    let plan = local(
        "  - {preset: native-offload, bytes: 64MiB}\n  - {preset: native-offload, name: by-hand, \
         bytes: 64MiB, vllm_args: ['--kv-transfer-config', '{}'], env: {PYTHONHASHSEED: '1'}}\n  \
         - {preset: lmcache-local, bytes: 64MiB, env: {LMCACHE_CHUNK_SIZE: '64'}}\n",
    );
    let written: Vec<Vec<String>> =
        plan.deployments[0].arms.iter().map(written_mechanism).collect();
    let expected: [&[&str]; 3] = [&[], &["--kv-transfer-config"], &["env.LMCACHE_CHUNK_SIZE"]];
    assert_eq!(written, expected);
    for (name, warned) in [("native-offload", false), ("by-hand", true), ("lmcache-local", true)] {
        let words = format!(" of {name} take the place");
        assert_eq!(plan.warnings.iter().any(|of| of.contains(&words)), warned, "{name}");
    }
}
