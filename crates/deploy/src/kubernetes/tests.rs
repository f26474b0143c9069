//! Objects of arms, without a cluster.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use weir_spec::{Experiment, Plan};

use super::*;

/// `target` is the map under `target.kubernetes`.
fn plan(target: &str, replicas: u32, arms: &str) -> Plan {
    let text = format!(
        "name: pods\ntarget: {{kubernetes: {target}}}\nmodels: [Qwen/Qwen3-8B]\nhardware: \
         2x-l40s\nreplicas: {replicas}\nengine: {{tensor_parallel: 2}}\narms: \
         {arms}\nworkload: {{shared-prefix: {{prefixes: 1, prefix_tokens: 100, prompt_tokens: 10, \
         output_tokens: 4}}}}\nload: {{users: [1], duration: 5s}}\n"
    );
    Plan::resolve(&Experiment::parse(&text, "pods.yaml", Path::new(""), &[]).unwrap()).unwrap()
}

const WEIR: &str = "{emulated: {bytes: modelled}, images: {weir: registry/weir:1, picker: \
                    'registry/llm-d-inference-scheduler:0.7.1'}}";

fn rendered(plan: &Plan, arm: &str) -> Result<Vec<StackObject>, crate::DeployError> {
    let deployment = &plan.deployments[0];
    let arm = deployment.arms.iter().find(|known| known.name == arm).unwrap();
    render(plan.target.kubernetes().unwrap(), deployment, arm)
}

/// The only object of a kind with this start of its name.
fn object<'a>(objects: &'a [StackObject], kind: &str, start: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| {
        let manifest = &object.manifest;
        manifest.kind().kind == kind && manifest.name().unwrap().starts_with(start)
    });
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "one {kind} {start}");
    first.unwrap_or_else(|| panic!("no {kind} {start}")).manifest.value()
}

fn kinds(objects: &[StackObject]) -> BTreeSet<String> {
    objects.iter().map(|object| object.manifest.kind().kind.clone()).collect()
}

fn container<'a>(deployment: &'a Value, name: &str) -> &'a Value {
    let all = deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    all.iter().find(|container| container["name"] == name).unwrap()
}

fn args(container: &Value) -> Vec<&str> {
    container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect()
}

fn after<'a>(args: &[&'a str], flag: &str) -> &'a str {
    args[args.iter().position(|arg| *arg == flag).unwrap() + 1]
}

#[test]
fn an_engine_of_vllm_gets_the_arguments_of_the_local_target() {
    let plan = plan("{}", 1, "[no-offload, {preset: native-offload, bytes: 16GiB}]");
    let objects = rendered(&plan, "native-offload").unwrap();
    let engine = object(&objects, "Deployment", "engine-");
    assert_eq!(engine["spec"]["strategy"]["type"], "Recreate");
    let container = container(engine, "engine");
    assert_eq!(container["command"], json!(["vllm", "serve"]));
    let args = args(container);
    assert_eq!((args[0], after(&args, "--host")), ("Qwen/Qwen3-8B", "0.0.0.0"));
    assert_eq!(after(&args, "--tensor-parallel-size"), "2");
    let config: Value = serde_json::from_str(after(&args, "--kv-transfer-config")).unwrap();
    assert_eq!(config["kv_connector"], "OffloadingConnector");
    let events: Value = serde_json::from_str(after(&args, "--kv-events-config")).unwrap();
    assert_eq!(events["topic"], "kv@$(POD_IP):8000@Qwen/Qwen3-8B");
    assert_eq!(events["endpoint"], "tcp://*:5556");
    let limits = &container["resources"]["limits"];
    assert_eq!(limits, &container["resources"]["requests"]);
    assert_eq!(limits["nvidia.com/gpu"], "2");
    // Twice the arm's host memory, shared memory, and the process.
    let gib = 1_u64 << 30;
    assert_eq!(limits["memory"], (2 * 16 * gib + 20 * gib + 8 * gib).to_string());
    assert!(container.get("livenessProbe").is_none(), "it would end a busy engine");
    assert_eq!(engine["spec"]["template"]["spec"]["enableServiceLinks"], false);
}

#[test]
fn the_control_has_neither_connector_nor_router_nor_store() {
    let plan = plan("{}", 2, "[no-offload, lmcache-redis, llm-d-redis]");
    let objects = rendered(&plan, "no-offload").unwrap();
    let engine = object(&objects, "Deployment", "engine-");
    let args = args(container(engine, "engine"));
    assert!(!args.contains(&"--kv-transfer-config"), "{args:?}");
    assert_eq!(kinds(&objects).len(), 3, "{:?}", kinds(&objects));
}

#[test]
fn a_store_of_blocks_is_named_to_the_connector() {
    let plan = plan(
        "{lmcache: 0.5.6, images: {vllm: 'registry/vllm-lmcache:1'}}",
        1,
        "[no-offload, lmcache-redis]",
    );
    let objects = rendered(&plan, "lmcache-redis").unwrap();
    let engine = object(&objects, "Deployment", "engine-");
    let env = container(engine, "engine")["env"].as_array().unwrap();
    let url = env.iter().find(|of| of["name"] == "LMCACHE_REMOTE_URL").unwrap();
    let service = object(&objects, "Service", "store-")["metadata"]["name"].as_str().unwrap();
    assert_eq!(url["value"], format!("redis://{service}:6379"));
    let config = object(&objects, "ConfigMap", "store-")["data"]["store.conf"].as_str().unwrap();
    assert!(config.contains("maxmemory "), "{config}");
    // LMCache is not in the image that nobody described.
    let without = self::plan("{}", 1, "[no-offload, lmcache-redis]");
    let error = rendered(&without, "lmcache-redis").unwrap_err().to_string();
    assert!(error.contains("has no LMCache"), "{error}");
}

#[test]
fn a_routed_arm_has_one_picker_with_rights_on_pods_only_where_a_pool_is_not_read() {
    let arms = "[llm-d-random, llm-d-inmemory, llm-d-redis]";
    let old = plan(WEIR, 2, arms);
    let objects = rendered(&old, "llm-d-redis").unwrap();
    assert!(kinds(&objects).contains("InferencePool"));
    let pool = object(&objects, "InferencePool", "router-");
    assert_eq!(pool["spec"]["endpointPickerRef"]["failureMode"], "FailClose");
    let router = object(&objects, "Deployment", "router-");
    let picker = args(container(router, "picker"));
    assert_eq!(after(&picker, "--pool-name"), pool["metadata"]["name"].as_str().unwrap());
    let tokenizer = args(container(router, "tokenizer"));
    assert_eq!(tokenizer[0], "tokenizer");
    let config = object(&objects, "ConfigMap", "router-");
    let index = object(&objects, "Service", "index-")["metadata"]["name"].as_str().unwrap();
    let text = config["data"]["picker.json"].as_str().unwrap();
    assert!(text.contains(&format!("redis://{index}:6379")), "{text}");

    let new = plan("{}", 2, arms);
    let objects = rendered(&new, "llm-d-inmemory").unwrap();
    let kinds = kinds(&objects);
    assert!(!kinds.contains("InferencePool"), "{kinds:?}");
    let rules = &object(&objects, "Role", "router-")["rules"];
    assert_eq!(rules.as_array().unwrap().len(), 1);
    assert_eq!(rules[0]["resources"], json!(["pods"]));
    let router = object(&objects, "Deployment", "router-");
    let picker = args(container(router, "picker"));
    let selector = after(&picker, "--endpoint-selector");
    assert!(selector.contains("weir.dev/role=engine"), "{selector}");
}

#[test]
fn a_picker_starts_anew_where_its_configuration_differs() {
    let plan = plan(WEIR, 2, "[llm-d-random, llm-d-approx, llm-d-inmemory]");
    let mark = |arm: &str| {
        let objects = rendered(&plan, arm).unwrap();
        let router = object(&objects, "Deployment", "router-");
        router["spec"]["template"]["metadata"]["annotations"]["weir.dev/config"].clone()
    };
    assert!(mark("llm-d-random").is_string());
    assert_ne!(mark("llm-d-random"), mark("llm-d-approx"));
    assert_ne!(mark("llm-d-approx"), mark("llm-d-inmemory"));
    assert_eq!(mark("llm-d-approx"), mark("llm-d-approx"));
}

#[test]
fn all_arms_of_a_deployment_have_the_same_engine_and_rendering_repeats() {
    let plan = plan(WEIR, 2, "[no-offload, native-offload, llm-d-random]");
    let of = |arm: &str| rendered(&plan, arm).unwrap();
    let name = |objects: &[StackObject]| {
        object(objects, "Deployment", "engine-")["metadata"]["name"].clone()
    };
    assert_eq!(name(&of("no-offload")), name(&of("native-offload")));
    let text = |objects: &[StackObject]| {
        objects.iter().map(|object| object.manifest.yaml()).collect::<Vec<_>>().join("---\n")
    };
    assert_eq!(text(&of("llm-d-random")), text(&of("llm-d-random")));
    assert_ne!(text(&of("no-offload")), text(&of("native-offload")));
    for object in of("llm-d-random") {
        let labels = &object.manifest.value()["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/managed-by"], "weir", "{}", object.manifest.yaml());
    }
}

#[test]
fn the_plan_of_weirs_engine_is_read_again_with_its_store() {
    let plan = plan(WEIR, 1, "[no-offload, lmcache-redis]");
    let objects = rendered(&plan, "lmcache-redis").unwrap();
    let text = object(&objects, "ConfigMap", "engine-")["data"]["plan.json"].as_str().unwrap();
    let read: Plan = serde_json::from_str(text).unwrap();
    let [arm] = read.deployments[0].arms.as_slice() else { panic!("one arm") };
    let address = &arm.store_access.as_ref().unwrap().address;
    assert!(address.starts_with("redis://store-"), "{address}");
    assert_eq!(read.deployments[0].engine, plan.deployments[0].engine);
}

#[test]
fn an_image_that_does_not_name_its_picker_is_refused() {
    let plan = plan("{images: {picker: 'registry/epp:1'}}", 2, "[llm-d-random, llm-d-approx]");
    let error = rendered(&plan, "llm-d-approx").unwrap_err().to_string();
    assert!(error.starts_with("target.kubernetes.images.picker: `registry/epp:1`"), "{error}");
}
