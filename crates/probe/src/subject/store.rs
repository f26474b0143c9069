//! A store behind RESP: one that runs already, or one that is started for the probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_model::{Bytes, Nanos};
use weir_spec::catalogue::profile_file::ProfileKind;
use weir_store::Slab;
use weir_store::resp::{Address, Endpoint, Layout, RespOptions, RespTier, ServerReport};
use weir_store::server::null::NullServer;
use weir_store::server::raw::RawServer;
use weir_store::server::{StoreServer, StoreSettings};

use super::{Facts, ProbedSubject, SubjectOptions};
use crate::config::Point;
use crate::error::ProbeError;
use crate::run::{Server, ServerAt};
use crate::session::{Baselines, Opened, Subject};
use crate::target::Product;

/// Most connections that a tier takes.
const MOST_CONNECTIONS: u32 = 1024;
/// Longest wait for what a server says of itself between two laps.
const INFO_TIME: Duration = Duration::from_secs(2);

/// A store.
#[derive(Debug)]
pub struct Store {
    address: Address,
    options: SubjectOptions,
    /// The server, where it is ours.
    started: Option<StoreServer>,
    facts: Option<Facts>,
    /// Why it says nothing of itself.
    silent: Option<String>,
    in_memory: bool,
}

impl Store {
    /// A store that runs already; nothing is connected before it is opened.
    pub fn at(address: &str, options: SubjectOptions) -> Result<Self, ProbeError> {
        let address = address.parse().map_err(weir_store::resp::RespError::from)?;
        Ok(Self { address, options, started: None, facts: None, silent: None, in_memory: true })
    }

    /// Starts a store with the settings of its recipe.
    pub fn start(product: Product, options: SubjectOptions) -> Result<Self, ProbeError> {
        let settings =
            StoreSettings { capacity: Some(options.capacity), ..StoreSettings::default() };
        let server = StoreServer::start(product.of_store(), settings)?;
        let address = server.address();
        Ok(Self {
            address,
            options,
            started: Some(server),
            facts: None,
            silent: None,
            in_memory: true,
        })
    }

    fn tier(&self, block: Bytes, connections: u32) -> Result<RespTier, ProbeError> {
        let layout = Layout::Weir {
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

    fn note(&mut self, servers: &[ServerReport], connections: u32) {
        let Some(first) = servers.first() else { return };
        self.in_memory = first.product != weir_store::resp::Product::Kvrocks;
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
            let kvrocks = first.product == weir_store::resp::Product::Kvrocks;
            set(if kvrocks { "workers" } else { "io-threads" }, threads.to_string());
        }
        if let Some(persists) = first.persistence {
            set("persistence", if persists { "on" } else { "off" }.to_owned());
        }
        self.facts = Some(Facts {
            kind: ProfileKind::Store,
            product: first.product.name().to_owned(),
            version: Some(first.version.clone()).filter(|version| !version.is_empty()),
            place: self.address.to_string(),
            settings,
            warnings: self.warnings(servers),
        });
    }

    /// What speaks against the settings of a store that runs already; one of ours has its recipe.
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
        // A connection of its own for questions, so that they disturb no measurement.
        let control = self.tier(block, 1)?;
        match control.servers(Instant::now() + self.options.deadline) {
            Ok(servers) => self.note(&servers, connections),
            // Blocks can be moved all the same.
            Err(error) if error.is_not_allowed() => {
                self.silent = Some(format!(
                    "it does not say its version, limits and CPU time, which are unknown: {error}"
                ));
            }
            Err(error) => return Err(error.into()),
        }
        let cpu = move || {
            let servers = control.servers(Instant::now() + INFO_TIME).ok()?;
            servers.iter().map(|server| server.cpu_ns).sum::<Option<u64>>().map(Nanos)
        };
        Ok(Opened {
            tier: Arc::new(self.tier(block, connections)?),
            server: Some(Server {
                cpu: Box::new(cpu),
                at: if self.is_local() { ServerAt::Machine } else { ServerAt::Elsewhere },
            }),
        })
    }

    fn baselines(&mut self, point: &Point) -> Result<Baselines, ProbeError> {
        let in_memory = self.in_memory;
        // On another machine nobody answers raw bytes, and TLS would make another path.
        if !self.is_local() || self.address.tls {
            return Ok(Baselines::Store { raw: None, null: None, in_memory });
        }
        let is_unix = matches!(self.address.endpoints.first(), Some(Endpoint::Unix(_)));
        let block = point.block.bytes;
        let null = Arc::new(NullServer::start(block.0 as usize, is_unix)?);
        let layout = Layout::Weir { namespace: "probe-null".to_owned(), checksums: false };
        let mut options = RespOptions::new(null.address(), layout, block.0 as usize);
        options.connections = self.connections(point.threads) as usize;
        let tier = Arc::new(RespTier::new(options)?);
        let cpu = Box::new(move || Some(Nanos(null.cpu_ns())));
        let server = Some(Server { cpu, at: ServerAt::Process });
        let raw = Some(RawServer::start(is_unix)?);
        Ok(Baselines::Store { raw, null: Some(Opened { tier, server }), in_memory })
    }
}

impl ProbedSubject for Store {
    fn facts(&self) -> Facts {
        let mut facts = self.facts.clone().unwrap_or_else(|| Facts {
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

/// Whether a server is on this machine.
fn is_here(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Unix(_) => true,
        Endpoint::Tcp { host, .. } => {
            host == "localhost" || host == "::1" || host.starts_with("127.")
        }
    }
}
