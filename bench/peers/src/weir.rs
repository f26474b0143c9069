//! Weir: one simulated replica, with its rows recorded as in a real run.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use weir_engine::{EngineConfig, TimingConfig};
use weir_model::{Nanos, Outcome, RequestRow, StepRow, Tokens};
use weir_record::{CellFigures, CellStatus, CellWriter, Environment, RecordError, RunFolder};
use weir_router::{PolicyConfig, RouterConfig};
use weir_sim::{Load, Recorder, Summary, World, WorldConfig};
use weir_workload::config::{Count, Draw, Length, SharedPrefix};
use weir_workload::{Ramp, SourceOptions, WorkloadConfig, open};

use crate::workload::{
    BLOCK_TOKENS, BLOCKS, IN_FLIGHT, MAX_MODEL_TOKENS, MAX_SEQUENCES, OUTPUT_TOKENS, OWN_TOKENS,
    PASS_MS, Size, TOKEN_BUDGET, Work,
};

const CELL: &str = "model/hardware/arm/level/0";

/// Records `requests.parquet` and `steps.parquet` in a new run folder: encoded, compressed,
/// checksummed, synced, and completed by `cell.json`.
pub(crate) fn recorded(size: Size, folder: &Path) -> Result<Summary> {
    let environment =
        Environment { started: String::new(), weir: String::new(), host: BTreeMap::new() };
    let run = RunFolder::create(folder, "", &(), "", &environment)?;
    let mut rows = ToFiles(run.begin_cell(CELL)?);
    let summary = simulate(size, &mut rows)?;
    rows.0.finish(CellFigures::default(), CellStatus::Complete, 1)?;
    Ok(summary)
}

pub(crate) fn unrecorded(size: Size) -> Result<Summary> {
    let mut rows = Dropped { sum: 0 };
    let summary = simulate(size, &mut rows)?;
    // The rows must not be optimised away.
    ensure!(std::hint::black_box(rows.sum) > 0, "no row came");
    Ok(summary)
}

/// Read back from [`recorded`]'s files after a check of their checksums.
pub(crate) fn recorded_work(folder: &Path) -> Result<Work> {
    let run = RunFolder::open_read_only(folder)?;
    let cell = run.open_cell(CELL)?;
    let mut work = Work::default();
    for row in cell.rows()? {
        let row = row?;
        work.completed += u64::from(row.outcome == Outcome::Done);
        work.prompt_tokens += u64::from(row.prompt_tokens.0);
        work.hit_tokens += u64::from(row.gpu_hit_tokens().0);
        work.output_tokens += u64::from(row.output_tokens.0);
    }
    let steps = cell.steps()?;
    let end = steps.end.last().context("steps.parquet has no row")?;
    work.passes = Some(steps.len() as u64);
    work.virtual_s = end.0 as f64 / 1e9;
    Ok(work)
}

fn simulate<R>(size: Size, rows: &mut R) -> Result<Summary>
where
    R: Recorder,
    R::Error: std::error::Error + Send + Sync + 'static,
{
    let workload = WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(1),
        draw: Draw::Uniform,
        prefix_tokens: size.prefix_tokens,
        turns: 1,
        prompt_tokens: Length::Fixed(OWN_TOKENS),
        output_tokens: Length::Fixed(OUTPUT_TOKENS),
        think: Nanos::ZERO,
    });
    let options = SourceOptions {
        seed: 889,
        max_model_len: Tokens(MAX_MODEL_TOKENS),
        trace_speed: 1.0,
        trace_folder: ".".into(),
    };
    let mut source = open(&workload, &options)?;
    let world = World::new(world_config(size), &mut source, rows)?;
    world.run(|_, _| true)?.context("the simulation was stopped")
}

fn world_config(size: Size) -> WorldConfig {
    WorldConfig {
        engine: EngineConfig {
            block_size: BLOCK_TOKENS,
            blocks: BLOCKS,
            max_num_seqs: MAX_SEQUENCES,
            max_num_batched_tokens: TOKEN_BUDGET,
            max_model_len: MAX_MODEL_TOKENS,
            prefix_caching: true,
            watermark: 0.0,
            kv_bytes_per_token: 147_456,
        },
        timing: TimingConfig::Fixed { base: Nanos::from_millis(PASS_MS), per_token: Nanos::ZERO },
        offload: None,
        router: RouterConfig { policy: PolicyConfig::LeastLoaded, seed: 1 },
        replicas: 1,
        load: Load::Users(Ramp::new(IN_FLIGHT, Nanos::ZERO)),
        duration: None,
        warmup: Nanos::ZERO,
        drain: Nanos::from_secs(30),
        max_requests: Some(size.requests),
    }
}

struct ToFiles(CellWriter);

impl Recorder for ToFiles {
    type Error = RecordError;
    fn request(&mut self, row: &RequestRow) -> Result<(), RecordError> {
        self.0.push_request(row)
    }
    fn step(&mut self, row: &StepRow) -> Result<(), RecordError> {
        self.0.push_step(row)
    }
}

struct Dropped {
    sum: u64,
}

impl Recorder for Dropped {
    type Error = Infallible;
    fn request(&mut self, row: &RequestRow) -> Result<(), Infallible> {
        self.sum += row.end.0;
        Ok(())
    }
    fn step(&mut self, row: &StepRow) -> Result<(), Infallible> {
        self.sum += row.end.0;
        Ok(())
    }
}
