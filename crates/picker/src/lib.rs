//! llm-d's endpoint picker and Envoy in front of replicas: command line and configuration by
//! version, and the services that a picker needs beside it.
//!
//! Pure functions of a plan, but for [`services`]. Whoever starts the processes does so with what
//! these return.

pub mod cluster_api;
pub mod config;
pub mod envoy;
pub mod release;
pub mod replicas;
pub mod said;
pub mod services;
mod tokenizer;

pub use config::{ConfigError, IndexStore, PickerConfig};
pub use envoy::{Door, REPLICA_HEADER};
pub use release::{PickerRelease, ReleaseError};
pub use replicas::PickedReplicas;
pub use services::{ServiceNeeds, Services, ServicesError};
