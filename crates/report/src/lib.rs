//! Pure functions of recorded data: figures, statistics, comparison and outputs.
//!
//! Nothing here reads files, clocks or the network. [`results::Results`] is the input of a
//! comparison; all outputs are written from [`comparison::Comparison`].

pub mod artifacts;
pub mod calibration;
pub mod charts;
pub mod comparison;
mod error;
pub mod explanation;
pub mod exports;
pub mod figures;
pub mod files;
pub mod inputs;
pub mod likeness;
pub mod metric;
pub mod numerals;
pub mod oracle;
pub mod page;
pub mod precision;
pub mod results;
mod sources;
pub mod statistics;
pub mod tables;
pub mod terminal;
pub mod words;

pub use error::ReportError;
