//! A stand-in for the part of the Kubernetes API that a picker reads: pods of one namespace and an
//! inference pool, listed and watched.
//!
//! llm-d-inference-scheduler 0.7 and the gateway extension's picker find their replicas in no other
//! way. What the stand-in serves does not change: replicas live as long as the cell.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::config::{NAMESPACE, POOL};
use crate::replicas::PickedReplicas;

/// Of lists and of all objects: nothing changes.
const VERSION: &str = "100";
/// Where a watch names no time-out.
const WATCH: Duration = Duration::from_mins(10);
const WATCH_MAX_S: u64 = 3600;
const LABEL: (&str, &str) = ("app", "weir-replica");

/// Kinds of the inference extension, in their groups.
struct Group {
    name: &'static str,
    version: &'static str,
    /// Plural and kind.
    kinds: &'static [(&'static str, &'static str)],
}

const POOLS: &str = "inferencepools";
const GROUPS: [Group; 2] = [
    Group {
        name: "inference.networking.k8s.io",
        version: "v1",
        kinds: &[(POOLS, "InferencePool")],
    },
    Group {
        name: "inference.networking.x-k8s.io",
        version: "v1alpha2",
        kinds: &[
            ("inferenceobjectives", "InferenceObjective"),
            ("inferencemodelrewrites", "InferenceModelRewrite"),
        ],
    },
];

#[derive(Debug, Clone, Copy)]
struct ListQuery {
    watch: bool,
    send_initial_events: bool,
    timeout: Duration,
}

impl ListQuery {
    /// The values that clients send need no decoding.
    fn of(text: &str) -> Self {
        let value = |name: &str| {
            text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let is_set = |name| matches!(value(name), Some("true" | "1"));
        let seconds = value("timeoutSeconds").and_then(|text| text.parse::<u64>().ok());
        Self {
            watch: is_set("watch"),
            send_initial_events: is_set("sendInitialEvents"),
            timeout: seconds.map_or(WATCH, |most| Duration::from_secs(most.min(WATCH_MAX_S))),
        }
    }
}

pub(crate) fn routes(replicas: PickedReplicas) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(replicas))
}

async fn answer(
    State(replicas): State<Arc<PickedReplicas>>,
    uri: Uri,
    RawQuery(query): RawQuery,
) -> Response {
    let query = ListQuery::of(query.as_deref().unwrap_or_default());
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    match path[..] {
        ["api"] => whole(StatusCode::OK, &json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => {
            let groups: Vec<Value> = GROUPS.iter().map(Group::described).collect();
            let kind = "APIGroupList";
            whole(StatusCode::OK, &json!({"kind": kind, "apiVersion": "v1", "groups": groups}))
        }
        ["api", "v1"] => whole(StatusCode::OK, &resources("v1", &[("pods", "Pod")])),
        ["api", "v1", "pods"] | ["api", "v1", "namespaces", NAMESPACE, "pods"] => {
            listed(query, "v1", "Pod", &pods(&replicas))
        }
        ["apis", group, ref rest @ ..] => match GROUPS.iter().find(|known| known.name == group) {
            Some(group) => group.answer(rest, query, &replicas),
            None => absent(),
        },
        _ => absent(),
    }
}

impl Group {
    fn api(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }

    fn described(&self) -> Value {
        let version = json!({"groupVersion": self.api(), "version": self.version});
        json!({"name": self.name, "versions": [version.clone()], "preferredVersion": version})
    }

    fn answer(&self, rest: &[&str], query: ListQuery, replicas: &PickedReplicas) -> Response {
        // With or without the namespace.
        let rest: Vec<&str> = match rest {
            [version, "namespaces", NAMESPACE, rest @ ..] => [&[*version], rest].concat(),
            rest => rest.to_vec(),
        };
        let kind_of = |plural: &str| self.kinds.iter().find(|(name, _)| *name == plural);
        match rest[..] {
            [] => {
                let mut group = self.described();
                group["kind"] = Value::from("APIGroup");
                group["apiVersion"] = Value::from("v1");
                whole(StatusCode::OK, &group)
            }
            [version] if version == self.version => {
                whole(StatusCode::OK, &resources(&self.api(), self.kinds))
            }
            [version, plural] if version == self.version => match kind_of(plural) {
                Some((POOLS, kind)) => {
                    listed(query, &self.api(), kind, &[self.pool(kind, replicas)])
                }
                Some((_, kind)) => listed(query, &self.api(), kind, &[]),
                None => absent(),
            },
            [version, POOLS, POOL] if version == self.version => match kind_of(POOLS) {
                Some((_, kind)) => whole(StatusCode::OK, &self.pool(kind, replicas)),
                None => absent(),
            },
            _ => absent(),
        }
    }

    fn pool(&self, kind: &str, replicas: &PickedReplicas) -> Value {
        json!({
            "apiVersion": self.api(),
            "kind": kind,
            "metadata": metadata(POOL),
            "spec": {
                "selector": {"matchLabels": {LABEL.0: LABEL.1}},
                "targetPorts": [{"number": replicas.port}],
                // A required field, which a picker does not read.
                "endpointPickerRef": {"name": "weir-picker", "port": {"number": 9002}},
            },
        })
    }
}

fn pods(replicas: &PickedReplicas) -> Vec<Value> {
    let pod = |(number, address): (usize, &std::net::Ipv4Addr)| {
        let address = address.to_string();
        let mut metadata = metadata(&format!("replica-{number}"));
        metadata["labels"] = json!({LABEL.0: LABEL.1});
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [{"name": "engine", "image": "engine"}]},
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    };
    replicas.addresses.iter().enumerate().map(pod).collect()
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "namespace": NAMESPACE,
        "uid": format!("uid-{name}"),
        "resourceVersion": VERSION,
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    })
}

fn resources(api: &str, kinds: &[(&str, &str)]) -> Value {
    let verbs = ["get", "list", "watch"];
    let list: Vec<Value> = kinds
        .iter()
        .map(|(plural, kind)| {
            let singular = kind.to_lowercase();
            json!({"name": plural, "singularName": singular, "namespaced": true, "kind": kind,
                   "verbs": verbs})
        })
        .collect();
    json!({"kind": "APIResourceList", "groupVersion": api, "resources": list})
}

fn listed(query: ListQuery, api: &str, kind: &str, items: &[Value]) -> Response {
    if !query.watch {
        let kind = format!("{kind}List");
        let metadata = json!({"resourceVersion": VERSION});
        let list = json!({"kind": kind, "apiVersion": api, "metadata": metadata, "items": items});
        return whole(StatusCode::OK, &list);
    }
    if query.send_initial_events {
        // An API server without streaming lists answers so; clients then list first.
        let message = "sendInitialEvents is not supported";
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
    }
    let silent = futures_util::stream::once(async move {
        tokio::time::sleep(query.timeout).await;
        Ok::<_, Infallible>(Bytes::new())
    });
    response(StatusCode::OK, Body::from_stream(silent))
}

fn absent() -> Response {
    refusal(StatusCode::NOT_FOUND, "NotFound", "the stand-in does not serve this")
}

fn refusal(code: StatusCode, reason: &str, message: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "reason": reason, "message": message,
    });
    whole(code, &status)
}

fn whole(code: StatusCode, value: &Value) -> Response {
    response(code, Body::from(value.to_string()))
}

fn response(code: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
