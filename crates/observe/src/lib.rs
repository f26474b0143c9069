//! Samples of metrics endpoints, processes and the machine, and the series and signals from them.
//!
//! A quantity without a source is None, not zero. One that a restart made unknown is a gap with
//! its cause.

pub mod clock;
pub mod difference;
pub mod exposition;
pub mod facts;
pub mod host;
pub mod kv_events;
pub mod labels;
pub mod sampler;
pub mod scrape;
pub mod selection;
pub mod series;
pub mod signals;
pub mod snapshot;
pub mod store_sample;

pub use clock::{UnixNanos, UtcClock};
pub use difference::{GapError, SnapshotDifference};
pub use exposition::{Exposition, ExpositionError, Format};
pub use host::{HostProbe, HostSample, HostUse};
pub use kv_events::{KvEventConfig, KvEventCounts, KvEventError, KvEventWatch};
pub use labels::Labels;
pub use sampler::{
    Gap, SampleSource, Sampler, SamplerConfig, SamplerError, SamplerEvent, SourceSample,
};
pub use scrape::{ScrapeError, Scraper};
pub use selection::Selection;
pub use series::Row;
pub use snapshot::{Snapshot, SnapshotError};
pub use store_sample::{StoreFigure, StoreSample};
