//! Where agents that dial wait for the field's requests.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::desk::Desk;
use crate::error::{AgentError, FieldError};
use crate::message::{Hello, PROTOCOL, UPGRADE, VERSION, path};
use crate::token::Token;
use crate::wire::{ControlReply, ControlRequest, ControlWire};

const LOOK: Duration = Duration::from_millis(50);
/// To say who it is.
const HELLO_WAIT: Duration = Duration::from_secs(5);
const HELLO_BYTES_MAX: u64 = 64 << 10;
const ANOTHER_TOKEN: &str = "the agent token is missing or another";

#[derive(Debug, Default)]
struct Guests {
    /// In order of arrival.
    hellos: Vec<Hello>,
    /// The newest connection of each, until the field takes it.
    streams: BTreeMap<String, TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Lobby {
    token: Option<Token>,
    expected: usize,
    guests: Mutex<Guests>,
    changed: Condvar,
    is_over: AtomicBool,
    /// For those who wait for the run.
    desk: Option<Arc<Desk>>,
}

impl Lobby {
    pub(crate) fn open(
        listener: TcpListener,
        expected: usize,
        token: Option<Token>,
        desk: Option<Arc<Desk>>,
    ) -> Result<Arc<Self>, AgentError> {
        let failed = |error: std::io::Error| AgentError::io("wait for agents", &error);
        let address = listener.local_addr().map_err(failed)?;
        if token.is_none() && !address.ip().is_loopback() {
            return Err(AgentError::Open { address: address.to_string() });
        }
        listener.set_nonblocking(true).map_err(failed)?;
        let lobby = Arc::new(Self {
            token,
            expected,
            guests: Mutex::default(),
            changed: Condvar::new(),
            is_over: AtomicBool::new(false),
            desk,
        });
        let own = Arc::clone(&lobby);
        let accept = move || {
            while !own.is_over.load(Ordering::Acquire) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(LOOK);
                    continue;
                };
                let own = Arc::clone(&own);
                // An agent that is not let in tells why, and a stranger gets nothing.
                let _ = std::thread::Builder::new().spawn(move || own.let_in(stream));
            }
        };
        std::thread::Builder::new().name("lobby".to_owned()).spawn(accept).map_err(failed)?;
        Ok(lobby)
    }

    /// Requests of somebody who waits for the run, to the end of the connection.
    fn converse(&self, mut asked: ControlRequest, wire: &mut ControlWire) -> std::io::Result<()> {
        loop {
            wire.reply(match &self.desk {
                _ if !self.knows(&asked) => ControlReply::refusal(401, ANOTHER_TOKEN),
                Some(desk) => desk.answer(&asked)?,
                None => {
                    ControlReply::refusal(404, "there is no run to fetch: only agents are let in")
                }
            })?;
            let Some(next) = wire.next()? else { return Ok(()) };
            asked = next;
        }
    }

    fn knows(&self, asked: &ControlRequest) -> bool {
        self.token.as_ref().is_none_or(|own| own.is(asked.header("authorization")))
    }

    pub(crate) fn close(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    fn let_in(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(HELLO_WAIT))?;
        let mut wire = ControlWire::new(stream)?;
        let Some(asked) = wire.next()? else { return Ok(()) };
        if Desk::answers(&asked) {
            return self.converse(asked, &mut wire);
        }
        let body = wire.body(HELLO_BYTES_MAX)?;
        let hello = serde_json::from_slice::<Hello>(&body);
        let refusal = if (asked.method.as_str(), asked.target.as_str()) != ("POST", path::AGENTS) {
            ControlReply::refusal(404, "only agents are let in here")
        } else if !self.knows(&asked) {
            ControlReply::refusal(401, ANOTHER_TOKEN)
        } else {
            match hello {
                Ok(hello) => match self.refuses(&hello) {
                    None => {
                        wire.switch(UPGRADE)?;
                        self.add(hello, wire.into_stream());
                        return Ok(());
                    }
                    Some(why) => ControlReply::refusal(409, &why),
                },
                Err(_) => ControlReply::refusal(409, "the hello has another form; use one version"),
            }
        };
        wire.reply(refusal)
    }

    fn refuses(&self, hello: &Hello) -> Option<String> {
        if (hello.protocol, hello.version.as_str()) != (PROTOCOL, VERSION) {
            let there = &hello.version;
            return Some(format!("the agent is version {there}, and the field is {VERSION}"));
        }
        let guests = self.guests.lock();
        let is_known = guests.hellos.iter().any(|known| known.id == hello.id);
        let is_full = guests.hellos.len() >= self.expected;
        (!is_known && is_full).then(|| format!("all {} agents are there", self.expected))
    }

    fn add(&self, hello: Hello, stream: TcpStream) {
        let mut guests = self.guests.lock();
        let is_known = guests.hellos.iter().any(|known| known.id == hello.id);
        guests.streams.insert(hello.id.clone(), stream);
        if !is_known {
            guests.hellos.push(hello);
        }
        self.changed.notify_all();
    }

    /// All expected agents, by the index that they ask for, then by arrival.
    pub(crate) fn wait_for_all(
        &self,
        patience: Duration,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Vec<Hello>, FieldError> {
        let began = Instant::now();
        let mut guests = self.guests.lock();
        while guests.hellos.len() < self.expected {
            if stopped() {
                return Err(FieldError::Stopped);
            }
            if began.elapsed() > patience {
                return Err(FieldError::Missing {
                    came: guests.hellos.len(),
                    expected: self.expected,
                    waited: patience.as_secs(),
                });
            }
            self.changed.wait_for(&mut guests, LOOK);
        }
        let mut all = guests.hellos.clone();
        all.sort_by_key(|hello| hello.index.unwrap_or(u32::MAX));
        Ok(all)
    }

    /// The newest connection of an agent.
    pub(crate) fn take(&self, id: &str, wait: Duration) -> Option<TcpStream> {
        let until = Instant::now() + wait;
        let mut guests = self.guests.lock();
        loop {
            if let Some(stream) = guests.streams.remove(id) {
                return Some(stream);
            }
            if self.changed.wait_until(&mut guests, until).timed_out() {
                return None;
            }
        }
    }
}
