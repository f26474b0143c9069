//! Facts that the parts of a running arm report, before and after the measurement.
//!
//! Sources: engines' `/metrics`, `/version` and `/v1/models`, LMCache's `/status`, stores' `INFO`,
//! for local processes the start-up log and the command line, and a picker's log.

use std::time::{Duration, Instant};

use serde_json::Value;
use weir_http::Url;
use weir_model::{FactKind, FactSource, FactValue, RunningFacts};
use weir_observe::UtcClock;
use weir_observe::facts::{add_connector, add_engine_facts, add_second_level};
use weir_observe::signals::LMCACHE_SERVER_FAMILIES;
use weir_spec::likeness::arguments;

use crate::front::Front;
use crate::local::{Local, StartedCommand};
use crate::site::Site;

/// Per answer.
const PATIENCE: Duration = Duration::from_secs(5);
const METRICS: &str = "/metrics";
/// Arguments of vLLM whose values logs do not always repeat.
const ASKED: [(&str, FactKind); 2] = [
    ("--max-num-seqs", FactKind::MaxSequences),
    ("--max-num-batched-tokens", FactKind::MaxBatchedTokens),
];

impl Site {
    /// Unobservable facts are missing. An emulated engine has only its store's and
    /// its picker's.
    pub fn facts(&self) -> RunningFacts {
        let mut facts = RunningFacts::default();
        if !self.is_fresh() || self.processes().is_some() {
            self.add_metrics(&mut facts);
            self.add_answers(&mut facts);
        }
        if let Some(local) = self.processes() {
            facts.extend(local.said().clone());
            for command in &local.started().commands {
                add_asked(command, &mut facts);
            }
        }
        if let Some(said) = self.front().and_then(Front::said) {
            facts.extend(said.clone());
        }
        if let Some(store) = self.store() {
            facts.extend(store.facts(Instant::now() + PATIENCE));
        }
        facts
    }

    fn add_answers(&self, facts: &mut RunningFacts) {
        for endpoint in self.endpoints() {
            let place = self.place(endpoint.url());
            if let Some(version) = endpoint.version() {
                let value = FactValue::Text(version);
                facts.add(FactKind::EngineVersion, &place, value, FactSource::VersionAnswer);
            }
            let Some(served) = endpoint.listed(self.model()) else { continue };
            let mut add = |kind, value| facts.add(kind, &place, value, FactSource::ModelList);
            add(FactKind::ServedModel, FactValue::Text(served.id));
            if let Some(longest) = served.max_model_len {
                add(FactKind::MaxModelLen, FactValue::Count(longest.into()));
            }
        }
    }

    fn add_metrics(&self, facts: &mut RunningFacts) {
        let clock = UtcClock::anchored();
        for url in self.metrics() {
            let Ok(snapshot) = self.scraper(url).scrape(&clock, PATIENCE) else { continue };
            let place = self.place(&base(url));
            add_engine_facts(&snapshot, &place, facts);
            add_second_level(&snapshot, &place, facts);
            if self.processes().is_none() {
                // The log of local processes also shows that there is none.
                add_connector(&snapshot, &place, facts);
            }
            if snapshot.speaks_of(LMCACHE_SERVER_FAMILIES)
                && let Some(chunk) = self.lmcache_chunk(&base(url))
            {
                let value = FactValue::Count(chunk);
                facts.add(FactKind::ChunkTokens, &place, value, FactSource::StatusAnswer);
            }
        }
    }

    fn lmcache_chunk(&self, url: &Url) -> Option<u64> {
        let text = self.endpoints().first()?.beside(url).text("/status")?;
        let status: Value = serde_json::from_str(&text).ok()?;
        status["chunk_size"].as_u64()
    }

    /// Name of the local process that listens there, else the address.
    fn place(&self, url: &Url) -> String {
        let ours = self.processes().and_then(|local| local.name_of(url));
        ours.map_or_else(|| url.to_string(), str::to_owned)
    }
}

/// Arguments of a replica that it does not report itself.
fn add_asked(command: &StartedCommand, facts: &mut RunningFacts) {
    let given = arguments::by_flag(&command.line);
    for (flag, kind) in ASKED {
        if let Some(value) = given.get(flag) {
            let value = FactValue::printed(value);
            facts.add(kind, &command.name, value, FactSource::CommandLine);
        }
    }
}

/// A server's address from that of its metrics.
fn base(url: &Url) -> Url {
    let path = url.path.strip_suffix(METRICS).unwrap_or(&url.path).to_owned();
    Url { path, ..url.clone() }
}

impl Local {
    fn name_of(&self, url: &Url) -> Option<&str> {
        let mut parts = self.parts();
        parts.find_map(|(name, known)| (known.authority() == url.authority()).then_some(name))
    }
}
