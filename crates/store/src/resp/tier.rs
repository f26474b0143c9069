use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use weir_http::TlsConfig;
use weir_model::TierKind;

use super::address::Address;
use super::client::dial;
use super::error::RespError;
use super::fleet::Fleet;
use super::info::{Evictions, ServerReport, StoreReport, servers};
use super::job::{AskJob, Asked, GetJob, PENDING_GET, PENDING_PUT, PutJob, Question};
use super::layout::{KeyLayout, KeyPart};
use super::mark::{self, Marked};
use super::pipeline::Job;
use super::refusal::ErrorReply;
use super::scan::Proven;
use crate::tally::TierTally;
use crate::tier::{
    ChunkHash, Get, Loaded, Put, Stored, Tier, TierCounters, TierError, TierFault, TierUsage,
};

/// Two keep one server's network and CPU busy; more serve concurrent callers.
pub const CONNECTIONS: usize = 4;
/// A store has a limit of its own (10,000), and each connection costs it memory.
const CONNECTIONS_MAX: usize = 1024;
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest expiry; a store refuses values that overflow its clock.
const TTL_MAX: Duration = Duration::from_hours(100 * 365 * 24);

#[derive(Debug, Clone)]
pub struct RespOptions {
    pub address: Address,
    /// [`KeyLayout::LmcacheWorkers`] only for counting and clearing: its blocks have two keys.
    pub layout: KeyLayout,
    pub block_bytes: usize,
    pub connections: usize,
    /// Expiry of values, in whole seconds; None for no expiry.
    pub ttl: Option<Duration>,
    /// Whether present chunks are looked up first and not sent again.
    pub skip_present: bool,
    /// Whether a lookup renews a chunk (`TOUCH`), as [`Tier::contains`] promises. Otherwise it is
    /// `EXISTS`, as `LMCache`'s is.
    pub touch: bool,
    pub tls: TlsConfig,
    pub connect_timeout: Duration,
}

impl RespOptions {
    pub fn new(address: Address, layout: KeyLayout, block_bytes: usize) -> Self {
        let touch = matches!(layout, KeyLayout::Weir { .. });
        Self {
            address,
            layout,
            block_bytes,
            connections: CONNECTIONS,
            ttl: None,
            skip_present: false,
            touch,
            tls: TlsConfig::default(),
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    fn check(&self) -> Result<(), RespError> {
        let refuse = |problem: &str| {
            let (place, problem) = (self.address.to_string(), problem.to_owned());
            Err(RespError::Setting { place, problem })
        };
        self.layout.check()?;
        if self.block_bytes == 0 || self.block_bytes > crate::slab::BLOCK_BYTES_MAX / 2 {
            return refuse("a block has 1 byte to 512 MiB, the largest value that a store takes");
        }
        if self.address.user.is_some() && self.address.password.is_none() {
            return refuse("there is a user without a password (write user:password@)");
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return refuse("give 1 to 1024 connections");
        }
        match self.ttl {
            Some(ttl) if ttl < Duration::from_secs(1) || ttl > TTL_MAX => {
                refuse("a life (TTL) is 1 second to 100 years")
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
pub struct RespTier {
    options: RespOptions,
    fleet: Fleet,
    tally: TierTally,
    evictions: Mutex<Evictions>,
    /// The store's counters before the first store are known.
    has_begun: AtomicBool,
    lacks_touch: AtomicBool,
    lacks_unlink: AtomicBool,
    proven: Proven,
    problem: Mutex<Option<String>>,
}

impl RespTier {
    /// Checks the options. Connects at the first call: the store may start later.
    pub fn new(options: RespOptions) -> Result<Self, RespError> {
        options.check()?;
        let dial = dial(&options.address, &options.tls, options.connect_timeout)?;
        let fleet = Fleet::new(dial, options.connections);
        let (tally, evictions) = (TierTally::default(), Mutex::default());
        Ok(Self {
            options,
            fleet,
            tally,
            evictions,
            has_begun: AtomicBool::default(),
            lacks_touch: AtomicBool::default(),
            lacks_unlink: AtomicBool::default(),
            proven: Proven::default(),
            problem: Mutex::default(),
        })
    }

    pub const fn options(&self) -> &RespOptions {
        &self.options
    }

    pub fn report(&self, deadline: Instant) -> Result<StoreReport, RespError> {
        let layout = Some((&self.options.layout, &self.proven));
        StoreReport::collect(&self.fleet, layout, deadline)
    }

    pub fn servers(&self, deadline: Instant) -> Result<Vec<ServerReport>, RespError> {
        servers(&self.fleet, deadline)
    }

    /// Marks the store as used by `who` for some time. `over` is a stale mark to replace.
    pub fn mark(
        &self,
        who: &str,
        over: Option<&str>,
        life: Duration,
        deadline: Instant,
    ) -> Result<Marked, RespError> {
        mark::set(&self.fleet, who, over, life, deadline)
    }

    pub fn marked(&self, deadline: Instant) -> Result<Option<String>, RespError> {
        mark::get(&self.fleet, deadline)
    }

    pub fn unmark(&self, who: &str, deadline: Instant) -> Result<(), RespError> {
        mark::remove(&self.fleet, who, deadline)
    }

    fn note(&self, error: &RespError) {
        *self.problem.lock() = Some(error.to_string());
    }

    /// Runs a job; failures go to its blocks, and their text to `problem`.
    fn run(&self, job: &mut dyn Job, deadline: Instant) {
        if let Err(error) = self.fleet.run(job, deadline) {
            self.note(&error);
        }
    }

    fn error(&self, error: &RespError) -> TierError {
        self.note(error);
        self.tally.fault(error.fault());
        error.of_tier(&self.place())
    }

    fn evictions(&self) -> MutexGuard<'_, Evictions> {
        self.evictions.lock()
    }

    /// Reads the store's counters before the first store, as the base of their growth.
    fn note_beginning(&self, deadline: Instant) {
        if self.has_begun.load(Ordering::Relaxed) {
            return;
        }
        // A store that does not answer now is queried again at the next call.
        if let Ok(servers) = servers(&self.fleet, deadline) {
            let mut evictions = self.evictions();
            if !evictions.has_begun() {
                evictions.update(&servers);
            }
            self.has_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the server is known to lack the command; None for commands that all servers have.
    fn lacks(&self, question: Question) -> Option<&AtomicBool> {
        match question {
            Question::Touch => Some(&self.lacks_touch),
            Question::Unlink => Some(&self.lacks_unlink),
            Question::Exists | Question::Del => None,
        }
    }

    fn question(&self, question: Question) -> Question {
        let lacks = self.lacks(question).is_some_and(|lacks| lacks.load(Ordering::Relaxed));
        if lacks { question.older() } else { question }
    }

    /// Queries every key; falls back to an older command if the server lacks this one.
    fn ask(
        &self,
        question: Question,
        key: &dyn Fn(u32, &mut Vec<u8>),
        answers: &mut [Asked],
        deadline: Instant,
    ) -> Result<(), RespError> {
        let question = self.question(question);
        let mut outcome = self.fleet.run(&mut AskJob { question, key, answers }, deadline);
        if answers.contains(&Asked::Unknown) && question != question.older() {
            if let Some(lacks) = self.lacks(question) {
                lacks.store(true, Ordering::Relaxed);
            }
            answers.iter_mut().filter(|a| **a == Asked::Unknown).for_each(|a| *a = Asked::Pending);
            let question = question.older();
            outcome = outcome.and(self.fleet.run(&mut AskJob { question, key, answers }, deadline));
        }
        // It has the server's words.
        outcome?;
        let failed = answers.iter().find_map(|answer| match answer {
            Asked::Unknown => Some(TierFault::Refused),
            Asked::Failed(fault) => Some(*fault),
            Asked::Pending | Asked::Known(_) => None,
        });
        match failed {
            None => Ok(()),
            Some(TierFault::Refused) => {
                Err(RespError::refused(&self.place(), "ERR unknown command for a key"))
            }
            Some(fault) => Err(RespError::Disconnected {
                place: self.place(),
                why: format!("a command on a key failed ({})", fault.name()),
            }),
        }
    }

    fn look(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), RespError> {
        let layout = &self.options.layout;
        let key =
            |index: u32, out: &mut Vec<u8>| layout.key(&keys[index as usize], KeyPart::Value, out);
        let question = if self.options.touch { Question::Touch } else { Question::Exists };
        let mut answers = vec![Asked::Pending; keys.len()];
        self.ask(question, &key, &mut answers, deadline)?;
        for (present, answer) in present.iter_mut().zip(&answers) {
            *present = *answer == Asked::Known(true);
        }
        Ok(())
    }

    fn skip(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        let keys: Vec<ChunkHash> = puts.iter().map(|put| put.key).collect();
        let mut present = vec![false; keys.len()];
        // A failed lookup is ignored; storing will report the problem.
        if self.look(&keys, deadline, &mut present).is_ok() {
            for (outcome, present) in outcomes.iter_mut().zip(present) {
                if present && *outcome == PENDING_PUT {
                    *outcome = Stored::Present;
                }
            }
        }
    }
}

impl Tier for RespTier {
    fn kind(&self) -> TierKind {
        TierKind::Remote
    }

    fn place(&self) -> String {
        self.options.address.to_string()
    }

    fn block_bytes(&self) -> usize {
        self.options.block_bytes
    }

    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        let RespOptions { layout, ttl, block_bytes, .. } = &self.options;
        for (put, outcome) in puts.iter().zip(&mut *outcomes) {
            let fits = put.bytes.len() == *block_bytes;
            *outcome = if fits { PENDING_PUT } else { Stored::Failed(TierFault::Refused) };
        }
        self.note_beginning(deadline);
        if self.options.skip_present {
            self.skip(puts, deadline, outcomes);
        }
        self.run(&mut PutJob { layout, puts, ttl: *ttl, outcomes }, deadline);
        self.tally.puts(outcomes);
    }

    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        let RespOptions { layout, block_bytes, .. } = &self.options;
        for (get, outcome) in gets.iter().zip(&mut *outcomes) {
            let fits = get.into.len() == *block_bytes;
            *outcome = if fits { PENDING_GET } else { Loaded::Failed(TierFault::Refused) };
        }
        self.run(&mut GetJob { layout, gets, outcomes }, deadline);
        self.tally.gets(outcomes);
    }

    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        self.look(keys, deadline, present).map_err(|error| self.error(&error))
    }

    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        let layout = &self.options.layout;
        let key =
            |index: u32, out: &mut Vec<u8>| layout.key(&keys[index as usize], KeyPart::Value, out);
        let mut answers = vec![Asked::Pending; keys.len()];
        self.ask(Question::Unlink, &key, &mut answers, deadline).map_err(|error| self.error(&error))
    }

    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        let question = self.question(Question::Unlink);
        super::scan::clear(&self.fleet, &self.options.layout, question, deadline)
            .map_err(|error| self.error(&error))
    }

    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        let report = self.report(deadline).map_err(|error| self.error(&error))?;
        let mut evictions = self.evictions();
        let chunks = report.layout_chunks.ok_or_else(|| {
            self.error(&RespError::of_kind(
                &self.place(),
                "SCAN does not find a key of this layout that was just written, or none may be \
                 written: its chunks cannot be counted",
                ErrorReply::Other,
            ))
        })?;
        Ok(TierUsage {
            chunks,
            used: report.used().unwrap_or_default(),
            capacity: report.limit(),
            evicted_chunks: evictions.update(&report.servers),
        })
    }

    fn counters(&self) -> TierCounters {
        self.tally.read()
    }

    fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }
}
