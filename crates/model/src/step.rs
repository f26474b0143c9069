use crate::units::Nanos;

/// A row of `steps.parquet`, for one pass of one replica. Token gaps of all requests follow from
/// these rows and each request's `first_step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRow {
    pub replica: u16,
    /// Counts the passes of the replica from 0.
    pub step: u64,
    pub end: Nanos,
    /// Since the previous pass of the replica ended: the token gap of sequences that decoded in
    /// both.
    pub gap: Nanos,
    /// Sequences that got a token and had one before, so the number of gaps that `gap` stands for.
    pub decoding: u32,
    /// Prompt and decode.
    pub tokens: u32,
    pub running: u32,
    pub waiting: u32,
    /// Referenced blocks.
    pub used_blocks: u32,
}
