//! A benchmark of storage with KV-shaped transfers.

pub mod against;
pub mod at_stake;
pub mod claim;
pub mod config;
pub mod content;
pub mod cpu;
pub mod differential;
pub mod engine_work;
pub mod error;
pub mod figures;
pub mod fit;
pub mod keys;
pub mod origin;
pub mod report;
pub mod run;
pub mod server;
pub mod session;
pub mod statistics;
pub mod subject;
pub mod tally;
pub mod target;
pub mod trace;
pub mod volume;

mod expected;
mod least_squares;
mod worker;

pub use config::{BlockSize, PointLimits, ProbeConfig, ProbePoint, Verify, Work, WorkingSet};
pub use error::ProbeError;
pub use figures::PointResult;
pub use report::Report;
pub use run::Bench;
pub use session::{ProbeMeasurements, ProbeSession};
pub use subject::{ConfigLines, SubjectOptions, TierFacts, subject};
pub use target::ProbeTarget;
pub use trace::Trace;
