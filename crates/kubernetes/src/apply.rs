//! Server-side apply: objects as wanted, and what another manager owns is told instead of taken.

use http::Method;
use serde_json::Value;

use crate::cluster::{Cluster, read};
use crate::error::KubernetesError;
use crate::manifest::{Manifest, withhold};
use crate::resource::CallSubject;
use crate::transport::Call;

const FIELD_MANAGER: &str = "weir";
const CREATED: u16 = 201;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    Apply,
    /// The server checks everything and changes nothing; unknown fields are errors.
    ServerDryRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Created,
    Changed,
    Unchanged,
}

/// A place where a wanted object would change the live one.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// JSON pointer: `/spec/template/spec/containers/0/image`.
    pub path: String,
    pub live: Option<Value>,
    pub wanted: Option<Value>,
}

impl Cluster {
    /// Where the user may patch an object but not read it, what was there counts as changed.
    pub fn apply(&self, manifest: &Manifest, mode: ApplyMode) -> Result<Applied, KubernetesError> {
        let live = match self.live(manifest) {
            Err(KubernetesError::Forbidden { .. }) => None,
            live => live?,
        };
        let (code, applied) = self.patch(manifest, mode)?;
        if code == CREATED {
            return Ok(Applied::Created);
        }
        let is_unchanged = live.is_some_and(|live| match mode {
            ApplyMode::Apply => version(&live) == version(&applied),
            ApplyMode::ServerDryRun => changes(live, applied).is_empty(),
        });
        Ok(if is_unchanged { Applied::Unchanged } else { Applied::Changed })
    }

    /// What applying would change, as the server says with its defaults and webhooks. Empty for an
    /// object that stands as wanted; None where there is none. Values of a Secret are withheld.
    pub fn difference(
        &self,
        manifest: &Manifest,
    ) -> Result<Option<Vec<FieldChange>>, KubernetesError> {
        let Some(mut live) = self.live(manifest)? else { return Ok(None) };
        let (_, mut wanted) = self.patch(manifest, ApplyMode::ServerDryRun)?;
        if manifest.is_secret() {
            let changed = live.get("data") != wanted.get("data");
            withhold(&mut live);
            withhold(&mut wanted);
            if changed {
                wanted["data"] = "(withheld, other values)".into();
            }
        }
        Ok(Some(changes(live, wanted)))
    }

    fn patch(&self, manifest: &Manifest, mode: ApplyMode) -> Result<(u16, Value), KubernetesError> {
        let (kind, namespace) = (manifest.kind(), self.namespace_of(manifest));
        let name = manifest.named()?;
        let what = CallSubject::of("patch", kind, namespace).named(name);
        // JSON is YAML.
        let body = ("application/apply-patch+yaml", manifest.value().to_string().into_bytes());
        let path = kind.object_path(namespace, name);
        let mut call = Call::with_body(what, Method::PATCH, path, body);
        call.query.push(("fieldManager", FIELD_MANAGER.to_owned()));
        call.query.push(("fieldValidation", "Strict".to_owned()));
        if mode == ApplyMode::ServerDryRun {
            call.query.push(("dryRun", "All".to_owned()));
        }
        let answer = self.send(&call)?;
        Ok((answer.code, read(&call.what, &answer.body)?))
    }
}

fn version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

/// Without what the server keeps for itself.
fn changes(mut live: Value, mut wanted: Value) -> Vec<FieldChange> {
    for object in [&mut live, &mut wanted] {
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for own in
                ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"]
            {
                metadata.remove(own);
            }
        }
    }
    let mut found = Vec::new();
    compare("", Some(&live), Some(&wanted), &mut found);
    found
}

fn compare(path: &str, live: Option<&Value>, wanted: Option<&Value>, found: &mut Vec<FieldChange>) {
    match (live, wanted) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare(&path, one.get(key), other.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for n in 0..one.len().max(other.len()) {
                compare(&format!("{path}/{n}"), one.get(n), other.get(n), found);
            }
        }
        (live, wanted) if live == wanted => {}
        (live, wanted) => {
            let (live, wanted) = (live.cloned(), wanted.cloned());
            found.push(FieldChange { path: path.to_owned(), live, wanted });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_a_place_with_both_values() {
        let live = json!({"metadata": {"name": "e", "resourceVersion": "7"},
                          "spec": {"args": ["a", "b"], "x/y": 1}, "status": {"n": 1}});
        let wanted = json!({"metadata": {"name": "e", "resourceVersion": "8"},
                            "spec": {"args": ["a"], "x/y": 2}});
        let change = |path: &str, live: Option<Value>, wanted: Option<Value>| FieldChange {
            path: path.to_owned(),
            live,
            wanted,
        };
        assert_eq!(
            changes(live, wanted),
            [
                change("/spec/args/1", Some(json!("b")), None),
                change("/spec/x~1y", Some(json!(1)), Some(json!(2))),
            ]
        );
    }
}
