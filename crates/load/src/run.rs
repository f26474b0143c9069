//! One cell of load: feeder, workers and the thread that takes the rows.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;

use serde::{Deserialize, Serialize};
use weir_model::answers::{AnswerFacts, TokenCount};
use weir_model::{Certificate, Nanos, Prompt, RequestRow, Tokens, Window};
use weir_workload::SessionSource;

use crate::certificate::{LoadKind, certify};
use crate::clock::Clock;
use crate::config::{LoadConfig, LoadShape, PromptForm};
use crate::connection::Stamps;
use crate::descriptors;
use crate::endpoint::Endpoints;
use crate::error::LoadError;
use crate::exchange::ExchangeEnd;
use crate::feed::Feed;
use crate::live::Live;
use crate::replicas::ReplicaNames;
use crate::worker::{CloseReason, GaveUp, Worker, WorkerReport};

/// Waiting batches of up to 64 rows: 32 MiB with 1,024 gaps each. A slower sink makes workers wait,
/// which the certificate shows.
const BATCHES_WAITING: usize = 64;

/// Lower bound of the time between another program's clock reading and this kernel's stamp: a write
/// and both kernels, for request and answer. Over loopback it was 4 us on average and up to 60 us
/// on a busy machine, against the server's log. It is also measured at the start, with cold caches.
/// A network's delay belongs to the answer.
const LEAST_KERNEL_PATH: Nanos = Nanos::from_micros(50);

fn kernel_path(measured: Nanos) -> Nanos {
    LEAST_KERNEL_PATH.max(Nanos(2 * measured.get()))
}

pub trait Sink: Send {
    /// In order of end; with several workers, of arrival here. `prompt` is the row's.
    fn row(&mut self, row: RequestRow, prompt: &Prompt) -> Result<(), String>;
}

#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    /// Start of all times, in nanoseconds since 1970.
    pub started_unix_ns: u64,
    pub issued: u64,
    /// Requests of the measured set aborted at the end.
    pub unfinished: u64,
    /// From the end of the warm-up to the end of the duration, the abort or else the last row.
    pub window: Window,
    /// Set if everything failed.
    pub gave_up: Option<GaveUp>,
    /// Addresses of the replicas by number, with those that only responses named.
    pub replicas: Vec<String>,
    pub answers: AnswerFacts,
    pub certificate: Certificate,
}

/// What one process of a load reports: the whole of it, or one shard.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardReport {
    /// Start of all times, in nanoseconds since 1970.
    started_unix_ns: u64,
    /// How much later than agreed its threads began.
    pub begun_late: Nanos,
    workers: Vec<WorkerReport>,
    last_end: Nanos,
    answers: AnswerFacts,
    /// Addresses of the replicas by number, with those that only responses named.
    pub replicas: Vec<String>,
}

/// The sink gets the rows on the calling thread.
pub fn run<S: SessionSource + Send>(
    config: &LoadConfig,
    source: S,
    sink: &mut dyn Sink,
    live: &Live,
) -> Result<LoadReport, LoadError> {
    Ok(LoadReport::of(config, &[run_shard(config, source, sink, live)?]))
}

/// As [`run`], for the process of one shard. `source` has the sessions of all shards.
pub fn run_shard<S: SessionSource + Send>(
    config: &LoadConfig,
    source: S,
    sink: &mut dyn Sink,
    live: &Live,
) -> Result<ShardReport, LoadError> {
    config.check()?;
    if let LoadShape::Open(arrivals) = config.load {
        arrivals.validate()?;
    }
    descriptors::make_room(config)?;
    let mut endpoints = Endpoints::open(config)?;
    let stamps = Stamps::turn_on();
    for endpoint in &mut endpoints.list {
        endpoint.kernel_path = kernel_path(stamps.kernel_path());
    }
    let feed = Feed::new(config);
    let abort = || live.abort();
    thread::scope(|scope| {
        let feeder = scope.spawn(|| feed.run(config, source).inspect_err(|_| abort()));
        feed.wait_filled();
        let count = config.worker_count();
        // The clock starts once all threads run, so that the first requests are not late.
        let (running, started) = (Arc::new(Barrier::new(count + 1)), Arc::new(OnceLock::new()));
        let (rows, taken) = sync_channel(BATCHES_WAITING);
        let workers: Vec<_> = (0..count)
            .map(|index| {
                let (queue, rows) = (feed.queue(index), rows.clone());
                let (running, started) = (running.clone(), started.clone());
                let (endpoints, abort) = (&endpoints, &abort);
                scope.spawn(move || {
                    running.wait();
                    let clock: Clock = *started.wait();
                    Worker::new(config, endpoints, index, clock, queue, rows, live)
                        .and_then(Worker::run)
                        .inspect_err(|_| abort())
                })
            })
            .collect();
        drop(rows);
        running.wait();
        let clock = live.start(count);
        let begun_late = clock.now();
        let _ = started.set(clock);
        let sunk = take_rows(config, &taken, sink, live);
        drop(taken);
        let reports: Vec<_> = workers.into_iter().map(join).collect();
        live.end();
        feed.abandon();
        join(feeder)?;
        let (last_end, answers) = sunk?;
        Ok(ShardReport {
            started_unix_ns: clock.started_unix_ns(),
            begun_late,
            workers: reports.into_iter().collect::<Result<_, _>>()?,
            last_end,
            answers,
            replicas: endpoints.replicas.all(),
        })
    })
}

/// Resumes the thread's panic.
fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Returns the end of the last row. A sink error aborts the run and drops the other rows.
fn take_rows(
    config: &LoadConfig,
    batches: &Receiver<Vec<ExchangeEnd>>,
    sink: &mut dyn Sink,
    live: &Live,
) -> Result<(Nanos, AnswerFacts), LoadError> {
    let mut last_end = Nanos::ZERO;
    let mut answers = AnswerFacts::default();
    let mut result = Ok(());
    for ended in batches.iter().flatten() {
        let (row, prompt) = counted(config, ended, &mut answers);
        last_end = last_end.max(row.end);
        live.add_row(&row);
        if result.is_ok() {
            result = sink.row(row, &prompt);
            if result.is_err() {
                live.abort();
            }
        }
    }
    result.map(|()| (last_end, answers)).map_err(LoadError::Sink)
}

/// Counts tokens by the tokenizer if nothing else did. Not in the timed loop, because it takes as
/// long as several events.
fn counted(
    config: &LoadConfig,
    ended: ExchangeEnd,
    answers: &mut AnswerFacts,
) -> (RequestRow, Prompt) {
    let ExchangeEnd { mut row, prompt, note, text } = ended;
    let Some(mut note) = note else { return (row, prompt) };
    if let (PromptForm::Text(maker), Some(text)) = (&config.prompts, text)
        && let Ok(tokens @ 1..) = maker.output_tokens(&text)
    {
        row.output_tokens = Tokens(tokens);
        note.counted = TokenCount::Tokenizer;
    }
    answers.add(&row, &note);
    (row, prompt)
}

impl ShardReport {
    /// Where its window ended before its last request; None where its requests ran out.
    fn cut(&self, duration: Option<Nanos>) -> Option<Nanos> {
        let cuts = self.workers.iter().filter_map(|report| match report.closed {
            CloseReason::CutOff(at) => Some(duration.unwrap_or(at).min(at)),
            CloseReason::Drained => duration,
            CloseReason::Exhausted => None,
        });
        cuts.max()
    }
}

impl LoadReport {
    /// Of all shards of one load, as one process would report it. The window is that of all: it
    /// ends with the first shard that was cut. Each shard's certificate must hold.
    pub fn of(config: &LoadConfig, shards: &[ShardReport]) -> Self {
        let cut = shards.iter().filter_map(|shard| shard.cut(config.duration)).min();
        let last_end = shards.iter().map(|shard| shard.last_end).max().unwrap_or_default();
        let end = cut.unwrap_or(last_end).max(config.warmup);
        let workers = || shards.iter().flat_map(|shard| &shard.workers);
        let mut answers = AnswerFacts::default();
        for shard in shards {
            answers.merge(&shard.answers);
        }
        let mut replicas = ReplicaNames::new(&config.replicas);
        for shard in shards {
            replicas.renumber(&shard.replicas);
        }
        Self {
            started_unix_ns: shards.first().map_or(0, |shard| shard.started_unix_ns),
            issued: workers().map(|report| report.issued).sum(),
            unfinished: workers().map(|report| report.unfinished).sum(),
            window: Window { start: config.warmup, end },
            gave_up: workers().find_map(|report| report.gave_up.clone()),
            replicas: replicas.all(),
            answers,
            certificate: certificate(config, shards),
        }
    }
}

fn certificate(config: &LoadConfig, shards: &[ShardReport]) -> Certificate {
    let kind = LoadKind {
        closed: matches!(config.load, LoadShape::Users { .. }),
        token_ids: matches!(config.prompts, PromptForm::TokenIds { .. }),
    };
    let of = |shards: &[ShardReport]| {
        let workers = shards.iter().flat_map(|shard| &shard.workers);
        let counters: Vec<_> = workers.map(|report| &report.counters).collect();
        certify(&counters, kind)
    };
    let mut all = of(shards);
    let refused = shards.iter().find_map(|shard| of(std::slice::from_ref(shard)).refused);
    all.refused = all.refused.or(refused);
    all
}
