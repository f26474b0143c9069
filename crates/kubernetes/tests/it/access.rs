//! Kubeconfigs and tokens.

use std::path::{Path, PathBuf};

use weir_kubernetes::{Cluster, ClusterAccess, KubernetesError};

use crate::api_server::{Answer, ApiServer};

fn kubeconfig(folder: &Path, server: &str) -> PathBuf {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\n\
         clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: u, user: {{token: sekret}}}}]\n\
         contexts:\n\
         - {{name: one, context: {{cluster: c, user: u}}}}\n\
         - {{name: two, context: {{cluster: absent, user: u}}}}\n"
    );
    let path = folder.join("config");
    std::fs::write(&path, text).unwrap();
    path
}

fn refused(access: &ClusterAccess) -> KubernetesError {
    Cluster::connect(access).map(|_| ()).unwrap_err()
}

#[test]
fn a_context_is_chosen_and_an_unknown_one_named_with_those_there_are() {
    let server = ApiServer::start(|_| Answer::Nothing);
    let folder = tempfile::tempdir().unwrap();
    let path = kubeconfig(folder.path(), server.access().server.as_deref().unwrap());
    let mut access =
        ClusterAccess { kubeconfig: Some(path), namespace: "lab".to_owned(), ..Default::default() };
    assert_eq!(Cluster::connect(&access).unwrap().namespace(), "lab");
    access.context = Some("three".to_owned());
    assert_eq!(
        refused(&access).to_string(),
        "context `three` is unknown; the kubeconfig has: one, two"
    );
    access.context = Some("two".to_owned());
    let error = refused(&access);
    assert!(matches!(error, KubernetesError::Kubeconfig { .. }), "{error}");
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn a_broken_kubeconfig_is_told_by_place_and_never_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    std::fs::write(&path, "users:\n- name: u\n  user: {token: sekret, : [}\n").unwrap();
    let access = ClusterAccess { kubeconfig: Some(path.clone()), ..Default::default() };
    let error = refused(&access);
    let told = format!("{error} {error:?}");
    assert!(told.contains("line 3") && told.contains(path.to_str().unwrap()), "{told}");
    assert!(!told.contains("sekret"), "{told}");
}

#[test]
fn what_a_login_by_token_needs_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let access = |server: &str| ClusterAccess {
        server: Some(server.to_owned()),
        token_file: Some(token.clone()),
        ..Default::default()
    };
    let told = refused(&access("cluster.example:6443")).to_string();
    assert!(told.contains("must be an address like https://host:6443"), "{told}");
    let told = refused(&access("https://127.0.0.1:1")).to_string();
    assert!(told.starts_with("token_file ") && told.contains("No such file"), "{told}");
    std::fs::write(&token, "two words").unwrap();
    let told = refused(&access("https://127.0.0.1:1")).to_string();
    assert!(told.ends_with("must hold one token"), "{told}");
    let mut with_ca = access("https://127.0.0.1:1");
    std::fs::write(&token, "word\n").unwrap();
    with_ca.ca_file = Some(token.clone());
    let told = refused(&with_ca).to_string();
    assert!(told.starts_with("ca_file ") && told.ends_with("in PEM form"), "{told}");
}
