//! Envoy's bootstrap file: one door for all requests, behind which the picker chooses.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// Response header with the replica that answered, `IP:PORT`.
pub const REPLICA_HEADER: &str = "x-weir-replica";

/// Request header by which a picker names the replica.
const DESTINATION: &str = "x-gateway-destination-endpoint";
const TYPE: &str = "@type";
/// What Envoy sends by itself.
const ANY: &str = "any";
/// What goes where the picker says.
const PICKED: &str = "picked";
/// At the admin address: how many requests went to [`ANY`], and to [`PICKED`].
pub const STATS: &str =
    "/stats/prometheus?filter=%5Ecluster%5C.%28any%7Cpicked%29%5C.upstream_rq_total%24";

/// Where requests come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// gRPC address of the picker.
    pub picker: SocketAddr,
    /// Port of the picker's own health service, at the same address.
    pub picker_health: u16,
    /// What happens when the picker does not answer: with a list, Envoy sends the request to one of
    /// these in turn; empty, the request fails.
    pub fail_open: Vec<SocketAddr>,
}

impl Door {
    /// As JSON, for `envoy --config-path`.
    pub fn bootstrap(&self) -> Value {
        let mut clusters = vec![self.picker_cluster(), picked_cluster()];
        if !self.fail_open.is_empty() {
            clusters.push(self.fail_open_cluster());
        }
        json!({
            "admin": {"address": socket(self.admin)},
            "static_resources": {
                "listeners": [{
                    "name": "door",
                    "address": socket(self.address),
                    "filter_chains": [{"filters": [self.connection_manager()]}],
                }],
                "clusters": clusters,
            },
        })
    }

    fn connection_manager(&self) -> Value {
        let to_picked = json!({"cluster": PICKED, "timeout": "0s"});
        let mut routes = Vec::new();
        if self.fail_open.is_empty() {
            routes.push(json!({"match": {"prefix": "/"}, "route": to_picked}));
        } else {
            // Only a picker sets the header. Without it the request goes to any replica.
            let picked = json!({"name": DESTINATION, "present_match": true});
            routes.push(json!({"match": {"prefix": "/", "headers": [picked]}, "route": to_picked}));
            let any = json!({"cluster": ANY, "timeout": "0s"});
            routes.push(json!({"match": {"prefix": "/"}, "route": any}));
        }
        let log = "%RESPONSE_CODE% %UPSTREAM_HOST% %REQ(X-GATEWAY-DESTINATION-ENDPOINT)% \
                   %REQ(X-REQUEST-ID)% %DURATION% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n";
        json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                TYPE: extension("network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "door",
                "stream_idle_timeout": "0s",
                "route_config": {"virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": routes,
                    "response_headers_to_add": [{
                        "header": {"key": REPLICA_HEADER, "value": "%UPSTREAM_HOST%"},
                        // Whatever an engine or another gateway says of it.
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }],
                }]},
                "access_log": [{
                    "name": "envoy.access_loggers.file",
                    "typed_config": {
                        TYPE: "type.googleapis.com/envoy.extensions.access_loggers.file.v3.\
                               FileAccessLog",
                        "path": "/dev/stdout",
                        "log_format": {"text_format_source": {"inline_string": log}},
                    },
                }],
                "http_filters": [self.asks_picker(), {
                    "name": "envoy.filters.http.router",
                    "typed_config": {TYPE: extension("http.router.v3.Router")},
                }],
            },
        })
    }

    fn asks_picker(&self) -> Value {
        json!({
            "name": "envoy.filters.http.ext_proc",
            "typed_config": {
                TYPE: extension("http.ext_proc.v3.ExternalProcessor"),
                "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}, "timeout": "10s"},
                "message_timeout": "10s",
                "failure_mode_allow": !self.fail_open.is_empty(),
                "processing_mode": {
                    "request_header_mode": "SEND",
                    "request_body_mode": "FULL_DUPLEX_STREAMED",
                    "request_trailer_mode": "SEND",
                    "response_header_mode": "SEND",
                    "response_body_mode": "FULL_DUPLEX_STREAMED",
                    "response_trailer_mode": "SEND",
                },
            },
        })
    }

    fn picker_cluster(&self) -> Value {
        let http2 = json!({
            TYPE: "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        });
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let mut cluster = json!({
            "name": "picker",
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {options: http2},
            "load_assignment": assignment("picker", &[self.picker]),
        });
        if !self.fail_open.is_empty() {
            self.watch_picker(&mut cluster);
        }
        cluster
    }

    /// A body that is on its way to the picker is lost with it, so Envoy must know that it is gone
    /// before a request begins.
    fn watch_picker(&self, cluster: &mut Value) {
        const OFTEN: &str = "0.25s";
        let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
        endpoint["endpoint"]["health_check_config"] = json!({"port_value": self.picker_health});
        // Otherwise the only host is asked also when it is known to be gone.
        cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
        cluster["health_checks"] = json!([{
            "timeout": "1s",
            "interval": OFTEN,
            "unhealthy_interval": OFTEN,
            "no_traffic_interval": OFTEN,
            "no_traffic_healthy_interval": OFTEN,
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "grpc_health_check": {"service_name": "envoy.service.ext_proc.v3.ExternalProcessor"},
        }]);
    }

    fn fail_open_cluster(&self) -> Value {
        json!({
            "name": ANY,
            "type": "STATIC",
            "lb_policy": "ROUND_ROBIN",
            "connect_timeout": "5s",
            "load_assignment": assignment(ANY, &self.fail_open),
        })
    }
}

fn picked_cluster() -> Value {
    json!({
        "name": PICKED,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "original_dst_lb_config": {"use_http_header": true, "http_header_name": DESTINATION},
        // The defaults of 1,024 would make requests wait in Envoy.
        "circuit_breakers": {"thresholds": [{
            "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000,
        }]},
    })
}

fn extension(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.filters.{name}")
}

fn assignment(cluster: &str, addresses: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"endpoint": {"address": socket(*address)}}))
        .collect();
    json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]})
}

fn socket(address: SocketAddr) -> Value {
    let (ip, port) = (address.ip().to_string(), address.port());
    json!({"socket_address": {"address": ip, "port_value": port}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(fail_open: Vec<SocketAddr>) -> Value {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, admin, picker) = (at(8080), at(19000), at(9002));
        Door { address, admin, picker, picker_health: 9003, fail_open }.bootstrap()
    }

    #[test]
    fn a_door_that_fails_closed_knows_no_replica_but_the_picked_one() {
        let closed = door(Vec::new()).to_string();
        assert!(closed.contains(r#""failure_mode_allow":false"#), "{closed}");
        assert!(!closed.contains(r#""any""#), "{closed}");
        let open = door(vec![SocketAddr::from(([127, 0, 0, 2], 8000))]).to_string();
        assert!(open.contains(r#""failure_mode_allow":true"#), "{open}");
        assert!(open.contains(r#""127.0.0.2""#), "{open}");
        // Without the check, requests to a dead picker fail with it.
        assert!(open.contains(r#""health_check_config":{"port_value":9003}"#), "{open}");
        assert!(!closed.contains("health_check"), "{closed}");
    }
}
