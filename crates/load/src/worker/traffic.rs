//! The sockets of a worker: connect, send, read, finish, fail, time out.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use weir_model::Nanos;
use weir_model::answers::TokenCount;

use super::{Worker, pool::Pool};
use crate::answer::Arrival;
use crate::body::Part;
use crate::connection::{self, Connection, State};
use crate::exchange::{Exchange, ExchangeEnd, ReadBuffers, http_failure};
use crate::failure::Failure;
use crate::poll::Ready;

/// Capacity of a connection's TLS bytes kept between requests.
const TLS_OUT_KEPT: usize = 64 << 10;

impl Worker<'_> {
    /// Uses an idle connection or opens one.
    pub(super) fn dispatch(&mut self, mut exchange: Box<Exchange>) {
        if let Some(key) = self.pool.take_idle(exchange.endpoint) {
            if let Some(connection) = self.pool.get(key) {
                connection.exchange = Some(exchange);
                self.begin_send(key);
            }
            return;
        }
        exchange.connect_began = Some(self.clock.now());
        match self.open(exchange.endpoint) {
            Ok(mut connection) => {
                let id = exchange.id;
                connection.exchange = Some(exchange);
                let key = self.pool.next_key();
                match self.poll.add(&connection.socket, key, true) {
                    Ok(()) => {
                        self.pool.put(connection);
                        let deadline = self.now + self.config.client.connect_timeout;
                        self.connect_deadlines.push_back((deadline, key, id));
                    }
                    Err(error) => {
                        if let Some(exchange) = connection.exchange.take() {
                            let failure = self.cannot_connect(exchange.endpoint, &error);
                            self.fail_unsent(exchange, &failure);
                        }
                    }
                }
            }
            Err(failure) => self.fail_unsent(exchange, &failure),
        }
    }

    fn open(&self, endpoint: usize) -> Result<Box<Connection>, Failure> {
        let target = &self.endpoints[endpoint];
        let mut connection = Connection::open(target.address, endpoint)
            .map_err(|error| self.cannot_connect(endpoint, &error))?;
        if let Some(header) = &self.replica_header {
            connection.parser = connection.parser.noting(Arc::clone(header));
        }
        if let Some(client) = &target.tls {
            let session = client
                .session(&target.url.host)
                .map_err(|error| Failure::Tls(error.to_string()))?;
            connection.tls = Some(Box::new(session));
        }
        Ok(Box::new(connection))
    }

    fn cannot_connect(&self, endpoint: usize, error: &io::Error) -> Failure {
        let address = self.endpoints[endpoint].address;
        let hint = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                " (raise the limit of open files: ulimit -n)"
            }
            Some(rustix::io::Errno::ADDRNOTAVAIL) => {
                " (no local port is left: keep connections, or use more addresses)"
            }
            _ => "",
        };
        Failure::Connect(format!("{address}: {error}{hint}"))
    }

    pub(super) fn handle(&mut self, ready: Ready) {
        let key = ready.key;
        let Some(connection) = self.pool.get(key) else { return };
        if connection.state == State::Connecting {
            if ready.writable {
                self.connected(key);
            }
            return;
        }
        if ready.readable {
            self.read(key);
        }
        if ready.writable && self.pool.get(key).is_some_and(|connection| connection.awaits_writable)
        {
            self.send(key);
        }
    }

    fn connected(&mut self, key: u64) {
        let Some(connection) = self.pool.get(key) else { return };
        if let Err(error) = connection.connect_result() {
            let endpoint = connection.endpoint;
            let failure = self.cannot_connect(endpoint, &error);
            self.fail(key, &failure);
            return;
        }
        let is_secure = connection.tls.is_some();
        if let Some(exchange) = connection.exchange.as_mut() {
            let began = exchange.connect_began.unwrap_or(self.now);
            exchange.noticed_late = self.now.saturating_sub(self.turn.earliest(began, true));
        }
        if is_secure {
            connection.state = State::Handshaking;
            self.send_tls(key);
            return;
        }
        self.begin_send(key);
    }

    fn begin_send(&mut self, key: u64) {
        let noticed = self.now;
        let now = self.clock.now();
        self.now = now;
        let timeout = self.config.client.request_timeout;
        let Some(connection) = self.pool.get(key) else { return };
        connection.state = State::Busy;
        // No byte of the answer arrives before the request is sent.
        connection.empty_since = now;
        connection.was_drained = true;
        let Some(exchange) = connection.exchange.as_mut() else { return };
        if exchange.connect_began.is_some() {
            exchange.connected = Some(noticed);
        }
        let id = exchange.id;
        if let Some(tls) = connection.tls.as_mut() {
            let parts = exchange.body.parts.iter().map(Part::bytes);
            let written = [exchange.head.as_slice()]
                .into_iter()
                .chain(parts)
                .try_for_each(|part| tls.write_plain(part));
            if let Err(error) = written {
                self.fail(key, &Failure::Tls(error.to_string()));
                return;
            }
        }
        self.request_deadlines.push_back((now + timeout, key, id));
        self.send(key);
    }

    fn send(&mut self, key: u64) {
        let Some(connection) = self.pool.get(key) else { return };
        if connection.tls.is_some() {
            self.send_tls(key);
            return;
        }
        loop {
            let before = self.clock.now();
            let Some(connection) = self.pool.get(key) else { return };
            let Some(exchange) = connection.exchange.as_mut() else { return };
            if exchange.sent == exchange.length {
                break;
            }
            let parts = exchange.body.parts.iter().map(Part::bytes);
            let parts = [exchange.head.as_slice()].into_iter().chain(parts);
            let result = connection::send(&connection.socket, parts, exchange.sent);
            self.now = self.clock.now();
            match result {
                Ok(taken) => {
                    exchange.sent += taken;
                    exchange.sent_at = self.now;
                    if exchange.start.is_none() {
                        exchange.start = Some(before);
                        self.note_start(key);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.await_writable(key, true);
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.cannot_send(key, &error);
                    return;
                }
            }
        }
        self.await_writable(key, false);
    }

    /// A server may answer early and close; its answer counts.
    fn cannot_send(&mut self, key: u64, error: &io::Error) {
        self.read(key);
        self.fail(key, &Failure::Truncated(format!("the request cannot be sent: {error}")));
    }

    /// Of the handshake or the request.
    fn send_tls(&mut self, key: u64) {
        loop {
            let before = self.clock.now();
            let Some(connection) = self.pool.get(key) else { return };
            let Some(tls) = connection.tls.as_mut() else { return };
            tls.take_tls(&mut connection.tls_out);
            if connection.tls_out.is_empty() {
                break;
            }
            let out = std::mem::take(&mut connection.tls_out);
            let result = connection::send(&connection.socket, [out.as_slice()].into_iter(), 0);
            connection.tls_out = out;
            let is_busy = connection.state == State::Busy;
            self.now = self.clock.now();
            let now = self.now;
            let Some(connection) = self.pool.get(key) else { return };
            match result {
                Ok(taken) => {
                    connection.tls_out.drain(..taken);
                    if let Some(exchange) = connection.exchange.as_mut().filter(|_| is_busy) {
                        exchange.sent_at = now;
                        if exchange.start.is_none() {
                            exchange.start = Some(before);
                            self.note_start(key);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.await_writable(key, true);
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.cannot_send(key, &error);
                    return;
                }
            }
        }
        if let Some(connection) = self.pool.get(key) {
            connection.tls_out.shrink_to(TLS_OUT_KEPT);
            if let Some(exchange) = connection.exchange.as_mut()
                && connection.state == State::Busy
            {
                exchange.sent = exchange.length;
            }
        }
        self.await_writable(key, false);
    }

    fn is_key_measured(&mut self, key: u64) -> bool {
        let window = self.config.window();
        let exchange = self.pool.get(key).and_then(|connection| connection.exchange.as_ref());
        exchange.is_some_and(|exchange| window.measures(exchange.due.at))
    }

    fn note_start(&mut self, key: u64) {
        let window = self.config.window();
        let Some(exchange) = self.pool.get(key).and_then(|c| c.exchange.as_ref()) else { return };
        let due = exchange.due.at;
        let Some(lag) = exchange.send_lag().filter(|_| window.measures(due)) else { return };
        self.counters.send_lag.record(lag);
        // Time lost after the window does not count.
        self.counters.lost += lag.min(window.end.saturating_sub(due));
    }

    fn await_writable(&mut self, key: u64, wanted: bool) {
        let Some(connection) = self.pool.get(key) else { return };
        if connection.awaits_writable == wanted {
            return;
        }
        connection.awaits_writable = wanted;
        if let Some(connection) = self.pool.get(key) {
            let changed = self.poll.change(&connection.socket, key, wanted);
            if let Err(error) = changed {
                self.fail(key, &Failure::Connect(format!("cannot wait for the socket: {error}")));
            }
        }
    }

    fn read(&mut self, key: u64) {
        let before = self.now;
        let Some(connection) = self.pool.get(key) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = connection.receive(&mut buffer);
        self.now = self.clock.now();
        match received {
            Ok(received) if received.bytes == 0 => self.end_of_input(key),
            Ok(received) => {
                let (bytes, stamp) = (&buffer[..received.bytes], received.stamp_ns);
                let drained = received.bytes < buffer.len();
                self.handle_bytes(key, bytes, stamp, before, drained);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => {
                self.fail(key, &Failure::Truncated(format!("the connection broke: {error}")));
            }
        }
        self.buffer = buffer;
    }

    /// Arrival of a read's last byte, by a plausible kernel stamp if there is one. Nothing arrived
    /// before `floor`.
    fn arrival(&self, floor: Nanos, stamp_ns: Option<u64>, drained: bool) -> (Arrival, bool) {
        let width = self.turn.day.width;
        let stamped = stamp_ns
            .and_then(|stamp| self.turn.day.convert(stamp))
            // Setting the time of day makes stamps implausible.
            .filter(|at| *at + width >= floor && *at <= self.now + width);
        match stamped {
            Some(at) => {
                let at = at.clamp(floor, self.now);
                // If a read filled its buffer, the stamp may be that of later bytes.
                (Arrival { at, last_byte_bound: drained.then_some(width) }, true)
            }
            None => (Arrival { at: self.now, last_byte_bound: None }, false),
        }
    }

    fn handle_bytes(
        &mut self,
        key: u64,
        bytes: &[u8],
        stamp_ns: Option<u64>,
        before: Nanos,
        drained: bool,
    ) {
        let Some(connection) = self.pool.get(key) else { return };
        let (empty_since, was_drained) = (connection.empty_since, connection.was_drained);
        connection.was_drained = drained;
        if drained {
            connection.empty_since = before;
        }
        let start = connection.exchange.as_ref().and_then(|exchange| exchange.start);
        let floor = empty_since.max(start.unwrap_or_default());
        let (arrival, is_stamped) = self.arrival(floor, stamp_ns, drained);
        let Some(connection) = self.pool.get(key) else { return };
        if connection.state == State::Handshaking
            && let Some(exchange) = connection.exchange.as_mut()
        {
            exchange.noticed_late += self.now.saturating_sub(arrival.at);
        }
        if connection.tls.is_some() {
            let mut plain = std::mem::take(&mut self.plain);
            plain.clear();
            let goes_on = self.decrypt(key, bytes, &mut plain);
            if goes_on && !plain.is_empty() {
                self.handle_plain(key, &plain, &arrival, is_stamped, empty_since, was_drained);
            }
            self.plain = plain;
        } else {
            self.handle_plain(key, bytes, &arrival, is_stamped, empty_since, was_drained);
        }
    }

    /// False if the connection is closed.
    fn decrypt(&mut self, key: u64, bytes: &[u8], plain: &mut Vec<u8>) -> bool {
        let Some(connection) = self.pool.get(key) else { return false };
        let Some(tls) = connection.tls.as_mut() else { return false };
        let progress = tls.read_tls(bytes, &mut |span: &[u8]| plain.extend_from_slice(span));
        match progress {
            Ok(progress) => {
                let is_there = connection.state == State::Handshaking && !progress.is_handshaking;
                if is_there {
                    self.begin_send(key);
                } else if progress.wants_write {
                    self.send_tls(key);
                }
                self.pool.get(key).is_some()
            }
            Err(error) => {
                // The alert gives the reason.
                self.send_tls(key);
                self.fail(key, &Failure::Tls(error.to_string()));
                false
            }
        }
    }

    fn handle_plain(
        &mut self,
        key: u64,
        bytes: &[u8],
        arrival: &Arrival,
        is_stamped: bool,
        empty_since: Nanos,
        was_drained: bool,
    ) {
        let is_measured = self.is_key_measured(key);
        let turn = &mut self.turn;
        let width = turn.day.width;
        let several = || width + arrival.at.saturating_sub(turn.earliest(empty_since, was_drained));
        let gap_bound =
            if is_measured { &mut self.counters.gap_bound } else { &mut self.counters.outside };
        let replicas = &mut self.replicas;
        let mut buffers = ReadBuffers { spans: &mut self.spans, gap_bound, replicas };
        let Some(connection) = self.pool.get(key) else { return };
        let Connection { parser, splitter, exchange, .. } = &mut *connection;
        let Some(exchange) = exchange.as_mut() else {
            // After unexpected bytes the connection must not be reused.
            self.close_connection(key);
            return;
        };
        let events = exchange.answer.events;
        let result = exchange.handle_bytes(parser, splitter, bytes, arrival, several, &mut buffers);
        let brought = exchange.answer.events - events;
        if brought > 0 {
            self.pool.events += u64::from(brought);
            if is_measured {
                self.counters.read_lag.record(self.now.saturating_sub(arrival.at));
                self.counters.unstamped_reads += u64::from(!is_stamped);
            }
        }
        match result {
            Ok(false) => {}
            Ok(true) => self.finish(key, arrival, true),
            Err(failure) => self.fail(key, &failure),
        }
    }

    fn end_of_input(&mut self, key: u64) {
        let Some(connection) = self.pool.get(key) else { return };
        let Connection { parser, exchange, tls, .. } = &mut *connection;
        let Some(exchange) = exchange.as_mut() else {
            self.close_connection(key);
            return;
        };
        let result = match tls.as_ref().map_or(Ok(()), |tls| tls.end_of_input()) {
            Ok(()) => parser.end_of_input().map(|_| ()).map_err(|error| http_failure(&error)),
            Err(error) => Err(Failure::Tls(error.to_string())),
        };
        let last = exchange.answer.last_at();
        match result {
            Ok(()) => {
                let at = last.unwrap_or(self.now);
                self.finish(key, &Arrival { at, last_byte_bound: None }, false);
            }
            Err(failure) => self.fail(key, &failure),
        }
    }

    /// The message is complete; the connection becomes idle or is closed.
    fn finish(&mut self, key: u64, last: &Arrival, is_open: bool) {
        let is_measured = self.is_key_measured(key);
        let Some(connection) = self.pool.get(key) else { return };
        let Connection { parser, splitter, exchange, .. } = &mut *connection;
        let Some(mut exchange) = exchange.take() else { return };
        let keeps = is_open
            && self.config.client.reuse_connections
            && parser.head().is_some_and(|head| head.keep_alive)
            && exchange.sent == exchange.length;
        let result = exchange.complete(parser, splitter, last);
        if keeps {
            parser.reset();
            splitter.reset();
            self.pool.set_idle(key);
        } else {
            self.close_connection(key);
        }
        let at = last.at;
        match result {
            Ok(mut complete) => {
                self.failures_in_a_row = 0;
                if exchange.answer.first_token.is_some() && is_measured {
                    self.counters.first_token_bound.record(exchange.first_token_bound());
                }
                if let Some(ids) = complete.token_ids.take() {
                    self.keep_answer(&exchange, ids);
                }
                self.has_usage |= complete.note.counted == TokenCount::Usage;
                let row = exchange.done_row(&complete);
                let ended = ExchangeEnd {
                    note: Some(complete.note),
                    text: complete.text.take(),
                    ..exchange.ended(row)
                };
                self.end(exchange, ended, at);
            }
            Err(failure) => {
                let failure = failure.without(&self.secrets);
                self.note_failure(&failure);
                let row = exchange.failed_row(&failure, self.now);
                let ended = exchange.ended(row);
                self.end(exchange, ended, self.now);
            }
        }
    }

    fn keep_answer(&mut self, exchange: &Exchange, ids: Vec<u32>) {
        let request = &exchange.due.request;
        if let Some(session) = self.taken.0.borrow_mut().open_sessions.get_mut(&request.session) {
            session.answers[request.turn as usize] = Some(ids);
        }
    }

    /// Closes the connection and fails its request, if any.
    pub(super) fn fail(&mut self, key: u64, failure: &Failure) {
        let Some(mut connection) = self.close_connection(key) else { return };
        let Some(exchange) = connection.exchange.take() else { return };
        let failure = failure.clone().without(&self.secrets);
        self.note_failure(&failure);
        let row = exchange.failed_row(&failure, self.now);
        let ended = exchange.ended(row);
        self.end(exchange, ended, self.now);
    }

    fn close_connection(&mut self, key: u64) -> Option<Box<Connection>> {
        let connection = self.pool.remove(key)?;
        // Closing would deregister it as well.
        let _ = self.poll.remove(&connection.socket);
        Some(connection)
    }

    /// Fails requests and connections past their deadline.
    pub(super) fn expire(&mut self) {
        while let Some((at, key, id)) = self.connect_deadlines.front().copied() {
            let waits = is_of(&mut self.pool, key, id)
                .is_some_and(|state| matches!(state, State::Connecting | State::Handshaking));
            if waits && at > self.now {
                break;
            }
            self.connect_deadlines.pop_front();
            if waits {
                let limit = self.config.client.connect_timeout;
                let what = format!("no connection to {}", self.address_of(key));
                self.fail(key, &Failure::Timeout(what, limit));
            }
        }
        while let Some((at, key, id)) = self.request_deadlines.front().copied() {
            let waits = is_of(&mut self.pool, key, id).is_some();
            if waits && at > self.now {
                break;
            }
            self.request_deadlines.pop_front();
            if waits {
                let limit = self.config.client.request_timeout;
                self.fail(key, &Failure::Timeout("no complete answer".to_owned(), limit));
            }
        }
    }

    fn address_of(&mut self, key: u64) -> String {
        let endpoint = self.pool.get(key).map_or(0, |connection| connection.endpoint);
        self.endpoints[endpoint].address.to_string()
    }
}

/// None if the connection no longer has that request.
fn is_of(pool: &mut Pool, key: u64, id: u64) -> Option<State> {
    let connection = pool.get(key)?;
    let is_same = connection.exchange.as_ref().is_some_and(|exchange| exchange.id == id);
    is_same.then_some(connection.state)
}
