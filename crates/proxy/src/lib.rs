//! Weir's router in front of live replicas: an HTTP/1.1 proxy that streams requests and answers.
//!
//! One thread forwards. A second one reads the replicas' gauges and KV events. What a policy
//! decides, `weir-router` decides.

mod body;
mod config;
mod decision;
mod decision_log;
mod events;
mod forward;
mod id_list;
mod index;
mod known;
mod page;
mod prompt;
mod replica;
mod scrape;
mod server;
mod state;
mod tokens;
mod turns;
mod upstream;

pub use config::{ProxyConfig, ProxyError};
pub use known::ProxyTotals;
pub use server::{Proxy, ProxyHandle};
