//! The field: the agents of one run, kept for all its levels.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_http::url::Url;
use weir_load::LoadReport;
use weir_model::{Certificate, Nanos, Note, ShardCause, ShardFailure};

use crate::channel::{Channel, ChannelLine, Silent};
use crate::desk::Desk;
use crate::error::{AgentError, FieldError};
use crate::group::GroupUse;
use crate::lobby::Lobby;
use crate::local::LocalAgents;
use crate::message::{AgentStatus, Hello, PROTOCOL, VERSION, path};
use crate::token::Token;

/// For an agent that comes up with the field.
const GREETING: Duration = Duration::from_secs(5);
/// Between requests of an idle field, well below an agent's lease.
const BEAT: Duration = Duration::from_secs(2);
const BEAT_LOOK: Duration = Duration::from_millis(100);
const BEAT_PATIENCE: Duration = Duration::from_millis(500);
const FAREWELL: Duration = Duration::from_secs(1);
/// From the field's order of a start to the start. Every agent must have confirmed it by then.
const AHEAD: Duration = Duration::from_secs(2);
const AHEAD_HERE: Duration = Duration::from_millis(500);

/// An agent as the field knows it.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) name: String,
    pub(crate) hello: Hello,
    pub(crate) channel: Mutex<Channel>,
}

impl Hand {
    /// As the failure of its shard.
    pub(crate) fn silent(silent: Silent) -> ShardCause {
        let waited = Nanos(silent.waited.as_nanos() as u64);
        ShardCause::Lost { silent: waited, problem: silent.problem }
    }
}

/// What one process of a level did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRecord {
    pub agent: String,
    pub host: String,
    pub requests: u64,
    /// Its monotonic clock less the field's, before the load.
    pub clock_offset_ns: i64,
    /// By which the offset had changed after the load.
    pub clock_drift_ns: i64,
    /// Of its times against those of other shards. Durations of one request do not contain it.
    pub clock_bound: Nanos,
    /// After the common start.
    pub begun_late: Nanos,
    /// Of its rows on their way.
    pub sha256: String,
    pub group: GroupUse,
    pub certificate: Certificate,
}

#[derive(Debug)]
pub struct Offered {
    pub report: LoadReport,
    pub shards: Vec<ShardRecord>,
    pub notes: Vec<Note>,
}

#[derive(Debug)]
pub struct Field {
    pub(crate) hands: Arc<Vec<Hand>>,
    /// Of orders.
    pub(crate) number: AtomicU64,
    pub(crate) ahead: Duration,
    /// Its agents share this machine, and get CPUs one after the other.
    pub(crate) is_here: bool,
    lobby: Option<Arc<Lobby>>,
    heart: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    /// Last: they end when they are let go.
    local: Option<LocalAgents>,
}

impl Field {
    /// Agents that listen, as `host:port`, in the order of their shards.
    pub fn dial(
        addresses: &[String],
        token: Option<&Token>,
        run: &str,
    ) -> Result<Self, FieldError> {
        let mut urls: Vec<Url> = Vec::new();
        for address in addresses {
            let wrong = |error: &dyn std::fmt::Display| {
                FieldError::Address(format!("agent {address:?}: {error}; write HOST:PORT"))
            };
            let given =
                if address.contains("://") { address.clone() } else { format!("http://{address}") };
            let url = Url::parse(&given).map_err(|error| wrong(&error))?;
            if url.scheme_is_tls {
                return Err(wrong(&"the control channel has no TLS"));
            }
            if urls.iter().any(|other| other.address() == url.address()) {
                return Err(wrong(&"it is given twice"));
            }
            urls.push(url);
        }
        let greet = |url: Url| {
            let name = url.address();
            greeted(name, Channel::new(ChannelLine::Dial, url, token.cloned(), run.to_owned()))
        };
        let hands = urls.into_iter().map(greet).collect::<Result<_, _>>()?;
        Self::of(hands, AHEAD, None, None)
    }

    /// Agents that dial, in the order of the shards that they ask for. Where they do, `desk`
    /// answers for the run.
    pub fn gather(
        listener: TcpListener,
        agents: usize,
        token: Option<&Token>,
        run: &str,
        patience: Duration,
        stopped: &dyn Fn() -> bool,
        desk: Option<Arc<Desk>>,
    ) -> Result<Self, FieldError> {
        let lobby = Lobby::open(listener, agents, token.cloned(), desk)?;
        let hands =
            hands_of(&lobby, token, run, patience, stopped).inspect_err(|_| lobby.close())?;
        Self::of(hands, AHEAD, Some(lobby), None)
    }

    /// Processes of this machine, started from `program`.
    pub fn here(
        program: &Path,
        agents: usize,
        run: &str,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, FieldError> {
        let token = LocalAgents::token(run)?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| cannot_listen(&error))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(&error))?;
        let lobby = Lobby::open(listener, agents, Some(token.clone()), None)?;
        let local = LocalAgents::start(program, agents, address, &token)?;
        let hands = hands_of(&lobby, Some(&token), run, LocalAgents::PATIENCE, stopped)
            .inspect_err(|_| lobby.close())?;
        Self::of(hands, AHEAD_HERE, Some(lobby), Some(local))
    }

    fn of(
        hands: Vec<Hand>,
        ahead: Duration,
        lobby: Option<Arc<Lobby>>,
        local: Option<LocalAgents>,
    ) -> Result<Self, FieldError> {
        let (hands, is_over) = (Arc::new(hands), Arc::new(AtomicBool::new(false)));
        let (own, over) = (Arc::clone(&hands), Arc::clone(&is_over));
        let heart = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || beat(&own, &over))
            .map_err(|error| cannot_listen(&error))?;
        let number = AtomicU64::new(0);
        let is_here = local.is_some();
        let heart = Some(heart);
        Ok(Self { hands, number, ahead, is_here, lobby, heart, is_over, local })
    }

    /// Its agents may end. Dropping it does the same.
    pub fn let_go(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let Some(heart) = self.heart.take() else { return };
        let _ = heart.join();
        // One that is silent ends by itself.
        let _ = self.each(|_, hand| {
            hand.channel.lock().post(path::LEAVE, &(), FAREWELL).map_err(Hand::silent)
        });
        if let Some(local) = self.local.take() {
            local.end();
        }
    }

    pub(crate) fn agents(&self) -> usize {
        self.hands.len()
    }

    /// One task per agent at once; the failure of the lowest shard.
    pub(crate) fn each<T: Send>(
        &self,
        task: impl Fn(usize, &Hand) -> Result<T, ShardCause> + Sync,
    ) -> Result<Vec<T>, ShardFailure> {
        let results: Vec<Result<T, ShardCause>> = std::thread::scope(|scope| {
            let task = &task;
            let threads: Vec<_> = self
                .hands
                .iter()
                .enumerate()
                .map(|(index, hand)| scope.spawn(move || task(index, hand)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let named = results.into_iter().enumerate();
        named.map(|(index, result)| result.map_err(|cause| self.failure(index, cause))).collect()
    }

    pub(crate) fn failure(&self, index: usize, cause: ShardCause) -> ShardFailure {
        let (shard, of) = (index as u32, self.hands.len() as u32);
        ShardFailure { shard, of, agent: self.hands[index].name.clone(), cause }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.let_go();
        if let Some(lobby) = &self.lobby {
            lobby.close();
        }
    }
}

fn cannot_listen(error: &std::io::Error) -> FieldError {
    FieldError::Agent(AgentError::io("wait for agents", error))
}

fn hands_of(
    lobby: &Arc<Lobby>,
    token: Option<&Token>,
    run: &str,
    patience: Duration,
    stopped: &dyn Fn() -> bool,
) -> Result<Vec<Hand>, FieldError> {
    let hellos = lobby.wait_for_all(patience, stopped)?;
    let url = Url::parse("http://agent").map_err(|error| FieldError::Address(error.to_string()))?;
    let hands = hellos.into_iter().enumerate().map(|(index, hello)| {
        let line = ChannelLine::Await(Arc::clone(lobby), hello.id.clone());
        let channel = Channel::new(line, url.clone(), token.cloned(), run.to_owned());
        greeted(format!("agent {index} on {}", hello.host), channel)
    });
    hands.collect()
}

/// Asks who it is, and takes it into the run.
fn greeted(name: String, mut channel: Channel) -> Result<Hand, FieldError> {
    let unreachable = |silent: Silent| FieldError::Unreachable {
        agent: name.clone(),
        problem: format!("{}; start it with `weir agent load`", silent.problem),
    };
    let refused = |problem: String| FieldError::Refused { agent: name.clone(), problem };
    let answer = channel.get(path::HELLO, GREETING).map_err(unreachable)?;
    let hello: Hello = answer.read().map_err(refused)?;
    if (hello.version.as_str(), hello.protocol) != (VERSION, PROTOCOL) {
        let (here, there) = (VERSION.to_owned(), hello.version);
        return Err(FieldError::Version { agent: name, here, there });
    }
    let answer = channel.get(path::STATUS, GREETING).map_err(unreachable)?;
    let _: AgentStatus = answer.read().map_err(refused)?;
    Ok(Hand { name, hello, channel: Mutex::new(channel) })
}

/// Between levels too, so that agents do not take the field for gone.
fn beat(hands: &[Hand], is_over: &AtomicBool) {
    let mut waited = Duration::ZERO;
    while !is_over.load(Ordering::Acquire) {
        std::thread::sleep(BEAT_LOOK);
        waited += BEAT_LOOK;
        if waited < BEAT {
            continue;
        }
        waited = Duration::ZERO;
        for hand in hands {
            // A level that uses the channel beats itself, and finds out who is gone.
            if let Some(mut channel) = hand.channel.try_lock() {
                let _ = channel.get(path::CLOCK, BEAT_PATIENCE);
            }
        }
    }
}
