//! Request rows as columns of integers, the input of all figures.

use weir_model::{Nanos, Outcome, RequestRow, Window};
use weir_record::{RequestColumn, RequestTable};

/// "No token came" in the `first_token` column.
pub(super) const NEVER: u64 = u64::MAX;

/// Columns of the request rows; nanoseconds since the start of the cell, 70 bytes per request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestColumns {
    pub(super) request: Vec<u64>,
    pub(super) replica: Vec<Option<u16>>,
    pub(super) due: Vec<u64>,
    pub(super) start: Vec<u64>,
    pub(super) first_token: Vec<u64>,
    pub(super) end: Vec<u64>,
    pub(super) prompt_tokens: Vec<u32>,
    pub(super) output_tokens: Vec<u32>,
    pub(super) gpu_hit_tokens: Vec<u32>,
    pub(super) external_hit_tokens: Vec<u32>,
    pub(super) preemptions: Vec<u16>,
    pub(super) first_step: Vec<u64>,
    pub(super) outcome: Vec<Outcome>,
}

impl RequestColumns {
    pub fn with_capacity(rows: usize) -> Self {
        Self {
            request: Vec::with_capacity(rows),
            replica: Vec::with_capacity(rows),
            due: Vec::with_capacity(rows),
            start: Vec::with_capacity(rows),
            first_token: Vec::with_capacity(rows),
            end: Vec::with_capacity(rows),
            prompt_tokens: Vec::with_capacity(rows),
            output_tokens: Vec::with_capacity(rows),
            gpu_hit_tokens: Vec::with_capacity(rows),
            external_hit_tokens: Vec::with_capacity(rows),
            preemptions: Vec::with_capacity(rows),
            first_step: Vec::with_capacity(rows),
            outcome: Vec::with_capacity(rows),
        }
    }

    pub fn push(&mut self, row: &RequestRow) {
        self.request.push(row.request);
        self.replica.push(row.replica);
        self.due.push(row.due.0);
        self.start.push(row.start.0);
        self.first_token.push(row.first_token.map_or(NEVER, Nanos::get));
        self.end.push(row.end.0);
        self.prompt_tokens.push(row.prompt_tokens.0);
        self.output_tokens.push(row.output_tokens.0);
        self.gpu_hit_tokens.push(row.gpu_hit_tokens().0);
        self.external_hit_tokens.push(row.external_hit_tokens().0);
        self.preemptions.push(row.preemptions);
        self.first_step.push(row.first_step);
        self.outcome.push(row.outcome);
    }

    pub const STORED: &'static [RequestColumn] = &[
        RequestColumn::Request,
        RequestColumn::Replica,
        RequestColumn::Due,
        RequestColumn::Start,
        RequestColumn::FirstToken,
        RequestColumn::End,
        RequestColumn::PromptTokens,
        RequestColumn::OutputTokens,
        RequestColumn::CachedGpuTokens,
        RequestColumn::CachedHostTokens,
        RequestColumn::CachedDiskTokens,
        RequestColumn::CachedRemoteTokens,
        RequestColumn::Preemptions,
        RequestColumn::FirstStep,
        RequestColumn::Outcome,
    ];

    /// Adds a table that holds [`RequestColumns::STORED`]; faster than row by row.
    pub fn add_table(&mut self, table: &RequestTable) {
        let raw = |times: &[Nanos]| times.iter().map(|time| time.0).collect::<Vec<_>>();
        self.request.extend(&table.request);
        self.replica.extend(&table.replica);
        self.due.extend(raw(&table.due));
        self.start.extend(raw(&table.start));
        self.first_token.extend(table.first_token.iter().map(|at| at.map_or(NEVER, Nanos::get)));
        self.end.extend(raw(&table.end));
        self.prompt_tokens.extend(table.prompt_tokens.iter().map(|tokens| tokens.0));
        self.output_tokens.extend(table.output_tokens.iter().map(|tokens| tokens.0));
        self.gpu_hit_tokens.extend(table.cached_gpu_tokens.iter().map(|tokens| tokens.0));
        self.external_hit_tokens.extend((0..table.len()).map(|row| {
            let tiers =
                [&table.cached_host_tokens, &table.cached_disk_tokens, &table.cached_remote_tokens];
            tiers.iter().map(|tier| tier[row].0).fold(0, u32::saturating_add)
        }));
        self.preemptions.extend(&table.preemptions);
        self.first_step.extend(&table.first_step);
        self.outcome.extend(&table.outcome);
    }

    pub fn len(&self) -> usize {
        self.request.len()
    }

    pub fn is_empty(&self) -> bool {
        self.request.is_empty()
    }

    /// The latest end of all requests; bounds the cell where nothing else does.
    pub fn last_end(&self) -> Nanos {
        Nanos(self.end.iter().copied().max().unwrap_or(0))
    }

    pub fn has_failures(&self) -> bool {
        self.outcome.contains(&Outcome::Failed)
    }

    pub(super) fn is_done(&self, row: usize) -> bool {
        self.outcome[row] == Outcome::Done
    }

    pub(super) fn is_measured(&self, row: usize, window: Window) -> bool {
        window.measures(Nanos(self.due[row]))
    }
}

impl<'a> FromIterator<&'a RequestRow> for RequestColumns {
    fn from_iter<I: IntoIterator<Item = &'a RequestRow>>(rows: I) -> Self {
        let rows = rows.into_iter();
        let mut columns = Self::with_capacity(rows.size_hint().0);
        rows.for_each(|row| columns.push(row));
        columns
    }
}
