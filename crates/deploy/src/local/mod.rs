//! Real vLLM, LMCache and stores as processes of this machine, for one cell.
//!
//! Start order: store, LMCache server, replicas, since each connects to the one before. They end
//! in the opposite order, with all descendants, however the cell ends. Remains of a killed Weir
//! are found by the marks in their environments ([`crate::leftovers`]).

mod command;
mod emptying;
mod ground;
mod mechanism;
mod preflight;
mod record;
mod stack;
mod weights;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_http::Url;
use weir_model::{Note, RunningFacts};
use weir_picker::PickedReplicas;
use weir_spec::plan::{Arm, Deployment, LocalTarget};

use crate::address::EngineAddress;
use crate::endpoint::{Access, EngineEndpoint};
use crate::error::DeployError;
use crate::front::{self, Front, FrontPlan};
use crate::leftovers::Scratch;
use crate::log::{StartUp, running_facts};
use crate::ports;
use crate::process::{Owner, Process, Recipe};
use crate::remote::{Keys, RemoteStore};

pub(crate) use command::{Places, VllmReplica, vllm_command};
pub use emptying::Contents;
pub(crate) use mechanism::{Connector, connector};
pub use preflight::preflight;
pub use record::{Started, StartedCommand};
pub use stack::{Platform, Stack};

/// For a regular end: vLLM ends its children, the server saves nothing.
const GRACE: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Another program may take a free port before the process does.
const PORT_ATTEMPTS: u32 = 3;

#[derive(Debug)]
struct Running {
    process: Process,
    endpoint: EngineEndpoint,
    events: String,
}

#[derive(Clone, Copy)]
pub struct CellPlace<'a> {
    /// Marks everything that is started.
    pub run: &'a str,
    pub folder: &'a Path,
    /// True when the user stops the run.
    pub stopped: &'a dyn Fn() -> bool,
}

impl CellPlace<'_> {
    /// Made where it is absent.
    pub(crate) fn logs(&self) -> Result<PathBuf, DeployError> {
        let logs = self.folder.join("logs");
        std::fs::create_dir_all(&logs).map_err(|source| DeployError::File {
            what: "the folder of the logs",
            path: logs.display().to_string(),
            source,
        })?;
        Ok(logs)
    }
}

impl fmt::Debug for CellPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("run", &self.run)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// A running arm. Dropping it ends it.
#[derive(Debug)]
pub struct Local {
    // In the order of ending: users of a part go before it.
    arm: String,
    front: Option<Front>,
    replicas: Vec<Running>,
    lmcache: Option<(Process, Url)>,
    store: Option<RemoteStore>,
    /// Last: it is the processes' working directory.
    _scratch: Scratch,
    logs: PathBuf,
    weights: String,
    disk: Option<PathBuf>,
    disk_notes: Vec<Note>,
    started: Started,
    said: RunningFacts,
}

impl Local {
    /// Waits until every part is ready.
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

    /// A user's arguments may turn a replica's events off.
    pub fn kv_event_endpoints(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.events.clone()).collect()
    }

    pub fn tokenizer_file(&self) -> Option<String> {
        let file = Path::new(&self.weights).join("tokenizer.json");
        file.exists().then(|| file.display().to_string())
    }

    pub const fn front(&self) -> Option<&Front> {
        self.front.as_ref()
    }

    pub fn lmcache(&self) -> Option<&Url> {
        self.lmcache.as_ref().map(|(_, url)| url)
    }

    pub const fn store(&self) -> Option<&RemoteStore> {
        self.store.as_ref()
    }

    pub const fn started(&self) -> &Started {
        &self.started
    }

    pub(crate) const fn said(&self) -> &RunningFacts {
        &self.said
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = (&str, &Url)> {
        let replicas =
            self.replicas.iter().map(|replica| (replica.process.name(), replica.endpoint.url()));
        replicas.chain(self.lmcache.iter().map(|(process, url)| (process.name(), url)))
    }

    /// Process ids of its servers and their descendants.
    pub(crate) fn families(&self) -> Vec<u32> {
        self.servers().flat_map(Process::family).collect()
    }

    fn servers(&self) -> impl Iterator<Item = &Process> {
        let replicas = self.replicas.iter().map(|replica| &replica.process);
        replicas.chain(self.lmcache.iter().map(|(process, _)| process))
    }

    pub fn disk(&self) -> Option<&Path> {
        self.disk.as_deref()
    }

    /// On disk and store, one sentence each.
    pub fn notes(&self) -> Vec<Note> {
        let of_store = self.store.as_ref().map_or(&[][..], RemoteStore::notes);
        self.disk_notes.iter().chain(of_store).cloned().collect()
    }

    /// An error where a part has died or was restarted, with the cause from its log.
    pub fn check(&self) -> Result<(), DeployError> {
        for process in self.servers() {
            process.check()?;
        }
        if let Some(front) = &self.front {
            front.check(&self.arm)?;
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
        if let Some(front) = self.front.take() {
            note(front.stop());
        }
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

/// Keeps the log of a store started for the cell. A failure does not fail the cell.
fn keep_log(store: &RemoteStore, logs: &Path) {
    if let Some(text) = store.log() {
        let _ = std::fs::write(logs.join(format!("{}.log", store.product())), text);
    }
}

/// A store that Weir did not start stays as it was found.
fn leave(store: &RemoteStore) -> Result<(), DeployError> {
    if store.is_own() { Ok(()) } else { store.empty(Instant::now() + GRACE) }
}

struct Builder<'a> {
    target: &'a LocalTarget,
    deployment: &'a Deployment,
    arm: &'a Arm,
    place: CellPlace<'a>,
    stack: &'a Stack,
    owner: Owner,
    connector: Option<Box<dyn Connector + 'a>>,
    /// The salt of every prompt, where keys carry it.
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
        let logs = place.logs()?;
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
            front: None,
            replicas: Vec::new(),
            lmcache: None,
            store: None,
            _scratch: scratch,
            logs: places.logs.clone(),
            weights: places.weights.clone(),
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
        let (target, arm) = (self.target, self.arm);
        let replicas = self.deployment.replicas;
        let routed = front::is_needed(&target.router, arm, replicas);
        let behind = if routed { Some(front::place(replicas)?) } else { None };
        for index in 0..replicas {
            self.replica(index, behind.as_ref())?;
        }
        if let Some(behind) = behind {
            self.front(&behind)?;
        }
        Ok(self.local)
    }

    fn front(&mut self, replicas: &PickedReplicas) -> Result<(), DeployError> {
        let plan = FrontPlan {
            router: &self.target.router,
            arm: self.arm,
            model: &self.deployment.model.name,
            owner: &self.owner,
            scratch: &self.places.scratch,
            logs: &self.places.logs,
            stopped: self.place.stopped,
        };
        self.local.front = Some(Front::start(plan, replicas)?);
        Ok(())
    }

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

    /// `behind` has the addresses of all replicas behind a router.
    fn replica(&mut self, index: u32, behind: Option<&PickedReplicas>) -> Result<(), DeployError> {
        let cores = self.cores(index)?;
        let running = on_free_ports(|| {
            let behind = behind.into_iter().flat_map(EngineAddress::all_of).nth(index as usize);
            let at = match behind {
                Some(at) => at,
                None => EngineAddress {
                    host: Ipv4Addr::LOCALHOST,
                    port: ports::free()?,
                    events_port: ports::free()?,
                },
            };
            let replica = VllmReplica {
                index,
                at: at.listening(&self.deployment.model.name),
                connector: self.connector.as_deref(),
                threads: self.threads(cores.as_deref()),
                cores: cores.clone(),
            };
            let (url, events) = (at.url()?, at.events_url());
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

    /// CPUs of a replica: its part of those for engines. None for all.
    fn cores(&self, index: u32) -> Result<Option<Vec<usize>>, DeployError> {
        let all = self.target.core_list().map_err(|problem| DeployError::Setting {
            key: "target.local.cores".to_owned(),
            problem,
        })?;
        let (replicas, index) = (self.deployment.replicas as usize, index as usize);
        let part = (all.len() / replicas).max(1);
        Ok(all.chunks(part).nth(index).map(<[usize]>::to_vec))
    }

    /// All of its own CPUs, else its part of the machine's, without one for servers and load
    /// generator.
    fn threads(&self, cores: Option<&[usize]>) -> usize {
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = (machine - 1) / self.deployment.replicas as usize;
        cores.map_or(shared, <[usize]>::len).max(1)
    }

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
            // Another program answers on this port only where ours could not bind it.
            Ok(ports::is_ready(url, path))
        })?;
        let text = process.said();
        self.local.started.add(&recipe.name, begin.elapsed(), StartUp::of(&text));
        self.local.said.extend(running_facts(&text, &recipe.name));
        Ok(process)
    }
}

/// Repeats on other ports where another program took one.
fn on_free_ports<T>(mut start: impl FnMut() -> Result<T, DeployError>) -> Result<T, DeployError> {
    for _ in 1..PORT_ATTEMPTS {
        match start() {
            Err(error) if error.is_port_taken() => {}
            ended => return ended,
        }
    }
    start()
}

/// Below the target's own folder or the scratch folder.
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
        // Named as the scratch folder, so that a later Weir finds it.
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
