//! A Lease: one holder at a time, by the server's clock and version of the object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, Runtime, read};
use crate::error::KubernetesError;
use crate::resource::{CallSubject, ResourceKind};
use crate::transport::{Call, JSON, Transport};

const RENEWAL: Duration = Duration::from_secs(10);
/// A holder that has not renewed for so long is dead.
const DURATION: Duration = Duration::from_mins(1);

/// Held until it is dropped, which deletes the object; renewed meanwhile.
pub struct LeaseGuard {
    holding: Holding,
    task: JoinHandle<()>,
    runtime: Arc<Runtime>,
}

#[derive(Clone)]
struct Holding {
    transport: Transport,
    path: String,
    namespace: String,
    name: String,
    holder: String,
    state: Arc<Mutex<State>>,
}

struct State {
    lease: Lease,
    renewed: Instant,
    lost: Option<String>,
}

impl LeaseGuard {
    /// Why it is not held any more. A step that changes the cluster asks first.
    pub fn lost(&self) -> Option<String> {
        let state = self.holding.state.lock();
        let silent = state.renewed.elapsed();
        let expired =
            || (silent >= DURATION).then(|| format!("not renewed for {} s", silent.as_secs()));
        state.lost.clone().or_else(expired)
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.task.abort();
        self.runtime.wait(self.holding.release());
    }
}

impl Cluster {
    /// Takes the lease, also over from a holder that died. `holder` names a run.
    pub fn lease(&self, name: &str, holder: &str) -> Result<LeaseGuard, KubernetesError> {
        let kind = ResourceKind::of::<Lease>();
        let mut holding = Holding {
            transport: self.transport.clone(),
            path: kind.path(&self.namespace),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
            holder: holder.to_owned(),
            state: Arc::new(Mutex::new(State {
                lease: Lease::default(),
                renewed: Instant::now(),
                lost: None,
            })),
        };
        self.runtime.wait(holding.take())?;
        let task = self.runtime.spawn(holding.clone().renew_for_ever());
        Ok(LeaseGuard { holding, task, runtime: Arc::clone(&self.runtime) })
    }
}

impl Holding {
    async fn take(&mut self) -> Result<(), KubernetesError> {
        // Two that find no lease, or a dead one, both write: the server lets one of them.
        for _ in 0..3 {
            let taken = match self.find().await? {
                None => self.write(None, &self.fresh(self.transport.clock.now())).await,
                Some(lease) => {
                    let now = self.transport.clock.now();
                    self.check(&lease, now)?;
                    let version = lease.metadata.resource_version.clone();
                    self.write(version, &self.taken_over(&lease, now)).await
                }
            };
            match taken {
                Ok(()) => return Ok(()),
                Err(KubernetesError::Changed { .. } | KubernetesError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match self.find().await? {
            Some(lease) => self.check(&lease, self.transport.clock.now()).and(Err(self.raced())),
            None => Err(self.raced()),
        }
    }

    fn raced(&self) -> KubernetesError {
        let message = "others take and leave the lease all the time".to_owned();
        KubernetesError::Changed { what: Box::new(self.subject("update")), message }
    }

    async fn find(&self) -> Result<Option<Lease>, KubernetesError> {
        let call = Call::get(self.subject("get"), self.object_path());
        match self.transport.send(&call).await {
            Ok(answer) => read(&call.what, &answer.body).map(Some),
            Err(KubernetesError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An error for a holder that lives.
    fn check(&self, lease: &Lease, now: Timestamp) -> Result<(), KubernetesError> {
        let Some(spec) = &lease.spec else { return Ok(()) };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let Some(MicroTime(renewed)) = spec.renew_time else { return Ok(()) };
        if holder.is_empty() || holder == self.holder {
            return Ok(());
        }
        let age = now.duration_since(renewed);
        let duration =
            spec.lease_duration_seconds.map_or(DURATION.as_secs().cast_signed(), i64::from);
        let left = SignedDuration::from_secs(duration).saturating_sub(age);
        if left <= SignedDuration::ZERO {
            return Ok(());
        }
        Err(KubernetesError::LeaseHeld {
            name: self.name.clone(),
            holder: holder.to_owned(),
            age: age.as_secs().max(0),
            expires_in: left.as_secs(),
        })
    }

    fn fresh(&self, now: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(0),
            ..Default::default()
        }
    }

    fn taken_over(&self, lease: &Lease, now: Timestamp) -> LeaseSpec {
        let before = lease.spec.as_ref();
        let is_ours = before.and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.holder);
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec { lease_transitions: Some(transitions + i32::from(!is_ours)), ..self.fresh(now) }
    }

    /// Creates without a version; else replaces that version only.
    async fn write(
        &self,
        version: Option<String>,
        spec: &LeaseSpec,
    ) -> Result<(), KubernetesError> {
        let is_new = version.is_none();
        let labels = [("app.kubernetes.io/managed-by".to_owned(), "weir".to_owned())];
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            resource_version: version,
            labels: Some(labels.into_iter().collect()),
            ..Default::default()
        };
        let lease = Lease { metadata, spec: Some(spec.clone()) };
        let body = serde_json::to_vec(&lease).expect("objects of an API are JSON");
        let (verb, method, path) = if is_new {
            ("create", Method::POST, self.path.clone())
        } else {
            ("update", Method::PUT, self.object_path())
        };
        let call = Call::with_body(self.subject(verb), method, path, (JSON, body));
        let sent = Instant::now();
        let answer = self.transport.send(&call).await?;
        let mut state = self.state.lock();
        state.lease = read(&call.what, &answer.body)?;
        state.renewed = sent;
        Ok(())
    }

    async fn renew_for_ever(self) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let (version, spec) = {
                let state = self.state.lock();
                (state.lease.metadata.resource_version.clone(), state.lease.spec.clone())
            };
            let Some(mut spec) = spec else { return };
            // The server's clock has gone on as this one's has.
            if let Some(MicroTime(renewed)) = spec.renew_time {
                let since = SignedDuration::try_from(self.state.lock().renewed.elapsed());
                spec.renew_time = Some(MicroTime(renewed + since.unwrap_or(SignedDuration::ZERO)));
            }
            // After another failure the next renewal tries again; `lost` counts the time.
            let written = self.write(version, &spec).await;
            let is_changed = matches!(
                written,
                Err(KubernetesError::Changed { .. } | KubernetesError::NotFound { .. })
            );
            if is_changed && !self.is_still_ours().await {
                return;
            }
        }
    }

    /// After somebody wrote it: a label, or another holder.
    async fn is_still_ours(&self) -> bool {
        let lost = match self.find().await {
            Err(_) => return true,
            Ok(None) => "it was deleted".to_owned(),
            Ok(Some(lease)) => {
                let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
                let mut state = self.state.lock();
                if holder.as_ref() == Some(&self.holder) {
                    state.lease.metadata.resource_version = lease.metadata.resource_version;
                    return true;
                }
                format!("`{}` took it", holder.unwrap_or_default())
            }
        };
        self.state.lock().lost = Some(lost);
        false
    }

    async fn release(&self) {
        if self.state.lock().lost.is_some() {
            return;
        }
        // A renewal that was under way may have changed the version.
        for _ in 0..2 {
            let metadata = self.state.lock().lease.metadata.clone();
            let (uid, version) = (metadata.uid, metadata.resource_version);
            let options = json!({"preconditions": {"uid": uid, "resourceVersion": version}});
            let body = (JSON, options.to_string().into_bytes());
            let what = self.subject("delete");
            let call = Call::with_body(what, Method::DELETE, self.object_path(), body);
            // What cannot be deleted expires.
            let gone = self.transport.send(&call).await;
            let is_changed = matches!(gone, Err(KubernetesError::Changed { .. }));
            if !is_changed || !self.is_still_ours().await {
                return;
            }
        }
    }

    fn subject(&self, verb: &'static str) -> CallSubject {
        CallSubject::of(verb, &ResourceKind::of::<Lease>(), &self.namespace).named(&self.name)
    }

    fn object_path(&self) -> String {
        ResourceKind::of::<Lease>().object_path(&self.namespace, &self.name)
    }
}
