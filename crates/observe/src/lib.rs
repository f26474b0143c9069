//! Samples of the world: metrics endpoints, processes, the machine; from them series and signals.
//!
//! Owns how a counter becomes a figure: what is a difference and what a level, when a process
//! restarted in between, and which family of which software says what about the mechanism under
//! test. A quantity that nobody exposed gives nothing, which is not zero; a quantity that is not
//! known because a process began anew is a gap with its cause.

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
pub use kv_events::{KvEventCounts, KvEventError, KvEventWatch};
pub use labels::Labels;
pub use sampler::{
    Gap, SampleSource, Sampler, SamplerConfig, SamplerError, SamplerEvent, SourceSample,
};
pub use scrape::{ScrapeError, Scraper};
pub use selection::Selection;
pub use series::Row;
pub use snapshot::{Snapshot, SnapshotError};
pub use store_sample::{StoreFigure, StoreSample};
