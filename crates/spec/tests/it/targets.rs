//! Live targets: required keys of an endpoint, the client's defaults, and the order of live cells.

use std::path::Path;

use weir_model::Nanos;
use weir_spec::plan::{LiveTarget, Movement, Origin, Target};
use weir_spec::{EndpointLimits, Experiment};
use weir_workload::client::Api;

use crate::{SMALL, error};

fn plan(text: &str, sets: &[&str]) -> weir_spec::Plan {
    crate::plan(text, sets).expect("a valid experiment")
}

fn at_endpoint(section: &str) -> String {
    format!("{SMALL}\ntarget: {{endpoint: {section}}}\n")
}

#[test]
fn an_endpoint_says_where_each_arm_is() {
    let one_place = at_endpoint("{url: 'http://host:8000'}");
    assert_eq!(
        error(&one_place, &[]),
        "target.endpoint: `no-offload` and `native-offload` are the same deployment, \
         http://host:8000; write where `native-offload` is deployed: `arms: {native-offload: \
         http://...}`, or remove it"
    );
    let two = at_endpoint("{url: 'http://a:1', arms: {native-offload: 'http://b:2'}}");
    let Target::Live(LiveTarget::Endpoint(endpoint)) = plan(&two, &[]).target else {
        panic!("an endpoint")
    };
    assert_eq!(endpoint.urls("no-offload"), ["http://a:1"]);
    assert_eq!(endpoint.urls("native-offload"), ["http://b:2"]);
    let unknown = at_endpoint("{url: 'http://a:1', arms: {other: 'http://b:2'}}");
    assert_eq!(
        error(&unknown, &[]),
        "target.endpoint.arms.other: unknown arm; write the name of an arm of the \
         experiment"
    );
}

#[test]
fn a_bare_endpoint_needs_a_url_and_says_how_to_give_one() {
    for target in ["endpoint", "{endpoint: }", "{endpoint: {}}"] {
        let bare = format!("{SMALL}\ntarget: {target}\n");
        assert_eq!(
            error(&bare, &["arms=[no-offload]"]),
            "target.endpoint.url: nobody says where arm `no-offload` is deployed; write `target: \
             {endpoint: {url: http://host:8000}}`, or add `--set \
             target.endpoint.url=http://host:8000`",
            "{target}"
        );
        let sets = ["arms=[no-offload]", "target.endpoint.url=http://a:1"];
        let Target::Live(LiveTarget::Endpoint(endpoint)) = plan(&bare, &sets).target else {
            panic!("an endpoint")
        };
        assert_eq!(endpoint.urls("no-offload"), ["http://a:1"]);
    }
    let half = at_endpoint("{arms: {native-offload: 'http://b:2'}}");
    assert_eq!(
        error(&half, &[]),
        "target.endpoint.url: nobody says where arm `no-offload` is deployed; add `no-offload: \
         http://host:8000` to `target.endpoint.arms`"
    );
    let same = at_endpoint("{url: 'http://a:1', arms: {native-offload: 'http://a:1/v1/'}}");
    assert!(error(&same, &[]).contains("are the same deployment"), "{}", error(&same, &[]));
}

#[test]
fn an_endpoint_is_planned_with_its_own_limits() {
    let text = at_endpoint("{url: 'http://a:1', arms: {native-offload: 'http://b:2'}}");
    let sets = ["engine.kv_tokens=20000".to_owned(), "engine.max_model_len=8192".to_owned()];
    let read = || Experiment::parse(&text, "test.yaml", Path::new(""), &sets).unwrap();
    let engine = |experiment: &Experiment| {
        let plan = weir_spec::Plan::resolve(experiment).unwrap();
        let of = plan.deployments[0].engine.clone();
        ((of.block_size, of.blocks, of.max_model_len), plan.origins["engine.kv_tokens"].clone())
    };
    assert_eq!(engine(&read()).0, (16, 1250, 8192));
    let mut experiment = read();
    let one = EndpointLimits { kv_tokens: Some(6400), block_size: Some(32), ..Default::default() };
    let other = EndpointLimits { max_model_len: Some(4096), kv_tokens: Some(9600), ..one };
    experiment.limits = one.least(other);
    assert_eq!(engine(&experiment), ((32, 200, 4096), Origin::Endpoint));
    // The model's context limits the plan, whatever the endpoint reports.
    experiment.limits.max_model_len = Some(1 << 30);
    experiment.limits.kv_tokens = Some(1 << 20);
    assert!(weir_spec::Plan::resolve(&experiment).is_ok());
}

#[test]
fn the_client_has_defaults_and_limits() {
    let client = plan(SMALL, &["target=emulated"]).client;
    assert_eq!((client.api, client.stream, client.workers), (Api::Completions, true, 1));
    assert_eq!((client.drain, client.max_failures), (Nanos::from_secs(60), 0.01));
    for (set, message) in [
        (
            "client.api=chat",
            "client.api: chat takes text, and there is no tokenizer to make text of exact length \
             with; write `client.tokenizer: path/to/tokenizer.json`, or `api: completions`",
        ),
        ("client.workers=0", "client.workers: 0 workers; write a number from 1 to 1024"),
        (
            "client.max_failures=5",
            "client.max_failures: 5 is not a share; write a number from 0 to 1, such as 0.01",
        ),
        ("client.request_timeout=0s", "client.request_timeout: no time at all; write e.g. `10s`"),
        ("client.body={prompt: 3}", "client.body.prompt: the load itself decides it; remove it"),
        (
            "load.ramp=5s",
            "load.ramp: 5s reaches into the measured window, which starts at 1s; lower \
             it, or raise load.warmup",
        ),
    ] {
        assert_eq!(error(SMALL, &["target=emulated", set]), message);
    }
}

#[test]
fn users_start_over_half_of_the_warm_up_unless_the_file_says_otherwise() {
    let ramp = |sets: &[&str]| plan(SMALL, sets).deployments[0].levels[0].ramp;
    assert_eq!(ramp(&["load.warmup=2s"]), Nanos::from_secs(1));
    assert_eq!(ramp(&["load.warmup=2s", "load.ramp=0s"]), Nanos::ZERO);
    assert_eq!(ramp(&["load.warmup=2s", "load.ramp=2s"]), Nanos::from_secs(2));
    assert_eq!(ramp(&["load.warmup=0s"]), Nanos::ZERO);
    assert_eq!(ramp(&["load={constant: 3, warmup: 2s}"]), Nanos::ZERO);
}

#[test]
fn live_cells_come_in_random_order_and_always_the_same_one() {
    let sets = ["repeats=3", "load.users=[1, 2, 4, 8]"];
    let simulated = plan(SMALL, &sets);
    let live = plan(SMALL, &[&sets[..], &["target=emulated"]].concat());
    let paths = |plan: &weir_spec::Plan| -> Vec<String> {
        plan.cells.iter().map(|cell| cell.path.clone()).collect()
    };
    assert_ne!(paths(&simulated), paths(&live));
    let (mut one, mut other) = (paths(&simulated), paths(&live));
    one.sort();
    other.sort();
    assert_eq!(one, other, "the same cells");
    assert_eq!(paths(&live), paths(&plan(SMALL, &[&sets[..], &["target=emulated"]].concat())));
    // Compared arms run together: both of a level and repeat one after the other.
    for pair in live.cells.chunks(2) {
        assert_eq!((pair[0].level, pair[0].repeat), (pair[1].level, pair[1].repeat));
    }
    // A repeat is a round: none begins before the previous one has ended.
    assert!(live.cells.windows(2).all(|pair| pair[0].repeat <= pair[1].repeat));
}

#[test]
fn a_working_set_is_dialled_in_multiples_of_a_tier() {
    let prefixes = |sets: &[&str]| {
        let plan = plan(SMALL, sets);
        let deployment = &plan.deployments[0];
        let workload = serde_json::to_value(&deployment.levels[0].workload).expect("plain data");
        let pool = u64::from(deployment.engine.blocks) * u64::from(deployment.engine.block_size);
        let host = deployment.arms[1].offload.as_ref().expect("an offload arm").tiers[0].capacity;
        let count = workload["shared-prefix"]["prefixes"].as_u64().expect("an absolute count");
        (count, pool, host.0 / deployment.engine.kv_bytes_per_token)
    };
    let key = "workload.shared-prefix.prefixes";
    let (count, pool, _) = prefixes(&[&format!("{key}={{times_gpu: 1.5}}")]);
    assert_eq!(count, (1.5 * pool as f64 / 1000.0).ceil() as u64);
    let (count, _, host) = prefixes(&[&format!("{key}={{times_host: 0.25}}")]);
    assert_eq!(count, (0.25 * host as f64 / 1000.0).ceil() as u64);
    for (set, message) in [
        ("{times_disk: 2}", "is in multiples of the disk tier, and no arm has one: name another"),
        ("{times_gpu: 0}", "is 0 times a tier; it must be above 0 and at most 1000000"),
    ] {
        let error = error(SMALL, &[&format!("{key}={set}")]);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn the_emulated_target_is_a_name_or_says_how_bytes_move() {
    let Target::Live(LiveTarget::Emulated(bare)) = plan(SMALL, &["target=emulated"]).target else {
        panic!("it is")
    };
    assert_eq!((bare.bytes, bare.byte_scale, bare.disk), (Movement::Real, 1.0, None));
    let written = format!("{SMALL}\ntarget: {{emulated: {{byte_scale: 0.25, disk: kv}}}}\n");
    let read = plan(&written, &[]);
    assert_eq!(read.target.words(), "emulated (real bytes, scaled by 0.25)");
    let Some(emulated) = read.target.emulated() else { panic!("it is") };
    assert!(emulated.disk.as_ref().is_some_and(|disk| disk.ends_with("kv")));
    let text = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<weir_spec::Plan>(&text).unwrap(), read);
    for (set, message) in [
        (
            "target={emulated: {byte_scale: 0}}",
            "target.emulated.byte_scale: unsupported scale 0; write a number above 0 and at most 1",
        ),
        (
            "target={emulated: {byte_scale: 2}}",
            "target.emulated.byte_scale: unsupported scale 2; write a number above 0 and at most 1",
        ),
        (
            "target={emulated: {movers: 0}}",
            "target.emulated.movers: 0 threads; write a number from 1 to 256",
        ),
        (
            "target={emulated: {deadline: 0s}}",
            "target.emulated.deadline: nothing can be done in no time; write for example 10s",
        ),
    ] {
        assert_eq!(error(SMALL, &[set]), message);
    }
}

#[test]
fn a_password_stands_in_a_file_and_not_in_the_experiment() {
    let arm = |store: &str| {
        SMALL.replace(
            "arms: [no-offload, native-offload]",
            &format!("arms: [no-offload, {{preset: lmcache-redis, store: {{{store}}}}}]"),
        )
    };
    let read = plan(&arm("address: 'redis://me@host:6379', password_file: secret"), &[]);
    let access = read.deployments[0].arms[1].store_access.as_ref().expect("an address");
    assert_eq!(access.address, "redis://me@host:6379");
    assert!(access.password_file.as_ref().is_some_and(|file| file.ends_with("secret")));
    assert_eq!(
        error(&arm("address: 'redis://me:hunter2@host:6379'"), &[]),
        "arms.lmcache-redis.store.address: it holds a password, which would be recorded; write the \
         password into a file, and `password_file: that file` beside the address"
    );
    assert_eq!(
        error(&arm("password_file: secret"), &[]),
        "arms.lmcache-redis.store.password_file: a password without an address; write \
         store.address too, or remove it"
    );
}

#[test]
fn a_store_may_be_emptied_where_it_has_an_address_and_is_not_a_deployments() {
    let arm = |store: &str| {
        SMALL.replace(
            "arms: [no-offload, native-offload]",
            &format!("arms: [no-offload, {{preset: lmcache-redis, store: {{{store}}}}}]"),
        )
    };
    let access = |store: &str, sets: &[&str]| {
        plan(&arm(store), sets).deployments[0].arms[1].store_access.clone().expect("an address")
    };
    assert!(access("address: 'redis://host', empty: true", &["target=local"]).empty);
    assert!(!access("address: 'redis://host', empty: false", &[]).empty);
    assert!(!access("address: 'redis://host'", &[]).empty);
    assert_eq!(
        error(&arm("empty: true"), &[]),
        "arms.lmcache-redis.store.empty: a store to be emptied without an address; write \
         store.address too, or remove it"
    );
    let endpoint = "target={endpoint: {url: 'http://127.0.0.1:8000'}}";
    assert_eq!(
        error(&arm("address: 'redis://host', empty: true"), &[endpoint]),
        "arms.lmcache-redis.store.empty: the store of a deployment is only looked at; remove it, \
         and empty the store yourself"
    );
}

#[test]
fn the_local_target_refuses_what_could_not_run_or_would_be_recorded() {
    let Target::Live(LiveTarget::Local(bare)) = plan(SMALL, &["target=local"]).target else {
        panic!("it is")
    };
    assert_eq!((&bare.python, &bare.weights), (&None, &None));
    let arm = |keys: &str| {
        let arms = format!("arms: [no-offload, {{preset: native-offload, {keys}}}]");
        SMALL.replace("arms: [no-offload, native-offload]", &arms) + "target: local\n"
    };
    let read = plan(
        &arm("vllm_args: [--seed, '7'], env: {OMP_NUM_THREADS: '2', TOKENIZERS_PARALLELISM: 'no'}"),
        &[],
    );
    let processes = &read.deployments[0].arms[1].processes;
    assert_eq!(processes.vllm_args, ["--seed", "7"]);
    assert_eq!(processes.env["OMP_NUM_THREADS"], "2");
    for (keys, message) in [
        (
            "vllm_args: ['--port=8000']",
            "arms.native-offload.vllm_args: `--port=8000` decides where the engine is asked, which \
             Weir has to know; remove it",
        ),
        (
            "env: {HF_TOKEN: abc}",
            "arms.native-offload.env.HF_TOKEN: it looks like a secret, which logs in the run folder \
             may repeat; set it in the environment that Weir is started in: it is handed down",
        ),
        (
            "lmcache_mode: server",
            "arms.native-offload.lmcache_mode: the preset `native-offload` has no LMCache; remove \
             it, or use `lmcache-local`",
        ),
    ] {
        assert_eq!(error(&arm(keys), &[]), message);
    }
    assert_eq!(
        error(&arm("bytes: 1GiB"), &["target={local: {cores: 3-1}}"]),
        "target.local.cores: `3-1` is not a range of CPUs; write CPUs such as `0-5,8`"
    );
    let routed = SMALL.replace("native-offload", "llm-d-approx") + "target: local\nreplicas: 2\n";
    assert!(plan(&routed, &[]).deployments[0].arms[1].is_routed());
    assert_eq!(
        error(&routed, &["target={local: {router: {kind: engine}}}"]),
        "target.local.router.kind: vLLM has no router of its own; write `llm-d` or `weir`"
    );
    assert_eq!(
        error(&routed, &["target={local: {router: {kind: weir, picker: /usr/bin/epp}}}"]),
        "target.local.router.picker: only llm-d's picker behind Envoy has it; remove it, or write \
         `kind: llm-d`"
    );
    // With one replica there is nothing to choose, so the arm runs and is void.
    assert!(plan(&routed, &["replicas=1"]).target.live().is_some());
}

#[test]
fn caches_of_32_bits_take_four_bytes_per_element_on_every_target() {
    let wide = plan(SMALL, &["engine.kv_cache_dtype=float32"]);
    let usual = plan(SMALL, &[]);
    let bytes = |plan: &weir_spec::Plan| plan.deployments[0].engine.kv_bytes_per_token;
    assert_eq!(bytes(&wide), 2 * bytes(&usual));
    let local = plan(SMALL, &["target={local: {dtype: float32}}"]);
    assert_eq!(bytes(&local), bytes(&wide));
}

#[test]
fn a_cluster_is_named_completely_before_anything_runs() {
    let on = |target: &str| SMALL.to_owned() + &format!("target: {{kubernetes: {target}}}\n");
    let read = plan(&on("{namespace: lab}"), &[]).target;
    let bare = read.kubernetes().unwrap();
    assert_eq!((bare.namespace.as_str(), bare.cpu), ("lab", 8));
    assert!(read.starts_vllm());
    let own = on("{emulated: {bytes: modelled}, images: {weir: 'registry/weir:1'}}");
    assert!(!plan(&own, &[]).target.starts_vllm());
    for (target, message) in [
        (
            "{namespace: Lab_1}",
            "target.kubernetes.namespace: `Lab_1` is not a name of Kubernetes; write at most 63 \
             lower-case letters, digits and `-`, with a letter or digit at both ends",
        ),
        (
            "{emulated: {bytes: modelled}}",
            "target.kubernetes.images.weir: Weir's engine runs from Weir's image, and none is \
             named; write the name under which you pushed what `make image` wrote",
        ),
        (
            "{server: 'https://host:6443'}",
            "target.kubernetes.server: there is no token for it; write `token_file: FILE`, or log \
             in by `kubeconfig`",
        ),
        (
            "{context: lab, server: 'https://host:6443', token_file: t}",
            "target.kubernetes.context: the login is by `server` and a token; remove one of the two",
        ),
        (
            "{ca_file: c}",
            "target.kubernetes.ca_file: it belongs to a login by `server`; write `server: \
             https://host:6443`, or remove it",
        ),
        (
            "{router: {picker: /usr/bin/epp}}",
            "target.kubernetes.router.picker: a program of this machine does not run in a pod; \
             write its image: `images: {picker: ...}`",
        ),
        (
            "{images: {stores: {dragonfly: x}}}",
            "target.kubernetes.images.stores.dragonfly: unknown store; write `redis`, `valkey` or \
             `kvrocks`",
        ),
        (
            "{env: {HF_TOKEN: abc}}",
            "target.kubernetes.env.HF_TOKEN: it looks like a secret, which logs in the run folder \
             may repeat; name a Secret of the cluster: `hf_secret`",
        ),
        (
            "{router: {kind: weir}}",
            "target.kubernetes.router.kind: only llm-d's picker runs as a pod; write `llm-d`, or \
             leave it out",
        ),
        (
            "{router: {fail_open: true}}",
            "target.kubernetes.router.fail_open: Envoy does not know the addresses of pods that no \
             picker names; remove it",
        ),
    ] {
        assert_eq!(error(&on(target), &[]), message);
    }
}
