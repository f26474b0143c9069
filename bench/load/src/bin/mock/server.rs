//! The server's event loop, and the order of tokens.
//!
//! Unpaced, every stream gets `--burst` tokens in one write per turn; a stalled stream waits until
//! its socket takes more. Paced, each stream has an absolute schedule from the read of its
//! request, so a late token delays no later one.
//! token does not delay the later ones.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestampns};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use weir_bench_load::clock::{monotonic_ns, unix_ns};
use weir_bench_load::truth::Served;

use crate::connection::{Answer, Body, Connection, Read, Write};
use crate::frame::{Form, Frames, Words, plain, stream_head};
use crate::ledger::Ledger;
use crate::request::{Ask, Parsed, Request, Route, parse};

const LISTENER: u64 = u64::MAX;
const SIGNALS: u64 = u64::MAX - 1;
const PARENT: u64 = u64::MAX - 2;
/// Bounds the wait of new requests.
const WRITES_PER_POLL: u32 = 16;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    Unpaced {
        burst: u32,
    },
    /// From the request to the first token, and between tokens.
    Paced {
        first_ns: u64,
        every_ns: u64,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) pace: Pace,
    pub(crate) model: String,
    pub(crate) default_tokens: u32,
}

pub(crate) struct Server {
    config: Config,
    epoll: OwnedFd,
    listener: OwnedFd,
    signals: SignalFd,
    connections: Vec<Option<Connection>>,
    /// Counts the users of each place, so that timers of earlier ones are ignored.
    generations: Vec<u32>,
    free: Vec<usize>,
    /// Unpaced: streams in the order of their turns.
    turns: VecDeque<(usize, u32)>,
    /// Paced: streams by the time of their next token.
    due: BinaryHeap<Reverse<(u64, usize, u32)>>,
    pub(crate) ledger: Ledger,
    scratch: Vec<u8>,
    stopped: bool,
}

impl Server {
    /// Listens; the address is known when this returns.
    pub(crate) fn new(address: SocketAddr, config: Config) -> Result<(Self, SocketAddr)> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block().context("signals could not be blocked")?;
        let signals =
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
                .context("no descriptor for signals")?;
        let listener = listen(address).with_context(|| format!("{address}: not free to listen"))?;
        let bound = SocketAddr::try_from(rustix::net::getsockname(&listener)?)
            .context("the bound address has a foreign form")?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("no epoll")?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &signals, epoll::EventData::new_u64(SIGNALS), epoll::EventFlags::IN)?;
        let server = Self {
            config,
            epoll,
            listener,
            signals,
            connections: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            turns: VecDeque::new(),
            due: BinaryHeap::new(),
            ledger: Ledger::new()?,
            scratch: Vec::new(),
            stopped: false,
        };
        Ok((server, bound))
    }

    /// Stops when standard input closes, so that it does not outlive its parent.
    pub(crate) fn stop_with_parent(&self) -> Result<()> {
        let data = epoll::EventData::new_u64(PARENT);
        epoll::add(&self.epoll, std::io::stdin(), data, epoll::EventFlags::HUP)
            .context("standard input is no pipe that could close")
    }

    /// Serves until SIGTERM or SIGINT.
    pub(crate) fn run(&mut self) -> Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
        while !self.stopped {
            self.write_due();
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for sockets failed"),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    PARENT => self.stopped = true,
                    SIGNALS => self.stopped = matches!(self.signals.read_signal(), Ok(Some(_))),
                    slot => self.socket_event(slot as usize, event.flags),
                }
            }
        }
        let now = monotonic_ns();
        for slot in 0..self.connections.len() {
            self.close(slot, now);
        }
        Ok(())
    }

    /// A few turns or due tokens per call.
    fn write_due(&mut self) {
        match self.config.pace {
            Pace::Unpaced { burst } => {
                for _ in 0..WRITES_PER_POLL {
                    let Some((slot, generation)) = self.turns.pop_front() else { return };
                    if self.write_tokens(slot, generation, burst, monotonic_ns()) {
                        self.turns.push_back((slot, generation));
                    }
                }
            }
            Pace::Paced { every_ns, .. } => {
                for _ in 0..WRITES_PER_POLL {
                    let now = monotonic_ns();
                    let Some(&Reverse((due, slot, generation))) = self.due.peek() else { return };
                    if due > now {
                        return;
                    }
                    self.due.pop();
                    if self.write_tokens(slot, generation, 1, now) {
                        self.ledger.late(now - due);
                        self.due.push(Reverse((due + every_ns, slot, generation)));
                    }
                }
            }
        }
    }

    /// Zero with streams in turn, else until the next due token; None without one.
    fn timeout(&self) -> Option<Timespec> {
        let wait_ns = if self.turns.is_empty() {
            let Reverse((due, ..)) = self.due.peek()?;
            due.saturating_sub(monotonic_ns())
        } else {
            0
        };
        Some(Timespec {
            tv_sec: (wait_ns / 1_000_000_000).cast_signed(),
            tv_nsec: (wait_ns % 1_000_000_000).cast_signed(),
        })
    }

    /// True when more can follow at once.
    fn write_tokens(&mut self, slot: usize, generation: u32, burst: u32, now: u64) -> bool {
        if self.generations.get(slot) != Some(&generation) {
            return false;
        }
        let Some(connection) = self.connections[slot].as_mut() else { return false };
        let Some(answer) = connection.answer.as_mut() else { return false };
        let row = &mut answer.row;
        let first = row.tokens == 0;
        let streams = matches!(answer.body, Body::Stream(_));
        let tokens =
            if streams { burst.min(row.asked - row.tokens) } else { row.asked - row.tokens };
        self.ledger.tokens(row, tokens, now);
        answer.due_ns += match self.config.pace {
            Pace::Paced { every_ns, .. } => every_ns,
            Pace::Unpaced { .. } => 0,
        };
        let mut last = row.tokens == row.asked;
        let mut wrote = if streams {
            connection.write_tokens(tokens, first)
        } else {
            last = true;
            Write::Done
        };
        if let (true, Some(answer)) = (first, connection.answer.as_mut()) {
            answer.row.first_taken_ns = monotonic_ns();
        }
        if last && wrote != Write::Gone {
            wrote = write_end(connection);
        }
        match wrote {
            Write::Done if last => self.finish(slot, monotonic_ns()),
            Write::Done => return true,
            Write::Stalled => {
                self.ledger.stalled();
                self.watch(slot, true);
            }
            Write::Gone => self.close(slot, now),
        }
        false
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => {
                    return Err(error).context("no descriptor for a connection: raise `ulimit -n`");
                }
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.generations.push(0);
                self.connections.len() - 1
            });
            let data = epoll::EventData::new_u64(slot as u64);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
            self.connections[slot] = Some(Connection::new(socket, self.ledger.connected()));
        }
    }

    fn socket_event(&mut self, slot: usize, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::OUT) {
            self.resume(slot);
        }
        if !flags
            .intersects(epoll::EventFlags::IN | epoll::EventFlags::ERR | epoll::EventFlags::HUP)
        {
            return;
        }
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        match connection.read(&mut self.scratch) {
            Read::Some => self.take_request(slot),
            Read::Nothing => {}
            Read::Gone => self.close(slot, monotonic_ns()),
        }
    }

    fn resume(&mut self, slot: usize) {
        let generation = self.generations[slot];
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        match connection.flush() {
            Write::Stalled => return,
            Write::Gone => return self.close(slot, monotonic_ns()),
            Write::Done => {}
        }
        let closing = connection.closing;
        let state = connection.answer.as_ref().map(|answer| (answer.written, answer.due_ns));
        self.watch(slot, false);
        match state {
            None if closing => self.close(slot, monotonic_ns()),
            None => {}
            Some((true, _)) => self.finish(slot, monotonic_ns()),
            Some((false, due_ns)) => self.plan(slot, generation, due_ns),
        }
    }

    fn plan(&mut self, slot: usize, generation: u32, due_ns: u64) {
        match self.config.pace {
            Pace::Unpaced { .. } => self.turns.push_back((slot, generation)),
            Pace::Paced { .. } => self.due.push(Reverse((due_ns, slot, generation))),
        }
    }

    fn take_request(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].as_mut() else { return };
        if connection.answer.is_some() || connection.closing {
            return;
        }
        match parse(&connection.input) {
            Parsed::Partial => {}
            Parsed::WantsLeave if connection.leave_given => {}
            Parsed::WantsLeave => {
                connection.leave_given = true;
                self.send(slot, b"HTTP/1.1 100 Continue\r\n\r\n", false);
            }
            Parsed::Refused(status, why) => {
                let body = format!("{{\"error\":{{\"message\":\"{why}\"}}}}");
                self.send(slot, &plain(status, "application/json", body.as_bytes(), false), true);
            }
            Parsed::Whole(request) => {
                connection.input.drain(..request.length);
                connection.leave_given = false;
                self.start(slot, request);
            }
        }
    }

    fn start(&mut self, slot: usize, request: Request) {
        let keep_alive = request.keep_alive;
        let form = match request.route {
            Route::Completions => Form::Completions,
            Route::Chat => Form::Chat,
            other => {
                let answer = self.page(other, keep_alive);
                self.send(slot, &answer, !keep_alive);
                return self.take_request(slot);
            }
        };
        let now = monotonic_ns();
        let number = self.ledger.began(now);
        let Ask { tokens, stream, usage, prompt_tokens } = request.ask;
        let tokens = tokens.unwrap_or(self.config.default_tokens).max(1);
        let model = &self.config.model;
        let created = unix_ns() / 1_000_000_000;
        let words = Words { form, number, created, model, prompt_tokens, tokens, usage };
        let (burst, due_ns) = match self.config.pace {
            Pace::Unpaced { burst } => (burst, 0),
            Pace::Paced { first_ns, .. } if stream => (1, now + first_ns),
            Pace::Paced { first_ns, every_ns } => {
                (1, now + first_ns + every_ns * u64::from(tokens - 1))
            }
        };
        let body = if stream {
            Body::Stream(Frames::new(words, burst))
        } else {
            Body::Whole(words.whole(keep_alive))
        };
        let Some(connection) = self.connections[slot].as_mut() else { return };
        let row = Served {
            request: number,
            request_id: request.id,
            connection: connection.number,
            arrived_ns: connection.arrived_ns,
            read_ns: now,
            asked: tokens,
            ..Served::default()
        };
        connection.answer = Some(Answer { body, row, due_ns, keep_alive, written: false });
        let wrote = if stream { connection.write(stream_head(keep_alive)) } else { Write::Done };
        match wrote {
            Write::Done => self.plan(slot, self.generations[slot], due_ns),
            Write::Stalled => self.watch(slot, true),
            Write::Gone => self.close(slot, now),
        }
    }

    fn page(&mut self, route: Route, keep_alive: bool) -> Vec<u8> {
        let json = "application/json";
        match route {
            Route::Models => {
                let name = &self.config.model;
                let about = r#""object":"model","owned_by":"mock","max_model_len":131072"#;
                let body = format!(r#"{{"object":"list","data":[{{"id":"{name}",{about}}}]}}"#);
                plain(200, json, body.as_bytes(), keep_alive)
            }
            Route::Health => plain(200, json, b"", keep_alive),
            Route::Metrics => plain(200, "text/plain; version=0.0.4", &self.metrics(), keep_alive),
            Route::Log => match self.ledger.csv() {
                Ok(rows) => plain(200, "text/csv", &rows, keep_alive),
                Err(error) => plain(500, "text/plain", error.to_string().as_bytes(), keep_alive),
            },
            Route::Summary => match serde_json::to_vec(&self.ledger.run(monotonic_ns())) {
                Ok(body) => plain(200, json, &body, keep_alive),
                Err(error) => plain(500, "text/plain", error.to_string().as_bytes(), keep_alive),
            },
            Route::Completions | Route::Chat | Route::Unknown => {
                let body = br#"{"error":{"message":"the mock has no such page"}}"#;
                plain(404, json, body, keep_alive)
            }
        }
    }

    fn metrics(&self) -> Vec<u8> {
        let labels = format!("{{model_name=\"{}\",engine=\"0\"}}", self.config.model);
        format!(
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{labels} {}\n\
             # TYPE vllm:generation_tokens_total counter\n\
             vllm:generation_tokens_total{labels} {}\n\
             # TYPE mock:requests_total counter\nmock:requests_total{labels} {}\n",
            self.ledger.in_flight(),
            self.ledger.tokens_so_far(),
            self.ledger.requests()
        )
        .into_bytes()
    }

    fn send(&mut self, slot: usize, bytes: &[u8], then_close: bool) {
        let Some(connection) = self.connections[slot].as_mut() else { return };
        connection.closing |= then_close;
        match connection.write(bytes) {
            Write::Done if then_close => self.close(slot, monotonic_ns()),
            Write::Done => {}
            Write::Stalled => self.watch(slot, true),
            Write::Gone => self.close(slot, monotonic_ns()),
        }
    }

    /// Logs the written answer, and takes the connection's next request.
    fn finish(&mut self, slot: usize, now: u64) {
        let Some(connection) = self.connections[slot].as_mut() else { return };
        let Some(answer) = connection.answer.take() else { return };
        // A timer or turn of this answer must not reach the next one.
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        self.ledger.ended(answer.row, true, now);
        if answer.keep_alive {
            self.take_request(slot);
        } else {
            self.close(slot, now);
        }
    }

    fn close(&mut self, slot: usize, now: u64) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::take) else {
            return;
        };
        // Closing the descriptor also removes it from the poll set.
        if let Some(answer) = connection.answer {
            self.ledger.ended(answer.row, false, now);
        }
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        self.free.push(slot);
    }

    /// `writable`: report when the socket takes bytes again.
    fn watch(&self, slot: usize, writable: bool) {
        let Some(connection) = &self.connections[slot] else { return };
        let mut flags = epoll::EventFlags::IN;
        if writable {
            debug_assert!(connection.has_pending());
            flags |= epoll::EventFlags::OUT;
        }
        let data = epoll::EventData::new_u64(slot as u64);
        // Fails only for a descriptor that is not in the set, which an open connection's is.
        let _ = epoll::modify(&self.epoll, connection.fd(), data, flags);
    }
}

fn write_end(connection: &mut Connection) -> Write {
    let Some(answer) = connection.answer.as_mut() else { return Write::Done };
    answer.written = true;
    let end = match &mut answer.body {
        Body::Stream(frames) => std::mem::take(&mut frames.tail),
        Body::Whole(bytes) => std::mem::take(bytes),
    };
    connection.write(&end)
}

fn listen(address: SocketAddr) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets inherit it. Without it, arrivals get the time of the read.
    let _ = setsockopt(&socket.as_fd(), ReceiveTimestampns, &true);
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 65_535)?;
    Ok(socket)
}
