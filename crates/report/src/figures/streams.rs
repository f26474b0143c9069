//! When the tokens of live requests came, by the gaps between stream events.
//!
//! A cell can have a hundred million gaps. They are read once, request by request, and leave sums
//! and a sketch: memory does not grow with them.

use weir_model::{Nanos, Outcome, RequestRow, RowContradiction, Window};
use weir_record::{Distribution, RequestColumn, RequestTable};

use super::output_tokens::{OutputTokens, batch_of};
use super::sketch::TimeSketch;

#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    pub request: u64,
    pub due: Nanos,
    pub outcome: Outcome,
    /// Time of the first chunk.
    pub first_token: Option<Nanos>,
    pub end: Nanos,
    pub output_tokens: u32,
    /// Between its chunks; one fewer than chunks.
    pub gaps: &'a [Nanos],
}

impl<'a> Stream<'a> {
    pub fn of(row: &'a RequestRow) -> Self {
        Self {
            request: row.request,
            due: row.due,
            outcome: row.outcome,
            first_token: row.first_token,
            end: row.end,
            output_tokens: row.output_tokens.0,
            gaps: &row.chunk_gaps,
        }
    }

    pub fn chunks(&self) -> u64 {
        if self.first_token.is_some() { self.gaps.len() as u64 + 1 } else { 0 }
    }

    /// Time and tokens of each chunk. With as many tokens as chunks, each brought one. Else whole
    /// tokens are spread evenly, at least one to the first chunk.
    pub fn arrivals(&self) -> impl Iterator<Item = (Nanos, u32)> + use<'a> {
        let (gaps, tokens, chunks) = (self.gaps, u64::from(self.output_tokens), self.chunks());
        let mut at = self.first_token.unwrap_or_default().0;
        let mut given = 0;
        (0..chunks as usize).map(move |chunk| {
            if chunk > 0 {
                at = at.saturating_add(gaps[chunk - 1].0);
            }
            let until = (tokens * (chunk as u64 + 1)).div_ceil(chunks);
            let brought = until - given;
            given = until;
            (Nanos(at), brought as u32)
        })
    }

    fn check(&self) -> Result<(), RowContradiction> {
        let request = self.request;
        let Some(first_token) = self.first_token else {
            return if self.gaps.is_empty() {
                Ok(())
            } else {
                Err(RowContradiction::GapsWithoutFirst { request, gaps: self.gaps.len() })
            };
        };
        let last = self.gaps.iter().fold(first_token.0, |at, gap| at.saturating_add(gap.0));
        if last > self.end.0 {
            return Err(RowContradiction::GapsBeyondEnd { request, last, end: self.end.0 });
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub struct Streams {
    window: Window,
    requests: u64,
    gaps: TimeSketch,
    gaps_in_window: TimeSketch,
    tokens: OutputTokens,
    batches: Vec<u64>,
    contradiction: Option<RowContradiction>,
}

impl Streams {
    pub const COLUMNS: &'static [RequestColumn] = &[
        RequestColumn::Request,
        RequestColumn::Due,
        RequestColumn::Outcome,
        RequestColumn::FirstToken,
        RequestColumn::End,
        RequestColumn::OutputTokens,
        RequestColumn::ChunkGaps,
    ];

    /// `batches`: equal parts of the window for [`Streams::throughput_batches`].
    pub fn new(window: Window, batches: usize) -> Self {
        Self {
            window,
            requests: 0,
            gaps: TimeSketch::default(),
            gaps_in_window: TimeSketch::default(),
            tokens: OutputTokens::default(),
            batches: vec![0; batches],
            contradiction: None,
        }
    }

    pub fn add(&mut self, stream: &Stream<'_>) {
        self.requests += 1;
        if let Err(contradiction) = stream.check() {
            self.contradiction.get_or_insert(contradiction);
            return;
        }
        let is_done = stream.outcome == Outcome::Done;
        if is_done && self.window.measures(stream.due) {
            stream.gaps.iter().for_each(|&gap| self.gaps.add(gap));
        }
        for (chunk, (at, tokens)) in stream.arrivals().enumerate() {
            if !self.window.contains(at) {
                continue;
            }
            if chunk > 0 {
                self.gaps_in_window.add(stream.gaps[chunk - 1]);
            }
            self.tokens.add(stream.outcome, u64::from(tokens));
            if is_done && let Some(batch) = batch_of(at, self.window, self.batches.len()) {
                self.batches[batch] += u64::from(tokens);
            }
        }
    }

    /// The table must hold [`Streams::COLUMNS`]; `CellTables::request_groups` gives a row group at
    /// a time.
    pub fn add_table(&mut self, table: &RequestTable) {
        for row in 0..table.len() {
            self.add(&Stream {
                request: table.request[row],
                due: table.due[row],
                outcome: table.outcome[row],
                first_token: table.first_token[row],
                end: table.end[row],
                output_tokens: table.output_tokens[row].0,
                gaps: table.chunk_gaps.get(row).unwrap_or_default(),
            });
        }
    }

    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Inside the window, by the outcome of their requests.
    pub(super) fn tokens(&self) -> OutputTokens {
        self.tokens
    }

    /// Of completed requests of the measured set.
    pub fn gaps_ms(&self) -> Distribution {
        self.gaps.distribution_ms()
    }

    /// Gaps that ended inside the window, of all requests.
    pub(super) fn gaps_in_window_ms(&self) -> Distribution {
        self.gaps_in_window.distribution_ms()
    }

    /// Per equal part of the window, for batch means.
    pub fn throughput_batches(&self) -> Vec<f64> {
        let seconds = self.window.seconds() / self.batches.len() as f64;
        if seconds > 0.0 {
            self.batches.iter().map(|&tokens| tokens as f64 / seconds).collect()
        } else {
            Vec::new()
        }
    }

    pub fn window(&self) -> Window {
        self.window
    }

    /// The first stream with impossible times, or a number of streams other than `rows`.
    pub(super) fn check(&self, rows: usize) -> Result<(), RowContradiction> {
        if let Some(contradiction) = &self.contradiction {
            return Err(contradiction.clone());
        }
        if self.requests == rows as u64 {
            return Ok(());
        }
        Err(RowContradiction::StreamsLost { streams: self.requests, rows: rows as u64 })
    }
}
