//! `/metrics` as vLLM 0.32 serves it: names, help texts, labels, buckets and their order.
//!
//! [`EngineMetrics`] records events as they happen; each scrape adds one [`EngineSnapshot`] per
//! engine. All decoding sequences of a pass get their tokens at the same time, so a pass records
//! its gap once, times the number of sequences.

mod engine;
mod histogram;
mod mover;
mod page;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

pub use engine::{EngineMetrics, FinishReason, FinishedRequest, TransferWay};
pub(crate) use mover::page as mover_page;
pub use page::CONTENT_TYPE;
pub use snapshot::{CacheConfig, EngineSnapshot, LmcacheSnapshot};

#[derive(Debug, Clone)]
pub struct Metrics {
    model: String,
    created: f64,
    engines: Vec<EngineMetrics>,
}

impl Metrics {
    /// `created`: seconds since 1970.
    pub fn new(model: &str, engines: u16, max_model_tokens: u32, created: f64) -> Self {
        let engine = EngineMetrics::new(max_model_tokens);
        Self { model: model.to_owned(), created, engines: vec![engine; usize::from(engines)] }
    }

    /// Panics when the engine does not exist.
    pub fn engine(&mut self, engine: u16) -> &mut EngineMetrics {
        &mut self.engines[usize::from(engine)]
    }

    /// Content of type [`CONTENT_TYPE`]. `state` has one entry per engine, in order.
    pub fn page(&self, cache: &CacheConfig, state: &[EngineSnapshot]) -> String {
        table::page(&self.model, self.created, &self.engines, cache, state)
    }
}
