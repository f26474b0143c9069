//! The figures of one cell: request rows and passes in, `CellFigures` out.
//!
//! Columns of integers keep repeated sweeps over a million requests cheap. Rows that contradict
//! each other give an error, not repaired figures. docs/definitions.md defines the requests and
//! times of each figure. Token times come from the passes in simulation (`summarise`) and from the
//! gaps between stream events on live targets (`Streams`, `summarise_streams`).

mod bounds;
mod columns;
mod decoded;
mod distribution;
mod failures;
mod flow;
mod output_tokens;
mod replicas;
mod sketch;
mod streams;
mod summary;

pub use bounds::compute_share;
pub use columns::RequestColumns;
pub use distribution::{distribution, quantile, weighted_distribution};
pub use failures::Failures;
pub use flow::{FlowBalance, check_rows, check_tokens, flow_balance};
pub use sketch::{EXACT_VALUES, TimeSketch};
pub use streams::{Stream, Streams};
pub use summary::{Measure, summarise, summarise_streams, throughput_batches};
