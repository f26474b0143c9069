//! What can go wrong with a cluster, with what a person can do about it.
//!
//! No token, key or certificate is in an error: only names, addresses and what the server answered.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::resource::CallSubject;
use crate::rollout::Trouble;

#[derive(Debug, Error)]
pub enum KubernetesError {
    #[error("no kubeconfig: {tried}; set `kubeconfig`, KUBECONFIG, or `server` with `token_file`")]
    NoKubeconfig { tried: String },
    #[error("kubeconfig {path}: {cause}", path = .path.display())]
    Kubeconfig { path: PathBuf, cause: String },
    #[error("context `{context}` is unknown; the kubeconfig has: {known}")]
    UnknownContext { context: String, known: String },
    #[error("the kubeconfig has no current context; set `context` to one of: {known}")]
    NoContext { known: String },
    #[error("{key} {path}: {cause}", path = .path.display())]
    AccessFile { key: &'static str, path: PathBuf, cause: String },
    #[error("`server` must be an address like https://host:6443, not `{server}`")]
    Server { server: String },
    #[error("login for the cluster: {cause}")]
    Login { cause: String },
    #[error("{server} cannot be reached to {what}: {cause}")]
    Unreachable { server: String, what: Box<CallSubject>, cause: String },
    #[error(
        "the certificate of {server} is not trusted ({cause}); set `ca_file`, or \
         certificate-authority in the kubeconfig"
    )]
    Untrusted { server: String, cause: String },
    #[error(
        "{server} refused the login (401) at: {what}; the token or certificate is expired or wrong: \
         log in again"
    )]
    Unauthorized { server: String, what: Box<CallSubject> },
    #[error("forbidden to {what} ({message}); a Role must grant {grant}")]
    Forbidden { what: Box<CallSubject>, grant: String, message: String },
    #[error(
        "{what}: another field manager owns fields that Weir sets: {conflicts}; let that manager \
         release them, or change the object to what it sets",
        conflicts = told(conflicts)
    )]
    FieldConflict { what: Box<CallSubject>, conflicts: Vec<FieldConflict> },
    #[error("{what}: somebody changed or created the object meanwhile: {message}")]
    Changed { what: Box<CallSubject>, message: String },
    #[error("{what}: the server forgot where the list was to go on (410): {message}")]
    Expired { what: Box<CallSubject>, message: String },
    #[error("the server has no kind for: {what}; its definition (CRD) must be installed first")]
    UnknownKind { what: Box<CallSubject> },
    #[error("{what}: not found: {message}")]
    NotFound { what: Box<CallSubject>, message: String },
    #[error("{what}: the server refused the object: {message}")]
    Invalid { what: Box<CallSubject>, message: String },
    #[error("{what}: the server answered {code} {tries} times: {message}")]
    Failing { what: Box<CallSubject>, code: u16, tries: u32, message: String },
    #[error("{what}: the server answered {code}: {message}")]
    Refused { what: Box<CallSubject>, code: u16, message: String },
    #[error("{what}: the answer must be a Kubernetes object: {cause}")]
    Answer { what: Box<CallSubject>, cause: String },
    #[error("{kind} has no name; `metadata.name` must be set")]
    Nameless { kind: String },
    #[error("waited {waited:.0?} for {what}; last state: {last}")]
    TimedOut { what: String, waited: Duration, last: String },
    #[error("{what} was stopped; last state: {last}")]
    Stopped { what: String, last: String },
    #[error("{what} cannot become ready: {trouble}")]
    Hopeless { what: String, trouble: Trouble },
    #[error(
        "lease {name} is held by `{holder}`, which renewed it {age} s ago; wait until it ends, or \
         {expires_in} s if it is dead"
    )]
    LeaseHeld { name: String, holder: String, age: i64, expires_in: i64 },
    #[error("port {port} of pod {pod} cannot be forwarded: {cause}")]
    Forward { pod: String, port: u16, cause: String },
    #[error("the thread of the Kubernetes client cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Fields of an object that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldConflict {
    pub manager: String,
    /// As the server writes it: `.spec.replicas`.
    pub field: String,
}

fn told(conflicts: &[FieldConflict]) -> String {
    let one = |conflict: &FieldConflict| format!("{} ({})", conflict.field, conflict.manager);
    conflicts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        cause = next.source();
    }
    told
}
