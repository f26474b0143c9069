//! The proxy's own metrics.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::AnswerBody;
use crate::forward::own;
use crate::state::ProxyState;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(crate) fn metrics(state: &ProxyState) -> Response<AnswerBody> {
    let mut response = own(StatusCode::OK, Bytes::from(page(state)));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

fn page(state: &ProxyState) -> String {
    let mut text = String::new();
    let replicas = &state.shared.replicas;
    family(&mut text, "requests_total", "counter", "Requests sent to a replica.");
    for replica in replicas {
        labelled(&mut text, "requests_total", &replica.id, replica.requests());
    }
    family(&mut text, "requests_in_flight", "gauge", "Requests sent and not ended.");
    for replica in replicas {
        labelled(&mut text, "requests_in_flight", &replica.id, u64::from(replica.in_flight()));
    }
    family(&mut text, "replica_up", "gauge", "1 if the replica accepts connections.");
    for replica in replicas {
        labelled(&mut text, "replica_up", &replica.id, u64::from(replica.is_up()));
    }
    let counters = &state.shared.counters;
    let rows = [
        ("decisions", &counters.decisions, "Choices of a replica."),
        ("retries", &counters.retried, "Second choices, after a replica refused the connection."),
        ("unanswered", &counters.unanswered, "Requests that no replica was left for."),
        ("index_lookups", &counters.lookups, "Prompts looked up in the precise index."),
        ("index_lookup_hits", &counters.lookup_hits, "Lookups that found the first block."),
        ("index_lookup_failures", &counters.lookup_failures, "Lookups without an answer."),
        ("untokenized", &counters.untokenized, "Prompts without token ids, scored without them."),
        ("index_events", &counters.events, "KV events applied to the precise index."),
        ("index_event_failures", &counters.event_failures, "KV events that the store refused."),
        ("orphan_events", &counters.orphans, "KV events whose parent block is not known."),
        ("event_batches", &counters.batches, "Batches of KV events that came."),
        ("lost_batches", &counters.lost_batches, "Batches that did not come, by their numbers."),
        ("repeated_batches", &counters.repeated_batches, "Batches that came twice."),
        ("unreadable_batches", &counters.unreadable_batches, "Batches in an unknown form."),
        ("foreign_batches", &counters.foreign_batches, "Batches whose topic is no replica's."),
        ("scrape_failures", &counters.scrape_failures, "Metrics of a replica not read."),
        ("log_failures", &counters.log_failures, "Lines of the decision log not written."),
    ];
    for (name, counter, help) in rows {
        let name = format!("{name}_total");
        family(&mut text, &name, "counter", help);
        let _ = writeln!(text, "weir_route_{name} {}", counter.get());
    }
    if let Some(blocks) = state.index_blocks() {
        family(&mut text, "index_keys", "gauge", "Blocks in the index.");
        let _ = writeln!(text, "weir_route_index_keys {blocks}");
    }
    text
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP weir_route_{name} {help}\n# TYPE weir_route_{name} {kind}");
}

fn labelled(text: &mut String, name: &str, replica: &str, value: u64) {
    let _ = writeln!(text, "weir_route_{name}{{replica=\"{replica}\"}} {value}");
}
