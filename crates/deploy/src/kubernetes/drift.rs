//! Whether what stands is what was applied: another configuration would be measured under the arm's
//! name.

use serde_json::Value;
use weir_kubernetes::k8s_openapi::api::core::v1::Pod;
use weir_kubernetes::{Cluster, Manifest};

use super::objects::StackObject;
use crate::error::DeployError;

/// A field that is not as applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {seen}, and {applied} was applied")]
pub struct Drift {
    field: String,
    seen: String,
    applied: String,
}

impl Drift {
    pub(super) fn of(self, arm: &str, object: String) -> DeployError {
        DeployError::Drift { arm: arm.to_owned(), object, drift: Box::new(self) }
    }
}

/// Between a Deployment and a pod that it made. Webhooks change pods, and leave the Deployment.
/// Containers that they add are not compared.
pub(super) fn of_pod(deployment: &Manifest, pod: &Pod) -> Option<Drift> {
    let live = serde_json::to_value(&pod.spec).unwrap_or_default();
    let live = live["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let wanted = &deployment.value()["spec"]["template"]["spec"]["containers"];
    wanted.as_array().into_iter().flatten().find_map(|wanted| {
        let name = wanted["name"].as_str().unwrap_or_default();
        let Some(live) = live.iter().find(|live| live["name"] == wanted["name"]) else {
            let field = format!("container {name}");
            return Some(Drift { field, seen: "absent".to_owned(), applied: "one".to_owned() });
        };
        of_container(name, wanted, live)
    })
}

fn of_container(name: &str, wanted: &Value, live: &Value) -> Option<Drift> {
    let drift = |field: &str, live: &Value, wanted: &Value| Drift {
        field: format!("{field} of container {name}"),
        seen: live.to_string(),
        applied: wanted.to_string(),
    };
    if let Some(key) = ["image", "command", "args"].into_iter().find(|key| wanted[key] != live[key])
    {
        return Some(drift(key, &live[key], &wanted[key]));
    }
    let variables = |of: &Value| of["env"].as_array().cloned().unwrap_or_default();
    let live = variables(live);
    variables(wanted).iter().find_map(|wanted| {
        let set = live.iter().find(|live| live["name"] == wanted["name"]);
        let set = set.map_or(&Value::Null, |set| &set["value"]);
        let field = format!("variable {}", wanted["name"].as_str().unwrap_or_default());
        (*set != wanted["value"]).then(|| drift(&field, set, &wanted["value"]))
    })
}

/// An error for the first object that somebody changed or removed since it was applied.
pub(super) fn of_objects(
    cluster: &Cluster,
    objects: &[StackObject],
    arm: &str,
) -> Result<(), DeployError> {
    for StackObject { manifest, .. } in objects {
        let text = |value: &Option<Value>| {
            value.as_ref().map_or_else(|| "absent".to_owned(), Value::to_string)
        };
        let drift = match cluster.difference(manifest)? {
            None => Drift {
                field: "the object".to_owned(),
                seen: "absent".to_owned(),
                applied: "one".to_owned(),
            },
            Some(changes) => match changes.first() {
                None => continue,
                Some(change) => Drift {
                    field: change.path.trim_start_matches('/').replace('/', "."),
                    seen: text(&change.live),
                    applied: text(&change.wanted),
                },
            },
        };
        let name = manifest.name().unwrap_or_default();
        return Err(drift.of(arm, format!("{} {name}", manifest.kind().qualified())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn between(wanted: &Value, live: &Value) -> Option<(String, String, String)> {
        let template = json!({"spec": {"containers": [wanted]}});
        let deployment = json!({"metadata": {"name": "engine"}, "spec": {"template": template}});
        let manifest = Manifest::custom("apps/v1", "Deployment", "deployments", deployment);
        let pod = json!({"metadata": {}, "spec": {"containers": live}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        of_pod(&manifest, &pod).map(|Drift { field, seen, applied }| (field, seen, applied))
    }

    #[test]
    fn what_a_webhook_changes_in_a_pod_is_named_with_both_values() {
        let own = json!({
            "name": "engine", "image": "weir:1", "args": ["serve"],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "LEVEL", "value": "info"}],
        });
        let changed = |key: &str, value: Value| {
            let mut live = own.clone();
            live[key] = value;
            between(&own, &json!([live]))
        };
        let side = json!({"name": "istio-proxy", "image": "proxy:1"});
        assert_eq!(between(&own, &json!([side, own])), None);
        let expected = |field: &str, seen: &str, applied: &str| {
            Some((field.to_owned(), seen.to_owned(), applied.to_owned()))
        };
        assert_eq!(
            changed("image", "mirror/weir:1".into()),
            expected("image of container engine", "\"mirror/weir:1\"", "\"weir:1\"")
        );
        assert_eq!(
            changed("args", json!(["serve", "--instant"])),
            expected("args of container engine", "[\"serve\",\"--instant\"]", "[\"serve\"]")
        );
        let more = json!([{"name": "PROXY", "value": "p"}, {"name": "LEVEL", "value": "debug"},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
        assert_eq!(
            changed("env", more),
            expected("variable LEVEL of container engine", "\"debug\"", "\"info\"")
        );
        assert_eq!(between(&own, &json!([side])), expected("container engine", "absent", "one"));
    }
}
