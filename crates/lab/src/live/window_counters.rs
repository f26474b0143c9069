//! The counters of engines and stores at both edges of the measured window.
//!
//! Figures are differences over the window, so both edges are scraped on time and not at a
//! sampler's nearest tick: at ten requests per second, a second's slip is ten requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_deploy::{Front, Local, RemoteStore, TierReaders};
use weir_load::Live;
use weir_model::{Bytes, Nanos, Note, Window};
use weir_observe::signals::StoreCounts;
use weir_observe::{
    HostProbe, HostUse, KvEventCounts, KvEventWatch, Scraper, Snapshot, SnapshotDifference,
    UnixNanos, UtcClock,
};

/// Per scrape; vLLM's takes some milliseconds.
const BUDGET: Duration = Duration::from_secs(5);
/// For the start of the load.
const POLL: Duration = Duration::from_millis(2);
/// Longest delay after the end of a load. Each look takes CPU time from it.
const NAP: Duration = Duration::from_millis(100);

/// One pair of snapshots per source; a failed source has a note instead.
#[derive(Debug, Default)]
pub(crate) struct WindowCounters {
    pairs: Vec<(Snapshot, Snapshot)>,
    pub(crate) store: Option<(StoreCounts, StoreCounts)>,
    /// Of a router's index outside its memory.
    pub(crate) index: Option<(StoreCounts, StoreCounts)>,
    /// Batches that a tier refused, by the logs of processes that Weir started.
    pub(crate) refused: Option<u64>,
    pub(crate) events: Option<(KvEventCounts, KvEventCounts)>,
    /// Read from devices by the readers of the farthest tier. None where one of them is not known.
    pub(crate) device_read: Option<Bytes>,
    /// One line each.
    pub(crate) notes: Vec<Note>,
}

#[derive(Clone, Copy)]
pub(crate) struct CounterSources<'a> {
    pub(crate) scrapers: &'a [Scraper],
    pub(crate) store: Option<&'a RemoteStore>,
    pub(crate) front: Option<&'a Front>,
    pub(crate) processes: Option<&'a Local>,
    pub(crate) events: Option<&'a KvEventWatch>,
    pub(crate) readers: Option<&'a TierReaders>,
}

/// Since the start of the load.
#[derive(Clone, Copy)]
pub(crate) struct PlannedWindow {
    pub(crate) start: Nanos,
    /// None where the load itself ends it.
    pub(crate) end: Option<Nanos>,
}

impl WindowCounters {
    /// `over` is set at the end of the load.
    pub(crate) fn watch(
        sources: CounterSources<'_>,
        window: PlannedWindow,
        live: &Live,
        over: &AtomicBool,
        clock: &UtcClock,
    ) -> Self {
        let mut notes = Vec::new();
        wait(live, over, Some(window.start));
        let CounterSources { scrapers, store, front, processes, events, readers } = sources;
        let index = || Some(front?.index_counts()?.1);
        let mut reads = readers.map(|of| HostProbe::open(&of.processes));
        let mut sample = || reads.as_mut().map(|probe| probe.sample(clock));
        let reads_before = sample();
        let before = scrape(scrapers, clock, &mut notes);
        let store_before = ask(store, &mut notes);
        let index_before = index();
        let events_before = events.map(KvEventWatch::counts);
        // Last: reading long logs takes time.
        let refused_before = processes.map(Local::refused_stores);
        wait(live, over, window.end);
        let after = scrape(scrapers, clock, &mut notes);
        let device_read = reads_before.zip(sample()).and_then(|(a, b)| device_read(&b.since(&a)));
        let store = store_before.zip(ask(store, &mut notes));
        let index = index_before.zip(index());
        let events = events_before.zip(events.map(KvEventWatch::counts));
        let refused = processes.map(Local::refused_stores).zip(refused_before);
        let refused = refused.map(|(after, before)| after.saturating_sub(before));
        let pairs = before.into_iter().zip(after).filter_map(|(a, b)| Some((a?, b?))).collect();
        Self { pairs, store, index, refused, events, device_read, notes }
    }

    /// Longest delay of a counter's read after an edge of the window.
    pub(crate) fn lateness(&self, began: UnixNanos, window: Window) -> Nanos {
        let late = |read: &Snapshot, edge: Nanos| {
            let after = read.at.since(began).unwrap_or_default();
            // A scrape's time is its middle.
            after.saturating_sub(edge).0.saturating_add(read.took.0 / 2)
        };
        let pairs = self.pairs.iter();
        let each = pairs.map(|(a, b)| late(a, window.start).max(late(b, window.end)));
        Nanos(each.max().unwrap_or_default())
    }

    pub(crate) fn differences(&self, notes: &mut Vec<Note>) -> Vec<SnapshotDifference<'_>> {
        let mut differences = Vec::new();
        for (before, after) in &self.pairs {
            match SnapshotDifference::new(before, after) {
                Ok(difference) => differences.push(difference),
                Err(gap) => notes.push(Note::Error(gap.to_string())),
            }
        }
        differences
    }
}

/// Bytes that the named processes read from devices. The first is this process, which also has a
/// name where it reads itself.
fn device_read(used: &HostUse) -> Option<Bytes> {
    let named = used.processes.get(1..).filter(|named| !named.is_empty())?;
    let bytes = named.iter().map(|process| Some(process.as_ref()?.device_read?.0));
    bytes.sum::<Option<u64>>().map(Bytes)
}

fn wait(live: &Live, over: &AtomicBool, until: Option<Nanos>) {
    while !over.load(Ordering::Acquire) {
        let elapsed = live.elapsed();
        if let (Some(elapsed), Some(until)) = (elapsed, until)
            && elapsed >= until
        {
            return;
        }
        let nap = match (elapsed, until) {
            (Some(elapsed), Some(until)) => NAP.min(Duration::from_nanos((until - elapsed).0)),
            (Some(_), None) => NAP,
            (None, _) => POLL,
        };
        std::thread::sleep(nap);
    }
}

fn scrape(scrapers: &[Scraper], clock: &UtcClock, notes: &mut Vec<Note>) -> Vec<Option<Snapshot>> {
    let take = |scraper: &Scraper| match scraper.scrape(clock, BUDGET) {
        Ok(snapshot) => Some(snapshot),
        Err(error) => {
            note(notes, &error);
            None
        }
    };
    scrapers.iter().map(take).collect()
}

fn ask(store: Option<&RemoteStore>, notes: &mut Vec<Note>) -> Option<StoreCounts> {
    match store?.counts(std::time::Instant::now() + BUDGET) {
        Ok(counts) => Some(counts),
        Err(error) => {
            note(notes, &error);
            None
        }
    }
}

/// Once: both edges of the window meet the same error.
fn note(notes: &mut Vec<Note>, error: &impl ToString) {
    let error = Note::Error(error.to_string());
    if !notes.contains(&error) {
        notes.push(error);
    }
}
