//! Real Kubernetes on this machine, by `scripts/peers/kubernetes`.

mod cluster;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use cluster::cluster;

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
