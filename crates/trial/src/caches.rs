//! The caches of an arm before the load: warmed for their code's sake, emptied, and looked at.

use std::time::{Duration, Instant};

use weir_deploy::{Endpoint, Flush, Site};
use weir_observe::Clock;
use weir_spec::plan::{Deployment, Plan};

use crate::error::TrialError;

/// Longest wait for one scrape outside of the measurement.
const SCRAPE_BUDGET: Duration = Duration::from_secs(5);
const RUNNING: &str = "vllm:num_requests_running";
const WAITING: &str = "vllm:num_requests_waiting";
const USAGE: &str = "vllm:kv_cache_usage_perc";
/// Longest wait for an engine to become idle before its caches are emptied.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Tokens of a first prompt where nothing is known of the engine: less than any block.
const SHORT: usize = 8;
/// Tokens of a first prompt on engines of our own: some chunks of every mechanism.
const LONG: usize = 1024;

/// What was done with the caches of an arm.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// Whether all were empty, as far as that could be seen.
    pub(crate) empty: Option<bool>,
    /// What was emptied and counted, one word each.
    pub(crate) emptied: Vec<String>,
    /// What could not be done, one sentence each.
    pub(crate) notes: Vec<String>,
}

/// First requests, not measured. On engines that were brought up for the cell they fill some
/// chunks, drop them from the GPU alone, and ask for them again: the way back from the tiers is
/// warm too.
pub(crate) fn warm_up(plan: &Plan, deployment: &Deployment, site: &Site) -> Result<(), TrialError> {
    let ours = site.processes().is_some();
    let longest = deployment.engine.max_model_len as usize;
    let tokens = if ours { LONG.min(longest / 2).max(SHORT) } else { SHORT };
    for endpoint in site.endpoints() {
        endpoint.warm_up(site.model(), plan.client.api, tokens)?;
        if ours {
            wait_flushed(endpoint, false)?;
            endpoint.warm_up(site.model(), plan.client.api, tokens)?;
        }
    }
    Ok(())
}

/// Empties every cache of the arm that can be emptied, and looks whether they are.
pub(crate) fn empty(site: &Site) -> Result<Caches, TrialError> {
    let mut caches = Caches::default();
    if let Some(local) = site.processes() {
        caches.emptied = local.empty()?;
        // Engines say themselves whether blocks are held.
        caches.empty = verified(site, &mut caches.notes).or(Some(true));
        return Ok(caches);
    }
    for endpoint in site.endpoints() {
        match wait_flushed(endpoint, true)? {
            Flush::Done => caches.emptied.push(endpoint.url().to_string()),
            Flush::Unknown | Flush::Refused => caches.notes.push(format!(
                "{} has no request to empty its prefix cache (vLLM has one where \
                 VLLM_SERVER_DEV_MODE=1): what it held before the cell can serve the cell",
                endpoint.url()
            )),
        }
    }
    caches.empty = match (site.is_fresh(), caches.notes.is_empty()) {
        (true, _) => Some(true),
        (false, true) => verified(site, &mut caches.notes),
        (false, false) => None,
    };
    Ok(caches)
}

/// Empties an endpoint's cache as soon as it is idle; `Unknown` where it cannot.
fn wait_flushed(endpoint: &Endpoint, external: bool) -> Result<Flush, TrialError> {
    let begin = Instant::now();
    loop {
        match endpoint.flush(external)? {
            // Requests of somebody else, or of a cell before that is not quite over.
            Flush::Refused if begin.elapsed() < IDLE_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Flush::Refused => {
                return Err(TrialError::Protocol {
                    place: endpoint.url().to_string(),
                    problem: "it does not empty its prefix cache while requests run".to_owned(),
                    remedy: "keep other clients away while a cell is measured".to_owned(),
                });
            }
            done => return Ok(done),
        }
    }
}

/// Whether the engines' counters say that nothing is held and nobody is served; unknown where
/// they cannot be read.
fn verified(site: &Site, notes: &mut Vec<String>) -> Option<bool> {
    let clock = Clock::anchored();
    let mut empty = None;
    for url in site.metrics() {
        let scraper = site.scraper(url);
        let Ok(snapshot) = scraper.scrape(&clock, SCRAPE_BUDGET) else { continue };
        let level = |name| snapshot.gauge_sum(name, &[]);
        let requests = [RUNNING, WAITING].map(level);
        let busy = requests.iter().flatten().any(|requests| *requests > 0.0);
        if busy {
            notes.push(format!("{url} serves other requests, which are measured with the cell's"));
        }
        let held = level(USAGE);
        if let Some(held) = held {
            empty = Some(empty.unwrap_or(true) && held == 0.0 && !busy);
        }
    }
    if empty == Some(false) {
        notes.push("Blocks were in use after the caches were emptied".to_owned());
    }
    empty
}
