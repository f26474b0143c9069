//! The blocking face of a cluster: one thread with a runtime, and calls from any thread.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::client::ClientBuilder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::access::ClusterAccess;
use crate::error::{KubernetesError, chain};
use crate::journal::{ApiCall, CallJournal};
use crate::manifest::Manifest;
use crate::resource::{CallSubject, Named, ResourceKind};
use crate::transport::{ApiAnswer, Call, JSON, ServerClock, Transport, login_error};

/// Objects of one answer; the server keeps a list open for some minutes.
const PAGE: usize = 500;
/// Between two looks at whether the caller wants to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// A namespace of a cluster. Copies share the connection and the journal.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) transport: Transport,
    pub(crate) namespace: String,
    pub(crate) runtime: Arc<Runtime>,
}

/// Ends its thread when the last copy goes.
pub(crate) struct Runtime {
    handle: Handle,
    thread: Option<std::thread::JoinHandle<()>>,
    end: Option<oneshot::Sender<()>>,
}

impl Runtime {
    fn start() -> Result<Self, KubernetesError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(KubernetesError::Thread)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        // This thread waits for sockets and clocks; calls run on the threads of their callers.
        let thread =
            std::thread::Builder::new().name("weir-kubernetes".to_owned()).spawn(move || {
                let _ = runtime.block_on(ended);
            });
        let thread = Some(thread.map_err(KubernetesError::Thread)?);
        Ok(Self { handle, thread, end: Some(end) })
    }

    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle.block_on(work)
    }

    pub(crate) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        self.handle.spawn(work)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Cluster {
    /// Reads the login and asks the server for its version, so that a wrong login is told here.
    pub fn connect(access: &ClusterAccess) -> Result<Self, KubernetesError> {
        let runtime = Runtime::start()?;
        let transport = runtime.wait(async {
            let login = access.login().await?;
            let server = login.config.cluster_url.to_string();
            let client = ClientBuilder::try_from(login.config).map_err(|error| match error {
                kube::Error::Auth(error) => login_error(&error),
                other => KubernetesError::Login { cause: chain(&other) },
            })?;
            let (client, journal) = (client.build(), CallJournal::default());
            let clock = ServerClock::default();
            Ok::<_, KubernetesError>(Transport { client, journal, server, clock })
        })?;
        let namespace = access.namespace.clone();
        let cluster = Self { transport, namespace, runtime: Arc::new(runtime) };
        cluster.send(&Call::get(CallSubject::address("/version"), "/version".to_owned()))?;
        Ok(cluster)
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Calls since the last drain, in the order of their ends.
    pub fn drain_calls(&self) -> Vec<ApiCall> {
        self.transport.journal.drain()
    }

    pub fn get<K: Named + DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<K>, KubernetesError> {
        self.find(&ResourceKind::of::<K>(), &self.namespace, name)
    }

    /// Objects that a label selector chooses: `app=vllm,weir.dev/role!=load`; all for an empty one.
    pub fn list<K: Named + DeserializeOwned>(
        &self,
        labels: &str,
    ) -> Result<Vec<K>, KubernetesError> {
        self.list_items(&ResourceKind::of::<K>(), &chosen_by(labels), JSON)
    }

    /// The object as the server has it, for kinds that no type knows.
    pub fn live(&self, manifest: &Manifest) -> Result<Option<Value>, KubernetesError> {
        self.find(manifest.kind(), self.namespace_of(manifest), manifest.named()?)
    }

    /// What is not there is deleted already. Dependents are collected by the cluster, later.
    pub fn delete(&self, manifest: &Manifest) -> Result<(), KubernetesError> {
        let (kind, namespace) = (manifest.kind(), self.namespace_of(manifest));
        let options = json!({"propagationPolicy": "Background"});
        self.delete_object(kind, namespace, manifest.named()?, &options).map(drop)
    }

    /// False: there was no such object.
    pub(crate) fn delete_object(
        &self,
        kind: &ResourceKind,
        namespace: &str,
        name: &str,
        options: &Value,
    ) -> Result<bool, KubernetesError> {
        let what = CallSubject::of("delete", kind, namespace).named(name);
        let body = ("application/json", options.to_string().into_bytes());
        let path = kind.object_path(namespace, name);
        match self.send(&Call::with_body(what, Method::DELETE, path, body)) {
            Ok(_) => Ok(true),
            Err(KubernetesError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn find<T: DeserializeOwned>(
        &self,
        kind: &ResourceKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<T>, KubernetesError> {
        let what = CallSubject::of("get", kind, namespace).named(name);
        match self.ask(&Call::get(what, kind.object_path(namespace, name))) {
            Ok(found) => Ok(Some(found)),
            Err(KubernetesError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn list_items<T: DeserializeOwned>(
        &self,
        kind: &ResourceKind,
        chosen: &[(&'static str, String)],
        accept: &'static str,
    ) -> Result<Vec<T>, KubernetesError> {
        let what = CallSubject::of("list", kind, &self.namespace);
        let mut call = Call { accept, ..Call::get(what, kind.path(&self.namespace)) };
        let mut items = Vec::new();
        let mut whole = false;
        let mut go_on = None;
        loop {
            call.query = chosen.to_vec();
            if !whole {
                call.query.push(("limit", PAGE.to_string()));
            }
            call.query.extend(go_on.take().map(|token| ("continue", token)));
            match self.ask::<List<T>>(&call) {
                Ok(list) => {
                    items.extend(list.items.unwrap_or_default());
                    go_on = list.metadata.continue_.filter(|token| !token.is_empty());
                    if go_on.is_none() {
                        return Ok(items);
                    }
                }
                // The server compacted what the list stood on. One answer with everything.
                Err(KubernetesError::Expired { .. }) if !whole => {
                    items.clear();
                    whole = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn namespace_of<'a>(&'a self, manifest: &'a Manifest) -> &'a str {
        manifest.namespace().unwrap_or(&self.namespace)
    }

    pub(crate) fn send(&self, call: &Call) -> Result<ApiAnswer, KubernetesError> {
        self.runtime.wait(self.transport.send(call))
    }

    pub(crate) fn ask<T: DeserializeOwned>(&self, call: &Call) -> Result<T, KubernetesError> {
        read(&call.what, &self.send(call)?.body)
    }
}

pub(crate) fn chosen_by(labels: &str) -> Vec<(&'static str, String)> {
    if labels.is_empty() { Vec::new() } else { vec![("labelSelector", labels.to_owned())] }
}

/// False: the caller wants to stop.
pub(crate) fn pause(until: Instant, stopped: &dyn Fn() -> bool) -> bool {
    loop {
        if stopped() {
            return false;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(STOP_INTERVAL));
    }
}

pub(crate) fn read<T: DeserializeOwned>(
    what: &CallSubject,
    body: &[u8],
) -> Result<T, KubernetesError> {
    serde_json::from_slice(body).map_err(|error| KubernetesError::Answer {
        what: Box::new(what.clone()),
        cause: error.to_string(),
    })
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMeta,
    /// An empty list may be null.
    items: Option<Vec<T>>,
}
