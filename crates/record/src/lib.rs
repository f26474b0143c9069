//! The run folder: streaming writer and reader, checksums, resume and lock.
//!
//! The invariant: a cell with `cell.json` is complete, and a reader can verify its files. No other
//! crate uses `parquet`.

pub mod cell;
mod column;
mod durable;
pub mod environment;
pub mod error;
mod lists;
mod lock;
mod name;
pub mod reader;
pub mod requests;
pub mod run;
pub mod series;
pub mod steps;
mod table;
pub mod tables;
pub mod writer;

pub use cell::{
    CellFigures, CellRecord, CellStatus, Distribution, Evidence, GuideLlmFigures, ReplicaFigures,
    ShortWindow,
};
pub use column::ColumnSpec;
pub use environment::{Environment, RUN_FORMAT, RunHeader};
pub use error::RecordError;
pub use lists::TimeLists;
pub use reader::{CellReader, CellState};
pub use requests::{RequestColumn, RequestFile, RequestTable};
pub use run::RunFolder;
pub use series::{SeriesColumn, SeriesRow, SeriesTable};
pub use steps::{StepColumn, StepTable};
pub use tables::CellTables;
pub use writer::{CellWriter, ClosedCell};
