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

pub use config::{BlockSize, Limits, Point, ProbeConfig, Verify, Work, WorkingSet};
pub use error::ProbeError;
pub use figures::PointResult;
pub use report::Report;
pub use run::Bench;
pub use session::{Measured, Session};
pub use subject::{ConfigLines, Facts, SubjectOptions, subject};
pub use target::Target;
pub use trace::Trace;
