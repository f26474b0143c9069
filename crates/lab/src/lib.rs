//! The life of a run and its cells on every target: plan, run, figures, evidence, verdict,
//! results.

pub mod analysis;
pub mod cell;
pub mod error;
pub mod folder;
pub mod forecast;
pub mod host;
pub mod live;
pub mod outcome;
pub mod planned;
pub mod progress;
pub mod recorded;
mod residence;
pub mod results;
mod run;
mod simulated;
pub mod sweep;

pub use analysis::Analysis;
pub use cell::run_cell;
pub use error::LabError;
pub use forecast::Forecast;
pub use outcome::{CellOutcome, Sweep};
pub use planned::Planned;
pub use progress::{Phase, Progress, Stop};
pub use run::{Ended, run};
