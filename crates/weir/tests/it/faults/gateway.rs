//! Replicas behind the real picker and Envoy, which Weir did not start: as deployed elsewhere, they
//! die, return, and are slow.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_deploy::setup::{RouterPart, RouterParts};
use weir_http::{Fetch, Url, fetch};
use weir_picker::config::PickerPorts;
use weir_picker::{
    Door, IndexStore, PickedReplicas, PickerConfig, PickerRelease, ServiceNeeds, Services,
};

use crate::binary::{Running, WEIR};
use crate::evidence::tokenizer;
use crate::folder::json;
use crate::long::is_asked_for;
use crate::routing::has_router;

const MODEL: &str = "Qwen/Qwen3-0.6B";
const ENGINE: [&str; 9] = [
    "serve",
    "--model",
    MODEL,
    "--hardware",
    "1x-l40s",
    "--set",
    "engine.kv_tokens=11000",
    "--set",
    "engine.max_model_len=4096",
];

/// Ended when dropped.
struct Part(Child);

impl Part {
    fn start(folder: &Path, name: &str, command: &mut Command) -> Self {
        let log = File::create(folder.join(format!("{name}.log"))).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two replicas, a picker of approximate matches, and Envoy.
struct Gateway {
    folder: tempfile::TempDir,
    replicas: PickedReplicas,
    engines: Vec<Part>,
    _front: [Part; 2],
    _services: Services,
    /// Of Envoy.
    url: String,
    picker_metrics: String,
}

impl Gateway {
    /// `slow`: further arguments of the second replica.
    fn start(slow: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        tokenizer(at);
        let [port, grpc, health, metrics, door, admin] = free_ports();
        let addresses = vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
        let replicas = PickedReplicas { addresses, port, events_port: 1 };
        let engines = vec![engine(at, &replicas, 0, &[]), engine(at, &replicas, 1, slow)];
        for name in replicas.names() {
            ready(&format!("http://{name}/health"));
        }
        let needs = ServiceNeeds { cluster_api: true, tokenizer: None };
        let services = Services::start(&replicas, MODEL, needs).unwrap();
        let config = PickerConfig {
            policy: weir_spec::routing_policy("approximate-prefix", "routing", 16).unwrap(),
            model: MODEL.to_owned(),
            replicas: replicas.clone(),
            index: IndexStore::Memory,
            tokenizer_socket: at.join("tokens.sock"),
            endpoints_file: at.join("endpoints.json"),
            ports: PickerPorts { grpc, health, metrics },
            pods: None,
        };
        let local = |port| (Ipv4Addr::LOCALHOST, port).into();
        let front = Door {
            address: local(door),
            admin: local(admin),
            picker: local(grpc),
            picker_health: health,
            fail_open: Vec::new(),
        };
        let written = |name: &str, value: &Value| {
            fs::write(at.join(name), value.to_string()).unwrap();
            at.join(name).display().to_string()
        };
        let release = PickerRelease::Scheduler;
        let document = written("picker.json", &config.document(release).unwrap());
        let kube = written("kube.json", &PickerConfig::kubeconfig(services.port().unwrap()));
        let parts = RouterParts::installed().unwrap();
        let program = |part| Command::new(parts.find(part).unwrap());
        let mut picker = program(RouterPart::Picker);
        picker.args(config.arguments(release, &document)).env("KUBECONFIG", kube);
        let picker = Part::start(at, "picker", &mut picker);
        let picker_metrics = format!("http://127.0.0.1:{metrics}/metrics");
        ready(&picker_metrics);
        let bootstrap = written("envoy.json", &front.bootstrap());
        let mut envoy = program(RouterPart::Envoy);
        envoy.args(["--config-path", &bootstrap, "--disable-hot-restart"]);
        let envoy = Part::start(at, "envoy", &mut envoy);
        ready(&format!("http://127.0.0.1:{door}/v1/models"));
        let url = format!("http://127.0.0.1:{door}");
        Self {
            replicas,
            engines,
            _front: [picker, envoy],
            _services: services,
            url,
            picker_metrics,
            folder,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A run against the door.
    fn run(&self, seconds: u32) -> Running {
        let names = self.replicas.names();
        let text = format!(
            "\
name: gateway
target: {{endpoint: {{url: '{}', metrics: ['http://{}/metrics', 'http://{}/metrics', '{}']}}}}
models: [{MODEL}]
hardware: 1x-l40s
replicas: 2
engine: {{kv_tokens: 11000, max_model_len: 4096, max_num_seqs: 16}}
arms: [llm-d-approx]
workload:
  shared-prefix: {{prefixes: 24, prefix_tokens: 640, prompt_tokens: 32, output_tokens: 4}}
load: {{users: [4], duration: {seconds}s, warmup: 1s}}
client: {{tokenizer: tokenizer.json, request_timeout: 20s}}
",
            self.url, names[0], names[1], self.picker_metrics
        );
        fs::write(self.path().join("gateway.yaml"), text).unwrap();
        Running::start(self.path(), &["run", "gateway.yaml", "--out", "run"])
    }

    fn of_cell(&self, file: &str) -> Value {
        let cell = "run/cells/Qwen--Qwen3-0.6B/1x-l40s/llm-d-approx/c4/0";
        json(&self.path().join(cell).join(file))
    }

    /// Requests that a replica has answered, by itself.
    fn answered(&self, replica: usize) -> f64 {
        let url = Url::parse(&format!("http://{}", self.replicas.names()[replica])).unwrap();
        let page = fetch(&Fetch::get(&url, "/metrics")).map(|answer| answer.body);
        let page = String::from_utf8(page.unwrap_or_default()).unwrap();
        let count = page.lines().filter(|line| line.starts_with("vllm:request_success_total{"));
        count.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

fn engine(folder: &Path, replicas: &PickedReplicas, number: usize, more: &[&str]) -> Part {
    let (host, port) = (replicas.addresses[number].to_string(), replicas.port.to_string());
    let mut command = Command::new(WEIR);
    command.args(ENGINE).args(["--host", &host, "--port", &port]).args(more);
    command.args(["--tokenizer", "tokenizer.json"]).current_dir(folder);
    Part::start(folder, &format!("engine-{number}"), &mut command)
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All at once: none is given out twice.
    let bound = [(); N].map(|()| TcpListener::bind(("0.0.0.0", 0)).unwrap());
    bound.map(|listener| listener.local_addr().unwrap().port())
}

#[track_caller]
fn ready(url: &str) {
    let url = Url::parse(url).unwrap();
    let begin = Instant::now();
    while !fetch(&Fetch::get(&url, "")).is_ok_and(|answer| answer.head.status == 200) {
        assert!(begin.elapsed() < Duration::from_mins(1), "{url} does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_replica_that_dies_and_returns_behind_a_gateway_is_named() {
    let test = "a_replica_that_dies_and_returns_behind_a_gateway_is_named";
    if !is_asked_for(test) || !has_router(test) {
        return;
    }
    let mut gateway = Gateway::start(&[]);
    let mut running = gateway.run(15);
    // Behind the warm-up of a second.
    running.wait_until("both replicas answer", || {
        gateway.answered(0) > 50.0 && gateway.answered(1) > 50.0
    });
    gateway.engines.pop();
    std::thread::sleep(Duration::from_millis(500));
    let again = engine(gateway.path(), &gateway.replicas, 1, &[]);
    gateway.engines.push(again);
    running.end();
    let evidence = gateway.of_cell("evidence.json");
    let failed = &evidence["verdict"]["failed"]["requests"];
    assert!(failed["failed"].as_u64() > Some(0), "{}\n{}", evidence["verdict"], running.words());
    assert!(failed["commonest"]["cause"].to_string().contains("status: 503"), "{failed}");
    let died = &gateway.replicas.names()[1];
    let restarted = format!("{died}/metrics: ");
    let notes = evidence["notes"].to_string();
    assert!(notes.contains(&restarted) && notes.contains("the process restarted"), "{notes}");
}

#[test]
fn a_slow_replica_behind_a_gateway_is_named() {
    let test = "a_slow_replica_behind_a_gateway_is_named";
    if !is_asked_for(test) || !has_router(test) {
        return;
    }
    let gateway = Gateway::start(&["--time-scale", "0.05"]);
    let mut running = gateway.run(6);
    running.end();
    let notes = gateway.of_cell("evidence.json")["notes"].to_string();
    let slow = &gateway.replicas.names()[1];
    let named = format!("{{\"slow-replica\":{{\"address\":\"{slow}\"");
    let replicas = gateway.of_cell("cell.json")["figures"]["replicas"].to_string();
    assert!(notes.contains(&named), "{notes}\n{replicas}\n{}", running.words());
}
