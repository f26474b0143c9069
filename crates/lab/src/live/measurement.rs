//! The measured part of a live cell: the load, and what is sampled beside it.

use std::sync::atomic::{AtomicBool, Ordering};

use weir_deploy::{Front, RemoteStore, Site, TierReaders};
use weir_field::{Field, FieldLevel, Offered, PromptOrder, ShardRecord, SourceOrder};
use weir_load::{Live, LoadConfig, LoadReport, Url};
use weir_model::{CellFailure, LoadNote, Nanos, Note, RoutingNote, Stalled, Window};
use weir_observe::signals::AnsweredBy;
use weir_observe::{
    HostProbe, KvEventWatch, SampleSource, Sampler, SamplerConfig, SamplerEvent, Scraper,
    SourceSample, UnixNanos, UtcClock,
};
use weir_record::{CellWriter, SeriesRow};
use weir_spec::plan::{Arm, Cell, Deployment, Level, Plan};
use weir_workload::Salted;

use crate::live::beyond::{self, Allowance, InWindow};
use crate::live::checks::Checks;
use crate::live::choices::Choices;
use crate::live::error::LiveError;
use crate::live::foreign::{self, PromptCount, ScrapedWindow};
use crate::live::lost;
use crate::live::neighbours;
use crate::live::signals::{SeenLoad, WindowSignals, WindowSources};
use crate::live::sink::Rows;
use crate::live::slow;
use crate::live::stalls::{UnixWindow, silent_parts, with_cause};
use crate::live::watchdog;
use crate::live::window_counters::{CounterSources, PlannedWindow, WindowCounters};
use crate::outcome::{CellOutcome, ReplicaSeen};
use crate::progress::{Phase, Progress};

/// Gauge of each engine.
const WAITING: &str = "vllm:num_requests_waiting";

pub(crate) struct Measurement<'a> {
    /// None where this process generates the load.
    pub(crate) field: Option<&'a Field>,
    pub(crate) prompts: PromptOrder,
    pub(crate) plan: &'a Plan,
    pub(crate) cell: &'a Cell,
    pub(crate) deployment: &'a Deployment,
    pub(crate) site: &'a Site,
    pub(crate) events: Option<KvEventWatch>,
    /// Processes that read the blocks of the farthest tier.
    pub(crate) readers: Option<TierReaders>,
    /// Keys in the store before.
    pub(crate) warm_keys: Option<u64>,
    pub(crate) live: &'a Live,
    pub(crate) progress: &'a dyn Progress,
}

pub(crate) struct Measured {
    pub(crate) outcome: CellOutcome,
    pub(crate) checks: Checks,
    /// Start of the load, nanoseconds since 1970.
    pub(crate) started_unix_ns: u64,
    /// Since the start of the load; None where it was never steady.
    pub(crate) steady_from: Option<Nanos>,
    pub(crate) shards: Vec<ShardRecord>,
}

struct Watched {
    load: Offered,
    counters: WindowCounters,
    /// Other runs of Weir.
    others: Vec<Note>,
}

impl Measurement<'_> {
    fn level(&self) -> &Level {
        &self.deployment.levels[self.cell.level]
    }

    fn arm(&self) -> &Arm {
        &self.deployment.arms[self.cell.arm]
    }

    pub(crate) fn run(
        &self,
        config: &LoadConfig,
        writer: &mut CellWriter,
        mut notes: Vec<Note>,
    ) -> Result<Measured, LiveError> {
        let source = self.deployment.open_source(self.level(), self.cell.seed)?;
        let mut source = Salted::new(source, self.plan.salt);
        let clock = UtcClock::anchored();
        let scrapers: Vec<Scraper> = self.scrapers();
        let sampling = SamplerConfig::default();
        let (sampler, samples) = Sampler::start(self.sources(&scrapers)?, sampling, clock)?;
        let planned = self.window();
        let choices = self.choices(config);
        let block_size = self.deployment.engine.block_size;
        let mut rows = Rows::new(writer, planned, block_size, choices);
        let offered = self.offer(config, &mut source, &mut rows, &scrapers);
        sampler.stop();
        let Watched { load: Offered { report, shards, notes: of_shards }, counters, others } =
            offered?;
        notes.extend(of_shards);
        self.progress.phase(Phase::Collect);
        let source = source.source();
        if let Some(error) = source.error() {
            return Err(error.clone().into());
        }
        let failures = rows.failures();
        let Rows { asked, answered, residence, at_edges, pace, mut flow, .. } = rows;
        let (window, started) = (report.window, UnixNanos(report.started_unix_ns));
        let steady_from = pace.steady_from(window);
        let stood_still = flow.stalled(window);
        notes.extend(steady_note(steady_from, window));
        notes.extend(self.remarks(others, &report, &counters));
        let observations: Vec<SamplerEvent> = samples.try_iter().collect();
        record_series(writer, &observations, started)?;
        let in_window = UnixWindow::of(window, started);
        let replicas = replicas_seen(&report.replicas, &observations, in_window);
        let stalls = with_cause(stood_still, self.silent(observations, &sampling, in_window));
        watchdog::answered(&failures, &stalls, self.site)?;
        let sources = self.window_sources(&counters);
        let seen = SeenLoad { asked: &asked, answered: &answered };
        let WindowSignals { signals, counted_prompts } = sources.signals(seen, &mut notes);
        notes.extend(self.unknown_choices(choices.as_ref(), &answered));
        notes.extend(slow::note(&replicas, &answered, window));
        let scraped = ScrapedWindow { window: planned, late: counters.lateness(started, planned) };
        let counted = counted_prompts.and_then(|counted| {
            let count = PromptCount::of(counted, &asked.looked_up, report.answers.by_usage > 0);
            foreign::tokens(count, &at_edges, scraped, &self.plan.client)
        });
        let checks = Checks {
            served: beyond::hits(&asked, &signals, self.allowance(window, residence.total())),
            counted,
            warm_keys: self.warm_keys,
            lost: counters.store.as_ref().and_then(|(before, after)| lost::between(before, after)),
            index_lost: counters.index.as_ref().and_then(|of| lost::between(&of.0, &of.1)),
            stalls,
        };
        let (role, same_prompts) = (self.arm().role, self.plan.client.same_prompts);
        notes.extend(checks.notes(role, same_prompts));
        let processes = self.site.processes();
        let outcome = CellOutcome {
            replicas,
            signals,
            skipped: source.skipped(),
            truncated: source.truncated(),
            failure: checks.unfit(role, same_prompts).map(CellFailure::Unfit),
            answers: Some(report.answers),
            certificate: Some(report.certificate),
            notes,
            short_window: residence.short_window(window),
            startup_warning: processes.and_then(|local| local.started().startup_warning()),
            ..CellOutcome::default()
        };
        let started_unix_ns = report.started_unix_ns;
        Ok(Measured { outcome, checks, started_unix_ns, steady_from, shards })
    }

    fn silent(
        &self,
        observations: Vec<SamplerEvent>,
        sampling: &SamplerConfig,
        window: UnixWindow,
    ) -> Vec<Stalled> {
        let answering = self.without_store(observations);
        silent_parts(&answering, sampling, window, |source| self.part(source))
    }

    /// Name of a part where it has one, else its address.
    fn part(&self, source: &str) -> String {
        let named = self.site.front().and_then(|front| front.part(source));
        named.unwrap_or_else(|| source.to_owned())
    }

    /// Without the store's samples: a store that reports slowly may still serve.
    fn without_store(&self, observations: Vec<SamplerEvent>) -> Vec<SamplerEvent> {
        let store = self.site.store().map(RemoteStore::source);
        let is_store = |seen: &SamplerEvent| store.as_deref() == Some(seen.source());
        observations.into_iter().filter(|seen| !is_store(seen)).collect()
    }

    fn sources(&self, scrapers: &[Scraper]) -> Result<Vec<Box<dyn SampleSource>>, LiveError> {
        let engines =
            scrapers.iter().map(|scraper| Box::new(scraper.clone()) as Box<dyn SampleSource>);
        let mut sources: Vec<Box<dyn SampleSource>> = engines.collect();
        if let Some(store) = self.site.store() {
            sources.push(Box::new(store.probe()?));
        }
        if let Some(index) = self.site.front().and_then(Front::index_probe) {
            sources.push(Box::new(index));
        }
        sources.push(Box::new(HostProbe::open(&[])));
        Ok(sources)
    }

    fn remarks(
        &self,
        others: Vec<Note>,
        report: &LoadReport,
        counters: &WindowCounters,
    ) -> Vec<Note> {
        let store = self.site.store();
        let problem = store.and_then(RemoteStore::problem).map(Note::Error);
        let of_store = [problem, store.and_then(RemoteStore::taken)];
        let gave_up = report
            .gave_up
            .as_ref()
            .map(|of| LoadNote::GaveUp { requests: of.requests, last: of.last.clone() }.into());
        let of_load = gave_up.into_iter().chain(counters.notes.iter().cloned());
        others.into_iter().chain(of_load).chain(of_store.into_iter().flatten()).collect()
    }

    /// A level without a duration ends the window itself.
    fn window(&self) -> Window {
        let level = self.level();
        Window { start: level.warmup, end: level.duration.unwrap_or(Nanos(u64::MAX)) }
    }

    fn offer(
        &self,
        config: &LoadConfig,
        source: &mut Salted<weir_workload::Source>,
        rows: &mut Rows<'_>,
        scrapers: &[Scraper],
    ) -> Result<Watched, LiveError> {
        let level = self.level();
        let over = AtomicBool::new(false);
        let (over, site, live) = (&over, self.site, self.live);
        let sources = CounterSources {
            scrapers,
            store: site.store(),
            front: site.front(),
            processes: site.processes(),
            events: self.events.as_ref(),
            readers: self.readers.as_ref(),
        };
        let (stall, clock) = (self.plan.client.request_timeout, UtcClock::anchored());
        let window = PlannedWindow { start: level.warmup, end: level.duration };
        std::thread::scope(|scope| {
            let counters =
                scope.spawn(move || WindowCounters::watch(sources, window, live, over, &clock));
            let watchdog = scope.spawn(move || watchdog::watch(site, live, over, stall));
            let others = scope.spawn(move || neighbours::watch(over));
            let load = self.generate(config, source, rows);
            over.store(true, Ordering::Release);
            let counters = counters.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let fault = watchdog.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let others = others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match fault {
                Some(fault) => Err(fault),
                None => Ok(Watched { load: load?, counters, others }),
            }
        })
    }

    /// Here, or by the agents of the field.
    fn generate(
        &self,
        config: &LoadConfig,
        source: &mut Salted<weir_workload::Source>,
        rows: &mut Rows<'_>,
    ) -> Result<Offered, LiveError> {
        let Some(field) = self.field else {
            let report = weir_load::run(config, source, rows, self.live)?;
            return Ok(Offered { report, shards: Vec::new(), notes: Vec::new() });
        };
        let options = self.deployment.source_options(self.level(), self.cell.seed);
        let order = SourceOrder {
            seed: options.seed,
            max_model_len: options.max_model_len,
            trace_speed: options.trace_speed,
            salt: self.plan.salt,
            requests: source.source().requests(),
        };
        let level = FieldLevel {
            config,
            prompts: &self.prompts,
            workload: &self.level().workload,
            source: &order,
        };
        Ok(field.offer(&level, source, rows, self.live)?)
    }

    /// Where the events of all replicas are heard.
    fn choices<'a>(&'a self, config: &'a LoadConfig) -> Option<Choices<'a>> {
        let events = self.events.as_ref()?;
        (self.site.replicas().len() > 1).then_some(Choices { events, config, live: self.live })
    }

    fn unknown_choices(&self, choices: Option<&Choices<'_>>, answered: &AnsweredBy) -> Vec<Note> {
        let replicas = self.site.replicas().len().max(answered.replicas.len());
        if replicas < 2 {
            return Vec::new();
        }
        let (requests, of) = (answered.unknown, answered.unknown + answered.known());
        let unnamed = (requests > 0).then(|| RoutingNote::ReplicasUnknown { requests, of }.into());
        let unheld = choices.and_then(|choices| choices.note(answered));
        unnamed.into_iter().chain(unheld).collect()
    }

    fn window_sources<'a>(&'a self, counters: &'a WindowCounters) -> WindowSources<'a> {
        WindowSources {
            deployment: self.deployment,
            arm: self.arm(),
            site: self.site,
            client: &self.plan.client,
            readers: self.readers.as_ref(),
            counters,
        }
    }

    /// `residence` is the sum of the requests' times in the window, nanoseconds.
    fn allowance(&self, window: Window, residence: u128) -> Allowance {
        let at_end = self.live.snapshot();
        let in_window = InWindow { window, residence, lost: at_end.failed + at_end.unfinished };
        let block = self.deployment.engine.block_size;
        Allowance::of(self.arm(), &self.plan.client, &self.level().load, block, &in_window)
    }

    fn scrapers(&self) -> Vec<Scraper> {
        self.site.metrics().iter().map(|url| self.site.scraper(url)).collect()
    }
}

/// Samples as rows of `series.parquet`, from the start of the load on.
fn record_series(
    writer: &mut CellWriter,
    observations: &[SamplerEvent],
    start: UnixNanos,
) -> Result<(), LiveError> {
    for observation in observations {
        let SamplerEvent::Sample(sample) = observation else { continue };
        if sample.at() < start {
            continue;
        }
        for row in sample.rows(start) {
            writer.push_sample(&SeriesRow {
                time: row.time,
                source: row.source,
                metric: row.metric,
                labels: row.labels,
                value: row.value,
            })?;
        }
    }
    Ok(())
}

/// With the mean of each one's waiting requests, where its own endpoint was sampled.
fn replicas_seen(
    addresses: &[String],
    observations: &[SamplerEvent],
    window: UnixWindow,
) -> Vec<ReplicaSeen> {
    let waiting = |address: &String| {
        let mut sampled = (0_u64, 0.0);
        for observation in observations {
            let SamplerEvent::Sample(SourceSample::Metrics(snapshot)) = observation else {
                continue;
            };
            let is_own = Url::parse(&snapshot.endpoint).is_ok_and(|url| url.address() == *address);
            if is_own
                && window.contains(snapshot.at)
                && let Some(requests) = snapshot.gauge_sum(WAITING, &[])
            {
                sampled = (sampled.0 + 1, sampled.1 + requests);
            }
        }
        (sampled.0 > 0).then(|| sampled.1 / sampled.0 as f64)
    };
    let seen =
        |address: &String| ReplicaSeen { address: address.clone(), mean_waiting: waiting(address) };
    addresses.iter().map(seen).collect()
}

fn steady_note(steady_from: Option<Nanos>, window: Window) -> Option<Note> {
    let note = match steady_from {
        Some(from) if from <= window.start => return None,
        Some(from) => LoadNote::SteadyLate { from, window_start: window.start },
        None => LoadNote::NeverSteady { window: window.length() },
    };
    Some(note.into())
}
