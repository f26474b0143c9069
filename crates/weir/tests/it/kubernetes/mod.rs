//! Real Kubernetes on this machine, by `scripts/peers/kubernetes`.

mod cluster;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use cluster::cluster;

use crate::binary::WEIR;
use crate::folder::metrics;

const ENGINE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: serves}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: engine, namespace: serves}
spec:
  selector: {matchLabels: {app: engine}}
  template:
    metadata: {labels: {app: engine}}
    spec:
      containers:
      - name: engine
        image: weir.local/weir:1
        args: [serve, --model, Qwen/Qwen3-8B, --hardware, 1x-h100, --host, 0.0.0.0, --port, '8000', --instant]
        readinessProbe: {httpGet: {path: /v1/models, port: 8000}, periodSeconds: 1}
";

#[test]
fn an_engine_becomes_ready_and_answers_on_its_pods_address() {
    let Some(cluster) = cluster("an_engine_becomes_ready") else { return };
    cluster.apply(ENGINE);
    let rollout = ["rollout", "status", "deployment/engine", "--timeout=90s"];
    cluster.kubectl(&[&["-n", "serves"], &rollout[..]].concat());
    let address = "jsonpath={.items[0].status.podIP}";
    let address = cluster.kubectl(&["-n", "serves", "get", "pods", "-o", address]);
    let answer = cluster.inside(|| {
        let mut stream = TcpStream::connect((address.as_str(), 8000)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
            .write_all(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Qwen/Qwen3-8B"), "{answer}");
    cluster.kubectl(&["delete", "namespace", "serves", "--wait=false"]);
}

/// Two arms of Weir's own engine on one pod.
const EXPERIMENT: &str = "
name: pods
target:
  kubernetes:
    namespace: NAMESPACE
    create_namespace: true
    emulated: {byte_scale: 0.05}
    images: {weir: 'weir.local/weir:1'}
    cpu: 1
    memory: 1GiB
models: [Qwen/Qwen3-0.6B]
hardware: 1x-l40s
engine: {kv_tokens: 24000, max_model_len: 4096, max_num_seqs: 32}
arms: [no-offload, {preset: native-offload, bytes: 6GiB}]
workload:
  shared-prefix: {prefixes: 48, prefix_tokens: 1024, prompt_tokens: 64, output_tokens: 16}
load: {users: [4], duration: 6s, warmup: 3s}
seed: 889
";

/// The experiment's file in a folder of its own.
fn experiment(namespace: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pods.yaml");
    std::fs::write(&file, EXPERIMENT.replace("NAMESPACE", namespace)).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

fn weir(cluster: &cluster::Cluster, folder: &Path, args: &[&str]) -> Output {
    cluster.command(WEIR).current_dir(folder).args(args).output().unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Objects of Weir's, by what the API server has.
fn objects(cluster: &cluster::Cluster, namespace: &str) -> String {
    let kinds = "all,configmaps,serviceaccounts,roles,rolebindings,leases";
    let labels = "app.kubernetes.io/managed-by=weir";
    cluster.kubectl(&["-n", namespace, "get", kinds, "-l", labels, "-o", "name"])
}

#[test]
fn a_run_brings_up_each_arm_and_a_teardown_leaves_nothing() {
    let Some(cluster) = cluster("a_run_brings_up_each_arm") else { return };
    let (folder, file) = experiment("runs");
    let words = done(&weir(cluster, folder.path(), &["standup", &file, "--arm", "no-offload"]));
    assert!(words.contains("answers, as the first engine"), "{words}");
    let run = weir(cluster, folder.path(), &["run", &file, "--out", "run", "--quiet"]);
    done(&run);
    let rows = metrics(&folder.path().join("run"));
    let verdict = |arm: &str| {
        let row = rows.iter().find(|row| row["arm"] == arm);
        row.map(|row| row["verdict"].as_str())
    };
    assert_eq!(verdict("no-offload"), Some("control"));
    assert_eq!(verdict("native-offload"), Some("effective"));
    let status = done(&weir(cluster, folder.path(), &["status", &file]));
    assert!(status.contains("Running") && !status.contains("expires"), "{status}");
    is_removed_once_expired(cluster, folder.path(), &file);
    let removed = done(&weir(cluster, folder.path(), &["teardown", &file]));
    assert!(removed.starts_with("removed ") && !removed.contains("left:"), "{removed}");
    assert_eq!(objects(cluster, "runs"), "");
}

/// What stands gets a time of expiry with its next use.
fn is_removed_once_expired(cluster: &cluster::Cluster, folder: &Path, file: &str) {
    let up = |ttl: &str| {
        let ttl = format!("target.kubernetes.ttl={ttl}");
        let steps = ["standup", file, "--arm", "native-offload", "--steps", "4-7", "--set", &ttl];
        done(&weir(cluster, folder, &steps));
    };
    let expire = || done(&weir(cluster, folder, &["teardown", file, "--expired"]));
    up("1h");
    let status = done(&weir(cluster, folder, &["status", file]));
    assert!(status.contains("expires 20"), "{status}");
    assert_eq!(expire(), "removed 0 objects\n");
    up("1ms");
    let removed = expire();
    assert!(removed.starts_with("removed ") && removed != "removed 0 objects\n", "{removed}");
    assert_eq!(done(&weir(cluster, folder, &["status", file])), "");
}

#[test]
fn an_engine_that_goes_in_a_cell_fails_it_by_name_and_a_second_weir_waits() {
    let Some(cluster) = cluster("an_engine_that_goes_in_a_cell") else { return };
    let (folder, file) = experiment("goes");
    let long = ["--set", "load.duration=60s", "--set", "arms=[no-offload]"];
    let args = [&["run", &file, "--out", "run"], &long[..]].concat();
    let mut command = cluster.command(WEIR);
    command.current_dir(folder.path()).args(args).stdout(Stdio::null());
    let mut run = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains(" in flight, ")), "no load");
    let second = weir(cluster, folder.path(), &["standup", &file]);
    let refused = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(3), "{refused}");
    assert!(refused.contains("is held by"), "{refused}");
    let pods = ["-n", "goes", "delete", "pod", "-l", "weir.dev/role=engine", "--wait=false"];
    cluster.kubectl(&pods);
    said.for_each(drop);
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let cell = "run/cells/Qwen--Qwen3-0.6B/1x-l40s/no-offload/c4/0/cell.json";
    let cell = std::fs::read_to_string(folder.path().join(cell)).unwrap();
    assert!(cell.contains("pod engine-"), "{cell}");
    done(&weir(cluster, folder.path(), &["teardown", &file]));
    assert_eq!(objects(cluster, "goes"), "");
}

#[test]
fn a_cell_of_what_somebody_changed_fails_with_the_field() {
    let Some(cluster) = cluster("a_cell_of_what_somebody_changed") else { return };
    let (folder, file) = experiment("changes");
    let short = ["--set", "load.duration=20s", "--set", "arms=[no-offload]"];
    let args = [&["run", &file, "--out", "run"], &short[..]].concat();
    let mut command = cluster.command(WEIR);
    command.current_dir(folder.path()).args(args).stdout(Stdio::null());
    let mut run = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    let before: Vec<String> =
        said.by_ref().take_while(|line| !line.contains(" in flight, ")).collect();
    let label = ["-l", "weir.dev/role=engine"];
    let scale = ["-n", "changes", "scale", "deployment", "--replicas=2"];
    cluster.kubectl(&[&scale[..], &label].concat());
    let after: Vec<String> = said.collect();
    assert_eq!(run.wait().unwrap().code(), Some(1), "{before:#?} {after:#?}");
    let cell = "run/cells/Qwen--Qwen3-0.6B/1x-l40s/no-offload/c4/0/cell.json";
    let cell = std::fs::read_to_string(folder.path().join(cell)).unwrap();
    assert!(cell.contains("spec.replicas"), "{cell}");
    done(&weir(cluster, folder.path(), &["teardown", &file]));
    assert_eq!(objects(cluster, "changes"), "");
}
