//! An object as it is wanted: applied, written as YAML, and named by a hash.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::KubernetesError;
use crate::resource::{Named, ResourceKind};

/// An object with its kind. Equal objects have equal YAML and hashes, in any order of keys.
#[derive(Clone, PartialEq)]
pub struct Manifest {
    kind: ResourceKind,
    value: Value,
}

/// A Secret's values never reach a log.
impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manifest({} {})", self.kind.qualified(), self.name().unwrap_or("?"))
    }
}

impl Manifest {
    /// Of any typed resource.
    pub fn of<K: Named + Serialize>(object: &K) -> Self {
        let value = serde_json::to_value(object).expect("objects of an API are JSON");
        Self { kind: ResourceKind::of::<K>(), value: sorted(value) }
    }

    /// Of a namespaced resource that a CRD defines. `plural` is the name in addresses.
    pub fn custom(api_version: &str, kind: &str, plural: &str, value: Value) -> Self {
        let mut value = value;
        if let Value::Object(fields) = &mut value {
            fields.insert("apiVersion".to_owned(), api_version.into());
            fields.insert("kind".to_owned(), kind.into());
        }
        Self { kind: ResourceKind::custom(api_version, kind, plural), value: sorted(value) }
    }

    pub fn kind(&self) -> &ResourceKind {
        &self.kind
    }

    pub fn name(&self) -> Option<&str> {
        self.value.pointer("/metadata/name").and_then(Value::as_str)
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The values of a Secret are not in it: what is rendered is read and kept by others.
    pub fn yaml(&self) -> String {
        let mut value = self.value.clone();
        if self.is_secret() {
            withhold(&mut value);
        }
        serde_saphyr::to_string(&value).expect("JSON is YAML")
    }

    /// 64 hexadecimal digits over the whole object.
    pub fn hash(&self) -> String {
        blake3::hash(self.value.to_string().as_bytes()).to_hex().to_string()
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.kind.group.is_empty() && self.kind.plural == "secrets"
    }

    pub(crate) fn named(&self) -> Result<&str, KubernetesError> {
        let nameless = || KubernetesError::Nameless { kind: self.kind.kind.clone() };
        self.name().filter(|name| !name.is_empty()).ok_or_else(nameless)
    }

    /// Its own namespace, where it names one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.value.pointer("/metadata/namespace").and_then(Value::as_str)
    }
}

/// Keys in order, whatever `serde_json` keeps: other crates of a build may switch that.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            let fields = fields.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

pub(crate) fn withhold(secret: &mut Value) {
    for part in ["data", "stringData"] {
        let Some(Value::Object(fields)) = secret.get_mut(part) else { continue };
        fields.values_mut().for_each(|value| *value = "(withheld)".into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    use super::*;

    fn named(name: &str) -> ObjectMeta {
        ObjectMeta { name: Some(name.to_owned()), ..Default::default() }
    }

    #[test]
    fn yaml_has_sorted_keys_and_the_hash_ignores_their_order() {
        let custom = |text: &str| {
            let value = serde_json::from_str(text).unwrap();
            Manifest::custom("x.dev/v1", "Pool", "pools", value)
        };
        let one = custom(r#"{"spec": {"b": [1], "a": "on"}, "metadata": {"name": "p"}}"#);
        let other = custom(r#"{"metadata": {"name": "p"}, "spec": {"a": "on", "b": [1]}}"#);
        assert_eq!(one.hash(), other.hash());
        assert_eq!(one.yaml(), other.yaml());
        assert_eq!(
            one.yaml(),
            "apiVersion: x.dev/v1\nkind: Pool\nmetadata:\n  name: p\nspec:\n  a: \"on\"\n  b:\n  - 1\n"
        );
        assert_eq!(one.name(), Some("p"));
    }

    #[test]
    fn a_typed_object_knows_its_kind() {
        let data = Some(BTreeMap::from([("k".to_owned(), "v".to_owned())]));
        let manifest =
            Manifest::of(&ConfigMap { metadata: named("c"), data, ..Default::default() });
        assert_eq!(manifest.kind().qualified(), "configmaps");
        assert_eq!(
            manifest.value(),
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"},
                    "data": {"k": "v"}})
        );
    }

    #[test]
    fn values_of_a_secret_are_in_no_text() {
        let data = BTreeMap::from([("HF_TOKEN".to_owned(), ByteString(b"hf_abc".to_vec()))]);
        let secret = Secret { metadata: named("s"), data: Some(data), ..Default::default() };
        let manifest = Manifest::of(&secret);
        assert!(manifest.yaml().contains("HF_TOKEN: (withheld)"), "{}", manifest.yaml());
        assert_eq!(format!("{manifest:?}"), "Manifest(secrets s)");
        assert_ne!(
            manifest.hash(),
            Manifest::of(&Secret { metadata: named("s"), ..Default::default() }).hash()
        );
    }
}
