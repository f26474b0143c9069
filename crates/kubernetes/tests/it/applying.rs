//! Server-side apply.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use weir_kubernetes::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use weir_kubernetes::{Applied, ApplyMode, FieldConflict, KubernetesError, Manifest};

use crate::api_server::{Answer, ApiServer, absent, created, ok, status};

fn map(value: &str) -> Manifest {
    let mut map = ConfigMap::default();
    map.metadata.name = Some("c".to_owned());
    map.data = Some([("k".to_owned(), value.to_owned())].into());
    Manifest::of(&map)
}

/// One object, which gets a new version only when it changes.
fn store() -> ApiServer {
    let stored: Arc<Mutex<Option<Value>>> = Arc::default();
    ApiServer::start(move |asked| {
        let mut stored = stored.lock().unwrap();
        if asked.method == "GET" {
            return stored.as_ref().map_or_else(|| absent("c"), ok);
        }
        let version = |object: &Value| -> u64 {
            object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
        };
        let mut next = asked.body.clone();
        let is_new = stored.is_none();
        let now = match stored.as_ref() {
            Some(old) if old["data"] == next["data"] => version(old),
            Some(old) => version(old) + 1,
            None => 1,
        };
        next["metadata"]["resourceVersion"] = now.to_string().into();
        if !asked.target.contains("dryRun") {
            *stored = Some(next.clone());
        }
        if is_new { created(&next) } else { ok(&next) }
    })
}

#[test]
fn what_stands_already_is_unchanged() {
    let server = store();
    let cluster = server.cluster();
    let apply = |value: &str, mode| cluster.apply(&map(value), mode).unwrap();
    assert_eq!(apply("1", ApplyMode::ServerDryRun), Applied::Created);
    assert_eq!(apply("1", ApplyMode::Apply), Applied::Created);
    assert_eq!(apply("1", ApplyMode::Apply), Applied::Unchanged);
    assert_eq!(apply("2", ApplyMode::ServerDryRun), Applied::Changed);
    assert_eq!(apply("1", ApplyMode::ServerDryRun), Applied::Unchanged);
    assert_eq!(apply("2", ApplyMode::Apply), Applied::Changed);
    let path = "/api/v1/namespaces/lab/configmaps/c";
    let lines = server.lines();
    assert_eq!(
        lines[1],
        format!("PATCH {path}?fieldManager=weir&fieldValidation=Strict&dryRun=All")
    );
    assert_eq!(lines[3], format!("PATCH {path}?fieldManager=weir&fieldValidation=Strict"));
}

#[test]
fn a_difference_is_told_by_place_and_a_secret_by_none() {
    let server = store();
    let cluster = server.cluster();
    assert_eq!(cluster.difference(&map("1")).unwrap(), None);
    cluster.apply(&map("1"), ApplyMode::Apply).unwrap();
    assert_eq!(cluster.difference(&map("1")).unwrap(), Some(Vec::new()));
    let found = cluster.difference(&map("2")).unwrap().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "/data/k");
    assert_eq!((&found[0].live, &found[0].wanted), (&Some(json!("1")), &Some(json!("2"))));

    let secret = |value: &str| {
        let mut secret = Secret::default();
        secret.metadata.name = Some("c".to_owned());
        let value = weir_kubernetes::k8s_openapi::ByteString(value.as_bytes().to_vec());
        secret.data = Some([("HF_TOKEN".to_owned(), value)].into());
        Manifest::of(&secret)
    };
    let server = store();
    let cluster = server.cluster();
    cluster.apply(&secret("hf_1"), ApplyMode::Apply).unwrap();
    assert_eq!(cluster.difference(&secret("hf_1")).unwrap(), Some(Vec::new()));
    let found = cluster.difference(&secret("hf_2")).unwrap().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].wanted, Some(json!("(withheld, other values)")));
}

/// As Kubernetes 1.37.2 answered (cluster.md, section 5).
#[test]
fn another_managers_field_is_named_with_the_manager() {
    let server = ApiServer::start(|asked| match asked.method.as_str() {
        "GET" => absent("e"),
        _ => status(
            409,
            "Conflict",
            "Apply failed with 1 conflict: conflict with \"somebody\" using apps/v1: \
             .spec.progressDeadlineSeconds",
            &json!({"causes": [{"reason": "FieldManagerConflict",
                                "message": "conflict with \"somebody\" using apps/v1",
                                "field": ".spec.progressDeadlineSeconds"}]}),
        ),
    });
    let error = server.cluster().apply(&map("1"), ApplyMode::Apply).unwrap_err();
    let KubernetesError::FieldConflict { conflicts, .. } = &error else { panic!("{error}") };
    let conflict = FieldConflict {
        manager: "somebody".to_owned(),
        field: ".spec.progressDeadlineSeconds".to_owned(),
    };
    assert_eq!(conflicts, &[conflict]);
    assert!(error.to_string().contains(".spec.progressDeadlineSeconds (somebody)"), "{error}");
}

#[test]
fn an_object_needs_a_name() {
    let server = ApiServer::start(|_| Answer::Nothing);
    let nameless = Manifest::of(&ConfigMap::default());
    let error = server.cluster().apply(&nameless, ApplyMode::Apply).unwrap_err();
    assert_eq!(error.to_string(), "ConfigMap has no name; `metadata.name` must be set");
}

#[test]
fn an_object_that_may_be_patched_but_not_read_is_applied() {
    let server = ApiServer::start(|asked| match asked.method.as_str() {
        "GET" => status(403, "Forbidden", "roles is forbidden", &json!({"name": "c"})),
        _ => ok(&asked.body),
    });
    let applied = server.cluster().apply(&map("1"), ApplyMode::Apply).unwrap();
    assert_eq!(applied, Applied::Changed);
}
