//! `/metrics` as vLLM 0.32 serves it: names, help texts, labels, buckets and their order.
//!
//! [`EngineMetrics`] records histograms and their counters as events happen. The state of the
//! engines comes with each scrape, as one [`EngineSnapshot`] per engine.
//!
//! Nothing is recorded per token. All decoding sequences of a pass get their tokens at the same
//! time, so a pass records its gap once, times the number of sequences. Times stay whole
//! nanoseconds until they are printed.

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

/// The metrics of all engines of a server.
#[derive(Debug, Clone)]
pub struct Metrics {
    model: String,
    created: f64,
    engines: Vec<EngineMetrics>,
}

impl Metrics {
    /// Metrics of `engines` engines that serve `model`, made `created` seconds after 1970.
    pub fn new(model: &str, engines: u16, max_model_tokens: u32, created: f64) -> Self {
        let engine = EngineMetrics::new(max_model_tokens);
        Self { model: model.to_owned(), created, engines: vec![engine; usize::from(engines)] }
    }

    /// Where an engine's events are recorded. Panics when there is no such engine.
    pub fn engine(&mut self, engine: u16) -> &mut EngineMetrics {
        &mut self.engines[usize::from(engine)]
    }

    /// The page, of [`CONTENT_TYPE`]. `state` has one entry per engine, in order.
    pub fn page(&self, cache: &CacheConfig, state: &[EngineSnapshot]) -> String {
        table::page(&self.model, self.created, &self.engines, cache, state)
    }
}
