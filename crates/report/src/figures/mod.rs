//! The figures of one cell: request rows and passes in, `CellFigures` out.
//!
//! Everything works on columns of integers, because a cell can have a million requests and the
//! same rows are looked at several times (checks, flow identity, distributions). Figures are
//! refused, not repaired, when rows contradict each other: a wrong figure is worse than none.
//! Which requests and which times each figure speaks of is docs/definitions.md, and nothing else.
//! Token times come from the passes in simulation (`summarise`) and from the gaps between stream
//! events on live targets (`Streams`, `summarise_streams`).

mod bounds;
mod columns;
mod decoded;
mod distribution;
mod failures;
mod flow;
mod output_tokens;
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
