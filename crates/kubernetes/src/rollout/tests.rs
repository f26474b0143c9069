//! States that Kubernetes 1.37.2 was in, recorded on a real node (`scripts/peers/kubernetes`),
//! without the fields that nothing reads. The eviction is written after its published form.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Deserialize)]
struct Recorded {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    pods: Vec<Pod>,
}

impl Recorded {
    fn of(value: Value) -> Self {
        serde_json::from_value(value).unwrap()
    }

    fn rollout(&self) -> Rollout {
        Rollout::of(&self.deployment, &self.sets, &self.pods)
    }
}

macro_rules! recorded {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../recorded/", $name, ".json")))
            .unwrap()
    };
}

/// The only trouble: its cause, how long it may last, and its words.
fn trouble(value: Value) -> (TroubleCause, Option<u64>, String) {
    let rollout = Recorded::of(value).rollout();
    assert_eq!(rollout.done(), None);
    let [diagnosis] = rollout.diagnoses.as_slice() else { panic!("{:?}", rollout.diagnoses) };
    let patience = diagnosis.patience.map(|patience| patience.as_secs());
    (diagnosis.trouble.cause, patience, diagnosis.trouble.to_string())
}

#[track_caller]
fn assert_trouble(value: Value, cause: TroubleCause, patience: Option<u64>, words: &str) {
    let (found, lasts, told) = trouble(value);
    assert_eq!((found, lasts), (cause, patience), "{told}");
    assert!(told.contains(words), "{told}");
}

#[test]
fn ready_pods_of_the_newest_template_are_given_by_name() {
    let pods = Recorded::of(recorded!("fine")).rollout().done().unwrap();
    assert_eq!(pods.len(), 2);
    assert!(pods[0].name < pods[1].name);
    assert_eq!(pods[0].restarts, 0);
    assert!(
        pods[0].image_ids[0].contains("@sha256:") || pods[0].image_ids[0].starts_with("sha256:")
    );
    assert!(pods[0].ip.to_string().starts_with("10."));
    let pods = Recorded::of(recorded!("switched")).rollout().done().unwrap();
    assert!(pods.iter().all(|pod| pod.name.starts_with("slow-56c45c5867-")), "{pods:?}");
}

#[test]
fn pods_that_end_are_not_ready_pods_although_they_say_so() {
    let rollout = Recorded::of(recorded!("switching")).rollout();
    assert!(rollout.pods.iter().all(|pod| pod.ready && pod.is_ending));
    assert_eq!(rollout.done(), None);
    assert!(rollout.to_string().contains("ending"), "{rollout}");
}

#[test]
fn a_change_that_the_controller_has_not_seen_is_not_rolled_out() {
    let mut value = recorded!("fine");
    value["deployment"]["metadata"]["generation"] = json!(99);
    let rollout = Recorded::of(value).rollout();
    assert_eq!(rollout.done(), None);
    assert_eq!(rollout.to_string(), "2 of 2 pods ready, the controller has not seen the change");
}

#[test]
fn each_count_must_agree() {
    for count in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        let mut value = recorded!("fine");
        value["deployment"]["status"][count] = json!(1);
        assert_eq!(Recorded::of(value).rollout().done(), None, "{count}");
    }
    let mut value = recorded!("fine");
    value["deployment"]["status"]["unavailableReplicas"] = json!(1);
    assert_eq!(Recorded::of(value).rollout().done(), None);
}

#[test]
fn a_deployment_without_replicas_is_rolled_out_without_pods() {
    let mut value = recorded!("fine");
    value["deployment"]["spec"]["replicas"] = json!(0);
    value["deployment"]["metadata"]["generation"] = json!(3);
    value["deployment"]["status"] = json!({"observedGeneration": 3});
    value["pods"] = json!([]);
    assert_eq!(Recorded::of(value).rollout().done(), Some(Vec::new()));
}

#[test]
fn what_can_never_start_ends_the_wait_at_once() {
    let now = Some(0);
    assert_trouble(recorded!("pull"), TroubleCause::ImagePull, now, "Back-off pulling image");
    assert_trouble(recorded!("badname"), TroubleCause::InvalidImage, now, "must be lowercase");
    assert_trouble(
        recorded!("noconfig"),
        TroubleCause::ContainerConfig,
        now,
        "secret \"absent\" not found",
    );
}

#[test]
fn an_end_is_final_when_it_repeats() {
    assert_trouble(recorded!("crash"), TroubleCause::CrashLoop, Some(0), "exit code 3");
    assert_trouble(recorded!("oom"), TroubleCause::OutOfMemory, Some(0), "OOMKilled");
    assert_trouble(
        recorded!("nostart"),
        TroubleCause::ContainerStart,
        Some(0),
        "exec: \"/absent\"",
    );
    let mut first = recorded!("crash");
    let container = &mut first["pods"][0]["status"]["containerStatuses"][0];
    container["restartCount"] = json!(0);
    container["state"] = container["lastState"].clone();
    container["lastState"] = json!({});
    assert_trouble(first, TroubleCause::Exited, None, "exit code 3");
    let mut between = recorded!("crash");
    let container = &mut between["pods"][0]["status"]["containerStatuses"][0];
    container["restartCount"] = json!(1);
    container["state"] = container["lastState"].clone();
    assert_trouble(between, TroubleCause::CrashLoop, Some(0), "exit code 3");
    let mut again = recorded!("crash");
    let container = &mut again["pods"][0]["status"]["containerStatuses"][0];
    container["restartCount"] = json!(1);
    container["state"] = json!({"running": {"startedAt": "2026-12-01T03:58:42Z"}});
    assert_trouble(again, TroubleCause::Exited, None, "exit code 3");
}

#[test]
fn gpus_may_be_held_by_pods_that_end() {
    let words = "1 Insufficient nvidia.com/gpu";
    assert_trouble(recorded!("gpus"), TroubleCause::Unschedulable, Some(60), words);
    let mut claim = recorded!("gpus");
    claim["pods"][0]["status"]["conditions"][0]["message"] =
        json!("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
    assert_trouble(claim, TroubleCause::Unschedulable, None, "PersistentVolumeClaims");
}

#[test]
fn pods_that_may_not_be_created_are_troubles_of_the_replica_set() {
    assert_trouble(recorded!("quota"), TroubleCause::Quota, Some(60), "exceeded quota: q");
    let words = "violates PodSecurity \"restricted:latest\"";
    assert_trouble(recorded!("denied"), TroubleCause::Denied, Some(10), words);
}

#[test]
fn an_eviction_is_told_with_what_the_node_lacked() {
    let mut value = recorded!("neverready");
    value["pods"][0]["status"] = json!({
        "phase": "Failed", "reason": "Evicted",
        "message": "The node was low on resource: memory. Threshold quantity: 100Mi"});
    assert_trouble(value, TroubleCause::Evicted, Some(0), "low on resource: memory");
}

#[test]
fn a_pod_that_is_never_ready_is_no_trouble_but_a_state() {
    let rollout = Recorded::of(recorded!("neverready")).rollout();
    assert!(rollout.diagnoses.is_empty());
    let told = rollout.to_string();
    assert!(told.starts_with("0 of 1 pods ready; pod neverready-"), "{told}");
    assert!(told.ends_with("Running"), "{told}");
}

fn diagnosis(name: &str, patience: u64) -> Diagnosis {
    let trouble = Trouble {
        kind: "pod",
        name: name.to_owned(),
        container: None,
        cause: TroubleCause::Unschedulable,
        message: String::new(),
    };
    Diagnosis { trouble, patience: Some(Duration::from_secs(patience)) }
}

#[test]
fn a_trouble_is_over_when_it_lasted_and_begins_anew_when_it_went() {
    let (begun, mut patience) = (Instant::now(), Patience::default());
    let mut at = |seconds: u64, diagnoses: &[Diagnosis]| {
        patience.exhausted(diagnoses, begun + Duration::from_secs(seconds)).len()
    };
    let both = [diagnosis("a", 60), diagnosis("b", 0)];
    assert_eq!(at(0, &both), 1);
    assert_eq!(at(59, &both), 1);
    assert_eq!(at(60, &both), 2);
    assert_eq!(at(61, &both[1..]), 1);
    assert_eq!(at(62, &both), 1);
}
