//! Real vLLM, LMCache and stores as processes of this machine, brought up for one cell.
//!
//! Start order: store, LMCache server, replicas, since each connects to the one before. All of
//! them go in the opposite order, with whatever they started, when the cell is over, however it
//! ends; what a killed Weir leaves is found by the marks in the processes' environments
//! ([`crate::leftovers`]).

mod command;
mod emptying;
mod ground;
mod mechanism;
mod ports;
mod preflight;
mod record;
mod stack;
mod weights;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_http::Url;
use weir_model::{Note, RunningFacts};
use weir_spec::plan::{Arm, Deployment, LocalTarget};

use crate::endpoint::{Access, EngineEndpoint};
use crate::error::DeployError;
use crate::leftovers::Scratch;
use crate::log::{StartUp, running_facts};
use crate::process::{Owner, Process, Recipe};
use crate::remote::{Keys, RemoteStore};

use command::{Places, Replica};
pub use emptying::Contents;
use mechanism::Connector;
pub use preflight::preflight;
pub use record::{Started, StartedCommand};
pub use stack::{Platform, Stack};

/// Time that a process has to end by itself: vLLM ends its children, the server saves nothing.
const GRACE: Duration = Duration::from_secs(20);
/// How often a starting process is asked whether it is ready.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Starts of a process whose port was taken meanwhile.
const PORT_ATTEMPTS: u32 = 3;

/// A replica that runs.
#[derive(Debug)]
struct Running {
    process: Process,
    endpoint: EngineEndpoint,
    /// Where it publishes KV events.
    events: String,
}

/// What a local arm is brought up for.
#[derive(Clone, Copy)]
pub struct CellPlace<'a> {
    /// The run's id: everything that is started carries it.
    pub run: &'a str,
    /// The cell's folder, which gets the logs.
    pub folder: &'a Path,
    /// True once the user wants to stop.
    pub stopped: &'a dyn Fn() -> bool,
}

impl fmt::Debug for CellPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("run", &self.run)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// An arm that stands. Dropping it takes it down.
#[derive(Debug)]
pub struct Local {
    // In the order in which they end: who uses a part goes before it.
    arm: String,
    replicas: Vec<Running>,
    lmcache: Option<(Process, Url)>,
    store: Option<RemoteStore>,
    /// Goes last: processes stand in it.
    _scratch: Scratch,
    logs: PathBuf,
    disk: Option<PathBuf>,
    /// What a measurement should know of the disk, one sentence each.
    disk_notes: Vec<Note>,
    started: Started,
    /// What the logs of the starts say.
    said: RunningFacts,
}

impl Local {
    /// Brings an arm up, and waits until every part of it is ready.
    pub fn start(
        target: &LocalTarget,
        deployment: &Deployment,
        arm: &Arm,
        place: CellPlace<'_>,
    ) -> Result<Self, DeployError> {
        let stack = Stack::find(target)?;
        Builder::new(target, deployment, arm, place, &stack)?.build()
    }

    pub fn endpoints(&self) -> Vec<EngineEndpoint> {
        self.replicas.iter().map(|replica| replica.endpoint.clone()).collect()
    }

    /// Where the replicas publish KV events; one with other arguments of the user's may not.
    pub fn kv_event_endpoints(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.events.clone()).collect()
    }

    /// The LMCache server's base URL.
    pub fn lmcache(&self) -> Option<&Url> {
        self.lmcache.as_ref().map(|(_, url)| url)
    }

    pub const fn store(&self) -> Option<&RemoteStore> {
        self.store.as_ref()
    }

    /// What was started, and what it said of itself.
    pub const fn started(&self) -> &Started {
        &self.started
    }

    /// What the logs of the starts say of what runs.
    pub(crate) const fn said(&self) -> &RunningFacts {
        &self.said
    }

    /// Its servers by name.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&str, &Url)> {
        let replicas =
            self.replicas.iter().map(|replica| (replica.process.name(), replica.endpoint.url()));
        replicas.chain(self.lmcache.iter().map(|(process, url)| (process.name(), url)))
    }

    /// All processes of its servers.
    pub(crate) fn families(&self) -> Vec<u32> {
        self.servers().flat_map(Process::family).collect()
    }

    /// Its replicas and their LMCache server.
    fn servers(&self) -> impl Iterator<Item = &Process> {
        let replicas = self.replicas.iter().map(|replica| &replica.process);
        replicas.chain(self.lmcache.iter().map(|(process, _)| process))
    }

    /// The folder of the arm's disk tier.
    pub fn disk(&self) -> Option<&Path> {
        self.disk.as_deref()
    }

    /// What a measurement should know of disk and store, one sentence each.
    pub fn notes(&self) -> Vec<Note> {
        let of_store = self.store.as_ref().map_or(&[][..], RemoteStore::notes);
        self.disk_notes.iter().chain(of_store).cloned().collect()
    }

    /// Refuses where a part has died, or was started anew behind our back, with the cause that its
    /// log gives.
    pub fn check(&self) -> Result<(), DeployError> {
        for process in self.servers() {
            process.check()?;
        }
        match &self.store {
            Some(store) => store.check(&self.arm),
            None => Ok(()),
        }
    }

    pub fn stop(mut self) -> Result<(), DeployError> {
        let mut first = Ok(());
        let mut note = |ended: Result<(), DeployError>| {
            if first.is_ok() {
                first = ended;
            }
        };
        for replica in self.replicas.drain(..) {
            note(replica.process.stop(GRACE).map(drop).map_err(DeployError::from));
        }
        if let Some((process, _)) = self.lmcache.take() {
            note(process.stop(GRACE).map(drop).map_err(DeployError::from));
        }
        if let Some(store) = self.store.take() {
            keep_log(&store, &self.logs);
            note(leave(&store));
        }
        first
    }
}

/// Keeps what a store that was started for the cell wrote, beside the logs of the others. The cell
/// does not fail for want of it.
fn keep_log(store: &RemoteStore, logs: &Path) {
    if let Some(text) = store.log() {
        let _ = std::fs::write(logs.join(format!("{}.log", store.product())), text);
    }
}

/// Leaves a store that goes on without us as it was found.
fn leave(store: &RemoteStore) -> Result<(), DeployError> {
    if store.is_own() { Ok(()) } else { store.empty(Instant::now() + GRACE) }
}

/// An arm on its way up.
struct Builder<'a> {
    target: &'a LocalTarget,
    deployment: &'a Deployment,
    arm: &'a Arm,
    place: CellPlace<'a>,
    stack: &'a Stack,
    owner: Owner,
    connector: Option<Box<dyn Connector + 'a>>,
    /// What every prompt carries, where what is stored then bears the run's name.
    salt: Option<String>,
    places: Places,
    local: Local,
}

impl<'a> Builder<'a> {
    fn new(
        target: &'a LocalTarget,
        deployment: &'a Deployment,
        arm: &'a Arm,
        place: CellPlace<'a>,
        stack: &'a Stack,
    ) -> Result<Self, DeployError> {
        let owner = Owner::this_process(place.run)?;
        let mut scratch = Scratch::new(&owner)?;
        let disk = disk_folder(target, arm, &mut scratch)?;
        let disk_notes = match &disk {
            Some(folder) => ground::notes(folder, arm)?,
            None => Vec::new(),
        };
        let shown = disk.as_ref().map(|path| path.display().to_string());
        let connector = mechanism::connector(arm, deployment, stack, shown.as_deref())?;
        if let Some(connector) = &connector {
            connector.write_modules(scratch.path())?;
        }
        let logs = place.folder.join("logs");
        std::fs::create_dir_all(&logs).map_err(|source| DeployError::File {
            what: "the folder of the logs",
            path: logs.display().to_string(),
            source,
        })?;
        let places = Places {
            scratch: scratch.path().to_path_buf(),
            logs,
            weights: weights::place(target, &deployment.model)?,
            disk: disk.clone().unwrap_or_default(),
            store: None,
            shared_memory: owner.shared_memory_prefix(),
            lmcache: (0, 0),
        };
        let started = Started::of(stack);
        let local = Local {
            arm: arm.name.clone(),
            replicas: Vec::new(),
            lmcache: None,
            store: None,
            _scratch: scratch,
            logs: places.logs.clone(),
            disk,
            disk_notes,
            started,
            said: RunningFacts::default(),
        };
        let salt = mechanism::is_salted(deployment, stack).then(|| owner.cache_salt());
        Ok(Self { target, deployment, arm, place, stack, owner, connector, salt, places, local })
    }

    fn build(mut self) -> Result<Local, DeployError> {
        self.store()?;
        self.beside()?;
        for index in 0..self.deployment.replicas {
            self.replica(index)?;
        }
        Ok(self.local)
    }

    /// Finds or starts the store behind LMCache.
    fn store(&mut self) -> Result<(), DeployError> {
        let Some(offload) = &self.arm.offload else { return Ok(()) };
        let Some(config) = &offload.store else { return Ok(()) };
        let Some(connector) = &self.connector else { return Ok(()) };
        let layout = connector.layout(&self.places.weights, self.salt.clone());
        let Some(layout) = layout else { return Ok(()) };
        let chunk = offload.chunk_bytes.kept;
        let below = Some(self.places.scratch.as_path());
        let keys = Keys::of(self.arm, &self.owner, self.salt.is_some());
        let store = RemoteStore::beside_lmcache(self.arm, config, &layout, chunk, below, keys)?;
        self.places.store = Some(store.place().ok_or_else(|| {
            DeployError::Store {
                arm: self.arm.name.clone(),
                problem: "LMCache's adapter speaks to database 0 of one server over TCP without \
                          TLS; write an address such as redis://127.0.0.1:6379"
                    .to_owned(),
            }
        })?);
        store.empty(Instant::now() + GRACE)?;
        self.local.store = Some(store);
        Ok(())
    }

    /// Starts what the mechanism runs beside the replicas.
    fn beside(&mut self) -> Result<(), DeployError> {
        self.local.lmcache = on_free_ports(|| {
            self.places.lmcache = (ports::free()?, ports::free()?);
            let connector = self.connector.as_ref();
            let server = connector.and_then(|of| of.server(self.stack, &self.places));
            let Some(server) = server else { return Ok(None) };
            let recipe = command::beside(server, self.arm, self.target, self.stack, &self.places);
            let url = ports::url(self.places.lmcache.1)?;
            Ok(Some((self.up(&recipe, &url, "/healthcheck")?, url)))
        })?;
        Ok(())
    }

    fn replica(&mut self, index: u32) -> Result<(), DeployError> {
        let cores = self.cores(index)?;
        let running = on_free_ports(|| {
            let replica = Replica {
                index,
                port: ports::free()?,
                events_port: ports::free()?,
                connector: self.connector.as_deref(),
                threads: self.threads(cores.as_deref()),
                cores: cores.clone(),
            };
            let url = ports::url(replica.port)?;
            let events = format!("tcp://127.0.0.1:{}", replica.events_port);
            let (target, stack) = (self.target, self.stack);
            let recipe =
                command::vllm(self.arm, self.deployment, target, stack, &self.places, replica);
            let process = self.up(&recipe, &url, "/health")?;
            let access = Access { cache_salt: self.salt.clone(), ..Access::default() };
            let endpoint = EngineEndpoint::new(&url.to_string(), access)?;
            Ok(Running { process, endpoint, events })
        })?;
        self.local.replicas.push(running);
        Ok(())
    }

    /// The processors of a replica: its part of those that the engines may use; nothing where
    /// they may use all.
    fn cores(&self, index: u32) -> Result<Option<Vec<usize>>, DeployError> {
        let all = self.target.core_list().map_err(|problem| DeployError::Setting {
            key: "target.local.cores".to_owned(),
            problem,
        })?;
        let (replicas, index) = (self.deployment.replicas as usize, index as usize);
        let part = (all.len() / replicas).max(1);
        Ok(all.chunks(part).nth(index).map(<[usize]>::to_vec))
    }

    /// Threads that compute: all of its own processors, or its part of the machine's without one
    /// for servers and the load generator.
    fn threads(&self, cores: Option<&[usize]>) -> usize {
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = (machine - 1) / self.deployment.replicas as usize;
        cores.map_or(shared, <[usize]>::len).max(1)
    }

    /// Starts a process and waits until it answers.
    fn up(&mut self, recipe: &Recipe, url: &Url, path: &str) -> Result<Process, DeployError> {
        let begin = Instant::now();
        self.local.started.commands.push(StartedCommand::of(recipe));
        let mut process = Process::start(recipe, &self.owner)?;
        let patience = Duration::from_nanos(self.target.start_timeout.0.0);
        let stopped = self.place.stopped;
        process.wait_ready(begin + patience, ASK_AGAIN, || {
            if stopped() {
                return Err(DeployError::Interrupted);
            }
            // Others answer on a port that was free a moment ago only if ours could not have it.
            Ok(ports::is_ready(url, path))
        })?;
        let text = process.said();
        self.local.started.add(&recipe.name, begin.elapsed(), StartUp::of(&text));
        self.local.said.extend(running_facts(&text, &recipe.name));
        Ok(process)
    }
}

/// Starts a process, and anew on other ports where another program was faster to take one.
fn on_free_ports<T>(mut start: impl FnMut() -> Result<T, DeployError>) -> Result<T, DeployError> {
    for _ in 1..PORT_ATTEMPTS {
        match start() {
            Err(error) if error.is_port_taken() => {}
            ended => return ended,
        }
    }
    start()
}

/// The folder of an arm's disk tier, below the target's own or the scratch folder.
fn disk_folder(
    target: &LocalTarget,
    arm: &Arm,
    scratch: &mut Scratch,
) -> Result<Option<PathBuf>, DeployError> {
    let has_disk = arm.offload.as_ref().is_some_and(|offload| offload.tiers.len() > 1);
    if !has_disk {
        return Ok(None);
    }
    let folder = match &target.disk {
        // Named as the scratch folder is, so that it is found when this process is gone.
        Some(parent) => scratch.beside(Path::new(parent))?,
        None => scratch.path().join("disk"),
    };
    std::fs::create_dir_all(&folder).map_err(|source| DeployError::File {
        what: "the folder of the disk tier",
        path: folder.display().to_string(),
        source,
    })?;
    Ok(Some(folder))
}
