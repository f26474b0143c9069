//! An arm's caches before the load: warm-up, emptying, and a test that they are empty.
//!
//! A server's word is no evidence: it may keep what lies behind the GPU. So a cached prompt is
//! sent again after emptying, and must miss. The prompt is the same in every run, so it also finds
//! remains of an earlier run. A miss counts only where hits are reported; the prompt sent twice in
//! a row shows that.

use std::time::{Duration, Instant};

use weir_deploy::{Emptied, EmptiedCount, Emptiness, EngineEndpoint, Flush, Site};
use weir_model::{CacheNote, LoadNote, Note};
use weir_observe::UtcClock;
use weir_observe::signals::StoreCounts;
use weir_spec::plan::{Deployment, Level};

use crate::live::error::LiveError;
use crate::live::first::{FirstRequests, Form, SHORT};

/// Per scrape outside of the measurement.
const SCRAPE_BUDGET: Duration = Duration::from_secs(5);
const RUNNING: &str = "vllm:num_requests_running";
const WAITING: &str = "vllm:num_requests_waiting";
/// The GPU's cache, and those behind it.
const HITS: [&str; 2] = ["vllm:prefix_cache_hits_total", "vllm:external_prefix_cache_hits_total"];
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Counters follow an answer with a delay, and stored blocks reach their tier with one.
const SETTLE: Duration = Duration::from_millis(200);
/// Tokens of a first prompt on engines started by Weir: some chunks of every mechanism.
const LONG: u32 = 1024;

#[derive(Debug, Default)]
pub(crate) struct Caches {
    pub(crate) emptied: Vec<Emptied>,
    /// One sentence each.
    pub(crate) notes: Vec<Note>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstPrompts {
    warm: u32,
    blocks: u32,
}

impl FirstPrompts {
    /// No longer than the load's prompts, and within the engine's context.
    pub(crate) fn of(deployment: &Deployment, level: &Level, site: &Site) -> Self {
        let longest = deployment.engine.max_model_len / 2;
        let asked = level.workload.longest_request();
        let asked = asked.and_then(|tokens| u32::try_from(tokens).ok()).unwrap_or(LONG);
        let blocks = if site.is_fresh() { LONG } else { LONG.min(asked) };
        let blocks = blocks.min(longest).max(SHORT);
        let warm = if site.processes().is_some() { blocks } else { SHORT };
        Self { warm, blocks }
    }
}

/// Unmeasured requests. Engines started for the cell fill some chunks, drop them from the GPU
/// alone, and request them again. This warms the loads from the tiers too.
pub(crate) fn warm_up(
    prompts: FirstPrompts,
    first: &mut FirstRequests<'_>,
) -> Result<(), LiveError> {
    let site = first.site;
    for endpoint in site.endpoints() {
        first.ask(endpoint, prompts.warm, Form::Whole)?;
        if site.processes().is_some() {
            wait_flushed(endpoint, false, first.stopped)?;
            first.ask(endpoint, prompts.warm, Form::Whole)?;
        }
    }
    Ok(())
}

/// Keys in a store behind endpoints, which Weir does not empty. Call before the first request: its
/// own keys serve no other.
pub(crate) fn found_in_store(site: &Site) -> Option<Emptied> {
    let store = site.store().filter(|_| site.processes().is_none())?;
    let known = match store.counts(Instant::now() + SCRAPE_BUDGET) {
        Ok(StoreCounts { keys: Some(keys), .. }) => Emptiness::Counted(EmptiedCount::Keys(keys)),
        _ => Emptiness::Unknown,
    };
    Some(Emptied { place: store.product().to_owned(), known, before: None })
}

/// Keys in a store before the load; None without any.
pub(crate) fn warm_keys(emptied: &[Emptied]) -> Option<u64> {
    let keys = emptied.iter().filter_map(|of| match of.known {
        Emptiness::Counted(EmptiedCount::Keys(keys)) => Some(keys),
        _ => None,
    });
    keys.max().filter(|keys| *keys > 0)
}

/// Empties every cache of the arm where possible, and tests it. `store` comes from
/// [`found_in_store`].
pub(crate) fn empty(
    prompts: FirstPrompts,
    first: &mut FirstRequests<'_>,
    store: Option<Emptied>,
) -> Result<Caches, LiveError> {
    let site = first.site;
    let mut caches = Caches::default();
    if let Some(local) = site.processes() {
        caches.emptied = local.empty(first.stopped)?;
    } else {
        for endpoint in site.endpoints() {
            let place = endpoint.url().to_string();
            let known = emptied(prompts, first, endpoint)?;
            caches.notes.extend(note(&place, known));
            caches.emptied.push(Emptied { place, known, before: None });
        }
        if let Some(store) = store {
            caches.notes.extend(of_store(&store.place, store.known));
            caches.emptied.push(store);
        }
    }
    caches.notes.extend(others(site));
    Ok(caches)
}

fn note(place: &str, known: Emptiness) -> Option<Note> {
    let place = place.to_owned();
    let note = match known {
        Emptiness::Counted(EmptiedCount::Served { asked, served }) if served > 0 => {
            CacheNote::NotEmptied { place, asked, served }
        }
        Emptiness::Counted(_) => return None,
        Emptiness::Answered => CacheNote::Unverified { place },
        Emptiness::Unknown => CacheNote::CannotBeEmptied { place },
    };
    Some(note.into())
}

fn of_store(place: &str, known: Emptiness) -> Option<Note> {
    let keys = match known {
        Emptiness::Counted(EmptiedCount::Keys(0)) => return None,
        Emptiness::Counted(EmptiedCount::Keys(keys)) => Some(keys),
        _ => None,
    };
    Some(CacheNote::StoreHeld { place: place.to_owned(), keys }.into())
}

/// Empties an endpoint, and sends a prompt that it held.
fn emptied(
    prompts: FirstPrompts,
    first: &mut FirstRequests<'_>,
    endpoint: &EngineEndpoint,
) -> Result<Emptiness, LiveError> {
    if wait_flushed(endpoint, true, first.stopped)? == Flush::Unknown {
        return Ok(Emptiness::Unknown);
    }
    let left_by_others = served(prompts.blocks, first, endpoint)?;
    let again = served(prompts.blocks, first, endpoint)?;
    if again.is_none_or(|served| served == 0) {
        // Hits are not reported: the block is longer than the prompt, or nothing counts them.
        wait_flushed(endpoint, true, first.stopped)?;
        return Ok(Emptiness::Answered);
    }
    std::thread::sleep(SETTLE);
    wait_flushed(endpoint, true, first.stopped)?;
    let left = served(prompts.blocks, first, endpoint)?;
    wait_flushed(endpoint, true, first.stopped)?;
    let asked = 2 * u64::from(prompts.blocks);
    let served = left_by_others.unwrap_or(0) + left.unwrap_or(0);
    Ok(Emptiness::Counted(EmptiedCount::Served { asked, served }))
}

/// Cached tokens of a prompt, by the answer or else by the engines' counters.
fn served(
    prompt_tokens: u32,
    first: &mut FirstRequests<'_>,
    endpoint: &EngineEndpoint,
) -> Result<Option<u64>, LiveError> {
    let site = first.site;
    let before = hits(site);
    if let Some(cached) = first.ask(endpoint, prompt_tokens, Form::Whole)? {
        return Ok(Some(cached));
    }
    std::thread::sleep(SETTLE);
    let grown = before.zip(hits(site)).map(|(before, after)| (after - before).max(0.0) as u64);
    Ok(grown)
}

/// Cached prompt tokens since the engines' start.
fn hits(site: &Site) -> Option<f64> {
    let clock = UtcClock::anchored();
    let mut sum = None;
    for url in site.metrics() {
        let snapshot = site.scraper(url).scrape(&clock, SCRAPE_BUDGET).ok()?;
        for family in HITS {
            if let Some(series) = snapshot.series(family) {
                sum = Some(sum.unwrap_or(0.0) + series.values().sum::<f64>());
            }
        }
    }
    sum
}

/// Waits for an idle endpoint; `Unknown` where its cache cannot be emptied.
fn wait_flushed(
    endpoint: &EngineEndpoint,
    external: bool,
    stopped: &dyn Fn() -> bool,
) -> Result<Flush, LiveError> {
    let begin = Instant::now();
    loop {
        match endpoint.flush(external, stopped)? {
            // Requests of another client, or of an earlier cell that is not quite over.
            Flush::Refused if begin.elapsed() < IDLE_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Flush::Refused => {
                return Err(LiveError::Protocol {
                    place: endpoint.url().to_string(),
                    problem: "it does not empty its caches while requests or transfers run"
                        .to_owned(),
                    remedy: "keep other clients away while a cell is measured".to_owned(),
                });
            }
            done => return Ok(done),
        }
    }
}

/// Other traffic on the engines.
fn others(site: &Site) -> Vec<Note> {
    let clock = UtcClock::anchored();
    let busy = site.metrics().iter().filter(|url| {
        let Ok(snapshot) = site.scraper(url).scrape(&clock, SCRAPE_BUDGET) else { return false };
        let requests = [RUNNING, WAITING].map(|name| snapshot.gauge_sum(name, &[]));
        requests.iter().flatten().any(|requests| *requests > 0.0)
    });
    busy.map(|url| LoadNote::OthersServed { url: url.to_string() }.into()).collect()
}
