//! Samples sources at an interval during a cell.
//!
//! Each source has a thread and a budget per sample, so a slow endpoint delays no other. Due times
//! are absolute: a late sample shifts no later one, and missed due times are not repeated. Every
//! missing sample is a [`Gap`], also one that a slow receiver had no room for: sampling never
//! waits for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use weir_model::Nanos;

use crate::clock::{UnixNanos, UtcClock};
use crate::host::{HostProbe, HostSample, SOURCE};
use crate::scrape::Scraper;
use crate::series::{Row, rows};
use crate::snapshot::Snapshot;
use crate::store_sample::StoreSample;

/// `sample` must return within the budget.
pub trait SampleSource: Send {
    fn name(&self) -> &str;
    fn sample(&mut self, clock: &UtcClock, budget: Duration) -> Result<SourceSample, String>;
}

#[derive(Debug, Clone, PartialEq)]
pub enum SourceSample {
    Metrics(Snapshot),
    Host(HostSample),
    Store(StoreSample),
}

impl SourceSample {
    pub const fn at(&self) -> UnixNanos {
        match self {
            Self::Metrics(snapshot) => snapshot.at,
            Self::Host(sample) => sample.at,
            Self::Store(sample) => sample.at,
        }
    }

    pub fn source(&self) -> &str {
        match self {
            Self::Metrics(snapshot) => &snapshot.endpoint,
            Self::Host(_) => SOURCE,
            Self::Store(sample) => &sample.source,
        }
    }

    /// Rows of `series.parquet`, in time from the start of the cell.
    pub fn rows(&self, start: UnixNanos) -> Vec<Row> {
        match self {
            Self::Metrics(snapshot) => rows(snapshot, start),
            Self::Host(sample) => sample.rows(start),
            Self::Store(sample) => sample.rows(start),
        }
    }
}

impl SampleSource for Scraper {
    fn name(&self) -> &str {
        self.endpoint()
    }

    fn sample(&mut self, clock: &UtcClock, budget: Duration) -> Result<SourceSample, String> {
        self.scrape(clock, budget).map(SourceSample::Metrics).map_err(|error| error.to_string())
    }
}

impl SampleSource for HostProbe {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn sample(&mut self, clock: &UtcClock, _budget: Duration) -> Result<SourceSample, String> {
        Ok(SourceSample::Host(Self::sample(self, clock)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerConfig {
    /// Between two samples of a source.
    pub interval: Nanos,
    pub budget: Nanos,
    /// Queued observations of all sources together.
    pub waiting: usize,
}

impl Default for SamplerConfig {
    /// A sample per second, half a second for each, 4,096 waiting: some 40 MB of vLLM's families.
    fn default() -> Self {
        Self { interval: Nanos::from_secs(1), budget: Nanos::from_millis(500), waiting: 4096 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub source: String,
    pub due: UnixNanos,
    pub missed: u64,
    pub cause: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SamplerEvent {
    Sample(SourceSample),
    Gap(Gap),
}

impl SamplerEvent {
    pub fn source(&self) -> &str {
        match self {
            Self::Sample(sample) => sample.source(),
            Self::Gap(gap) => &gap.source,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SamplerError {
    #[error("samples every 0 s cannot be taken; give an interval above zero")]
    NoInterval,
    #[error("no thread to sample {source_name}: {error}; lower the number of threads in use")]
    Thread { source_name: String, error: std::io::Error },
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    called: Condvar,
}

impl Stop {
    fn ask(&self) {
        *self.asked.lock() = true;
        self.called.notify_all();
    }

    /// True when the sampler stops.
    fn wait_until(&self, clock: &UtcClock, point: UnixNanos) -> bool {
        let mut asked = self.asked.lock();
        loop {
            let left = clock.until(point);
            if *asked || left.is_zero() {
                return *asked;
            }
            self.called.wait_for(&mut asked, left);
        }
    }
}

#[derive(Debug)]
pub struct Sampler {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<Option<Gap>>>,
}

impl Sampler {
    /// The first sample is due at once. Observations of different sources have no order.
    pub fn start(
        sources: Vec<Box<dyn SampleSource>>,
        config: SamplerConfig,
        clock: UtcClock,
    ) -> Result<(Self, Receiver<SamplerEvent>), SamplerError> {
        if config.interval == Nanos::ZERO {
            return Err(SamplerError::NoInterval);
        }
        let (sender, receiver) = sync_channel(config.waiting);
        let mut sampler = Self { stop: Arc::default(), threads: Vec::new() };
        let first = clock.now();
        for source in sources {
            let source_name = source.name().to_owned();
            let outlet = Outlet { sender: sender.clone(), lost: None };
            let watch = Watch { source, config, clock, stop: Arc::clone(&sampler.stop), outlet };
            let builder = std::thread::Builder::new().name("weir-sampler".to_owned());
            let thread = builder
                .spawn(move || watch.run(first))
                .map_err(|error| SamplerError::Thread { source_name, error })?;
            sampler.threads.push(thread);
        }
        Ok((sampler, receiver))
    }

    /// Waits for samples under way, at most their budget. Returns the gaps that the channel had no
    /// room for.
    pub fn stop(mut self) -> Vec<Gap> {
        self.join()
    }

    fn join(&mut self) -> Vec<Gap> {
        self.stop.ask();
        let threads = std::mem::take(&mut self.threads);
        let ended = threads.into_iter().map(JoinHandle::join);
        let gaps = ended.filter_map(|ended| match ended {
            Ok(gap) => gap,
            Err(panic) if !std::thread::panicking() => std::panic::resume_unwind(panic),
            Err(_) => None,
        });
        gaps.collect()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.join();
    }
}

struct Watch {
    source: Box<dyn SampleSource>,
    config: SamplerConfig,
    clock: UtcClock,
    stop: Arc<Stop>,
    outlet: Outlet,
}

impl Watch {
    fn run(mut self, first: UnixNanos) -> Option<Gap> {
        let budget = Duration::from_nanos(self.config.budget.0);
        let mut due = first;
        while !self.stop.wait_until(&self.clock, due) {
            match self.source.sample(&self.clock, budget) {
                Ok(sample) => self.outlet.put(due, self.source.name(), sample),
                Err(cause) => self.outlet.say(self.gap(due, 1, cause)),
            }
            due = due.after(self.config.interval);
            // Due times that passed during the sample; the last of them is still served.
            let late = self.clock.now().since(due).unwrap_or_default();
            let missed = late.0 / self.config.interval.0;
            if missed > 0 {
                let cause = format!("the sample before it ended {late} after it was due");
                self.outlet.say(self.gap(due, missed, cause));
                due = due.after(self.config.interval * missed);
            }
        }
        self.outlet.lost
    }

    fn gap(&self, due: UnixNanos, missed: u64, cause: String) -> Gap {
        Gap { source: self.source.name().to_owned(), due, missed, cause }
    }
}

struct Outlet {
    sender: SyncSender<SamplerEvent>,
    /// Observations that the channel had no room for.
    lost: Option<Gap>,
}

impl Outlet {
    fn put(&mut self, due: UnixNanos, source: &str, sample: SourceSample) {
        if !self.make_up() || !self.send(SamplerEvent::Sample(sample)) {
            let cause = "the receiver fell behind".to_owned();
            self.lose(Gap { source: source.to_owned(), due, missed: 1, cause });
        }
    }

    fn say(&mut self, gap: Gap) {
        if !self.make_up() || !self.send(SamplerEvent::Gap(gap.clone())) {
            self.lose(gap);
        }
    }

    /// Sends the lost gap; false without room.
    fn make_up(&mut self) -> bool {
        match self.lost.take() {
            None => true,
            Some(gap) => {
                let sent = self.send(SamplerEvent::Gap(gap.clone()));
                if !sent {
                    self.lost = Some(gap);
                }
                sent
            }
        }
    }

    fn lose(&mut self, gap: Gap) {
        match &mut self.lost {
            Some(lost) => lost.missed += gap.missed,
            None => self.lost = Some(gap),
        }
    }

    fn send(&self, observation: SamplerEvent) -> bool {
        // Without a receiver nothing is lost.
        !matches!(self.sender.try_send(observation), Err(TrySendError::Full(_)))
    }
}
