//! A store behind RESP: a running one, or one started for the probe.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_model::{Bytes, HeldIn, Nanos, Product};
use weir_spec::catalogue::profile_file::ProfileKind;
use weir_store::resp::{
    Address, KeyLayout, RespOptions, RespTier, RocksDbFigures, ServerReport, StoreClient,
    StoreEndpoint,
};
use weir_store::server::null::NullServer;
use weir_store::server::raw::RawServer;
use weir_store::server::{ServerError, StoreServer, StoreSettings};
use weir_store::{DiskFolder, Slab, available_memory, drop_page_cache};

use super::{ConfigLines, ProbedSubject, SubjectOptions, TierFacts};
use crate::at_stake::AtStake;
use crate::config::ProbePoint;
use crate::error::ProbeError;
use crate::origin::{BlockReader, Cold, TierOrigin};
use crate::server::{ServerAt, ServerWords, TierServer, Traffic};
use crate::session::{Baselines, Opened, Subject};

const MOST_CONNECTIONS: u32 = 1024;
/// Longest wait for a server's counters between two laps.
const INFO_TIME: Duration = Duration::from_secs(2);
/// Settings of a server's address and files, which Weir sets.
const OURS: [&str; 14] = [
    "dir",
    "port",
    "bind",
    "unixsocket",
    "daemonize",
    "requirepass",
    "include",
    "logfile",
    "log-dir",
    "pidfile",
    "tls-port",
    "cluster-enabled",
    "replicaof",
    "slaveof",
];
/// Longest wait for a server to flush its memory to files.
const FLUSH_TIME: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Store {
    address: Address,
    options: SubjectOptions,
    started: Option<StoreServer>,
    facts: Option<TierFacts>,
    silent: Option<String>,
    in_memory: bool,
    origin: TierOrigin,
    /// A local server's data folder, as a path of this process.
    files: Option<PathBuf>,
}

impl Store {
    /// A running store; connects at opening.
    pub fn at(address: &str, options: SubjectOptions) -> Result<Self, ProbeError> {
        let address = address.parse().map_err(weir_store::resp::RespError::from)?;
        Ok(Self::new(address, options, None))
    }

    pub fn start(product: Product, options: SubjectOptions) -> Result<Self, ProbeError> {
        check_lines(&options.lines)?;
        check_room(product, &options)?;
        let settings = StoreSettings {
            capacity: Some(options.capacity),
            lines: options.lines.text.clone(),
            ..StoreSettings::default()
        };
        let server = StoreServer::start(product, settings)
            .map_err(|error| not_started(product, &options.lines, error))?;
        let address = server.address();
        Ok(Self::new(address, options, Some(server)))
    }

    const fn new(address: Address, options: SubjectOptions, started: Option<StoreServer>) -> Self {
        Self {
            address,
            options,
            started,
            facts: None,
            silent: None,
            in_memory: true,
            origin: TierOrigin::UNKNOWN,
            files: None,
        }
    }

    fn tier(&self, block: Bytes, connections: u32) -> Result<RespTier, ProbeError> {
        let layout = KeyLayout::Weir {
            namespace: format!("probe-{}", std::process::id()),
            checksums: self.options.checksums,
        };
        let mut options = RespOptions::new(self.address.clone(), layout, block.0 as usize);
        options.connections = connections as usize;
        options.tls = self.options.tls.clone();
        Ok(RespTier::new(options)?)
    }

    fn connections(&self, threads: u32) -> u32 {
        self.options.connections.unwrap_or(threads).clamp(1, MOST_CONNECTIONS)
    }

    fn is_local(&self) -> bool {
        self.address.endpoints.iter().all(is_here)
    }

    fn look(&mut self, servers: &[ServerReport]) {
        let [server] = servers else { return };
        if !self.is_local() {
            return;
        }
        let reader = server.process.map_or(BlockReader::Unseen, BlockReader::Process);
        self.origin = TierOrigin { held: server.values_in(), reader, direct: false };
        self.files = server.files();
    }

    /// How its caches are dropped; an error if that is impossible.
    fn cold(&self) -> Result<Option<Cold>, ProbeError> {
        if !self.options.cold {
            return Ok(None);
        }
        let refused = |problem: &str, remedy: &str| {
            Err(ProbeError::value("cold", format!("{} {problem}", self.address), remedy))
        };
        if !self.is_local() {
            return refused(
                "is another machine's, whose caches cannot be dropped from here",
                "probe it on its own machine",
            );
        }
        match (self.origin.held, self.files.clone()) {
            (HeldIn::Memory, _) => refused(
                "keeps its blocks in memory, where nothing comes from a device",
                "leave --cold out, or probe a store or folder on a disk",
            ),
            (_, None) => refused(
                "does not say where its files are, or they are another user's",
                "run the probe as the user of the server, or as root",
            ),
            (_, Some(files)) => {
                let client = StoreClient::new(&self.address, &self.options.tls)?;
                let cool = move || {
                    // Unflushed data is not in a file. A server without the command flushes by its
                    // own rules, and the share read from the device shows that.
                    let deadline = Instant::now() + FLUSH_TIME;
                    let _ = client.call(&[b"FLUSHMEMTABLE"], deadline);
                    drop_page_cache(&files).map(drop).map_err(|source| ProbeError::System {
                        what: format!("--cold: cannot drop the page cache of {}", files.display()),
                        source,
                    })
                };
                let how = "by posix_fadvise(DONTNEED) on the server's files between laps";
                Ok(Some(Cold { how: how.to_owned(), cool: Box::new(cool) }))
            }
        }
    }

    fn note(&mut self, servers: &[ServerReport], connections: u32) {
        let Some(first) = servers.first() else { return };
        self.in_memory = !first.keeps_in_files();
        let mut settings = BTreeMap::new();
        let mut set = |key: &str, value: String| settings.insert(key.to_owned(), value);
        set("connections", connections.to_string());
        set("checksums", self.options.checksums.to_string());
        if servers.len() > 1 {
            set("servers", servers.len().to_string());
        }
        set("capacity", first.limit.map_or("no limit".to_owned(), |bytes| bytes.to_string()));
        if !first.policy.is_empty() {
            set("eviction", first.policy.clone());
        }
        if let Some(threads) = first.io_threads {
            set(first.threads_setting(), threads.to_string());
        }
        if let Some(persists) = first.persistence {
            set("persistence", if persists { "on" } else { "off" }.to_owned());
        }
        self.facts = Some(TierFacts {
            kind: ProfileKind::Store,
            product: first.product_name().to_owned(),
            version: Some(first.version.clone()).filter(|version| !version.is_empty()),
            place: self.address.to_string(),
            settings,
            warnings: self.warnings(servers),
        });
    }

    /// Settings unsuited for blocks, for a running store; a started one has its recipe.
    fn warnings(&self, servers: &[ServerReport]) -> Vec<String> {
        if self.started.is_some() {
            return Vec::new();
        }
        let mut warnings: Vec<String> = servers.iter().flat_map(ServerReport::warnings).collect();
        if servers.iter().any(|server| server.cpu_ns.is_none()) {
            warnings.push(
                "its CPU time is unknown: INFO counts whole seconds, and its process is not seen \
                 on this machine"
                    .to_owned(),
            );
        }
        warnings
    }
}

impl Subject for Store {
    fn open(
        &mut self,
        block: Bytes,
        threads: u32,
        _depth: u32,
        _slab: &Arc<Slab>,
    ) -> Result<Opened, ProbeError> {
        let connections = self.connections(threads);
        let mut at_stake = None;
        // A separate connection for queries, so that they disturb no measurement.
        let control = self.tier(block, 1)?;
        match control.servers(Instant::now() + self.options.deadline) {
            Ok(servers) => {
                self.look(&servers);
                self.note(&servers, connections);
                if self.started.is_none() {
                    at_stake = AtStake::of(&self.address.to_string(), &servers).map(Box::new);
                }
            }
            // Blocks can still be moved.
            Err(error) if error.is_not_allowed() => {
                self.silent = Some(format!(
                    "it does not say its version, limits and CPU time, which are unknown, and \
                     neither does it say whether it evicts others' keys for the probe's: {error}"
                ));
            }
            Err(error) => return Err(error.into()),
        }
        let cold = self.cold()?;
        if let (Some(cold), Some(facts)) = (&cold, &mut self.facts) {
            facts.settings.insert("cold".to_owned(), cold.how.clone());
        }
        let ask = move || {
            control
                .servers(Instant::now() + INFO_TIME)
                .map_or_else(|_| ServerWords::default(), words)
        };
        Ok(Opened {
            tier: Arc::new(self.tier(block, connections)?),
            server: Some(TierServer {
                ask: Box::new(ask),
                at: if self.is_local() { ServerAt::Machine } else { ServerAt::Elsewhere },
            }),
            origin: self.origin,
            cold,
            at_stake,
        })
    }

    fn baselines(&mut self, point: &ProbePoint) -> Result<Baselines, ProbeError> {
        let in_memory = self.in_memory;
        // A remote machine has no peer for raw bytes, and TLS would change the path.
        if !self.is_local() || self.address.tls {
            return Ok(Baselines::Store { raw: None, null: None, in_memory });
        }
        let is_unix = matches!(self.address.endpoints.first(), Some(StoreEndpoint::Unix(_)));
        let block = point.block.bytes;
        let null = Arc::new(NullServer::start(block.0 as usize, is_unix)?);
        let layout = KeyLayout::Weir { namespace: "probe-null".to_owned(), checksums: false };
        let mut options = RespOptions::new(null.address(), layout, block.0 as usize);
        options.connections = self.connections(point.threads) as usize;
        let tier = Arc::new(RespTier::new(options)?);
        let ask = move || ServerWords { cpu: Some(Nanos(null.cpu_ns())), ..ServerWords::default() };
        let server = Some(TierServer { ask: Box::new(ask), at: ServerAt::Process });
        let raw = Some(RawServer::start(is_unix)?);
        let null =
            Some(Opened { tier, server, origin: TierOrigin::MEMORY, cold: None, at_stake: None });
        Ok(Baselines::Store { raw, null, in_memory })
    }
}

impl ProbedSubject for Store {
    fn facts(&self) -> TierFacts {
        let mut facts = self.facts.clone().unwrap_or_else(|| TierFacts {
            kind: ProfileKind::Store,
            product: "store".to_owned(),
            version: None,
            place: self.address.to_string(),
            settings: BTreeMap::new(),
            warnings: self.silent.iter().cloned().collect(),
        });
        if self.started.is_some() {
            facts.settings.insert("started".to_owned(), "by Weir, for the probe".to_owned());
        }
        facts
    }
}

/// The servers' counters together; None for a figure that one of them lacks.
fn words(servers: Vec<ServerReport>) -> ServerWords {
    let cpu = servers.iter().map(|server| server.cpu_ns).sum::<Option<u64>>().map(Nanos);
    let traffic =
        servers.iter().map(traffic).try_fold(Traffic::default(), |sum, one| Some(sum.plus(one?)));
    let figures: Option<Vec<RocksDbFigures>> =
        servers.into_iter().map(|server| server.rocksdb).collect();
    let sum = |all: Vec<RocksDbFigures>| all.into_iter().reduce(|sum, one| sum.plus(&one));
    ServerWords { cpu, traffic, rocksdb: figures.and_then(sum) }
}

/// A server's client traffic; a server that has answered has sent bytes.
fn traffic(server: &ServerReport) -> Option<Traffic> {
    let bytes = server.input_bytes + server.output_bytes;
    let commands = server.commands?;
    (bytes > 0).then_some(Traffic { bytes, commands })
}

/// Refuses more bytes than the machine has room for in a started server.
pub(super) fn check_room(product: Product, options: &SubjectOptions) -> Result<(), ProbeError> {
    let wanted = options.stored.min(options.capacity);
    let (free, of) = if product.traits().keeps_in_memory {
        let Some((free, of)) = available_memory() else { return Ok(()) };
        (Bytes(free), of.to_owned())
    } else {
        let folder = std::env::temp_dir();
        let of = format!("free in {}, where it keeps its files", folder.display());
        (DiskFolder::look(&folder)?.free, of)
    };
    if wanted <= free {
        return Ok(());
    }
    Err(ProbeError::NoRoom { product: product.name(), wanted, free, of })
}

/// Refuses lines that would change the server's address or files.
pub(super) fn check_lines(lines: &ConfigLines) -> Result<(), ProbeError> {
    for line in &lines.text {
        let problem = if line.chars().any(char::is_control) {
            "a line holds no control characters"
        } else {
            match line.split_whitespace().next().map(str::to_ascii_lowercase).as_deref() {
                None | Some("#") => "a line has a setting and its value",
                Some(key) if OURS.contains(&key) => {
                    "where the server is and listens is set already"
                }
                Some(_) => continue,
            }
        };
        return Err(ProbeError::value(
            lines.flag,
            format!("`{}` for {}: {problem}", line.escape_debug(), lines.side),
            "write a line of its configuration, for example `io-threads 4`",
        ));
    }
    Ok(())
}

/// A server that ended with the user's lines: the error names those in its log, or all of them.
fn not_started(product: Product, lines: &ConfigLines, error: ServerError) -> ProbeError {
    let ServerError::Ended { log, .. } = &error else { return error.into() };
    if lines.text.is_empty() {
        return error.into();
    }
    let repeated: Vec<&String> = lines.text.iter().filter(|l| log.contains(l.trim())).collect();
    let named = if repeated.is_empty() { lines.text.iter().collect() } else { repeated };
    let named: Vec<String> = named.iter().map(|line| format!("`{line}`")).collect();
    let last = log.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    ProbeError::value(
        lines.flag,
        format!(
            "{}: {} of {} does not start with it: {last}",
            named.join(", "),
            product.name(),
            lines.side
        ),
        "correct the line, or leave it out",
    )
}

fn is_here(endpoint: &StoreEndpoint) -> bool {
    match endpoint {
        StoreEndpoint::Unix(_) => true,
        StoreEndpoint::Tcp { host, .. } => {
            host == "localhost" || host == "::1" || host.starts_with("127.")
        }
    }
}
