//! One live cell, from bring-up to evidence.
//!
//! The protocol is the same for every live target: bring up, warm up the engine, empty its caches
//! and look whether they are, offer the load, measure a window of it, drain, collect. What a target
//! cannot do (an endpoint may refuse to empty its cache) is noted in the cell, never passed over.

mod beyond;
mod caches;
mod checks;
mod error;
mod first;
mod foreign;
mod journal;
mod load_config;
mod lost;
mod neighbours;
mod origin;
mod residence;
mod sink;
mod stalls;
mod steady;
mod watchdog;
mod window_counters;

use std::sync::atomic::{AtomicBool, Ordering};

use weir_deploy::{Place, Presence, RemoteStore, Site, TierReaders, Tiers};
use weir_load::{Live, LoadConfig, LoadReport};
use weir_model::{
    CountedTokens, FactDifference, LoadNote, Nanos, Note, RunningFacts, SignalKind, SignalSource,
    Signals, Stalled, TierKind, Unfit, Window,
};
use weir_observe::signals::{
    AskedLoad, EventBytes, Objects, StoredChunk, add_client, add_epp, add_kv_events,
    add_lmcache_in_process, add_lmcache_server, add_store, add_vllm, add_weir,
};
use weir_observe::{
    Clock, Difference, GapError, HostProbe, KvEventWatch, Observation, Sampler, SamplerConfig,
    Scraper, Source, UnixNanos,
};
use weir_record::{CellWriter, SeriesRow, ShortWindow};
use weir_spec::plan::{Arm, ArmRole, Cell, Deployment, Level, Plan};
use weir_workload::Salted;

use crate::live::beyond::{Allowance, InWindow};
use crate::live::caches::FirstPrompts;
pub use crate::live::checks::Checks;
pub use crate::live::error::LiveError;
use crate::live::first::{FirstRequests, Vocabulary};
use crate::live::foreign::{EdgeRequests, PromptCount};
pub use crate::live::journal::{Journal, JournalError};
pub use crate::live::residence::Residence;
use crate::live::sink::Rows;
use crate::live::stalls::silent_parts;
use crate::live::window_counters::{CounterSources, WindowCounters};

/// Where a cell stands, for people who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The arm is brought up, or looked for.
    BringUp,
    /// First requests, not measured.
    WarmUp,
    Flush,
    /// The load runs; [`Live`] says how far.
    Load,
    Collect,
    /// What was brought up goes.
    TakeDown,
}

/// What a live cell leaves besides its tables.
#[derive(Debug)]
pub struct LiveOutcome {
    /// What was seen of the mechanism over the window.
    pub signals: Signals,
    /// What the generator says of itself.
    pub load: LoadReport,
    /// Requests of a trace that were left out because they exceed the context.
    pub skipped: u64,
    /// Requests of a trace that were cut to fit it.
    pub truncated: u64,
    /// What could not be done or seen.
    pub notes: Vec<Note>,
    /// That the window is short against the requests in it, where it is.
    pub short_window: Option<ShortWindow>,
    /// From when on the load was steady, since its start; nothing where it never was.
    pub steady_from: Option<Nanos>,
    /// A line of a start-up log that says that the mechanism will not act.
    pub startup_warning: Option<String>,
    /// What was compared to find out whether it shows its own arm.
    pub checks: Checks,
    /// Why it does not.
    pub unfit: Option<Unfit>,
    /// What the running software said of itself before the load, and, where it did not then, after.
    pub facts: RunningFacts,
    /// What it said otherwise after the load.
    pub changed: Vec<FactDifference>,
}

/// Runs one live cell into its tables, as part of the run with this id. `live` says how far the
/// load is, and takes the wish to stop.
pub fn run(
    plan: &Plan,
    cell: &Cell,
    run: &str,
    writer: &mut CellWriter,
    live: &Live,
    phase: &mut dyn FnMut(Phase),
) -> Result<LiveOutcome, LiveError> {
    let deployment = &plan.deployments[cell.deployment];
    let arm = &deployment.arms[cell.arm];
    phase(Phase::BringUp);
    // Others on this machine are told, to the end; where they cannot be, the cell goes on.
    let _presence = Presence::show(run);
    let place = Place { run, folder: writer.folder(), stopped: &|| live.is_aborted() };
    let site = Site::stand_up(plan, deployment, arm, place)?;
    let outcome = measured(plan, cell, &site, writer, live, phase);
    phase(Phase::TakeDown);
    // Also after a failure: nothing that was brought up stays.
    let down = site.tear_down();
    let outcome = outcome?;
    down?;
    Ok(outcome)
}

fn measured(
    plan: &Plan,
    cell: &Cell,
    site: &Site,
    writer: &mut CellWriter,
    live: &Live,
    phase: &mut dyn FnMut(Phase),
) -> Result<LiveOutcome, LiveError> {
    let deployment = &plan.deployments[cell.deployment];
    let mut notes = site.notes();
    // Before the first request: what is published before the subscription is not heard.
    let heard = site.processes().map(weir_deploy::Local::kv_event_endpoints);
    let events = heard.map(KvEventWatch::start).transpose()?;
    phase(Phase::WarmUp);
    let stopped = || live.is_aborted();
    let config = load_config::config(plan, deployment, cell, site)?;
    let arm = &deployment.arms[cell.arm];
    let is_guess = arm.role == ArmRole::AsDeployed && plan.client.vocabulary.is_none();
    let vocabulary = if is_guess { Vocabulary::Guessed } else { Vocabulary::Known };
    let mut first = FirstRequests::new(config, vocabulary, site, &stopped);
    let store = caches::found_in_store(site);
    first.ask_all()?;
    let prompts = FirstPrompts::of(deployment, &deployment.levels[cell.level], site);
    caches::warm_up(prompts, &mut first)?;
    phase(Phase::Flush);
    let caches = caches::empty(prompts, &mut first, store)?;
    let (config, asked_otherwise) = first.into_config();
    notes.extend(asked_otherwise);
    notes.extend(caches.notes.iter().cloned());
    phase(Phase::Load);
    let readers = site.readers(arm);
    let warm_keys = caches::warm_keys(&caches.emptied);
    let measurement = Measurement { plan, cell, deployment, site, events, readers, warm_keys };
    let before = site.facts();
    let mut outcome = measurement.run(&config, writer, live, notes, phase)?;
    let after = site.facts();
    outcome.changed = before.changes(&after);
    outcome.facts = before;
    outcome.facts.extend(after);
    let journal = Journal {
        started_unix_ns: outcome.load.started_unix_ns,
        endpoints: site.endpoints().iter().map(|endpoint| endpoint.url().to_string()).collect(),
        salt: plan.salt,
        caches: caches.emptied,
        steady_from: outcome.steady_from,
        started: site.processes().map(|local| local.started().clone()),
        checks: outcome.checks.clone(),
        notes: outcome.notes.clone(),
    };
    journal.write(writer.folder())?;
    Ok(outcome)
}

/// The measured part of a cell.
struct Measurement<'a> {
    plan: &'a Plan,
    cell: &'a Cell,
    deployment: &'a Deployment,
    site: &'a Site,
    events: Option<KvEventWatch>,
    /// Who reads the blocks of the farthest tier.
    readers: Option<TierReaders>,
    /// Keys that the store held before.
    warm_keys: Option<u64>,
}

/// What an offered load left.
struct Offered {
    report: LoadReport,
    counters: WindowCounters,
    /// Runs of Weir beside this one.
    others: Vec<Note>,
}

impl Measurement<'_> {
    fn level(&self) -> &Level {
        &self.deployment.levels[self.cell.level]
    }

    fn arm(&self) -> &Arm {
        &self.deployment.arms[self.cell.arm]
    }

    fn run(
        &self,
        config: &LoadConfig,
        writer: &mut CellWriter,
        live: &Live,
        mut notes: Vec<Note>,
        phase: &mut dyn FnMut(Phase),
    ) -> Result<LiveOutcome, LiveError> {
        let source = self.deployment.open_source(self.level(), self.cell.seed)?;
        let mut source = Salted::new(source, self.plan.salt);
        let clock = Clock::anchored();
        let scrapers: Vec<Scraper> = self.scrapers();
        let sampling = SamplerConfig::default();
        let (sampler, samples) = Sampler::start(self.sources(&scrapers)?, sampling, clock)?;
        let window = self.window();
        let mut rows = Rows::new(writer, window, self.deployment.engine.block_size);
        let offered = self.offer(config, (&mut source, &mut rows), &scrapers, live);
        sampler.stop();
        let Offered { report, counters, others } = offered?;
        phase(Phase::Collect);
        if let Some(error) = source.source().error() {
            return Err(error.clone().into());
        }
        watchdog::answered(&rows, self.site)?;
        let Rows { asked, residence, at_edges, pace, mut flow, .. } = rows;
        let steady_from = pace.steady_from(report.window);
        let stood_still = flow.stalled(report.window);
        notes.extend(steady_note(steady_from, report.window));
        notes.extend(self.remarks(others, &report, &counters));
        let observations: Vec<Observation> = samples.try_iter().collect();
        record_series(writer, &observations, UnixNanos(report.started_unix_ns))?;
        let mut stalls: Vec<Stalled> = stood_still.into_iter().collect();
        let answering = self.without_store(observations);
        stalls.extend(silent_parts(&answering, &sampling, unix_window(&report)));
        let (signals, counted) = self.signals(&counters, &asked, &mut notes);
        let short_window = residence.short_window(report.window);
        let (skipped, truncated) = (source.source().skipped(), source.source().truncated());
        let processes = self.site.processes();
        let startup_warning = processes.and_then(|local| local.started().startup_warning());
        let at_end = live.snapshot();
        let in_window = InWindow {
            window: report.window,
            residence: residence.total(),
            lost: at_end.failed + at_end.unfinished,
        };
        let served = beyond::hits(&asked, &signals, self.allowance(&in_window));
        let counted = counted.and_then(|counted| {
            self.counted(counted, &asked, (&at_edges, window), (&counters, &report))
        });
        let looks = counters.store.as_ref();
        let lost = looks.and_then(|(before, after)| lost::between(before, after));
        let warm_keys = self.warm_keys;
        let checks = Checks { served, counted, warm_keys, lost, stalls };
        let (role, same_prompts) = (self.arm().role, self.plan.client.same_prompts);
        notes.extend(checks.notes(role, same_prompts));
        Ok(LiveOutcome {
            signals,
            load: report,
            skipped,
            truncated,
            notes,
            short_window,
            steady_from,
            startup_warning,
            unfit: checks.unfit(role, same_prompts),
            checks,
            facts: RunningFacts::default(),
            changed: Vec::new(),
        })
    }

    /// Without the store's samples: one that is slow to say what it counts may serve all the while.
    fn without_store(&self, observations: Vec<Observation>) -> Vec<Observation> {
        let store = self.site.store().map(RemoteStore::source);
        let is_store = |seen: &Observation| store.as_deref() == Some(seen.source());
        observations.into_iter().filter(|seen| !is_store(seen)).collect()
    }

    /// What is sampled beside a cell: the engines' metrics, the store's counters and this machine.
    fn sources(&self, scrapers: &[Scraper]) -> Result<Vec<Box<dyn Source>>, LiveError> {
        let engines = scrapers.iter().map(|scraper| Box::new(scraper.clone()) as Box<dyn Source>);
        let mut sources: Vec<Box<dyn Source>> = engines.collect();
        if let Some(store) = self.site.store() {
            sources.push(Box::new(store.probe()?));
        }
        sources.push(Box::new(HostProbe::open(&[])));
        Ok(sources)
    }

    /// What was seen besides while the load ran.
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

    /// The window of the plan; a level without a duration ends it itself.
    fn window(&self) -> Window {
        let level = self.level();
        Window { start: level.warmup, end: level.duration.unwrap_or(Nanos(u64::MAX)) }
    }

    /// Prompt tokens that the engines counted, and what the load sent.
    fn counted(
        &self,
        counted: f64,
        asked: &AskedLoad,
        (at_edges, window): (&EdgeRequests, Window),
        (counters, report): (&WindowCounters, &LoadReport),
    ) -> Option<CountedTokens> {
        let has_usage = report.answers.by_usage > 0;
        let count = PromptCount::of(counted, &asked.looked_up, has_usage);
        let late = counters.lateness(UnixNanos(report.started_unix_ns), window);
        foreign::tokens(count, at_edges, (window, late), &self.plan.client)
    }

    /// Offers the load, while the edges of its window, the parts and the machine are watched.
    fn offer(
        &self,
        config: &LoadConfig,
        (source, rows): (&mut Salted<weir_workload::Source>, &mut Rows<'_>),
        scrapers: &[Scraper],
        live: &Live,
    ) -> Result<Offered, LiveError> {
        let level = self.level();
        let over = AtomicBool::new(false);
        let (over, site) = (&over, self.site);
        let observed = CounterSources {
            scrapers,
            store: site.store(),
            processes: site.processes(),
            events: self.events.as_ref(),
            readers: self.readers.as_ref(),
        };
        let (stall, clock) = (self.plan.client.request_timeout, Clock::anchored());
        let window = (level.warmup, level.duration);
        std::thread::scope(|scope| {
            let watcher =
                scope.spawn(move || WindowCounters::watch(observed, window, live, over, &clock));
            let guard = scope.spawn(move || watchdog::watch(site, live, over, stall));
            let others = scope.spawn(move || neighbours::watch(over));
            let report = weir_load::run(config, source, rows, live);
            over.store(true, Ordering::Release);
            let counters = watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let fault = guard.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let others = others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match fault {
                Some(fault) => Err(fault),
                None => Ok(Offered { report: report?, counters, others }),
            }
        })
    }

    fn allowance(&self, in_window: &InWindow) -> Allowance {
        let block = self.deployment.engine.block_size;
        Allowance::of(self.arm(), &self.plan.client, &self.level().load, block, in_window)
    }

    fn scrapers(&self) -> Vec<Scraper> {
        self.site.metrics().iter().map(|url| self.site.scraper(url)).collect()
    }

    /// What an object of LMCache's is in this arm; nothing for other mechanisms.
    fn objects(&self) -> Option<Objects> {
        let offload = self.arm().offload.as_ref()?;
        offload.mechanism.is_lmcache().then_some(Objects {
            chunk_tokens: offload.chunk_tokens,
            chunk_bytes: offload.chunk_bytes.kept,
            // Of latents the first rank's copy stands for all.
            ranks: if self.deployment.model.kv_is_replicated() {
                1
            } else {
                self.deployment.tensor_parallel
            },
            second_level: offload.farthest().filter(|tier| *tier != TierKind::Host),
        })
    }

    /// What the arm's tiers say, where they hold real bytes, and the store behind them.
    fn add_tiers(
        &self,
        windows: &[Difference<'_>],
        counters: &WindowCounters,
        signals: &mut Signals,
    ) -> Vec<GapError> {
        let Some(chunk) = self.stored_chunk() else { return Vec::new() };
        let gaps = match self.site.tiers() {
            Some(_) => add_weir(windows, chunk.tokens, chunk.model_bytes, signals),
            None => Vec::new(),
        };
        if let (Some((before, after)), Some(store)) = (&counters.store, self.site.store()) {
            add_store(store.product(), (before, after), chunk, signals);
        }
        gaps
    }

    /// A chunk of the arm's mechanism, and what is moved for it.
    fn stored_chunk(&self) -> Option<StoredChunk> {
        let offload = self.arm().offload.as_ref()?;
        let model_bytes = offload.chunk_bytes.kept;
        let moved_bytes = self.site.tiers().map_or(model_bytes, Tiers::block_bytes);
        Some(StoredChunk { tokens: offload.chunk_tokens, model_bytes, moved_bytes })
    }

    /// What the plan gave, and what is on the disk, where the arm's processes are ours.
    fn add_local(&self, counters: &WindowCounters, signals: &mut Signals) {
        let (Some(local), Some(offload)) = (self.site.processes(), &self.arm().offload) else {
            return;
        };
        let source = "the plan, as it was started";
        let largest = offload.capacities().map(|(_, bytes)| bytes.0).max().unwrap_or(0);
        signals.add(SignalKind::TierCapacityBytes, largest as f64, source);
        for (tier, bytes) in offload.capacities() {
            signals.add_of(tier, SignalKind::TierCapacityBytes, bytes.0 as f64, source);
        }
        if let (Some(tier), Some(refused)) = (offload.farthest(), counters.refused)
            && refused > 0
        {
            let source = SignalSource::of("logs").metric("batches that were not stored");
            signals.add_of(tier, SignalKind::StoreFailures, refused as f64, source);
        }
        if let Some(contents) = local.disk_contents() {
            let source = |of: &str| SignalSource::of("the disk tier's folder").metric(of);
            signals.add(SignalKind::DiskFiles, contents.files as f64, source("files"));
            let bytes = contents.bytes as f64;
            let source = source("bytes of the files");
            signals.add_of(TierKind::Disk, SignalKind::TierUsedBytes, bytes, source);
        }
    }

    /// What the engines' KV events say.
    fn add_events(&self, counters: &WindowCounters, signals: &mut Signals, notes: &mut Vec<Note>) {
        let Some((before, after)) = &counters.events else { return };
        let engine = self.deployment.engine_of(self.arm());
        let block = u64::from(engine.block_size) * engine.kv_bytes_per_token;
        let offload = self.arm().offload.as_ref();
        let chunk = offload.map_or(block, |offload| offload.chunk_bytes.kept);
        let promotes = offload.is_some_and(|offload| offload.tiers.len() > 1);
        let bytes = EventBytes { block, chunk, promotes };
        notes.extend(add_kv_events((before, after), bytes, signals).map(Note::from));
    }

    /// The signals of the window, with the prompt tokens that the engines counted.
    fn signals(
        &self,
        counters: &WindowCounters,
        asked: &AskedLoad,
        notes: &mut Vec<Note>,
    ) -> (Signals, Option<f64>) {
        let mut signals = Signals::default();
        let differences = counters.differences(notes);
        // Each part is read where it speaks: an engine has nothing of a server's.
        let of = |prefix| -> Vec<Difference<'_>> {
            differences.iter().filter(|window| window.speaks_of(prefix)).copied().collect()
        };
        let engines = of("vllm:");
        let mut gaps = add_vllm(&engines, &mut signals);
        let counted = signals.get(SignalKind::PromptTokens);
        if let Some(objects) = self.objects() {
            gaps.extend(add_lmcache_server(&of("lmcache_mp_"), &objects, &mut signals));
            gaps.extend(add_lmcache_in_process(&engines, &objects, &mut signals));
        }
        gaps.extend(self.add_tiers(&engines, counters, &mut signals));
        if let (Some(readers), Some(chunk)) = (&self.readers, self.stored_chunk()) {
            notes.extend(origin::add(readers, counters.device_read, chunk, &mut signals));
        }
        self.add_local(counters, &mut signals);
        self.add_events(counters, &mut signals, notes);
        gaps.extend(add_epp(&differences, &mut signals));
        notes.extend(gaps.iter().map(|gap| Note::Error(gap.to_string())));
        add_client(asked, self.arm().is_gpu_only(), &mut signals);
        if signals.get(SignalKind::Replicas).is_none() {
            let replicas = self.site.endpoints().len() as f64;
            signals.add(SignalKind::Replicas, replicas, "the endpoints given");
        }
        (signals, counted)
    }
}

/// The measured window in the time of the samples.
fn unix_window(report: &LoadReport) -> (UnixNanos, UnixNanos) {
    let begin = UnixNanos(report.started_unix_ns);
    (begin.after(report.window.0), begin.after(report.window.1))
}

/// Samples as rows of `series.parquet`; those before the load began are left out.
fn record_series(
    writer: &mut CellWriter,
    observations: &[Observation],
    start: UnixNanos,
) -> Result<(), LiveError> {
    for observation in observations {
        let Observation::Sample(sample) = observation else { continue };
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

fn steady_note(steady_from: Option<Nanos>, (start, end): (Nanos, Nanos)) -> Option<Note> {
    let note = match steady_from {
        Some(from) if from <= start => return None,
        Some(from) => LoadNote::SteadyLate { from, window_start: start },
        None => LoadNote::NeverSteady { window: end.saturating_sub(start) },
    };
    Some(note.into())
}
