//! The decision log: one JSON object per line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::decision::{Looked, ReplicaChoice};
use crate::known::SharedState;

#[derive(Debug)]
pub(crate) struct DecisionLog {
    file: File,
    line: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    /// Seconds since 1970.
    time: f64,
    request: &'a str,
    /// None: no replica was left.
    replica: Option<&'a str>,
    policy: &'a str,
    /// Of a second choice, after the first replica refused the connection.
    is_retry: bool,
    /// None where the policy does not need it.
    prompt_tokens: Option<u32>,
    /// Why a prefix policy decided without a match.
    unmatched: Option<&'a str>,
    replicas: Vec<EntryReplica<'a>>,
}

#[derive(Debug, Serialize)]
struct EntryReplica<'a> {
    replica: &'a str,
    is_up: bool,
    in_flight: u32,
    waiting: u32,
    kv_usage: f64,
    matched_tokens: Option<u32>,
    /// The weighted sum of its scores.
    score: Option<f64>,
}

impl DecisionLog {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file, line: Vec::new() })
    }

    /// `decision` is that of `looked`, made just now; None if no replica was left.
    pub(crate) fn write(
        &mut self,
        shared: &SharedState,
        policy: &str,
        request: &str,
        looked: &Looked,
        (decision, is_retry): (Option<&ReplicaChoice>, bool),
    ) -> io::Result<()> {
        let replicas = shared.replicas.iter().enumerate().map(|(at, replica)| {
            let load = replica.load();
            EntryReplica {
                replica: &replica.id,
                is_up: replica.is_up(),
                in_flight: load.in_flight,
                waiting: load.waiting,
                kv_usage: load.kv_usage,
                matched_tokens: decision.and_then(|it| it.matched_tokens.get(at)).copied(),
                score: decision.and_then(|it| it.sums.get(at)).copied().flatten(),
            }
        });
        let chosen = decision.map(|it| shared.replicas[usize::from(it.replica)].id.as_str());
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = Entry {
            time: time.as_secs_f64(),
            request,
            replica: chosen,
            policy,
            is_retry,
            prompt_tokens: looked.prompt_tokens,
            unmatched: looked.unmatched.map(crate::decision::Unmatched::word),
            replicas: replicas.collect(),
        };
        self.line.clear();
        serde_json::to_writer(&mut self.line, &entry)?;
        self.line.push(b'\n');
        // One write per line, so that lines of several processes do not mix.
        self.file.write_all(&self.line)
    }
}
