//! Parts of a routed cell that die, hang, lose what they had, or are slow: the cell ends with the
//! cause, or goes on with what it lost.

mod gateway;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use weir_http::TlsConfig;
use weir_model::Product;
use weir_store::StoreClient;

use crate::binary::Running;
use crate::folder::json;
use crate::long::is_asked_for;
use crate::routing::{self, SHORT, has_router, signal, started_by};
use crate::tiers::{call, has};

const OPEN: &str = "target={emulated: {bytes: modelled, router: {fail_open: true}}}";
/// Two answers at a time for long enough to see that a part does not answer.
const LONG: &str = "load={users: [2], duration: 8s, warmup: 1s}";

/// A run with one arm.
struct Routed {
    folder: TempDir,
    arm: &'static str,
    running: Running,
}

impl Routed {
    fn start(arm: &'static str, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = routing::experiment(folder.path(), "faults", "");
        let arms = format!("arms=[{arm}]");
        let mut args = vec!["run", &file, "--out", "run", "--set", &arms];
        args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let running = Running::start(folder.path(), &args);
        Self { folder, arm, running }
    }

    fn cell(&self) -> PathBuf {
        routing::cell(self.folder.path(), self.arm)
    }

    /// The part's process, when requests go through it.
    #[track_caller]
    fn under_load(&mut self, program: &str) -> Pid {
        let log = self.cell().join("logs/picker.log");
        let is_loaded = || fs::read_to_string(&log).is_ok_and(|text| text.contains("\"weir-20\""));
        self.running.wait_until("requests are routed", is_loaded);
        Pid::from_raw(started_by(self.running.id(), program).expect("it runs")).unwrap()
    }

    /// Its evidence, when it has ended.
    fn ended(&mut self) -> Value {
        self.running.end();
        json(&self.cell().join("evidence.json"))
    }
}

#[track_caller]
fn assert_failed(evidence: &Value, cause: &str) {
    let verdict = evidence["verdict"].to_string();
    assert!(verdict.contains("failed") && verdict.contains(cause), "not `{cause}`: {verdict}");
}

#[test]
fn a_part_in_front_that_dies_ends_the_cell_with_its_name() {
    let test = "a_part_in_front_that_dies_ends_the_cell_with_its_name";
    if !has_router(test) || !has(test, Product::Redis) {
        return;
    }
    for (program, cause) in [
        ("llm-d-epp", "picker ended while it was used (signal 9"),
        ("envoy", "envoy ended while it was used (signal 9"),
        ("redis-server", "the index in redis has ended"),
    ] {
        let mut routed = Routed::start("llm-d-redis", &[SHORT]);
        let part = routed.under_load(program);
        kill_process(part, Signal::KILL).unwrap();
        assert_failed(&routed.ended(), cause);
    }
}

#[test]
fn a_dead_picker_is_named_also_where_envoy_lets_requests_pass() {
    let test = "a_dead_picker_is_named_also_where_envoy_lets_requests_pass";
    if !is_asked_for(test) || !has_router(test) {
        return;
    }
    let mut routed = Routed::start("llm-d-approx", &[SHORT, OPEN]);
    let picker = routed.under_load("llm-d-epp");
    kill_process(picker, Signal::KILL).unwrap();
    assert_failed(&routed.ended(), "picker ended while it was used (signal 9");
}

#[test]
fn what_envoy_sends_while_the_picker_hangs_is_no_routing() {
    let test = "what_envoy_sends_while_the_picker_hangs_is_no_routing";
    if !is_asked_for(test) || !has_router(test) {
        return;
    }
    let mut routed = Routed::start("llm-d-approx", &[LONG, OPEN]);
    let picker = routed.under_load("llm-d-epp");
    // Longer than Envoy's patience with its health, and less than a stall.
    kill_process(picker, Signal::STOP).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        assert!(routed.running.is_alive(), "{}", routed.running.words());
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(picker, Signal::CONT).unwrap();
    let evidence = routed.ended();
    assert!(signal(&evidence, "unrouted-requests") > 5.0, "{}", evidence["signals"]);
    assert_eq!(evidence["verdict"]["void"], "no-choice", "{}", evidence["verdict"]);
    assert!(evidence["reason"].to_string().contains("gateway-chose"), "{}", evidence["reason"]);
}

#[test]
fn a_part_in_front_that_hangs_is_named_as_the_cause() {
    let test = "a_part_in_front_that_hangs_is_named_as_the_cause";
    if !is_asked_for(test) || !has_router(test) || !has(test, Product::Redis) {
        return;
    }
    for (program, named) in
        [("llm-d-epp", "picker (127"), ("envoy", "envoy (127"), ("redis-server", "of the index")]
    {
        let mut routed = Routed::start("llm-d-redis", &[LONG, "client={request_timeout: 9s}"]);
        let part = routed.under_load(program);
        kill_process(part, Signal::STOP).unwrap();
        let evidence = routed.ended();
        assert_failed(&evidence, "behind");
        assert_failed(&evidence, named);
    }
}

#[test]
fn an_index_that_somebody_empties_is_no_index_of_the_arm() {
    let test = "an_index_that_somebody_empties_is_no_index_of_the_arm";
    if !is_asked_for(test) || !has_router(test) || !has(test, Product::Redis) {
        return;
    }
    let mut routed = Routed::start("llm-d-redis", &[LONG]);
    routed.under_load("redis-server");
    let picker = json(&routed.cell().join("logs/picker.json")).to_string();
    let (_, address) = picker.split_once("\"redis://").expect("it names its index");
    let address = format!("redis://{}", address.split('"').next().unwrap());
    let client = StoreClient::new(&address.parse().unwrap(), &TlsConfig::default()).unwrap();
    // Behind the warm-up, as the counters of the window.
    std::thread::sleep(Duration::from_secs(3));
    call(&client, &["FLUSHALL"]);
    assert_failed(&routed.ended(), "index-lost");
}

#[test]
fn without_a_choice_the_real_picker_shows_nothing() {
    let test = "without_a_choice_the_real_picker_shows_nothing";
    if !is_asked_for(test) || !has_router(test) {
        return;
    }
    let alike = "workload={shared-prefix: {prefixes: 1, prefix_tokens: 656, prompt_tokens: 16, \
                 output_tokens: 4}}";
    for arm in ["llm-d-approx", "llm-d-inmemory"] {
        let evidence = Routed::start(arm, &[SHORT, alike]).ended();
        let verdict = &evidence["verdict"];
        let is_named = verdict["void"] == "no-choice" || verdict["overhead-only"] == "fits-gpu";
        assert!(is_named, "{arm}: {verdict}");
    }
    let evidence = Routed::start("llm-d-approx", &[SHORT, "replicas=1"]).ended();
    assert_eq!(evidence["verdict"]["void"], "no-choice", "{}", evidence["verdict"]);
    assert_eq!(evidence["reason"]["routing"], "one-replica", "{}", evidence["reason"]);
}
