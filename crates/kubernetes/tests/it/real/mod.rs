//! Real Kubernetes (`scripts/peers/kubernetes`): what no recorded answer shows.

mod cluster;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_kubernetes::k8s_openapi::api::apps::v1::Deployment;
use weir_kubernetes::k8s_openapi::api::coordination::v1::Lease;
use weir_kubernetes::k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use weir_kubernetes::{
    Applied, ApplyMode, Cluster, ClusterAccess, KubernetesError, Manifest, Removal, Removed, Right,
    TroubleCause,
};

use cluster::real_cluster;

const LABELS: &str = "weir.dev/stack=s";

/// In a pod, this program is a server: it sends back what it gets.
#[test]
fn serve_in_a_pod() {
    let Some(port) = std::env::var("WEIR_ECHO_PORT").ok() else { return };
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).unwrap();
    println!("listening");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut bytes = [0; 64];
        while let Ok(count) = stream.read(&mut bytes)
            && count > 0
        {
            stream.write_all(&bytes[..count]).unwrap();
        }
    }
}

/// A namespace, and an anchor that owns what the test makes.
fn prepare(cluster: &Cluster) -> Value {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(cluster.namespace().to_owned());
    cluster.apply(&Manifest::of(&namespace), ApplyMode::Apply).unwrap();
    let anchor = json!({"metadata": {"name": "anchor", "labels": {
        "weir.dev/stack": "s", "weir.dev/role": "anchor"}}, "data": {"k": "v"}});
    let anchor = Manifest::custom("v1", "ConfigMap", "configmaps", anchor);
    cluster.apply(&anchor, ApplyMode::Apply).unwrap();
    let anchor: ConfigMap = cluster.get("anchor").unwrap().unwrap();
    json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": anchor.metadata.uid}])
}

/// `serve_in_a_pod`, or what `change` makes of it.
fn echo(owners: &Value, replicas: u32, change: impl FnOnce(&mut Value)) -> Manifest {
    let labels = json!({"weir.dev/stack": "s", "app": "echo"});
    let mut container = json!({
        "name": "main", "image": "weir.local/it:1", "imagePullPolicy": "IfNotPresent",
        "args": ["--exact", "real::serve_in_a_pod", "--nocapture"],
        "env": [{"name": "WEIR_ECHO_PORT", "value": "7000"}],
        "readinessProbe": {"tcpSocket": {"port": 7000}, "periodSeconds": 1}});
    change(&mut container);
    let value = json!({
        "metadata": {"name": "echo", "labels": labels, "ownerReferences": owners},
        "spec": {
            "replicas": replicas, "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "echo"}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
                "containers": [container]}}}});
    Manifest::custom("apps/v1", "Deployment", "deployments", value)
}

fn roll_out(cluster: &Cluster) -> Result<Vec<weir_kubernetes::ReadyPod>, KubernetesError> {
    let until = Instant::now() + Duration::from_secs(90);
    cluster.wait_rollout("echo", until, &|| false, &mut |_| ())
}

fn remove(cluster: &Cluster, limit: u64, strip_finalizers: bool) -> Removed {
    let how = Removal {
        anchors: "weir.dev/role=anchor".to_owned(),
        keep: Vec::new(),
        until: Instant::now() + Duration::from_secs(limit),
        stopped: &|| false,
        strip_finalizers,
    };
    cluster.remove(LABELS, &how).unwrap()
}

#[test]
fn objects_come_change_serve_and_go() {
    let Some(real) = real_cluster("objects_come_change_serve_and_go") else { return };
    let cluster = real.enter("weir-life");
    let facts = cluster.about().unwrap();
    assert!(facts.version.starts_with("v1."), "{facts:?}");
    assert!(!facts.openshift && facts.user.is_some(), "{facts:?}");
    let skew = facts.skew.unwrap();
    assert!(skew.ahead_ms.unsigned_abs() <= skew.bound_ms + 100, "{skew:?}");

    let owners = prepare(&cluster);
    let wanted = echo(&owners, 2, |_| ());
    let apply = |manifest: &Manifest, mode| cluster.apply(manifest, mode).unwrap();
    assert_eq!(apply(&wanted, ApplyMode::ServerDryRun), Applied::Created);
    assert_eq!(cluster.get::<Deployment>("echo").unwrap(), None);
    assert_eq!(apply(&wanted, ApplyMode::Apply), Applied::Created);
    let first = roll_out(&cluster).unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(apply(&wanted, ApplyMode::Apply), Applied::Unchanged);
    assert_eq!(apply(&wanted, ApplyMode::ServerDryRun), Applied::Unchanged);
    assert_eq!(cluster.difference(&wanted).unwrap(), Some(Vec::new()));

    let changed = echo(&owners, 1, |container| {
        container["env"][0]["value"] = "7001".into();
        container["readinessProbe"]["tcpSocket"]["port"] = 7001.into();
    });
    let places: Vec<String> =
        cluster.difference(&changed).unwrap().unwrap().into_iter().map(|one| one.path).collect();
    assert!(places.contains(&"/spec/replicas".to_owned()), "{places:?}");
    assert_eq!(apply(&changed, ApplyMode::Apply), Applied::Changed);
    let second = roll_out(&cluster).unwrap();
    assert_eq!(second.len(), 1);
    assert!(first.iter().all(|pod| pod.uid != second[0].uid));
    let pod = &second[0];
    assert!(cluster.logs(&pod.name, "main", false).unwrap().contains("listening"));

    let forward = cluster.forward(&pod.name, 7001).unwrap();
    let mut stream = TcpStream::connect(forward.address()).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    assert_eq!(forward.failure(), None);
    let dead = cluster.forward(&pod.name, 7009).unwrap();
    let mut stream = TcpStream::connect(dead.address()).unwrap();
    assert_eq!(stream.read(&mut answer).unwrap_or(0), 0);
    let begun = Instant::now();
    while dead.failure().is_none() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let failure = dead.failure().unwrap();
    assert!(failure.contains("refused"), "{failure}");
    let absent = cluster.forward("absent", 7001).map(|_| ()).unwrap_err();
    assert!(matches!(&absent, KubernetesError::NotFound { .. }), "{absent}");

    let removed = remove(&cluster, 60, false);
    assert_eq!(removed.left, []);
    assert!(removed.gone >= 4, "{removed:?}");
    assert_eq!(cluster.list::<Pod>(LABELS).unwrap().len(), 0);
    assert_eq!(remove(&cluster, 60, false).gone, 0);
}

#[test]
fn fields_of_others_are_told_and_mistakes_are_the_callers() {
    let Some(real) = real_cluster("fields_of_others_are_told") else { return };
    let cluster = real.enter("weir-fields");
    prepare(&cluster);
    let map = |value: &str, key: &str| {
        let value = json!({"metadata": {"name": "anchor"}, key: {"k": value}});
        Manifest::custom("v1", "ConfigMap", "configmaps", value)
    };
    real.apply_as("somebody", "weir-fields", &map("theirs", "data"));
    let error = cluster.apply(&map("ours", "data"), ApplyMode::Apply).unwrap_err();
    let KubernetesError::FieldConflict { conflicts, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (conflicts[0].manager.as_str(), conflicts[0].field.as_str()),
        ("somebody", ".data.k")
    );
    for mode in [ApplyMode::Apply, ApplyMode::ServerDryRun] {
        let error = cluster.apply(&map("ours", "dataa"), mode).unwrap_err();
        assert!(matches!(&error, KubernetesError::Invalid { .. }), "{error}");
        assert!(error.to_string().contains("dataa"), "{error}");
    }
    let custom = Manifest::custom("x.dev/v1", "Pool", "pools", json!({"metadata": {"name": "p"}}));
    let error = cluster.apply(&custom, ApplyMode::Apply).unwrap_err();
    assert!(matches!(&error, KubernetesError::UnknownKind { .. }), "{error}");
    assert!(cluster.serves("apps/v1", "Deployment").unwrap());
    assert!(!cluster.serves("apps/v1", "Engine").unwrap());
    assert!(!cluster.serves("x.dev/v1", "Pool").unwrap());
    remove(&cluster, 60, false);
}

#[test]
fn a_user_with_few_rights_is_told_which_lack() {
    let Some(real) = real_cluster("a_user_with_few_rights") else { return };
    let cluster = real.enter("weir-rights");
    prepare(&cluster);
    let rbac = "rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "few", "labels": {"weir.dev/stack": "s"}},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]});
    let binding = json!({"metadata": {"name": "few", "labels": {"weir.dev/stack": "s"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "few"},
        "subjects": [{"kind": "User", "name": "weir-few",
                      "apiGroup": "rbac.authorization.k8s.io"}]});
    for (kind, plural, value) in [("Role", "roles", role), ("RoleBinding", "rolebindings", binding)]
    {
        let manifest = Manifest::custom(rbac, kind, plural, value);
        cluster.apply(&manifest, ApplyMode::Apply).unwrap();
    }
    let user = real.user("weir-few", "weir-rights");
    assert_eq!(user.list::<Pod>("").unwrap().len(), 0);
    let right = |verb: &str, subresource: Option<&str>| Right {
        verb: verb.to_owned(),
        group: String::new(),
        resource: "pods".to_owned(),
        subresource: subresource.map(str::to_owned),
        name: None,
        in_namespace: true,
    };
    let rights = [right("list", None), right("delete", None), right("create", Some("portforward"))];
    assert_eq!(user.may(&rights).unwrap(), [true, false, false]);
    let error = user.forward("absent", 1).map(|_| ()).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains(r#"resources: ["pods/portforward"], verbs: ["get", "create"]"#),
        "{told}"
    );
    // It may list pods only: the rest is unseen, and said to be so.
    let removed = remove(&user, 5, false);
    assert!(removed.unseen.contains(&"configmaps".to_owned()), "{removed:?}");
    assert_eq!(remove(&cluster, 60, false).left, []);
}

#[test]
fn a_crash_and_a_stuck_finalizer_are_named() {
    let Some(real) = real_cluster("a_crash_and_a_stuck_finalizer") else { return };
    let cluster = real.enter("weir-stuck");
    let owners = prepare(&cluster);
    let crashing = echo(&owners, 1, |container| {
        container["args"] = json!(["--no-such-option"]);
    });
    cluster.apply(&crashing, ApplyMode::Apply).unwrap();
    let error = roll_out(&cluster).unwrap_err();
    let KubernetesError::Hopeless { trouble, .. } = &error else { panic!("{error}") };
    assert_eq!(trouble.cause, TroubleCause::CrashLoop, "{error}");
    let log = cluster.logs(&trouble.name, trouble.container.as_deref().unwrap(), true).unwrap();
    assert!(log.contains("no-such-option"), "{log}");

    let guarded = json!({"metadata": {"name": "guarded", "labels": {"weir.dev/stack": "s"},
                                      "finalizers": ["x.dev/guard"]}});
    let guarded = Manifest::custom("v1", "ConfigMap", "configmaps", guarded);
    cluster.apply(&guarded, ApplyMode::Apply).unwrap();
    let removed = remove(&cluster, 20, false);
    assert_eq!(removed.left.len(), 1, "{removed:?}");
    assert_eq!(
        removed.left[0].to_string(),
        "configmaps guarded: held by finalizer x.dev/guard (set by weir)"
    );
    assert_eq!(remove(&cluster, 60, true).left, []);
}

#[test]
fn a_lease_is_renewed_and_raced_for_by_two() {
    let Some(real) = real_cluster("a_lease_is_renewed") else { return };
    let cluster = real.enter("weir-lease");
    prepare(&cluster);
    let taken: Vec<_> = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..4)
            .map(|n| {
                let cluster = cluster.clone();
                scope.spawn(move || cluster.lease("weir-s", &format!("run-{n}")))
            })
            .collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    let held: Vec<_> = taken.iter().filter_map(|one| one.as_ref().ok()).collect();
    assert_eq!(held.len(), 1);
    let renewed = || {
        let lease: Lease = cluster.get("weir-s").unwrap().unwrap();
        lease.spec.and_then(|spec| spec.renew_time)
    };
    let first = renewed();
    let begun = Instant::now();
    while renewed() == first && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(renewed() > first);
    assert_eq!(held[0].lost(), None);
    drop(taken);
    assert_eq!(cluster.get::<Lease>("weir-s").unwrap(), None);
    remove(&cluster, 60, false);
}

#[test]
fn a_login_by_token_needs_the_clusters_authority() {
    let Some(real) = real_cluster("a_login_by_token") else { return };
    let cluster = real.enter("weir-token");
    prepare(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    // With the line break that a person's editor adds.
    std::fs::write(&token_file, real.kubectl(&["create", "token", "default", "-n", "weir-token"]))
        .unwrap();
    let mut access = ClusterAccess {
        server: Some(cluster.about().unwrap().server),
        token_file: Some(token_file.clone()),
        namespace: "weir-token".to_owned(),
        ..Default::default()
    };
    let begun = Instant::now();
    let error = Cluster::connect(&access).map(|_| ()).unwrap_err();
    assert!(matches!(&error, KubernetesError::Untrusted { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    access.ca_file = Some(real.authority());
    let facts = Cluster::connect(&access).unwrap().about().unwrap();
    assert_eq!(facts.user.as_deref(), Some("system:serviceaccount:weir-token:default"));
    std::fs::write(&token_file, "expired").unwrap();
    let error = Cluster::connect(&access).map(|_| ()).unwrap_err();
    assert!(matches!(&error, KubernetesError::Unauthorized { .. }), "{error}");
    remove(&cluster, 60, false);
}
