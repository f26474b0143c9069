//! A port of a pod on this machine. For control only: every byte passes the API server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::cluster::{Cluster, Runtime};
use crate::error::{KubernetesError, chain};
use crate::journal::{ApiCall, CallJournal};
use crate::resource::{CallSubject, ResourceKind};

/// For the API server's answer to the end of a connection.
const CLOSING: Duration = Duration::from_secs(5);

/// Ends with its connections when it is dropped.
pub struct Forward {
    address: SocketAddr,
    failure: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
    /// The task needs the thread.
    _runtime: Arc<Runtime>,
}

impl Forward {
    /// Each connection to it is one to the pod's port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The last connection that failed. The kubelet dials 127.0.0.1 in the pod: a server that
    /// listens on the pod's address alone is not reached.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Way {
    pods: Api<Pod>,
    pod: String,
    port: u16,
    path: String,
    journal: CallJournal,
    failure: Arc<Mutex<Option<String>>>,
}

impl Cluster {
    pub fn forward(&self, pod: &str, port: u16) -> Result<Forward, KubernetesError> {
        let kind = ResourceKind::of::<Pod>();
        let path = format!("{}/portforward", kind.object_path(&self.namespace, pod));
        let failure = Arc::new(Mutex::new(None));
        let way = Way {
            pods: Api::namespaced(self.transport.client.clone(), &self.namespace),
            pod: pod.to_owned(),
            port,
            path,
            journal: self.transport.journal.clone(),
            failure: Arc::clone(&failure),
        };
        let failed = |cause: String| KubernetesError::Forward { pod: pod.to_owned(), port, cause };
        let (listener, address) = self.runtime.wait(async {
            // A missing right or pod is told here, not at the first connection.
            let tried = way.open().await.map_err(|error| self.refusal(pod, error, failed))?;
            tried.abort();
            let listener = TcpListener::bind(("127.0.0.1", 0)).await;
            let listener = listener.map_err(|error| failed(error.to_string()))?;
            let address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
            Ok::<_, KubernetesError>((listener, address))
        })?;
        let task = self.runtime.spawn(way.serve(listener));
        Ok(Forward { address, failure, task, _runtime: Arc::clone(&self.runtime) })
    }

    fn refusal(
        &self,
        pod: &str,
        error: kube::Error,
        failed: impl FnOnce(String) -> KubernetesError,
    ) -> KubernetesError {
        let kind = ResourceKind::of::<Pod>();
        let subject =
            CallSubject::of("create", &kind, &self.namespace).named(pod).sub("portforward");
        match error {
            kube::Error::Api(status) => self.transport.refusal(&subject, &status),
            other => failed(chain(&other)),
        }
    }
}

impl Way {
    async fn open(&self) -> Result<kube::api::Portforwarder, kube::Error> {
        let begun = Instant::now();
        let opened = self.pods.portforward(&self.pod, &[self.port]).await;
        let status = match &opened {
            Ok(_) => Some(101),
            Err(kube::Error::Api(status)) => Some(status.code),
            Err(_) => None,
        };
        self.journal.add(ApiCall {
            verb: "create",
            path: self.path.clone(),
            status,
            ms: begun.elapsed().as_millis() as u64,
            warnings: Vec::new(),
        });
        opened
    }

    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => drop(connections.spawn(self.clone().carry(socket))),
                    Err(error) => *self.failure.lock() = Some(error.to_string()),
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn carry(self, mut socket: TcpStream) {
        let mut opened = match self.open().await {
            Ok(opened) => opened,
            Err(error) => return *self.failure.lock() = Some(chain(&error)),
        };
        let (stream, failure) = (opened.take_stream(self.port), opened.take_error(self.port));
        let (Some(stream), Some(failure)) = (stream, failure) else { return };
        exchange(&mut socket, stream).await;
        if tokio::time::timeout(CLOSING, opened.join()).await.is_err() {
            return;
        }
        if let Some(failure) = failure.await {
            *self.failure.lock() = Some(failure.trim().to_owned());
        }
    }
}

/// Until the pod's side ends. The client library ends it when the local side does.
async fn exchange(socket: &mut TcpStream, stream: impl AsyncRead + AsyncWrite) {
    let (mut from_pod, mut to_pod) = tokio::io::split(stream);
    let (mut from_here, mut to_here) = socket.split();
    let outwards = async {
        let _ = copy(&mut from_here, &mut to_pod).await;
        let _ = to_pod.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = copy(&mut from_pod, &mut to_here) => {}
        () = outwards => {}
    }
}
