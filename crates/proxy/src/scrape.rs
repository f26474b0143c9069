//! Reads the replicas' gauges and model names, off the path of requests.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use weir_observe::exposition::{Exposition, Format, Line, text_of};

use crate::events::IndexOrder;
use crate::known::SharedState;
use crate::replica::{Gauges, LiveReplica};
use crate::upstream::{FetchedPage, SendError, Upstream};

/// A replica that takes longer keeps the gauges that it had.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Between looks at a replica that is down.
const DOWN_INTERVAL: Duration = Duration::from_millis(250);

const WAITING: &str = "vllm:num_requests_waiting";
/// The second is the name before vLLM 0.10.
const KV_USAGE: [&str; 2] = ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];

#[derive(Deserialize)]
struct ModelList {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    /// Of an adapter.
    parent: Option<String>,
}

/// Never ends. `orders` is there if an index follows the replica's cache.
pub(crate) async fn watch(
    at: u16,
    interval: Duration,
    shared: Arc<SharedState>,
    orders: Option<Sender<IndexOrder>>,
) {
    let replica = &shared.replicas[usize::from(at)];
    let upstream = Rc::new(Upstream::new(&replica.url));
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match upstream.fetch(Method::GET, "/metrics", Bytes::new(), TIMEOUT).await {
            Ok(page) => {
                replica.set_up(true);
                match gauges(&page) {
                    Some(gauges) => replica.scraped(gauges),
                    None => shared.counters.scrape_failures.add(1),
                }
                if !shared.knows_models() {
                    shared.learn_models(models(&upstream).await.unwrap_or_default());
                }
            }
            Err(error) => {
                shared.counters.scrape_failures.add(1);
                note_failure(at, replica, &error, orders.as_ref());
            }
        }
        if !replica.is_up() {
            tokio::time::sleep(DOWN_INTERVAL).await;
        }
    }
}

/// Whoever fails to reach a replica tells it here.
fn note_failure(
    at: u16,
    replica: &LiveReplica,
    error: &SendError,
    orders: Option<&Sender<IndexOrder>>,
) {
    match error {
        SendError::Unreachable(_) => {
            replica.set_up(false);
        }
        // It answers, but has no such page.
        SendError::Status(_) => {
            replica.set_up(true);
        }
        SendError::Broken(_) | SendError::Timeout(_) | SendError::Answer(_) => {}
    }
    if let Some(orders) = orders.filter(|_| error.is_refusal() && replica.forget_cache()) {
        // Without a receiver the proxy ends.
        let _ = orders.send(IndexOrder::Clear { replica: at });
    }
}

async fn models(upstream: &Upstream) -> Option<Vec<String>> {
    let page = upstream.fetch(Method::GET, "/v1/models", Bytes::new(), TIMEOUT).await.ok()?;
    let list: ModelList = serde_json::from_slice(&page.body).ok()?;
    Some(list.data.into_iter().filter(|it| it.parent.is_none()).map(|it| it.id).collect())
}

/// Of all engines behind the page: waiting requests together, usage on average. None without them.
fn gauges(page: &FetchedPage) -> Option<Gauges> {
    let format = Format::of_content_type(page.content_type.as_deref())?;
    let (mut waiting, mut usage) = (None, Vec::new());
    for line in Exposition::new(text_of(&page.body).ok()?, format) {
        let Line::Sample(sample) = line.ok()? else { continue };
        if sample.name == WAITING {
            *waiting.get_or_insert(0.0) += sample.value;
        } else if KV_USAGE.contains(&sample.name) {
            usage.push(sample.value);
        }
    }
    let mean = usage.iter().sum::<f64>() / usage.len().max(1) as f64;
    Some(Gauges { waiting: waiting? as u32, kv_usage: mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_those_of_all_engines() {
        let page =
            |text: &str| FetchedPage { content_type: None, body: Bytes::from(text.to_owned()) };
        let text = "vllm:num_requests_waiting{engine=\"0\"} 3.0\n\
                    vllm:num_requests_waiting{engine=\"1\"} 2.0\n\
                    vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\n\
                    vllm:kv_cache_usage_perc{engine=\"1\"} 0.25\nother 1\n";
        assert_eq!(gauges(&page(text)), Some(Gauges { waiting: 5, kv_usage: 0.375 }));
        let old = "vllm:num_requests_waiting 1\nvllm:gpu_cache_usage_perc 0.5\n";
        assert_eq!(gauges(&page(old)), Some(Gauges { waiting: 1, kv_usage: 0.5 }));
        assert_eq!(gauges(&page("other 1\n")), None);
        assert_eq!(gauges(&page("{")), None);
    }
}
