//! One holder at a time.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use weir_kubernetes::KubernetesError;
use weir_kubernetes::k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api_server::{ApiServer, absent, created, ok, status};

type Stored = Arc<Mutex<Option<Value>>>;

/// One lease, with the rule on versions.
fn server(stored: &Stored) -> ApiServer {
    let stored = Arc::clone(stored);
    let mut version = 0;
    ApiServer::start(move |asked| {
        let mut stored = stored.lock().unwrap();
        let refused = || status(409, "Conflict", "the object has been modified", &json!({}));
        let asks_for = asked.body.pointer(match asked.method.as_str() {
            "DELETE" => "/preconditions/resourceVersion",
            _ => "/metadata/resourceVersion",
        });
        match (asked.method.as_str(), stored.as_ref()) {
            ("GET", Some(lease)) => ok(lease),
            ("POST", Some(_)) => {
                status(409, "AlreadyExists", "leases \"l\" already exists", &json!({"name": "l"}))
            }
            ("GET" | "DELETE" | "PUT", None) => absent("l"),
            ("PUT" | "DELETE", Some(lease))
                if asks_for != Some(&lease["metadata"]["resourceVersion"]) =>
            {
                refused()
            }
            ("DELETE", Some(_)) => {
                *stored = None;
                ok(&json!({}))
            }
            _ => {
                let mut lease = asked.body.clone();
                version += 1;
                lease["metadata"]["resourceVersion"] = version.to_string().into();
                lease["metadata"]["uid"] = "u".into();
                *stored = Some(lease.clone());
                created(&lease)
            }
        }
    })
}

#[test]
fn a_lease_is_held_until_it_is_dropped() {
    let stored = Stored::default();
    let server = server(&stored);
    let cluster = server.cluster();
    let guard = cluster.lease("l", "run-1").unwrap();
    assert_eq!(guard.lost(), None);
    let lease = stored.lock().unwrap().clone().unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "run-1");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 60);
    let error = cluster.lease("l", "run-2").map(|_| ()).unwrap_err();
    let KubernetesError::LeaseHeld { holder, expires_in, .. } = &error else { panic!("{error}") };
    assert_eq!(holder, "run-1");
    assert!((58..=60).contains(expires_in), "{error}");
    drop(guard);
    assert_eq!(*stored.lock().unwrap(), None);
    cluster.lease("l", "run-2").unwrap();
}

fn old(holder: &str, seconds: i64) -> Value {
    let renewed = Timestamp::now() - SignedDuration::from_secs(seconds);
    json!({"metadata": {"name": "l", "uid": "u", "resourceVersion": "7"},
           "spec": {"holderIdentity": holder, "leaseDurationSeconds": 60, "leaseTransitions": 4,
                    "renewTime": renewed.to_string()}})
}

#[test]
fn a_dead_holder_is_followed_and_a_living_one_is_not() {
    let stored = Stored::default();
    let server = server(&stored);
    let cluster = server.cluster();
    *stored.lock().unwrap() = Some(old("dead", 62));
    let guard = cluster.lease("l", "run").unwrap();
    let lease = stored.lock().unwrap().clone().unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 5);
    drop(guard);
    *stored.lock().unwrap() = Some(old("living", 30));
    let error = cluster.lease("l", "run").map(|_| ()).unwrap_err();
    let told = error.to_string();
    assert!(told.starts_with("lease l is held by `living`, which renewed it 3"), "{told}");
    // A run that goes on is its own predecessor.
    *stored.lock().unwrap() = Some(old("run", 30));
    cluster.lease("l", "run").unwrap();
}

#[test]
fn of_two_that_find_a_dead_holder_one_follows() {
    let stored: Stored = Arc::new(Mutex::new(Some(old("dead", 100))));
    let server = server(&stored);
    let cluster = server.cluster();
    let taken: Vec<_> = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..4)
            .map(|n| {
                let cluster = cluster.clone();
                scope.spawn(move || cluster.lease("l", &format!("run-{n}")))
            })
            .collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
    for error in taken.iter().filter_map(|taken| taken.as_ref().err()) {
        assert!(matches!(error, KubernetesError::LeaseHeld { .. }), "{error}");
    }
}
