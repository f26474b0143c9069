//! One thread with its own loop, without locks.
//!
//! A turn sends due requests, waits, samples both clocks, then reads each readable socket once.
//! What becomes due by a read is sent at once.

mod pool;
mod traffic;

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use serde::{Deserialize, Serialize};
use weir_model::{Nanos, Tokens, Window};
use weir_service::{PinError, pin_thread};
use weir_workload::client::Answers;
use weir_workload::demand::{Demand, Due, Load};
use weir_workload::{Ramp, Schedule, Shard};

use crate::answer::Requested;
use crate::certificate::WorkerCounters;
use crate::clock::{Clock, thread_cpu_time};
use crate::config::{LoadConfig, LoadShape, PromptForm};
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::LoadError;
use crate::exchange::{Exchange, ExchangeEnd};
use crate::failure::Failure;
use crate::feed::{Queue, WorkerSource};
use crate::live::Live;
use crate::poll::{Poll, Ready};
use crate::replicas::ReplicaNumbers;
use crate::turn::{RunDelay, Turn};
use pool::Pool;

/// 300 events.
const READ_BYTES: usize = 64 << 10;
/// Consecutive failures that stop a worker. Without an endpoint a closed loop would write 10,000
/// rows per second.
const FAILURES_TO_GIVE_UP: u32 = 1000;
/// Buffered rows and their time. Each batch wakes the receiving thread, a context switch that
/// should not come with every request.
const ROWS_KEPT: usize = 64;
const ROWS_KEPT_FOR: Nanos = Nanos::from_millis(100);
/// Of the displayed CPU share.
const BUSY_INTERVAL: Nanos = Nanos::from_millis(250);

/// Requests due within it delay each other.
const TOGETHER: Nanos = Nanos::from_millis(1);

#[derive(Debug, Clone, Copy)]
struct CpuUse {
    cpu_time: Nanos,
    /// Time in which it was runnable without a CPU.
    cpu_wait: Option<Nanos>,
}

/// Why no more requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CloseReason {
    /// By an abort or too many failures.
    CutOff(Nanos),
    /// The duration is over, and its requests have ended or timed out. Later requests, which only
    /// kept up the load, are not waited for.
    Drained,
    /// At the request limit, or without further sessions.
    Exhausted,
}

/// Too many requests failed in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaveUp {
    pub requests: u32,
    pub last: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerReport {
    pub(crate) counters: WorkerCounters,
    pub(crate) issued: u64,
    pub(crate) unfinished: u64,
    pub(crate) closed: CloseReason,
    pub(crate) gave_up: Option<GaveUp>,
}

#[expect(clippy::struct_excessive_bools, reason = "settings of the load, each by itself")]
pub(crate) struct Worker<'a> {
    config: &'a LoadConfig,
    endpoints: &'a [Endpoint],
    index: usize,
    /// Of the whole load.
    part: Shard,
    live: &'a Live,
    rows: SyncSender<Vec<ExchangeEnd>>,
    /// Pending rows, and the time of the oldest.
    kept_rows: Vec<ExchangeEnd>,
    kept_since: Nanos,
    clock: Clock,
    /// Last reading of the clock.
    now: Nanos,
    poll: Poll,
    turn: Turn,
    queue: Arc<Queue>,
    taken: WorkerSource,
    demand: Demand<WorkerSource>,
    pool: Pool,
    /// Reused for their buffers.
    #[expect(clippy::vec_box, reason = "they move between here and connections as pointers")]
    spare: Vec<Box<Exchange>>,
    in_flight: u64,
    /// This worker's share of the request limit.
    most: Option<u64>,
    /// Answer length set by the caller's fields; and whether requests have a limit.
    limit: Option<Tokens>,
    sends_limit: bool,
    /// The header that names a replica; None where none does.
    replica_header: Option<Arc<str>>,
    replicas: ReplicaNumbers,
    /// Never part of an error text.
    secrets: Vec<String>,
    /// Text prompts have a tokenizer to count answers; and whether the server counts them itself.
    counts_text: bool,
    has_usage: bool,
    /// Deadlines of requests and connections in order, with connection key and request.
    request_deadlines: VecDeque<(Nanos, u64, u64)>,
    connect_deadlines: VecDeque<(Nanos, u64, u64)>,
    buffer: Vec<u8>,
    /// Decrypted bytes.
    plain: Vec<u8>,
    spans: Vec<Range<usize>>,
    counters: WorkerCounters,
    /// At the start of the window, once it began.
    window_start: Option<CpuUse>,
    /// First due time of the latest requests due together, and their number.
    due_together: (Nanos, u64),
    /// Everything due in the window was sent.
    is_window_over: bool,
    closed: Option<CloseReason>,
    closed_at: Nanos,
    failures_in_a_row: u32,
    last_failure: String,
    gave_up: Option<GaveUp>,
    unfinished: u64,
    busy_seen: (Nanos, Nanos),
}

fn share(config: &LoadConfig, part: Shard) -> Result<(Load, u32), LoadError> {
    Ok(match config.load {
        LoadShape::Users { users, ramp } => {
            let share = Ramp::new(users, ramp).dealt(part.index, part.of);
            (Load::Users(share), share.users())
        }
        LoadShape::Open(arrivals) => {
            let schedule = Schedule::new(arrivals, config.seed)?;
            (Load::Open(schedule.dealt(part.index, part.of)), 0)
        }
        LoadShape::SessionTimes => (Load::SessionTimes, 0),
    })
}

impl<'a> Worker<'a> {
    pub(crate) fn new(
        config: &'a LoadConfig,
        endpoints: &'a Endpoints,
        index: usize,
        clock: Clock,
        queue: Arc<Queue>,
        rows: SyncSender<Vec<ExchangeEnd>>,
        live: &'a Live,
    ) -> Result<Self, LoadError> {
        let refuse = |what: &str, cause: String| {
            let what = what.to_owned();
            LoadError::Worker { worker: index, what, cause }
        };
        if let Some(core) = config.client.core(index) {
            let refused =
                |error: PinError| refuse(&format!("run on core {core}"), error.source.to_string());
            pin_thread(&[core]).map_err(refused)?;
        }
        // Without it, timers fire up to 50 us late.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let poll = Poll::new().map_err(|error| refuse("wait for sockets", error.to_string()))?;
        live.register(poll.waker());
        let part = config.shard.part(index as u32, config.worker_count() as u32);
        let (load, users) = share(config, part)?;
        let most = config.max_requests.map(|most| part.share(most));
        let taken = WorkerSource::new(queue.clone(), clock);
        let (now, day) = clock.sample();
        Ok(Self {
            config,
            endpoints: &endpoints.list,
            index,
            part,
            live,
            rows,
            kept_rows: Vec::with_capacity(ROWS_KEPT),
            kept_since: now,
            clock,
            now,
            poll,
            turn: Turn::new(now, day, RunDelay::of_this_thread()),
            queue,
            demand: Demand::new(load, taken.clone(), most),
            taken,
            pool: Pool::new(endpoints.list.len()),
            spare: Vec::new(),
            in_flight: 0,
            most,
            limit: config.given_limit().map(Tokens),
            sends_limit: config.sends_limit(),
            replica_header: Some(config.client.replica_header.as_str())
                .filter(|name| !name.is_empty())
                .map(Arc::from),
            replicas: ReplicaNumbers::new(endpoints.replicas.clone()),
            secrets: config.secrets(),
            counts_text: matches!(config.prompts, PromptForm::Text(_)),
            has_usage: false,
            request_deadlines: VecDeque::new(),
            connect_deadlines: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            plain: Vec::new(),
            spans: Vec::new(),
            counters: WorkerCounters { users, ..WorkerCounters::default() },
            window_start: None,
            due_together: (Nanos::ZERO, 0),
            is_window_over: false,
            closed: None,
            closed_at: Nanos::ZERO,
            failures_in_a_row: 0,
            last_failure: String::new(),
            gave_up: None,
            unfinished: 0,
            busy_seen: (Nanos::ZERO, Nanos::ZERO),
        })
    }

    pub(crate) fn run(mut self) -> Result<WorkerReport, LoadError> {
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            self.now = self.clock.now();
            self.update_window();
            if self.closed.is_none() {
                self.issue_due();
                self.close_if_over();
            }
            self.expire();
            if !self.kept_rows.is_empty() && self.now >= self.kept_since + ROWS_KEPT_FOR {
                self.send_rows();
            }
            if self.is_at_end() {
                break;
            }
            let until = self.next_wake();
            self.turn.begin_wait(self.now);
            let at_once = until.is_some_and(|until| until <= self.now);
            self.poll.wait(self.clock, until, at_once, &mut ready).map_err(|error| {
                let (what, cause) = ("wait for sockets".to_owned(), error.to_string());
                LoadError::Worker { worker: self.index, what, cause }
            })?;
            let (now, day) = self.clock.sample();
            self.now = now;
            self.turn.end_wait(now, day);
            let events = self.event_count();
            for socket in &ready {
                self.handle(*socket);
                if self.closed.is_none() && self.demand.next_at().is_some_and(|at| at <= self.now) {
                    self.issue_due();
                }
            }
            self.live.add_events(self.event_count() - events);
        }
        Ok(self.into_report())
    }

    fn update_window(&mut self) {
        if self.window_start.is_none() && self.now >= self.config.warmup {
            self.window_start = Some(self.cpu_use());
        }
        if self.closed.is_none() {
            if self.config.duration.is_some_and(|duration| self.now >= duration) {
                self.end_duration();
            }
            if self.closed.is_none() && self.live.is_aborted() {
                self.close(CloseReason::CutOff(self.now));
            }
        }
        let (wall, cpu_time) = self.busy_seen;
        if self.now >= wall + BUSY_INTERVAL {
            let used = thread_cpu_time();
            let share = used.saturating_sub(cpu_time).get() as f64 / (self.now - wall).get() as f64;
            self.live.set_busy(self.index, share);
            self.busy_seen = (self.now, used);
        }
    }

    /// After the window the load goes on while any worker has requests of the window in flight, so
    /// that their conditions do not change.
    fn end_duration(&mut self) {
        if !self.is_window_over {
            self.issue_due();
            if self.closed.is_some() {
                return;
            }
            self.is_window_over = true;
            self.end_window();
            self.live.measured_ended();
        }
        let is_late = self.drain_end().is_some_and(|end| self.now >= end);
        if self.closed.is_none() && (is_late || !self.live.has_measured()) {
            self.close(CloseReason::Drained);
        }
    }

    fn drain_end(&self) -> Option<Nanos> {
        Some(self.config.duration? + self.config.client.drain)
    }

    fn close(&mut self, how: CloseReason) {
        self.closed = Some(how);
        self.closed_at = self.now;
        self.queue.close_receiver();
        if !self.is_window_over {
            self.live.measured_ended();
            if let CloseReason::CutOff(_) = how {
                self.end_window();
            }
        }
    }

    fn close_if_over(&mut self) {
        let most_asked = self.most.is_some_and(|most| self.demand.issued() >= most);
        if self.demand.is_over() || most_asked {
            self.close(CloseReason::Exhausted);
        }
    }

    /// Later counts are outside of the window.
    fn end_window(&mut self) {
        if let Some(before) = self.window_start {
            let after = self.cpu_use();
            self.counters.window = self.now.saturating_sub(self.config.warmup);
            self.counters.cpu_time = after.cpu_time.saturating_sub(before.cpu_time);
            let waits = after.cpu_wait.zip(before.cpu_wait);
            self.counters.cpu_wait = waits.map(|(after, before)| after.saturating_sub(before));
        }
        self.counters.starved = self.taken.0.borrow().starved;
    }

    /// By due time.
    fn is_measured(&self, exchange: &Exchange) -> bool {
        self.config.window().measures(exchange.due.at)
    }

    fn cpu_use(&self) -> CpuUse {
        CpuUse { cpu_time: thread_cpu_time(), cpu_wait: self.turn.cpu_wait() }
    }

    /// Counts requests of the measured set due at the same moment.
    fn note_due(&mut self, at: Nanos) {
        let (first, together) = self.due_together;
        let is_near = together > 0 && at.saturating_sub(first) <= TOGETHER;
        self.due_together = if is_near { (first, together + 1) } else { (at, 1) };
        self.counters.due_at_once = self.counters.due_at_once.max(self.due_together.1);
    }

    fn is_at_end(&self) -> bool {
        self.closed.is_some()
            && (self.in_flight == 0
                || self.closed == Some(CloseReason::Drained)
                || self.now >= self.closed_at + self.config.client.drain
                || self.live.is_aborted())
    }

    fn next_wake(&self) -> Option<Nanos> {
        let due = match self.closed {
            None if self.is_window_over => [self.demand.next_at(), self.drain_end()],
            None => [self.demand.next_at(), self.config.duration],
            Some(_) => [Some(self.closed_at + self.config.client.drain), None],
        };
        let rows = (!self.kept_rows.is_empty()).then_some(self.kept_since + ROWS_KEPT_FOR);
        let warm = self.window_start.is_none().then_some(self.config.warmup);
        let deadlines = [&self.request_deadlines, &self.connect_deadlines]
            .map(|queue| queue.front().map(|deadline| deadline.0));
        due.into_iter().chain(deadlines).chain([warm, rows]).flatten().min()
    }

    /// Until the window has ended, sends none due after it: its end may have passed since this turn
    /// read the clock.
    fn issue_due(&mut self) {
        let last = match self.config.duration {
            Some(end) if !self.is_window_over => end.saturating_sub(Nanos(1)),
            _ => Nanos::MAX,
        };
        while let Some(due) = self.demand.pop(self.now.min(last)) {
            self.issue(due);
            if self.closed.is_some() {
                break;
            }
        }
    }

    fn issue(&mut self, due: Due) {
        self.live.request_issued();
        self.in_flight += 1;
        if self.config.window().measures(due.at) {
            self.live.measured_issued();
            self.note_due(due.at);
            self.counters.sessions_begun += u64::from(due.request.turn == 0);
        }
        let id = due.request.id * u64::from(self.part.of) + u64::from(self.part.index);
        let endpoint = (due.request.session % self.endpoints.len() as u64) as usize;
        let requested = Requested {
            prompt_tokens: due.request.prompt.tokens(),
            output_tokens: self.limit.unwrap_or(due.request.output_tokens),
            limited: self.sends_limit,
            exactly: self.config.client.ignore_eos,
            token_ids: self.config.client.answers == Answers::Own,
            text: self.counts_text && !self.has_usage,
            kernel_path: self.endpoints[endpoint].kernel_path,
        };
        let spare = self.spare.pop();
        let mut exchange = spare.unwrap_or_else(|| Box::new(Exchange::unused(due.clone())));
        exchange.reset(id, endpoint, due, requested);
        let keep = requested.token_ids || requested.text || self.config.digest_output;
        exchange.expect(self.config.client.stream, keep, self.endpoints[endpoint].replica);
        if let Err(failure) = self.load_body(&mut exchange) {
            self.fail_unsent(exchange, &failure);
            return;
        }
        let session = exchange.due.request.session;
        let endpoint = &self.endpoints[endpoint];
        let length = exchange.body.len();
        endpoint.write_head(&mut exchange.head, id, session, length);
        exchange.length = exchange.head.len() + length;
        self.dispatch(exchange);
    }

    /// Inserts the server's own answers into the prepared body.
    fn load_body(&mut self, exchange: &mut Exchange) -> Result<(), Failure> {
        let mut intake = self.taken.0.borrow_mut();
        let request = &exchange.due.request;
        let session = intake
            .open_sessions
            .get_mut(&request.session)
            .expect("a session is under way from its first turn to its last");
        exchange.body = std::mem::take(&mut session.bodies[request.turn as usize]);
        if self.config.client.answers == Answers::Canned {
            return Ok(());
        }
        let turns = &self.demand.session(exchange.due.slot).turns;
        let planned = |turn: u32| turns[turn as usize].output_tokens;
        exchange.body.fill(&session.answers, planned).map_err(|turn| {
            Failure::Session(format!(
                "the answer to turn {turn}, which this turn quotes, is missing"
            ))
        })
    }

    /// `at`: when the server was done with it.
    fn end(&mut self, exchange: Box<Exchange>, ended: ExchangeEnd, mut at: Nanos) {
        self.live.request_ended();
        self.in_flight -= 1;
        if self.is_measured(&exchange) {
            self.live.measured_ended();
        }
        if self.kept_rows.is_empty() {
            self.kept_since = self.now;
        }
        self.kept_rows.push(ended);
        if self.kept_rows.len() == ROWS_KEPT {
            self.send_rows();
        }
        let request = &exchange.due.request;
        {
            let mut intake = self.taken.0.borrow_mut();
            if let Some(session) = intake.open_sessions.get_mut(&request.session) {
                session.left -= 1;
                session.ended = session.ended.max(at);
                at = session.ended;
                if session.left == 0 {
                    intake.open_sessions.remove(&request.session);
                }
            }
        }
        if self.closed.is_none() {
            self.demand.ended(exchange.due.slot, request.turn, at);
            if self.failures_in_a_row >= FAILURES_TO_GIVE_UP {
                let (requests, last) = (self.failures_in_a_row, self.last_failure.clone());
                self.gave_up = Some(GaveUp { requests, last });
                self.close(CloseReason::CutOff(self.now));
            }
        }
        self.spare.push(exchange);
    }

    fn send_rows(&mut self) {
        let rows = std::mem::replace(&mut self.kept_rows, Vec::with_capacity(ROWS_KEPT));
        // The receiver is gone only during an abort.
        let _ = self.rows.send(rows);
    }

    fn note_failure(&mut self, failure: &Failure) {
        self.failures_in_a_row += 1;
        self.last_failure = failure.to_string();
    }

    /// A request that failed without a connection.
    fn fail_unsent(&mut self, exchange: Box<Exchange>, failure: &Failure) {
        self.note_failure(failure);
        let row = exchange.failed_row(failure, self.now);
        let ended = exchange.ended(row);
        self.end(exchange, ended, self.now);
    }

    fn event_count(&self) -> u64 {
        self.pool.events
    }

    /// Records the requests in flight as unfinished.
    fn into_report(mut self) -> WorkerReport {
        if self.closed == Some(CloseReason::Exhausted) {
            self.end_window();
        }
        for exchange in self.pool.close_all() {
            self.unfinished += u64::from(self.is_measured(&exchange));
            let row = exchange.unfinished_row(self.now);
            let ended = exchange.ended(row);
            self.end(exchange, ended, self.now);
        }
        self.send_rows();
        let scheduled = self.scheduled_sessions();
        self.counters.sessions_due = scheduled.unwrap_or(self.counters.sessions_begun);
        WorkerReport {
            counters: self.counters,
            issued: self.demand.issued(),
            unfinished: self.unfinished,
            closed: self.closed.unwrap_or(CloseReason::Exhausted),
            gave_up: self.gave_up,
        }
    }

    /// Sessions that an open loop's schedule has in the window. None without a schedule, or if the
    /// arrivals ended by themselves.
    fn scheduled_sessions(&self) -> Option<u64> {
        let end = match self.closed {
            Some(CloseReason::Drained) => self.config.duration?,
            Some(CloseReason::CutOff(_)) => {
                self.config.duration.unwrap_or(Nanos::MAX).min(self.closed_at)
            }
            Some(CloseReason::Exhausted) | None => return None,
        };
        let LoadShape::Open(_) = self.config.load else { return None };
        let (Load::Open(schedule), _) = share(self.config, self.part).ok()? else {
            return None;
        };
        let window = Window { start: self.config.warmup, end };
        let due = schedule.take_while(|at| *at < end).filter(|at| window.measures(*at));
        Some(due.count() as u64)
    }
}
