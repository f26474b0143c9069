//! The record of one simulated pass.

use crate::units::Nanos;

/// One pass of one replica: a row of `steps.parquet`. Token gaps of all requests follow from
/// these and each request's `first_step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRow {
    pub replica: u16,
    /// Number of the pass in its replica, from 0.
    pub step: u64,
    pub end: Nanos,
    /// Time since the previous pass of the replica ended: the token gap of every sequence that
    /// decoded in both.
    pub gap: Nanos,
    /// Sequences that got a token and had one before: the number of gaps that `gap` stands for.
    pub decoding: u32,
    /// Tokens scheduled (prompt and decode).
    pub tokens: u32,
    pub running: u32,
    pub waiting: u32,
    /// Blocks in use (referenced).
    pub used_blocks: u32,
}
