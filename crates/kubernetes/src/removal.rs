//! Removing everything that carries some labels, of any kind, and saying what does not go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::{Cluster, chosen_by, pause};
use crate::error::KubernetesError;
use crate::resource::{CallSubject, ResourceKind};
use crate::transport::Call;

/// Names and owners, without the objects: a Secret's values stay where they are.
const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The garbage collector takes 1.5 to 3.2 s for a Deployment with its pods.
const COLLECTION: Duration = Duration::from_secs(10);
/// A finalizer's controller acts within seconds, if it still runs.
const FINALIZATION: Duration = Duration::from_secs(5);

/// How to remove.
pub struct Removal<'a> {
    /// A selector of the objects that own the others: they go first.
    pub anchors: String,
    /// Kinds that stay, as `persistentvolumeclaims` or `leases.coordination.k8s.io`.
    pub keep: Vec<String>,
    pub until: Instant,
    pub stopped: &'a dyn Fn() -> bool,
    /// Takes finalizers off what does not end. What they guard may then stay behind, unseen.
    pub strip_finalizers: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Objects that were there and are gone.
    pub gone: usize,
    pub left: Vec<Leftover>,
    /// Kinds that this user may not list, and groups whose server did not answer.
    pub unseen: Vec<String>,
}

/// An object that is still there, with what holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// `pods`, `deployments.apps`
    pub kind: String,
    pub name: String,
    pub is_ending: bool,
    pub finalizers: Vec<Finalizer>,
    /// The server's refusal to delete it.
    pub refusal: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finalizer {
    pub name: String,
    /// The field manager that set it, as far as the object tells: the controller that must act.
    pub manager: Option<String>,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        if let Some(refusal) = &self.refusal {
            return write!(f, ": {refusal}");
        }
        for (n, finalizer) in self.finalizers.iter().enumerate() {
            let sign = if n == 0 { ": held by finalizer" } else { "," };
            write!(f, "{sign} {}", finalizer.name)?;
            let known = match finalizer.name.as_str() {
                "foregroundDeletion" => Some("the garbage collector waits for its dependents"),
                "kubernetes.io/pvc-protection" => Some("a pod still uses it"),
                "kubernetes.io/pv-protection" => Some("a claim is still bound to it"),
                _ => None,
            };
            match (known, &finalizer.manager) {
                (Some(known), _) => write!(f, " ({known})")?,
                (None, Some(manager)) => write!(f, " (set by {manager})")?,
                (None, None) => {}
            }
        }
        if self.finalizers.is_empty() {
            f.write_str(if self.is_ending { ": still ending" } else { ": not deleted" })?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Partial {
    metadata: ObjectMeta,
}

#[derive(Debug, Clone)]
struct Found {
    kind: ResourceKind,
    metadata: ObjectMeta,
}

impl Found {
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn is_ending(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn finalizers(&self) -> Vec<Finalizer> {
        let names = self.metadata.finalizers.iter().flatten();
        names.map(|name| Finalizer { name: name.clone(), manager: self.manager_of(name) }).collect()
    }

    fn manager_of(&self, finalizer: &str) -> Option<String> {
        let key = format!("v:\"{finalizer}\"");
        let owns = |fields: &Value| fields["f:metadata"]["f:finalizers"].get(&key).is_some();
        let mut entries = self.metadata.managed_fields.iter().flatten();
        let entry =
            entries.find(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)))?;
        entry.manager.clone()
    }
}

impl Cluster {
    /// Anchors first, in the foreground. Then waits until no kind has an object with these labels;
    /// what nobody collects is deleted by itself. What is left at the end is no error.
    pub fn remove(&self, labels: &str, how: &Removal) -> Result<Removed, KubernetesError> {
        let mut removal = Sweep::of(self, labels, how)?;
        let anchors = removal.look(&format!("{labels},{}", how.anchors))?;
        for anchor in &anchors {
            removal.delete(anchor)?;
        }
        loop {
            let mut found = removal.look(labels)?;
            if found.is_empty() {
                // Something may have been made of a kind that had no object before.
                found = removal.look_everywhere(labels)?;
                if found.is_empty() {
                    return Ok(removal.result(&[]));
                }
            }
            removal.step(&found)?;
            let now = Instant::now();
            if now >= how.until || !pause(how.until.min(now + LOOK_INTERVAL), how.stopped) {
                let left = removal.look(labels)?;
                return Ok(removal.result(&left));
            }
        }
    }
}

/// A removal under way.
struct Sweep<'a> {
    cluster: &'a Cluster,
    how: &'a Removal<'a>,
    all: Vec<ResourceKind>,
    /// Kinds that had objects; the others are asked at the end.
    kinds: Vec<ResourceKind>,
    unseen: BTreeSet<String>,
    /// By uid.
    seen: BTreeMap<String, Instant>,
    ending: BTreeMap<String, Instant>,
    asked: BTreeSet<String>,
    refusals: BTreeMap<String, String>,
}

impl<'a> Sweep<'a> {
    fn of(
        cluster: &'a Cluster,
        labels: &str,
        how: &'a Removal<'a>,
    ) -> Result<Self, KubernetesError> {
        let discovered = cluster.discover()?;
        let is_kept = |kind: &ResourceKind| {
            how.keep.iter().any(|kept| *kept == kind.plural || *kept == kind.qualified())
        };
        let all: Vec<_> = discovered.kinds.into_iter().filter(|kind| !is_kept(kind)).collect();
        let mut sweep = Self {
            cluster,
            how,
            kinds: all.clone(),
            all,
            unseen: discovered.unknown.into_iter().collect(),
            seen: BTreeMap::new(),
            ending: BTreeMap::new(),
            asked: BTreeSet::new(),
            refusals: BTreeMap::new(),
        };
        sweep.look_everywhere(labels)?;
        Ok(sweep)
    }

    fn look_everywhere(&mut self, labels: &str) -> Result<Vec<Found>, KubernetesError> {
        self.kinds.clone_from(&self.all);
        let found = self.look(labels)?;
        let had: BTreeSet<&ResourceKind> = found.iter().map(|found| &found.kind).collect();
        self.kinds = had.into_iter().cloned().collect();
        Ok(found)
    }

    fn look(&mut self, labels: &str) -> Result<Vec<Found>, KubernetesError> {
        let mut found = Vec::new();
        for kind in &self.kinds {
            let items = self.cluster.list_items::<Partial>(kind, &chosen_by(labels), METADATA_ONLY);
            match items {
                Ok(items) => found.extend(
                    items
                        .into_iter()
                        .map(|item| Found { kind: kind.clone(), metadata: item.metadata }),
                ),
                Err(
                    KubernetesError::Forbidden { .. }
                    | KubernetesError::NotFound { .. }
                    | KubernetesError::UnknownKind { .. }
                    | KubernetesError::Refused { code: 405, .. },
                ) => {
                    self.unseen.insert(kind.qualified());
                }
                Err(error) => return Err(error),
            }
        }
        let now = Instant::now();
        for object in &found {
            self.seen.entry(object.uid().to_owned()).or_insert(now);
            if object.is_ending() {
                self.ending.entry(object.uid().to_owned()).or_insert(now);
            }
        }
        Ok(found)
    }

    fn step(&mut self, found: &[Found]) -> Result<(), KubernetesError> {
        let there: BTreeSet<&str> = found.iter().map(Found::uid).collect();
        for object in found {
            let has_lasted = |since: &BTreeMap<String, Instant>, limit| {
                since.get(object.uid()).is_some_and(|since| since.elapsed() >= limit)
            };
            let owners = object.metadata.owner_references.as_ref();
            let is_owned = owners.is_some_and(|owners| {
                owners.iter().any(|owner| there.contains(owner.uid.as_str()))
            });
            if object.is_ending() {
                let holds = object.metadata.finalizers.as_ref().is_some_and(|all| !all.is_empty());
                if holds && self.how.strip_finalizers && has_lasted(&self.ending, FINALIZATION) {
                    self.strip(object)?;
                }
            } else if !is_owned || has_lasted(&self.seen, COLLECTION) {
                self.delete(object)?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, object: &Found) -> Result<(), KubernetesError> {
        if !self.asked.insert(object.uid().to_owned()) {
            return Ok(());
        }
        let options = json!({
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": object.uid()},
        });
        let namespace = self.cluster.namespace();
        match self.cluster.delete_object(&object.kind, namespace, object.name(), &options) {
            // Another object has the name by now.
            Ok(_) | Err(KubernetesError::Changed { .. }) => Ok(()),
            Err(error) => self.refused(object, error),
        }
    }

    fn strip(&mut self, object: &Found) -> Result<(), KubernetesError> {
        let namespace = self.cluster.namespace();
        let what = CallSubject::of("patch", &object.kind, namespace).named(object.name());
        let path = object.kind.object_path(namespace, object.name());
        let patch = json!({"metadata": {"uid": object.uid(), "finalizers": null}});
        let body = ("application/merge-patch+json", patch.to_string().into_bytes());
        match self.cluster.send(&Call::with_body(what, Method::PATCH, path, body)) {
            Ok(_) | Err(KubernetesError::NotFound { .. } | KubernetesError::Changed { .. }) => {
                Ok(())
            }
            Err(error) => self.refused(object, error),
        }
    }

    fn refused(&mut self, object: &Found, error: KubernetesError) -> Result<(), KubernetesError> {
        match error {
            KubernetesError::Forbidden { .. }
            | KubernetesError::Refused { .. }
            | KubernetesError::Invalid { .. } => {
                self.refusals.insert(object.uid().to_owned(), error.to_string());
                Ok(())
            }
            error => Err(error),
        }
    }

    fn result(&self, left: &[Found]) -> Removed {
        let leftover = |found: &Found| Leftover {
            kind: found.kind.qualified(),
            name: found.name().to_owned(),
            is_ending: found.is_ending(),
            finalizers: found.finalizers(),
            refusal: self.refusals.get(found.uid()).cloned(),
        };
        Removed {
            gone: self.seen.len() - left.len(),
            left: left.iter().map(leftover).collect(),
            unseen: self.unseen.iter().cloned().collect(),
        }
    }
}
