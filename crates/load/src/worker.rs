//! One thread with its own loop: sends what is due, stamps what comes, keeps no lock.
//!
//! A turn of the loop: send what is due; wait; sample both clocks; for each socket that has
//! something, read once, hand the bytes to the exchange, and send at once what became due by it.

mod pool;
mod traffic;

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use weir_model::{Nanos, Tokens, Window};
use weir_workload::demand::{Demand, Due, Load};
use weir_workload::{Ramp, Schedule};

use crate::answer::Asked;
use crate::certificate::Tally;
use crate::clock::{Clock, thread_processor_time};
use crate::config::{Answers, LoadConfig, LoadShape, PromptForm};
use crate::endpoint::Endpoint;
use crate::error::LoadError;
use crate::exchange::{Ended, Exchange};
use crate::failure::Failure;
use crate::feed::{Queue, Taken};
use crate::live::Live;
use crate::poll::{Poll, Ready};
use crate::turn::{RunDelay, Turn};
use pool::Pool;

/// Bytes that one read takes at most: 300 events.
const READ_BYTES: usize = 64 << 10;
/// Failures in a row after which a worker stops asking: the endpoint is not there, and a closed
/// loop would write a row for each of the 10,000 refusals per second.
const FAILURES_TO_GIVE_UP: u32 = 1000;
/// Rows that a worker keeps until it hands them over, and how long: waking the thread that takes
/// them costs a switch of threads, which should not come with every request.
const ROWS_KEPT: usize = 64;
const ROWS_KEPT_FOR: Nanos = Nanos::from_millis(100);
/// How often the share of processor time is shown.
const BUSY_INTERVAL: Nanos = Nanos::from_millis(250);

/// Requests that are due within it wait for each other when they are sent.
const TOGETHER: Nanos = Nanos::from_millis(1);

/// What a thread has used of the machine since it began.
#[derive(Debug, Clone, Copy)]
struct Used {
    processor: Nanos,
    /// Time in which it was ready and had no CPU.
    cpu_wait: Option<Nanos>,
}

/// How a worker came to ask no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// A stop or failures cut it off.
    At(Nanos),
    /// The time was over, and then the requests that were due in it had ended or had had their
    /// time. Nobody waits for those that were sent meanwhile, to keep the load up.
    Followed,
    /// The requests or sessions came to their end.
    ByItself,
}

/// What a worker leaves besides its rows.
#[derive(Debug)]
pub(crate) struct WorkerReport {
    pub(crate) tally: Tally,
    pub(crate) issued: u64,
    pub(crate) unfinished: u64,
    pub(crate) closed: Closed,
    pub(crate) gave_up: Option<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "settings of the load, each by itself")]
pub(crate) struct Worker<'a> {
    config: &'a LoadConfig,
    endpoints: &'a [Endpoint],
    index: usize,
    workers: u64,
    live: &'a Live,
    rows: SyncSender<Vec<Ended>>,
    /// Rows not handed over yet, and since when.
    kept_rows: Vec<Ended>,
    kept_since: Nanos,
    clock: Clock,
    /// The last time that was read from the clock.
    now: Nanos,
    poll: Poll,
    turn: Turn,
    queue: Arc<Queue>,
    taken: Taken,
    demand: Demand<Taken>,
    pool: Pool,
    /// Exchanges without a request, with the room that they have grown.
    #[expect(clippy::vec_box, reason = "they move between here and connections as pointers")]
    spare: Vec<Box<Exchange>>,
    in_flight: u64,
    /// Requests that this worker may send.
    most: Option<u64>,
    /// Tokens of every answer, where the caller's own fields decide them; and whether requests say
    /// how many there may be.
    limit: Option<Tokens>,
    sends_limit: bool,
    /// What no error may repeat.
    secrets: Vec<String>,
    /// Prompts are text, so that there is something to count tokens of answers with; and whether an
    /// answer has shown that the server counts them itself.
    counts_text: bool,
    has_usage: bool,
    /// Deadlines of requests and of connections, in order, with the connection's key and the
    /// request they are meant for.
    request_deadlines: VecDeque<(Nanos, u64, u64)>,
    connect_deadlines: VecDeque<(Nanos, u64, u64)>,
    buffer: Vec<u8>,
    /// What TLS made of the buffer.
    plain: Vec<u8>,
    spans: Vec<Range<usize>>,
    tally: Tally,
    /// What this thread had used at the start of the window, once that has come.
    window_start: Option<Used>,
    /// When the first of the latest requests that are due together was due, and their number.
    due_together: (Nanos, u64),
    /// All that was due in the window has been sent.
    is_window_over: bool,
    closed: Option<Closed>,
    closed_at: Nanos,
    failures_in_a_row: u32,
    last_failure: String,
    gave_up: Option<String>,
    unfinished: u64,
    busy_seen: (Nanos, Nanos),
}

fn share(config: &LoadConfig, index: usize, workers: usize) -> Result<(Load, u32), LoadError> {
    Ok(match config.load {
        LoadShape::Users { users, ramp } => {
            let share = Ramp::new(users, ramp).dealt(index as u32, workers as u32);
            (Load::Users(share), share.users())
        }
        LoadShape::Open(arrivals) => {
            let schedule = Schedule::new(arrivals, config.seed)?;
            (Load::Open(schedule.dealt(index as u32, workers as u32)), 0)
        }
        LoadShape::SessionTimes => (Load::SessionTimes, 0),
    })
}

impl<'a> Worker<'a> {
    /// Sets up the calling thread as a worker.
    pub(crate) fn new(
        config: &'a LoadConfig,
        endpoints: &'a [Endpoint],
        index: usize,
        clock: Clock,
        queue: Arc<Queue>,
        rows: SyncSender<Vec<Ended>>,
        live: &'a Live,
    ) -> Result<Self, LoadError> {
        let refuse = |what: &str, cause: String| {
            let what = what.to_owned();
            LoadError::Worker { worker: index, what, cause }
        };
        if let Some(core) = config.workers[index] {
            pin(core).map_err(|cause| refuse(&format!("run on core {core}"), cause))?;
        }
        // Waits end when they are due and not up to 50 us later; without it they are late.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let poll = Poll::new().map_err(|error| refuse("wait for sockets", error.to_string()))?;
        live.join(poll.waker());
        let workers = config.worker_count();
        let (load, users) = share(config, index, workers)?;
        let most = config
            .max_requests
            .map(|most| most / workers as u64 + u64::from((index as u64) < most % workers as u64));
        let taken = Taken::new(queue.clone(), clock);
        let (now, day) = clock.sample();
        Ok(Self {
            config,
            endpoints,
            index,
            workers: workers as u64,
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
            pool: Pool::new(endpoints.len()),
            spare: Vec::new(),
            in_flight: 0,
            most,
            limit: config.given_limit().map(Tokens),
            sends_limit: config.sends_limit(),
            secrets: config.secrets(),
            counts_text: matches!(config.prompts, PromptForm::Text(_)),
            has_usage: false,
            request_deadlines: VecDeque::new(),
            connect_deadlines: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            plain: Vec::new(),
            spans: Vec::new(),
            tally: Tally { users, ..Tally::default() },
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

    /// Runs to the end of the cell.
    pub(crate) fn run(mut self) -> Result<WorkerReport, LoadError> {
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            self.now = self.clock.now();
            self.keep_time();
            if self.closed.is_none() {
                self.issue_due();
                self.close_if_over();
            }
            self.expire();
            if !self.kept_rows.is_empty() && self.now >= self.kept_since + ROWS_KEPT_FOR {
                self.hand_over();
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
            let events = self.tally_events();
            for socket in &ready {
                self.handle(*socket);
                if self.closed.is_none() && self.demand.next_at().is_some_and(|at| at <= self.now) {
                    self.issue_due();
                }
            }
            self.live.add_events(self.tally_events() - events);
        }
        Ok(self.leave())
    }

    /// Starts and ends the window, and closes the load when its time has come.
    fn keep_time(&mut self) {
        if self.window_start.is_none() && self.now >= self.config.warmup {
            self.window_start = Some(self.used());
        }
        if self.closed.is_none() {
            if self.config.duration.is_some_and(|duration| self.now >= duration) {
                self.pass_end();
            }
            if self.closed.is_none() && self.live.is_stopped() {
                self.close(Closed::At(self.now));
            }
        }
        let (wall, processor) = self.busy_seen;
        if self.now >= wall + BUSY_INTERVAL {
            let used = thread_processor_time();
            let share =
                used.saturating_sub(processor).get() as f64 / (self.now - wall).get() as f64;
            self.live.set_busy(self.index, share);
            self.busy_seen = (self.now, used);
        }
    }

    /// The window is over, and the load goes on for as long as requests that were due in it are
    /// under way anywhere: what they meet is then the load that they were asked under.
    fn pass_end(&mut self) {
        if !self.is_window_over {
            self.issue_due();
            if self.closed.is_some() {
                return;
            }
            self.is_window_over = true;
            self.end_window();
            self.live.unfollow();
        }
        let is_late = self.follow_end().is_some_and(|end| self.now >= end);
        if self.closed.is_none() && (is_late || !self.live.is_followed()) {
            self.close(Closed::Followed);
        }
    }

    /// When requests of the window have had their time.
    fn follow_end(&self) -> Option<Nanos> {
        Some(self.config.duration? + self.config.drain)
    }

    /// Asks no more from now on.
    fn close(&mut self, how: Closed) {
        self.closed = Some(how);
        self.closed_at = self.now;
        self.queue.leave();
        if !self.is_window_over {
            self.live.unfollow();
            if let Closed::At(_) = how {
                self.end_window();
            }
        }
    }

    fn close_if_over(&mut self) {
        let most_asked = self.most.is_some_and(|most| self.demand.issued() >= most);
        if self.demand.is_over() || most_asked {
            self.close(Closed::ByItself);
        }
    }

    /// The measured window ends: what is tallied later does not count.
    fn end_window(&mut self) {
        if let Some(before) = self.window_start {
            let after = self.used();
            self.tally.window = self.now.saturating_sub(self.config.warmup);
            self.tally.processor = after.processor.saturating_sub(before.processor);
            let waits = after.cpu_wait.zip(before.cpu_wait);
            self.tally.cpu_wait = waits.map(|(after, before)| after.saturating_sub(before));
        }
        self.tally.starved = self.taken.0.borrow().starved;
    }

    /// Whether a request belongs to the measured set, by when it was due.
    fn is_measured(&self, exchange: &Exchange) -> bool {
        self.config.window().measures(exchange.due.at)
    }

    /// What this thread has used so far.
    fn used(&self) -> Used {
        Used { processor: thread_processor_time(), cpu_wait: self.turn.cpu_wait() }
    }

    /// Counts how many requests of the measured set are due at the same moment.
    fn note_due(&mut self, at: Nanos) {
        let (first, together) = self.due_together;
        let is_near = together > 0 && at.saturating_sub(first) <= TOGETHER;
        self.due_together = if is_near { (first, together + 1) } else { (at, 1) };
        self.tally.due_at_once = self.tally.due_at_once.max(self.due_together.1);
    }

    /// Nothing is left to wait for, or nobody waits any longer.
    fn is_at_end(&self) -> bool {
        self.closed.is_some()
            && (self.in_flight == 0
                || self.closed == Some(Closed::Followed)
                || self.now >= self.closed_at + self.config.drain
                || self.live.is_stopped())
    }

    fn next_wake(&self) -> Option<Nanos> {
        let due = match self.closed {
            None if self.is_window_over => [self.demand.next_at(), self.follow_end()],
            None => [self.demand.next_at(), self.config.duration],
            Some(_) => [Some(self.closed_at + self.config.drain), None],
        };
        let rows = (!self.kept_rows.is_empty()).then_some(self.kept_since + ROWS_KEPT_FOR);
        let warm = self.window_start.is_none().then_some(self.config.warmup);
        let deadlines = [&self.request_deadlines, &self.connect_deadlines]
            .map(|queue| queue.front().map(|deadline| deadline.0));
        due.into_iter().chain(deadlines).chain([warm, rows]).flatten().min()
    }

    /// Sends all that is due, but until the window is over nothing that is due later: its end may
    /// have come since this turn looked at the time.
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
        self.live.issue();
        self.in_flight += 1;
        if self.config.window().measures(due.at) {
            self.live.follow();
            self.note_due(due.at);
            self.tally.sessions_begun += u64::from(due.request.turn == 0);
        }
        let id = due.request.id * self.workers + self.index as u64;
        let endpoint = (due.request.session % self.endpoints.len() as u64) as usize;
        let asked = Asked {
            prompt_tokens: due.request.prompt.tokens(),
            output_tokens: self.limit.unwrap_or(due.request.output_tokens),
            limited: self.sends_limit,
            exactly: self.config.ignore_eos,
            token_ids: self.config.answers == Answers::Own,
            text: self.counts_text && !self.has_usage,
            kernel_path: self.endpoints[endpoint].kernel_path,
        };
        let spare = self.spare.pop();
        let mut exchange = spare.unwrap_or_else(|| Box::new(Exchange::vacant(due.clone())));
        exchange.reset(id, endpoint, due, asked);
        let keep = asked.token_ids || asked.text || self.config.digest_output;
        exchange.expect(self.config.stream, keep);
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

    /// Takes the body that the feeder prepared, and puts the server's own answers into it.
    fn load_body(&mut self, exchange: &mut Exchange) -> Result<(), Failure> {
        let mut intake = self.taken.0.borrow_mut();
        let request = &exchange.due.request;
        let session = intake
            .under_way
            .get_mut(&request.session)
            .expect("a session is under way from its first turn to its last");
        exchange.body = std::mem::take(&mut session.bodies[request.turn as usize]);
        if self.config.answers == Answers::Canned {
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

    /// A request has ended, with its row. `at`: when the server was done with it.
    fn end(&mut self, exchange: Box<Exchange>, ended: Ended, mut at: Nanos) {
        self.live.land();
        self.in_flight -= 1;
        if self.is_measured(&exchange) {
            self.live.unfollow();
        }
        if self.kept_rows.is_empty() {
            self.kept_since = self.now;
        }
        self.kept_rows.push(ended);
        if self.kept_rows.len() == ROWS_KEPT {
            self.hand_over();
        }
        let request = &exchange.due.request;
        {
            let mut intake = self.taken.0.borrow_mut();
            if let Some(session) = intake.under_way.get_mut(&request.session) {
                session.left -= 1;
                session.ended = session.ended.max(at);
                at = session.ended;
                if session.left == 0 {
                    intake.under_way.remove(&request.session);
                }
            }
        }
        if self.closed.is_none() {
            self.demand.ended(exchange.due.slot, request.turn, at);
            if self.failures_in_a_row >= FAILURES_TO_GIVE_UP {
                let (count, last) = (self.failures_in_a_row, &self.last_failure);
                self.gave_up = Some(format!("{count} requests in a row failed, the last: {last}"));
                self.close(Closed::At(self.now));
            }
        }
        self.spare.push(exchange);
    }

    fn hand_over(&mut self) {
        let rows = std::mem::replace(&mut self.kept_rows, Vec::with_capacity(ROWS_KEPT));
        // The receiver is gone only when the run is being given up.
        let _ = self.rows.send(rows);
    }

    fn note_failure(&mut self, failure: &Failure) {
        self.failures_in_a_row += 1;
        self.last_failure = failure.to_string();
    }

    /// A request that never got to a connection.
    fn fail_unsent(&mut self, exchange: Box<Exchange>, failure: &Failure) {
        self.note_failure(failure);
        let row = exchange.failed_row(failure, self.now);
        self.end(exchange, row.into(), self.now);
    }

    fn tally_events(&self) -> u64 {
        self.pool.events
    }

    /// The end: what is still in flight is recorded as it stands.
    fn leave(mut self) -> WorkerReport {
        if self.closed == Some(Closed::ByItself) {
            self.end_window();
        }
        for exchange in self.pool.close_all() {
            self.unfinished += u64::from(self.is_measured(&exchange));
            let row = exchange.unfinished_row(self.now);
            self.end(exchange, row.into(), self.now);
        }
        self.hand_over();
        let scheduled = self.scheduled_sessions();
        self.tally.sessions_due = scheduled.unwrap_or(self.tally.sessions_begun);
        WorkerReport {
            tally: self.tally,
            issued: self.demand.issued(),
            unfinished: self.unfinished,
            closed: self.closed.unwrap_or(Closed::ByItself),
            gave_up: self.gave_up,
        }
    }

    /// Sessions that the schedule of an open loop has in the window; nothing where the arrivals
    /// are not a schedule, or ended by themselves.
    fn scheduled_sessions(&self) -> Option<u64> {
        let end = match self.closed {
            Some(Closed::Followed) => self.config.duration?,
            Some(Closed::At(_)) => self.config.duration.unwrap_or(Nanos::MAX).min(self.closed_at),
            Some(Closed::ByItself) | None => return None,
        };
        let LoadShape::Open(_) = self.config.load else { return None };
        let (Load::Open(schedule), _) =
            share(self.config, self.index, self.workers as usize).ok()?
        else {
            return None;
        };
        let window = Window { start: self.config.warmup, end };
        let due = schedule.take_while(|at| *at < end).filter(|at| window.measures(*at));
        Some(due.count() as u64)
    }
}

fn pin(core: usize) -> Result<(), String> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    if core >= CpuSet::MAX_CPU {
        return Err(format!("cores are numbered below {}", CpuSet::MAX_CPU));
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| error.to_string())
}
