//! Waits, on recorded states.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_kubernetes::{KubernetesError, ReadyPod, TroubleCause};

use crate::api_server::{Answer, ApiServer, absent, ok};

macro_rules! recorded {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../recorded/", $name, ".json")))
            .unwrap()
    };
}

/// Each state for one look; the last one for ever.
fn server(states: Vec<Value>) -> ApiServer {
    let mut looks = 0;
    ApiServer::start(move |asked| {
        let path = asked.path();
        if path.contains("/deployments/") {
            looks += 1;
        }
        let state = &states[(looks - 1).min(states.len() - 1)];
        let list = |items: &Value| ok(&json!({"metadata": {}, "items": items}));
        match path.rsplit("/lab/").next().unwrap().split('/').next().unwrap() {
            "deployments" => ok(&state["deployment"]),
            "replicasets" => list(&state["sets"]),
            "pods" => list(&state["pods"]),
            "events" => list(&state["events"]),
            other => panic!("{other}"),
        }
    })
}

fn wait(server: &ApiServer, limit: u64) -> Result<Vec<ReadyPod>, KubernetesError> {
    let until = Instant::now() + Duration::from_secs(limit);
    server.cluster().wait_rollout("d", until, &|| false, &mut |_| ())
}

#[test]
fn a_switch_waits_for_the_new_pods() {
    let server = server(vec![recorded!("switching"), recorded!("switched")]);
    let mut told = Vec::new();
    let until = Instant::now() + Duration::from_secs(30);
    let pods = server
        .cluster()
        .wait_rollout("slow", until, &|| false, &mut |rollout| told.push(rollout.to_string()))
        .unwrap();
    assert_eq!(pods.len(), 2);
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("ending"), "{told:?}");
    assert!(server.lines()[1].ends_with("replicasets?labelSelector=app%3Dslow&limit=500"));
}

#[test]
fn a_cause_ends_the_wait_before_the_limit() {
    let error = wait(&server(vec![recorded!("noconfig")]), 600).unwrap_err();
    let KubernetesError::Hopeless { trouble, .. } = &error else { panic!("{error}") };
    assert_eq!(trouble.cause, TroubleCause::ContainerConfig);
    assert_eq!(trouble.container.as_deref(), Some("main"));
    let told = error.to_string();
    assert!(told.starts_with("the rollout of deployment d cannot become ready: pod noconfig-"));
    assert!(
        told.ends_with("container main: its configuration is absent: secret \"absent\" not found"),
        "{told}"
    );
}

#[test]
fn a_limit_names_what_was_waited_for_and_the_last_state() {
    let error = wait(&server(vec![recorded!("neverready")]), 0).unwrap_err();
    let told = error.to_string();
    let words = "for the rollout of deployment d; last state: 0 of 1 pods ready; pod neverready-";
    assert!(told.starts_with("waited ") && told.contains(words), "{told}");
}

#[test]
fn a_caller_can_stop_the_wait() {
    let server = server(vec![recorded!("gpus")]);
    let stop = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_mins(10);
    let error = server
        .cluster()
        .wait_rollout("gpus", until, &|| stop.load(Ordering::SeqCst), &mut |_| {
            stop.store(true, Ordering::SeqCst);
        })
        .unwrap_err();
    assert!(matches!(&error, KubernetesError::Stopped { .. }), "{error}");
    assert!(error.to_string().contains("1 Insufficient nvidia.com/gpu"), "{error}");
}

#[test]
fn a_deployment_that_goes_is_told() {
    let server = ApiServer::start(|_| -> Answer { absent("d") });
    let error = wait(&server, 600).unwrap_err();
    assert!(matches!(&error, KubernetesError::NotFound { .. }), "{error}");
}
