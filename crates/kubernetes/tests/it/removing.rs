//! Removal of what carries some labels.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_kubernetes::{Finalizer, Leftover, Removal, Removed};

use crate::api_server::{Answer, ApiServer, absent, ok, status};

const LABELS: &str = "weir.dev/stack=s";

/// Objects of a namespace, and a garbage collector that works at once.
#[derive(Default)]
struct Namespace {
    objects: Vec<Value>,
    order: Vec<String>,
}

fn object(plural: &str, name: &str, owner: Option<&str>) -> Value {
    let mut object = json!({"plural": plural, "metadata": {"name": name, "uid": name}});
    if let Some(owner) = owner {
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner}]);
    }
    object
}

fn held(mut object: Value, finalizer: &str, manager: &str) -> Value {
    object["metadata"]["finalizers"] = json!([finalizer]);
    let key = format!("v:\"{finalizer}\"");
    object["metadata"]["managedFields"] = json!([
        {"manager": "weir", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
        {"manager": manager, "fieldsV1": {"f:metadata": {"f:finalizers": {".": {}, key: {}}}}}]);
    object
}

impl Namespace {
    fn answer(&mut self, method: &str, target: &str) -> Answer {
        match target {
            "/api" => {
                return ok(&discovery(&[(
                    "",
                    &["configmaps", "pods", "secrets", "persistentvolumeclaims"],
                )]));
            }
            "/apis" => return ok(&discovery(&[("apps", &["deployments"])])),
            _ => {}
        }
        let path = target.split('?').next().unwrap();
        let mut words = path.rsplit("/lab/").next().unwrap().split('/');
        let (plural, name) = (words.next().unwrap(), words.next());
        if plural == "secrets" {
            return status(403, "Forbidden", "secrets is forbidden", &Value::Null);
        }
        match (method, name) {
            ("GET", None) => self.list(plural, target.contains("role%3Danchor")),
            ("DELETE", Some(name)) => self.delete(plural, name),
            ("PATCH", Some(name)) => {
                self.objects.retain(|one| one["metadata"]["name"] != name);
                ok(&json!({}))
            }
            _ => panic!("{method} {target}"),
        }
    }

    fn list(&self, plural: &str, anchors: bool) -> Answer {
        let chosen = self.objects.iter().filter(|one| {
            one["plural"] == plural && (!anchors || one["metadata"]["name"] == "anchor")
        });
        let items: Vec<&Value> = chosen.collect();
        ok(&json!({"metadata": {}, "items": items}))
    }

    fn delete(&mut self, plural: &str, name: &str) -> Answer {
        self.order.push(format!("{plural}/{name}"));
        let Some(found) = self.objects.iter_mut().find(|one| one["metadata"]["name"] == name)
        else {
            return absent(name);
        };
        if found["metadata"]["finalizers"].is_array() {
            found["metadata"]["deletionTimestamp"] = json!("2026-12-01T04:00:00Z");
        } else {
            let is_owned = |one: &Value| one["metadata"]["ownerReferences"][0]["uid"] == name;
            self.objects.retain(|one| one["metadata"]["name"] != name && !is_owned(one));
        }
        ok(&json!({}))
    }
}

fn discovery(groups: &[(&str, &[&str])]) -> Value {
    let resource = |plural: &&str| {
        json!({"resource": plural, "scope": "Namespaced", "responseKind": {"kind": plural},
               "verbs": ["list", "delete"]})
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, plurals)| {
            let resources: Vec<Value> = plurals.iter().map(resource).collect();
            json!({"metadata": {"name": group},
                   "versions": [{"version": "v1", "freshness": "Current", "resources": resources}]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "items": items})
}

fn remove(objects: Vec<Value>, strip_finalizers: bool) -> (Removed, Vec<String>) {
    let namespace = Arc::new(Mutex::new(Namespace { objects, order: Vec::new() }));
    let shared = Arc::clone(&namespace);
    let server =
        ApiServer::start(move |asked| shared.lock().unwrap().answer(&asked.method, &asked.target));
    let how = Removal {
        anchors: "weir.dev/role=anchor".to_owned(),
        keep: vec!["persistentvolumeclaims".to_owned()],
        until: Instant::now() + Duration::from_secs(if strip_finalizers { 30 } else { 2 }),
        stopped: &|| false,
        strip_finalizers,
    };
    let removed = server.cluster().remove(LABELS, &how).unwrap();
    let order = namespace.lock().unwrap().order.clone();
    (removed, order)
}

#[test]
fn anchors_go_first_and_what_has_no_owner_by_itself() {
    let (removed, order) = remove(
        vec![
            object("deployments", "engine", Some("anchor")),
            object("pods", "field", None),
            object("configmaps", "anchor", None),
            object("persistentvolumeclaims", "models", None),
        ],
        false,
    );
    assert_eq!(order, ["configmaps/anchor", "pods/field"]);
    assert_eq!(removed.left, []);
    assert_eq!(removed.gone, 3);
    assert_eq!(removed.unseen, ["secrets"]);
}

#[test]
fn what_does_not_go_is_named_with_its_finalizer_and_controller() {
    let stuck = held(object("deployments", "engine", None), "x.dev/guard", "x-operator");
    let (removed, _) = remove(vec![stuck, object("pods", "field", None)], false);
    let finalizer =
        Finalizer { name: "x.dev/guard".to_owned(), manager: Some("x-operator".to_owned()) };
    assert_eq!(
        removed.left,
        [Leftover {
            kind: "deployments.apps".to_owned(),
            name: "engine".to_owned(),
            is_ending: true,
            finalizers: vec![finalizer],
            refusal: None,
        }]
    );
    assert_eq!(
        removed.left[0].to_string(),
        "deployments.apps engine: held by finalizer x.dev/guard (set by x-operator)"
    );
    assert_eq!(removed.gone, 1);
}

#[test]
fn finalizers_are_taken_off_on_demand() {
    let stuck = held(object("deployments", "engine", None), "x.dev/guard", "x-operator");
    let (removed, _) = remove(vec![stuck], true);
    assert_eq!((removed.left.len(), removed.gone), (0, 1));
}

#[test]
fn nothing_to_remove_is_no_error() {
    let (removed, order) = remove(Vec::new(), false);
    assert_eq!((removed.gone, removed.left.len(), order.len()), (0, 0, 0));
}
