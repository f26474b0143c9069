//! The tables of a cell as input of figures: the same right after the cell and in a later report.

use weir_model::{FailureCause, RowContradiction, StepRow, Window};
use weir_record::{CellFigures, CellTables, RecordError};
use weir_report::figures::{
    Failures, Measure, RequestColumns, Streams, summarise, summarise_streams, throughput_batches,
};
use weir_spec::plan::{Cell, Plan};

/// Batches for the interval within one run: enough for a t interval, few enough to be nearly
/// independent.
const BATCHES: usize = 10;

pub(crate) struct Recorded {
    window: Window,
    columns: RequestColumns,
    tokens: Tokens,
    failures: Vec<FailureCause>,
}

pub fn window(plan: &Plan, cell: &Cell, tables: &CellTables) -> Result<Window, RecordError> {
    Ok(columns(plan, cell, tables)?.1)
}

fn columns(
    plan: &Plan,
    cell: &Cell,
    tables: &CellTables,
) -> Result<(RequestColumns, Window), RecordError> {
    let level = &plan.deployments[cell.deployment].levels[cell.level];
    let mut columns = RequestColumns::default();
    for group in tables.request_groups(RequestColumns::STORED)? {
        columns.add_table(&group?);
    }
    let window = level.window(columns.last_end());
    Ok((columns, window))
}

enum Tokens {
    Passes(Vec<StepRow>),
    Streams(Box<Streams>),
}

impl Recorded {
    /// A row group at a time.
    pub(crate) fn read(plan: &Plan, cell: &Cell, tables: &CellTables) -> Result<Self, RecordError> {
        let (columns, window) = columns(plan, cell, tables)?;
        let tokens = if plan.target.live().is_some() {
            let mut streams = Streams::new(window, BATCHES);
            for group in tables.request_groups(Streams::COLUMNS)? {
                streams.add_table(&group?);
            }
            Tokens::Streams(Box::new(streams))
        } else {
            Tokens::Passes(tables.step_rows()?.collect::<Result<Vec<_>, _>>()?)
        };
        let mut failures = Failures::default();
        if columns.has_failures() {
            for group in tables.request_groups(Failures::COLUMNS)? {
                failures.add_table(&group?, window);
            }
        }
        Ok(Self { window, columns, tokens, failures: failures.commonest() })
    }

    /// An error where its rows contradict each other.
    pub(crate) fn figures(
        &self,
        plan: &Plan,
        cell: &Cell,
    ) -> Result<CellFigures, RowContradiction> {
        let measure = Measure::of(plan, cell, self.window);
        let figures = match &self.tokens {
            Tokens::Passes(steps) => summarise(&self.columns, steps, &measure),
            Tokens::Streams(streams) => summarise_streams(&self.columns, streams, &measure),
        }?;
        Ok(CellFigures { failures: self.failures.clone(), ..figures })
    }

    /// Output throughput of equal parts of the window.
    pub(crate) fn throughput_batches(&self) -> Vec<f64> {
        match &self.tokens {
            Tokens::Passes(steps) => throughput_batches(&self.columns, steps, self.window, BATCHES),
            Tokens::Streams(streams) => streams.throughput_batches(),
        }
    }
}
