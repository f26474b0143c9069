//! The agent: takes orders of one field at a time, and answers it while its shard runs.
//!
//! It listens for the field, or dials it and lets it ask over the same connection. When the field
//! is silent for long, the load ends: nobody would collect it.

use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use weir_load::{LiveCounts, monotonic_ns};

use crate::error::AgentError;
use crate::message::{
    AgentState, AgentStatus, ClockReading, Hello, Lacking, PROTOCOL, RUN_HEADER, Start, VERSION,
    path,
};
use crate::order::{PromptMaker, ShardOrder, digest_file};
use crate::shard_run::ShardRun;
use crate::token::Token;
use crate::wire::{ControlReply, ControlRequest, ControlWire};

/// A field asks several times a second. After so long a silence its run is over.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// Of connections that ask nothing.
const IDLE: Duration = Duration::from_mins(10);
/// Until the first field of an agent that serves one.
const FIRST_FIELD: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);
/// A field has one.
const CONNECTIONS_MAX: usize = 16;
/// Workload sections with long lists.
const ORDER_BYTES_MAX: u64 = 64 << 20;
/// Traces and tokenizers.
const FILE_BYTES_MAX: u64 = 16 << 30;
const DIGEST_LETTERS: usize = 64;

pub struct AgentOptions {
    /// Needed where other machines can connect.
    pub token: Option<Token>,
    /// End with the first field.
    pub is_once: bool,
    /// The shard to ask for.
    pub index: Option<u32>,
    pub maker: PromptMaker,
}

/// Why an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentEnd {
    /// Its field let it go.
    Dismissed,
    /// No field came, or it fell silent.
    Forsaken,
}

/// Whom it works for.
#[derive(Debug, Default)]
struct Duty {
    run: Option<String>,
    heard: Option<Instant>,
    work: Option<Arc<ShardRun>>,
    is_dismissed: bool,
}

pub struct Agent {
    options: AgentOptions,
    id: String,
    folder: TempDir,
    duty: Mutex<Duty>,
    connections: AtomicUsize,
    parts: AtomicUsize,
}

impl Agent {
    pub fn new(options: AgentOptions) -> Result<Arc<Self>, AgentError> {
        let folder = tempfile::Builder::new().prefix("weir-agent-").tempdir();
        let folder = folder.map_err(|error| AgentError::io("make a temporary folder", &error))?;
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = format!("{name}-{}-{}", std::process::id(), monotonic_ns());
        Ok(Arc::new(Self {
            options,
            id,
            folder,
            duty: Mutex::default(),
            connections: AtomicUsize::new(0),
            parts: AtomicUsize::new(0),
        }))
    }

    /// Serves fields that dial, until the end of the first one or for ever.
    pub fn listen(self: &Arc<Self>, listener: &TcpListener) -> Result<AgentEnd, AgentError> {
        let failed = |error: &io::Error| AgentError::io("listen", error);
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        if self.options.token.is_none() && !address.ip().is_loopback() {
            return Err(AgentError::Open { address: address.to_string() });
        }
        listener.set_nonblocking(true).map_err(|error| failed(&error))?;
        let began = Instant::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.serve_on_thread(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(LOOK);
                }
                Err(error) => return Err(failed(&error)),
            }
            let is_forsaken = began.elapsed() > FIRST_FIELD && !self.has_run();
            match self.look_after() {
                None if self.options.is_once && is_forsaken => return Ok(AgentEnd::Forsaken),
                None => {}
                Some(end) => return Ok(end),
            }
        }
    }

    fn serve_on_thread(self: &Arc<Self>, stream: TcpStream) {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let own = Arc::clone(self);
        let serve = move || {
            let _ = stream.set_nonblocking(false);
            // The field names what broke; a stranger gets nothing.
            let _ = own.serve(stream);
            own.connections.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new().name("agent".to_owned()).spawn(serve).is_err() {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends a load that nobody will collect. Some once the agent ends.
    pub(crate) fn look_after(&self) -> Option<AgentEnd> {
        let mut duty = self.duty.lock();
        let is_silent = duty.heard.is_some_and(|heard| heard.elapsed() > LEASE);
        if is_silent && duty.run.take().is_some() {
            if let Some(work) = duty.work.take() {
                work.live.abort();
            }
            duty.heard = None;
            return self.options.is_once.then_some(AgentEnd::Forsaken);
        }
        (self.options.is_once && duty.is_dismissed).then_some(AgentEnd::Dismissed)
    }

    fn has_run(&self) -> bool {
        self.duty.lock().run.is_some()
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.options.token.as_ref()
    }

    /// Answers one connection to its end.
    pub(crate) fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        let mut wire = ControlWire::new(stream)?;
        while let Some(asked) = wire.next()? {
            let reply = self.answer(&asked, &mut wire)?;
            wire.reply(reply)?;
        }
        Ok(())
    }

    fn answer(&self, asked: &ControlRequest, wire: &mut ControlWire) -> io::Result<ControlReply> {
        if self.options.token.as_ref().is_some_and(|own| !own.is(asked.header("authorization"))) {
            return Ok(ControlReply::refusal(401, "the agent token is missing or another"));
        }
        let asks = (asked.method.as_str(), asked.target.as_str());
        if asks == ("GET", path::HELLO) {
            return Ok(ControlReply::json(200, &self.hello()));
        }
        let run = asked.header(RUN_HEADER).unwrap_or_default().to_owned();
        if let Err(refusal) = self.enlist(&run) {
            return Ok(refusal);
        }
        Ok(match asks {
            ("GET", path::CLOCK) => {
                ControlReply::json(200, &ClockReading { monotonic_ns: monotonic_ns() })
            }
            ("GET", path::STATUS) => ControlReply::json(200, &self.status()),
            ("POST", path::ORDER) => match read::<ShardOrder>(wire)? {
                Ok(order) => self.order(order),
                Err(refusal) => refusal,
            },
            ("POST", target) if target.starts_with(path::FILES) => {
                self.store(&target[path::FILES.len()..], asked.length, wire)?
            }
            ("POST", path::START) => match read::<Start>(wire)? {
                Ok(start) => self.start(start),
                Err(refusal) => refusal,
            },
            ("POST", path::LET_END) => self.with_work(|work| {
                work.live.let_end();
                ControlReply::done()
            }),
            ("POST", path::ABORT) => {
                if let Some(work) = self.work() {
                    work.live.abort();
                }
                ControlReply::done()
            }
            ("GET", path::REPORT) => self.with_work(|work| match work.report() {
                Some(report) => ControlReply::json(200, &report),
                None => ControlReply::refusal(409, "the load has no report yet"),
            }),
            ("GET", path::ROWS) => self.rows(asked)?,
            ("POST", path::LEAVE) => {
                self.leave();
                ControlReply::done()
            }
            _ => ControlReply::refusal(404, "an agent does not know this request"),
        })
    }

    pub(crate) fn hello(&self) -> Hello {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (version, id) = (VERSION.to_owned(), self.id.clone());
        Hello { version, protocol: PROTOCOL, id, host, index: self.options.index }
    }

    /// One run at a time; it is remembered from its first request on.
    fn enlist(&self, run: &str) -> Result<(), ControlReply> {
        if run.is_empty() {
            return Err(ControlReply::refusal(
                422,
                "the run is missing: the header X-Weir-Run names it",
            ));
        }
        let mut duty = self.duty.lock();
        match &duty.run {
            Some(other) if other != run => {
                return Err(ControlReply::refusal(409, "it works for another run until that ends"));
            }
            Some(_) => {}
            None => duty.run = Some(run.to_owned()),
        }
        duty.heard = Some(Instant::now());
        Ok(())
    }

    fn leave(&self) {
        let mut duty = self.duty.lock();
        if let Some(work) = duty.work.take() {
            work.live.abort();
        }
        duty.run = None;
        duty.heard = None;
        duty.is_dismissed = self.options.is_once;
    }

    fn work(&self) -> Option<Arc<ShardRun>> {
        self.duty.lock().work.clone()
    }

    fn with_work(&self, reply: impl FnOnce(&ShardRun) -> ControlReply) -> ControlReply {
        self.work().map_or_else(
            || ControlReply::refusal(409, "the agent has no order"),
            |work| reply(&work),
        )
    }

    fn status(&self) -> AgentStatus {
        let Some(work) = self.work() else {
            return AgentStatus {
                state: AgentState::Idle,
                order: None,
                shard: None,
                counts: LiveCounts::default(),
                has_measured_all: false,
                problem: None,
            };
        };
        AgentStatus {
            state: work.state(),
            order: Some(work.digest.clone()),
            shard: Some(work.shard),
            counts: work.live.counts(),
            has_measured_all: work.live.has_measured_all(),
            problem: work.problem(),
        }
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.folder.path().join(digest)
    }

    /// Begins it, or says which files are lacking.
    fn order(&self, order: ShardOrder) -> ControlReply {
        let digest = order.level.digest();
        let mut duty = self.duty.lock();
        if let Some(work) = &duty.work {
            // The answer to the first was lost.
            if work.digest == digest && work.shard == order.shard {
                return ControlReply::json(200, &Lacking::default());
            }
            if !work.is_over() {
                return ControlReply::refusal(409, "the order before is still under way");
            }
        }
        let files: Vec<String> =
            order.level.files().into_iter().filter(|file| !self.file(file).is_file()).collect();
        if !files.is_empty() {
            return ControlReply::json(200, &Lacking { files });
        }
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().join(format!("shard-{number}"));
        if let Some(before) = number.checked_sub(1) {
            // Its rows were collected, or nobody will.
            let _ = std::fs::remove_dir_all(self.folder.path().join(format!("shard-{before}")));
        }
        let files = self.folder.path().to_owned();
        let begun = std::fs::create_dir_all(&folder).and_then(|()| {
            let path = move |digest: &str| files.join(digest);
            ShardRun::begin(order, folder, path, self.options.maker)
        });
        match begun {
            Ok(work) => {
                duty.work = Some(work);
                ControlReply::json(200, &Lacking::default())
            }
            Err(error) => ControlReply::refusal(422, &format!("the order cannot begin: {error}")),
        }
    }

    fn store(&self, digest: &str, length: u64, wire: &mut ControlWire) -> io::Result<ControlReply> {
        let is_digest = digest.len() == DIGEST_LETTERS
            && digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_digest || length > FILE_BYTES_MAX {
            return Ok(ControlReply::refusal(
                422,
                "a file needs its SHA-256 as its name, and a limit",
            ));
        }
        let part = tempfile::Builder::new().prefix("part-").tempfile_in(self.folder.path())?;
        wire.copy_body(&mut Upload { file: part.as_file(), duty: &self.duty })?;
        if !is_whole(part.path(), digest)? {
            return Ok(ControlReply::refusal(422, "the file came with another SHA-256"));
        }
        part.persist(self.file(digest)).map_err(|error| error.error)?;
        Ok(ControlReply::done())
    }

    fn start(&self, start: Start) -> ControlReply {
        if start.monotonic_ns <= monotonic_ns() {
            return ControlReply::refusal(409, "the common start is over");
        }
        self.with_work(|work| {
            if work.start(start.monotonic_ns) || work.live.has_begun() {
                ControlReply::done()
            } else {
                ControlReply::refusal(409, "the load is not ready")
            }
        })
    }

    fn rows(&self, asked: &ControlRequest) -> io::Result<ControlReply> {
        let Some(work) = self.work().filter(|work| work.report().is_some()) else {
            return Ok(ControlReply::refusal(409, "the load has no rows yet"));
        };
        let file = File::open(work.rows_path())?;
        let size = file.metadata()?.len();
        Ok(match asked.range(size) {
            Some(range) => ControlReply::Part { file, size, range },
            None => ControlReply::refusal(416, "a range of the rows is missing, or beyond them"),
        })
    }
}

/// A file that may come for longer than a field may be silent.
struct Upload<'a> {
    file: &'a File,
    duty: &'a Mutex<Duty>,
}

impl io::Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.duty.lock().heard = Some(Instant::now());
        io::Write::write(&mut self.file, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut self.file)
    }
}

fn is_whole(path: &Path, digest: &str) -> io::Result<bool> {
    Ok(digest_file(path)?.1 == digest)
}

/// A refusal where the body is no such message.
fn read<T: DeserializeOwned>(wire: &mut ControlWire) -> io::Result<Result<T, ControlReply>> {
    let body = wire.body(ORDER_BYTES_MAX)?;
    Ok(serde_json::from_slice(&body).map_err(|error| {
        // The position, and not the text, which may be secret.
        let at = format!("line {} column {}", error.line(), error.column());
        ControlReply::refusal(422, &format!("a message of another form, at {at}; use one version"))
    }))
}
