//! Failures of a server, and what becomes of them.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::{Value, json};
use weir_kubernetes::{KubernetesError, Manifest, Right, k8s_openapi};

use crate::api_server::{Answer, ApiServer, absent, created, ok, status};

/// Answers in turn; the last one for ever.
fn in_turn(answers: Vec<Answer>) -> ApiServer {
    let mut left = answers.into_iter();
    let mut next = left.next();
    ApiServer::start(move |_| {
        let now = next.clone().unwrap();
        if let Some(following) = left.next() {
            next = Some(following);
        }
        now
    })
}

fn busy_for(seconds: u64) -> Answer {
    let headers = vec![("retry-after", seconds.to_string())];
    Answer::Told { code: 429, headers, body: String::new() }
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "e-1", "uid": "u"}})
}

fn get(server: &ApiServer) -> Result<Option<Pod>, KubernetesError> {
    server.cluster().get("e-1")
}

#[test]
fn what_may_pass_is_asked_again() {
    let busy = busy_for(0);
    let server = in_turn(vec![
        status(503, "ServiceUnavailable", "the server is starting", &Value::Null),
        busy,
        status(500, "InternalError", "etcdserver: leader changed", &Value::Null),
        Answer::Nothing,
        ok(&pod()),
    ]);
    let cluster = server.cluster();
    let found: Pod = cluster.get("e-1").unwrap().unwrap();
    assert_eq!(found.metadata.uid.as_deref(), Some("u"));
    let calls = cluster.drain_calls();
    let statuses: Vec<Option<u16>> = calls.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(200), Some(503), Some(429), Some(500), None, Some(200)]);
    assert_eq!(calls[1].path, "/api/v1/namespaces/lab/pods/e-1");
    assert_eq!(calls[1].verb, "get");
    assert!(cluster.drain_calls().is_empty());
}

#[test]
fn the_wait_that_a_server_asks_for_is_kept() {
    let busy = busy_for(1);
    let server = in_turn(vec![busy, ok(&pod())]);
    let cluster = server.cluster();
    let begun = std::time::Instant::now();
    cluster.get::<Pod>("e-1").unwrap().unwrap();
    assert!(begun.elapsed().as_millis() >= 1000);
}

#[test]
fn a_server_that_fails_for_ever_is_told_with_its_words() {
    let server = in_turn(vec![status(503, "", "no leader", &Value::Null)]);
    let error = get(&server).unwrap_err();
    assert!(matches!(&error, KubernetesError::Failing { code: 503, tries: 6, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "get pods `e-1` in namespace `lab`: the server answered 503 6 times: no leader"
    );
}

#[test]
fn an_unknown_field_is_the_callers_mistake_although_the_code_is_500() {
    let message = "failed to create typed patch object (lab/c; /v1, Kind=ConfigMap): .dataa: field \
                   not declared in schema";
    let server = ApiServer::start(move |asked| match asked.method.as_str() {
        "GET" => absent("c"),
        _ => status(500, "", message, &Value::Null),
    });
    let wanted = json!({"metadata": {"name": "c"}, "dataa": {}});
    let wanted = Manifest::custom("v1", "ConfigMap", "configmaps", wanted);
    let error = server.cluster().apply(&wanted, weir_kubernetes::ApplyMode::Apply).unwrap_err();
    assert!(matches!(&error, KubernetesError::Invalid { .. }), "{error}");
    assert!(error.to_string().contains(".dataa: field not declared in schema"), "{error}");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_missing_right_names_the_rule_that_grants_it() {
    let message = "pods \"e-1\" is forbidden: User \"lab\" cannot get resource \"pods\" in API group \
                   \"\" in the namespace \"lab\"";
    let server = in_turn(vec![status(403, "Forbidden", message, &json!({"name": "e-1"}))]);
    let error = get(&server).unwrap_err();
    assert!(matches!(&error, KubernetesError::Forbidden { .. }), "{error}");
    let told = error.to_string();
    assert!(told.starts_with("forbidden to get pods `e-1` in namespace `lab`"), "{told}");
    assert!(
        told.ends_with(r#"grant {apiGroups: [""], resources: ["pods"], verbs: ["get"]}"#),
        "{told}"
    );
}

#[test]
fn a_quota_is_not_a_missing_right() {
    let message = "pods \"e-1\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, \
                   limited: pods=0";
    let server = in_turn(vec![status(403, "Forbidden", message, &Value::Null)]);
    let error = get(&server).unwrap_err();
    assert!(matches!(&error, KubernetesError::Refused { code: 403, .. }), "{error}");
}

#[test]
fn an_expired_login_is_told_at_once_and_without_the_token() {
    let server = in_turn(vec![status(401, "Unauthorized", "Unauthorized", &Value::Null)]);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "sha256~secret\n").unwrap();
    let mut access = server.access();
    access.token_file = Some(token);
    let cluster = weir_kubernetes::Cluster::connect(&access).unwrap();
    let error = cluster.get::<Pod>("e-1").unwrap_err();
    assert!(matches!(&error, KubernetesError::Unauthorized { .. }), "{error}");
    assert!(error.to_string().contains("log in again"), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn an_absent_object_and_an_absent_kind_differ() {
    let server = ApiServer::start(|asked| match asked.path() {
        path if path.contains("/gateways/") => {
            status(404, "NotFound", "the server could not find the requested resource", &json!({}))
        }
        _ => absent("e-1"),
    });
    let cluster = server.cluster();
    assert_eq!(cluster.get::<Pod>("e-1").unwrap(), None);
    let gateway = Manifest::custom(
        "gateway.networking.k8s.io/v1",
        "Gateway",
        "gateways",
        json!({"metadata": {"name": "g"}}),
    );
    let error = cluster.live(&gateway).unwrap_err();
    assert!(matches!(&error, KubernetesError::UnknownKind { .. }), "{error}");
    assert!(!cluster.serves("gateway.networking.k8s.io/v1", "Gateway").unwrap());
    cluster.delete(&Manifest::of(&cluster_map("c"))).unwrap();
}

fn cluster_map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

#[test]
fn a_list_that_expires_is_read_again_as_a_whole() {
    let page = |names: &[&str], go_on: &str| {
        let items: Vec<Value> =
            names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        ok(&json!({"metadata": {"continue": go_on}, "items": items}))
    };
    let gone = status(410, "Expired", "The provided continue parameter is too old", &Value::Null);
    let server = in_turn(vec![page(&["a"], "t/1"), gone, page(&["a", "b"], "")]);
    let pods: Vec<Pod> = server.cluster().list("app=vllm,x in (1,2)").unwrap();
    let names: Vec<_> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    assert_eq!(names, ["a", "b"]);
    let chosen = "/api/v1/namespaces/lab/pods?labelSelector=app%3Dvllm%2Cx%20in%20%281%2C2%29";
    assert_eq!(
        server.lines(),
        [
            format!("GET {chosen}&limit=500"),
            format!("GET {chosen}&limit=500&continue=t%2F1"),
            format!("GET {chosen}"),
        ]
    );
}

#[test]
fn an_empty_list_may_be_null() {
    let server = in_turn(vec![ok(&json!({"metadata": {}, "items": null}))]);
    assert!(server.cluster().list::<Pod>("").unwrap().is_empty());
}

#[test]
fn rights_are_asked_with_the_subresource_apart() {
    let server = ApiServer::start(|asked| {
        let mut review = asked.body.clone();
        let asks_for = &asked.body["spec"]["resourceAttributes"];
        review["status"] = json!({"allowed": asks_for["subresource"] == "portforward"});
        created(&review)
    });
    let right = |subresource: Option<&str>| Right {
        verb: "create".to_owned(),
        group: String::new(),
        resource: "pods".to_owned(),
        subresource: subresource.map(str::to_owned),
        name: None,
        in_namespace: true,
    };
    let rights = [right(None), right(Some("portforward"))];
    assert_eq!(server.cluster().may(&rights).unwrap(), [false, true]);
    assert_eq!(
        server.asked()[1].body["spec"]["resourceAttributes"],
        json!({"verb": "create", "group": "", "resource": "pods", "subresource": "portforward",
               "namespace": "lab"})
    );
}

#[test]
fn several_threads_share_a_cluster() {
    let server = ApiServer::start(|_| ok(&pod()));
    let cluster = server.cluster();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let cluster = cluster.clone();
            scope.spawn(move || cluster.get::<Pod>("e-1").unwrap().unwrap());
        }
    });
    assert_eq!(server.asked().len(), 8);
}

#[test]
fn nobody_at_the_address_is_told_with_the_address() {
    let server = ApiServer::start(|_| Answer::Nothing);
    let access = server.access();
    drop(server);
    let error = weir_kubernetes::Cluster::connect(&access).map(|_| ()).unwrap_err();
    assert!(matches!(&error, KubernetesError::Unreachable { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains(access.server.as_deref().unwrap()), "{told}");
    assert!(told.contains("refused"), "{told}");
}
