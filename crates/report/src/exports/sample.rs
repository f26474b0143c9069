//! The requests of an export, without the times of their chunks.

use weir_model::{Outcome, RequestRow};
use weir_record::RecordError;

use super::ExportInput;
use crate::figures::Stream;

/// A request without texts and gaps; nanoseconds since the start of the cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) turn: u32,
    pub(super) due: u64,
    pub(super) start: u64,
    pub(super) first: Option<u64>,
    /// Time of its last token.
    pub(super) last: Option<u64>,
    pub(super) end: u64,
    pub(super) prompt: u32,
    pub(super) cached: u32,
    pub(super) output: u32,
    /// Stream events that brought output.
    pub(super) chunks: u64,
    pub(super) outcome: Outcome,
}

impl Seen {
    pub(super) fn of(row: &RequestRow) -> Self {
        let first = row.first_token.map(|at| at.0);
        let last = first.map(|first| {
            // Without gaps only one later time is known: the last token ended a complete request.
            match row.outcome {
                Outcome::Done if row.chunk_gaps.is_empty() => row.end.0,
                _ => row.chunk_gaps.iter().fold(first, |at, gap| at.saturating_add(gap.0)),
            }
        });
        Self {
            turn: row.turn,
            due: row.due.0,
            start: row.start.0,
            first,
            last,
            end: row.end.0,
            prompt: row.prompt_tokens.0,
            cached: row.gpu_hit_tokens().0.saturating_add(row.external_hit_tokens().0),
            output: row.output_tokens.0,
            chunks: Stream::of(row).chunks(),
            outcome: row.outcome,
        }
    }

    /// Nanoseconds from sending.
    pub(super) fn latency(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Nanoseconds from sending.
    pub(super) fn ttft(&self) -> Option<u64> {
        Some(self.first?.saturating_sub(self.start))
    }

    /// Nanoseconds per token after the first.
    pub(super) fn mean_gap(&self) -> Option<f64> {
        let span = self.last?.saturating_sub(self.first?);
        (self.output > 1).then(|| span as f64 / f64::from(self.output - 1))
    }
}

pub(super) fn exported<'a>(
    input: &ExportInput<'a>,
) -> Result<impl Iterator<Item = Result<RequestRow, RecordError>> + use<'a>, RecordError> {
    let window = input.window;
    let rows = (input.rows)()?;
    Ok(rows.filter(move |row| row.as_ref().map_or(true, |row| window.measures(row.due))))
}

pub(super) fn sample(input: &ExportInput<'_>) -> Result<Vec<Seen>, RecordError> {
    exported(input)?.map(|row| Ok(Seen::of(&row?))).collect()
}

/// The requests of `GuideLLM`'s reports: those that ended inside the window, whenever they were
/// due, and those in flight at its end.
pub(super) fn ended_inside<'a>(
    input: &ExportInput<'a>,
) -> Result<impl Iterator<Item = Result<RequestRow, RecordError>> + use<'a>, RecordError> {
    let window = input.window;
    let rows = (input.rows)()?;
    let is_inside = move |row: &RequestRow| match row.outcome {
        Outcome::Unfinished => row.start < window.end,
        Outcome::Done | Outcome::Failed => window.contains(row.end),
    };
    Ok(rows.filter(move |row| row.as_ref().map_or(true, is_inside)))
}
