//! Link profiles in files: used, recorded as inputs, and refused when they are none.

use std::fs;
use std::path::Path;

use weir_model::{Bytes, Nanos};
use weir_spec::{Experiment, Plan, SpecError};

const STORE: &str = "format: 1
kind: store
product: redis
version: 7.0.15
place: redis://127.0.0.1:6379
measured: 2026-11-20T15:30:00Z
weir: 0.1.0
command: weir probe redis --profile my-redis.yaml
block_bytes: 37748736
figures:
  read_gb_per_s: 2.5
  write_gb_per_s: 1.25
  latency: 90us
  per_block: 30us
  lanes: 2
  lookup_latency: 70us
  lookup_per_key: 3us
fit: {points: 16, rms_error_percent: 3.0, spread_percent: 5.0}
";

fn plan(base: &Path, arm: &str) -> Result<Plan, SpecError> {
    let text = format!(
        "name: profiles\nmodels: [Qwen/Qwen3-8B]\nhardware: 2x-l40s\narms: [no-offload, {arm}]\n\
         workload: {{shared-prefix: {{prefixes: 2, prefix_tokens: 512, prompt_tokens: 16, \
         output_tokens: 1}}}}\nload: {{users: [1], duration: 1s}}\n"
    );
    Plan::resolve(&Experiment::parse(&text, "profiles.yaml", base, &[])?)
}

fn refused(base: &Path, arm: &str) -> String {
    let message = plan(base, arm).expect_err("it should be refused").to_string();
    message.replace(&*base.to_string_lossy(), "[folder]")
}

#[test]
fn a_profile_beside_the_experiment_gives_the_store_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("profiles")).unwrap();
    fs::write(folder.path().join("profiles/my-redis.yaml"), STORE).unwrap();
    let arm = "{preset: lmcache-redis, store: {profile: profiles/my-redis.yaml, bytes: 64GiB}}";
    let plan = plan(folder.path(), arm).unwrap();
    let offload = plan.deployments[0].arms[1].offload.as_ref().unwrap();
    let store = offload.store.as_ref().unwrap();
    assert_eq!(store.link.read_bytes_per_s, 2.5e9);
    assert_eq!(store.link.write_bytes_per_s, 1.25e9);
    assert_eq!(store.link.base_latency, Nanos::from_micros(90));
    assert_eq!(store.link.per_copy, Nanos::from_micros(30));
    assert_eq!((store.link.lanes, store.capacity), (2, Bytes::from_gib(64)));
    assert_eq!(store.client_bytes_per_s, 2.5e9);
    assert_eq!(store.lookup_latency, Nanos::from_micros(70));
    assert_eq!(store.lookup_per_key, Nanos::from_micros(3));
    let arm = "{preset: lmcache-redis, store: {profile: profiles/my-redis.yaml, \
               link: {read_gb_per_s: 9}}}";
    let over = self::plan(folder.path(), arm).unwrap();
    let link = &over.deployments[0].arms[1].offload.as_ref().unwrap().store.as_ref().unwrap().link;
    assert_eq!((link.read_bytes_per_s, link.write_bytes_per_s), (9e9, 1.25e9));
}

#[test]
fn a_profile_is_an_input_of_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my-redis.yaml");
    fs::write(&file, STORE).unwrap();
    let arm = "{preset: lmcache-redis, store: {profile: my-redis.yaml}}";
    let plan = plan(folder.path(), arm).unwrap();
    assert!(plan.inputs.contains_key(&file.display().to_string()), "{:?}", plan.inputs);
    plan.check_inputs().unwrap();
    fs::write(&file, STORE.replace("lanes: 2", "lanes: 3")).unwrap();
    let changed = plan.check_inputs().unwrap_err().to_string();
    assert!(changed.contains("my-redis.yaml has changed since the run was planned"), "{changed}");
    let again = self::plan(folder.path(), arm).unwrap();
    assert_ne!(plan.plan_hash(), again.plan_hash());
}

#[test]
fn a_disk_takes_a_profile_of_a_disk_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("store.yaml"), STORE).unwrap();
    let disk = STORE.replace("kind: store", "kind: disk").replace("redis\n", "disk\n");
    fs::write(folder.path().join("disk.yaml"), disk).unwrap();
    let plan = plan(folder.path(), "{preset: lmcache-disk, disk: {profile: disk.yaml}}").unwrap();
    let tiers = &plan.deployments[0].arms[1].offload.as_ref().unwrap().tiers;
    assert_eq!(tiers[1].link.read_bytes_per_s, 2.5e9);
    assert_eq!(
        refused(folder.path(), "{preset: lmcache-disk, disk: {profile: store.yaml}}"),
        "[folder]/store.yaml: it describes a store, not a disk; name a profile of the right kind"
    );
}

#[test]
fn a_disk_that_was_measured_out_of_memory_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let warned = |product: &str, kind: &str, percent: &str| {
        let text = STORE
            .replace("product: redis", &format!("product: {product}"))
            .replace("kind: store", &format!("kind: {kind}"))
            .replace("figures:", &format!("{percent}figures:"));
        fs::write(folder.path().join("my.yaml"), text).unwrap();
        let arm = match kind {
            "disk" => "{preset: lmcache-disk, disk: {profile: my.yaml}}".to_owned(),
            _ => format!("{{preset: lmcache-{product}, store: {{profile: my.yaml}}}}"),
        };
        let plan = plan(folder.path(), &arm).unwrap();
        let of_memory = |warning: &&String| warning.contains("my.yaml has figures of memory");
        plan.warnings.iter().find(of_memory).cloned()
    };
    let told = warned("kvrocks", "store", "device_percent: 3.2\n").unwrap();
    assert!(told.contains("memory: 3 % of what was loaded"), "{told}");
    assert!(warned("disk", "disk", "device_percent: 89.9\n").is_some());
    assert_eq!(warned("disk", "disk", "device_percent: 90\n"), None);
    assert_eq!(warned("disk", "disk", ""), None, "what is not known is not nothing");
    assert_eq!(warned("redis", "store", "device_percent: 0\n"), None, "it keeps all in memory");
    let in_memory = warned("disk", "disk", "device_percent: 0\nin_memory: true\n").unwrap();
    assert!(in_memory.contains("Measure a folder on a disk"), "{in_memory}");
    assert!(!in_memory.contains("--cold"), "{in_memory}");
}

#[test]
fn figures_of_another_product_are_told_and_those_of_none_are_assumed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("my.yaml"), STORE).unwrap();
    let of = |product: &str, store: &str| {
        let arm = format!("{{preset: lmcache-{product}, name: one{store}}}");
        let plan = plan(folder.path(), &arm).unwrap();
        let told = plan
            .warnings
            .iter()
            .any(|warning| warning.contains("measured on redis") && warning.contains(product));
        let arms = &plan.deployments[0].arms;
        let arm = arms.iter().find(|arm| arm.name == "one").unwrap();
        (told, arm.assumed_store().map(|profile| profile.name))
    };
    let mine = ", store: {profile: my.yaml}";
    assert_eq!(of("kvrocks", mine), (true, None));
    assert_eq!(of("valkey", mine), (true, None));
    assert_eq!(of("redis", mine), (false, None));
    assert_eq!(of("kvrocks", ""), (false, Some("kvrocks")));
}

#[test]
fn missing_malformed_and_later_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let arm = "{preset: lmcache-redis, store: {profile: my.yaml}}";
    assert_eq!(
        refused(folder.path(), arm),
        "cannot read the link profile [folder]/my.yaml: No such file or directory (os error 2); \
         check the path"
    );
    for (text, part) in [
        ("name: an experiment\n".to_owned(), "a link profile must have a `format`"),
        ("format: [".to_owned(), "[folder]/my.yaml:1:"),
        (STORE.replace("format: 1", "format: 7"), "format 7 of link profiles is not known here"),
        (STORE.replace("  lanes: 2\n", ""), "missing field `lanes`"),
        (STORE.replace("lanes: 2", "lanes: many"), "not a whole number"),
        (STORE.replace("90us", "90"), "a duration with its unit"),
        (STORE.replace("2.5", "-1.0"), "figures.read_gb_per_s: -1 is not a bandwidth"),
        (format!("{STORE}{}", "# \n".repeat(400_000)), "are too large for a link profile"),
    ] {
        fs::write(folder.path().join("my.yaml"), &text).unwrap();
        let message = refused(folder.path(), arm);
        assert!(message.contains(part) && !message.contains('\n'), "{part}: {message}");
    }
    let unknown = refused(folder.path(), "{preset: lmcache-redis, store: {profile: rediss}}");
    assert!(unknown.contains("unknown profile `rediss` (did you mean `redis`?)"), "{unknown}");
}
