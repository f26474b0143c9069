//! The remote store of an arm: one that runs already, or one that is brought up for a cell. The
//! emulated engine moves blocks through it; beside a real LMCache it is only counted and emptied.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use weir_model::Bytes;
use weir_observe::signals::StoreCounts;
use weir_spec::plan::{Arm, StoreAccess};
use weir_store::resp::Secret;
use weir_store::server::{StoreServer, StoreSettings};
use weir_store::{
    Address, Checked, Endpoint, Layout, Product, RespOptions, RespTier, SharingOptions,
    SingleFlight, StoreReport, Tier,
};
use weir_tier::{EvictionPolicy, StoreConfig};

use crate::error::DeployError;
use crate::log;

/// Keys of the emulated engine's blocks.
pub(crate) fn emulated_layout(model: &str) -> Layout {
    server_layout(&format!("{NAMESPACE}/{model}"))
}

/// Keys that LMCache's server writes for an engine with one worker.
pub(crate) fn server_layout(model: &str) -> Layout {
    Layout::LmcacheServer { model: model.to_owned(), kv_rank: KV_RANK, object_group: 0, salt: None }
}

/// The one worker of an engine whose ranks store their parts together, in the form of LMCache's
/// server: `world << 24 | rank << 16 | local world << 8 | local rank`.
const KV_RANK: u32 = 0x0100_0100;
/// Goes before the model's name in keys: what Weir's engine stores is no KV cache, and must never
/// be read as one by an LMCache that serves the model, nor cleared with its keys.
const NAMESPACE: &str = "weir-emulated";
/// What a store's allocator and its own books take beside the blocks: size classes are a quarter of
/// a power of two apart.
const OVERHEAD: f64 = 1.25;
/// The store's own needs.
const BASE: u64 = 64 << 20;
/// Chunks whose checksums are remembered at least.
const CHUNKS_MIN: u64 = 1024;

/// Where a store listens, as LMCache is told.
#[derive(Debug, Clone)]
pub(crate) struct StorePlace {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

/// How blocks are moved to a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved<'a> {
    /// How its keys are named.
    pub(crate) layout: &'a Layout,
    pub(crate) block_bytes: usize,
    /// Blocks that the arm's capacity comes to.
    pub(crate) blocks: u64,
    /// Threads, and blocks that each moves at once.
    pub(crate) workers: usize,
    pub(crate) batch: usize,
    pub(crate) checksums: bool,
    /// Below which folder a store of our own keeps its files: below one that is found again by its
    /// name when this process is gone, or the system's for temporary files.
    pub(crate) below: Option<&'a Path>,
}

/// See the module's header.
#[derive(Debug)]
pub struct RemoteStore {
    /// The store itself, for what is asked besides blocks.
    resp: Arc<RespTier>,
    /// The store as all replicas use it: what several ask for at once is loaded once.
    shared: Arc<dyn Tier>,
    product: Product,
    address: Address,
    /// Whether all of its keys are the arm's, because nobody knows how they are named.
    whole: bool,
    /// Where it was started for this cell; it ends with this.
    server: Option<StoreServer>,
}

impl RemoteStore {
    /// Finds the arm's store, or starts one with room for the arm's blocks. Keys have the form that
    /// LMCache's server writes.
    pub(crate) fn open(
        arm: &Arm,
        store: &StoreConfig,
        moved: Moved<'_>,
    ) -> Result<Self, DeployError> {
        let failed = |error: &dyn std::fmt::Display| DeployError::Store {
            arm: arm.name.clone(),
            problem: error.to_string(),
        };
        let product = Product::named(&store.product);
        let (address, server) = if let Some(access) = &arm.store_access {
            (address(arm, access)?, None)
        } else {
            let server = StoreServer::start(product, settings(store, moved))
                .map_err(|error| failed(&error))?;
            (server.address(), Some(server))
        };
        let mut options =
            RespOptions::new(address.clone(), moved.layout.clone(), moved.block_bytes);
        // As LMCache does; what the store has already is not sent again.
        options.skip_present = true;
        // A worker has one batch under way; a connection more is for whoever asks for counters.
        options.connections = moved.workers + 1;
        let resp = Arc::new(RespTier::new(options).map_err(|error| failed(&error))?);
        let copies = (moved.workers * moved.batch) as u32;
        let sharing = SharingOptions { copies, ..SharingOptions::default() };
        let single =
            SingleFlight::new(Arc::clone(&resp), sharing).map_err(|error| failed(&error))?;
        let shared: Arc<dyn Tier> = if moved.checksums {
            let chunks = u32::try_from(moved.blocks.max(CHUNKS_MIN) * 2).unwrap_or(u32::MAX);
            Arc::new(Checked::new(single, chunks))
        } else {
            Arc::new(single)
        };
        Ok(Self { resp, shared, product, address, whole: false, server })
    }

    /// The store beside an `LMCache` that serves the model: it moves the chunks, and the store is
    /// only counted and emptied.
    pub(crate) fn beside_lmcache(
        arm: &Arm,
        store: &StoreConfig,
        model: &str,
        chunk_bytes: u64,
        below: Option<&Path>,
    ) -> Result<Self, DeployError> {
        let chunk_bytes = chunk_bytes.max(1);
        let moved = Moved {
            layout: &server_layout(model),
            block_bytes: usize::try_from(chunk_bytes).unwrap_or(usize::MAX),
            blocks: store.capacity.0 / chunk_bytes,
            workers: 1,
            batch: 1,
            checksums: false,
            below,
        };
        Self::open(arm, store, moved)
    }

    /// The store behind somebody else's deployment: counted, and never written or emptied.
    pub(crate) fn of_endpoint(
        arm: &Arm,
        store: &StoreConfig,
        chunk_bytes: u64,
    ) -> Result<Self, DeployError> {
        let store = Self::beside_lmcache(arm, store, "unknown", chunk_bytes, None)?;
        Ok(Self { whole: true, ..store })
    }

    /// Where it listens, as LMCache's adapter wants it: one server without TLS.
    pub(crate) fn place(&self) -> Option<StorePlace> {
        match self.address.endpoints.as_slice() {
            [Endpoint::Tcp { host, port }] if !self.address.tls && !self.address.cluster => {
                Some(StorePlace {
                    host: host.clone(),
                    port: *port,
                    user: self.address.user.clone(),
                    password: self.address.password.clone(),
                })
            }
            _ => None,
        }
    }

    /// Refuses where a store that was started for the cell has died.
    pub(crate) fn check(&self, arm: &str) -> Result<(), DeployError> {
        let Some(server) = &self.server else { return Ok(()) };
        if server.is_running() {
            return Ok(());
        }
        let last = log::last_line(&server.log());
        Err(DeployError::Store {
            arm: arm.to_owned(),
            problem: format!("{} ended while it was used; its log ends: {last}", self.product),
        })
    }

    /// What the server that was started for the cell wrote to its log.
    pub(crate) fn log(&self) -> Option<String> {
        self.server.as_ref().map(StoreServer::log)
    }

    /// The store as all replicas use it.
    pub(crate) fn tier(&self) -> Arc<dyn Tier> {
        Arc::clone(&self.shared)
    }

    /// Whether it was started for the cell.
    pub const fn is_own(&self) -> bool {
        self.server.is_some()
    }

    /// "redis", "valkey" or "kvrocks", as the arm says.
    pub const fn product(&self) -> &'static str {
        self.product.name()
    }

    /// What went wrong last between Weir and the store, in the store's words where it spoke.
    pub fn problem(&self) -> Option<String> {
        self.resp.problem()
    }

    /// Removes the arm's keys, and looks whether they are gone.
    pub(crate) fn empty(&self, deadline: Instant) -> Result<(), DeployError> {
        self.resp.clear(deadline)?;
        let left = self.report(deadline)?.layout_chunks.unwrap_or(0);
        if left == 0 {
            return Ok(());
        }
        Err(DeployError::Answer {
            url: self.resp.place(),
            problem: format!("{left} keys of the arm are there after they were removed"),
            remedy: "keep other runs from the store while a cell is measured".to_owned(),
        })
    }

    fn report(&self, deadline: Instant) -> Result<StoreReport, DeployError> {
        self.resp.report(deadline).map_err(|error| DeployError::Answer {
            url: self.resp.place(),
            problem: error.to_string(),
            remedy: "look whether the store is up and allows INFO and SCAN".to_owned(),
        })
    }

    /// What a measurement with it should know, one sentence each. A store of our own has the
    /// settings that it should have.
    pub(crate) fn notes(&self, deadline: Instant) -> Result<Vec<String>, DeployError> {
        if self.is_own() && self.product != Product::Kvrocks {
            return Ok(Vec::new());
        }
        let report = self.report(deadline)?;
        let mut notes = report.warnings();
        for server in &report.servers {
            if server.product != self.product {
                notes.push(format!(
                    "{} is {} {}, and the arm says {}",
                    server.place, server.product, server.version, self.product
                ));
            }
        }
        Ok(notes)
    }

    /// The store's own counters, now.
    pub fn counts(&self, deadline: Instant) -> Result<StoreCounts, DeployError> {
        let report = self.report(deadline)?;
        let sum = |of: fn(&weir_store::resp::ServerReport) -> u64| {
            Some(report.servers.iter().map(of).sum::<u64>()).filter(|bytes| *bytes > 0)
        };
        Ok(StoreCounts {
            keys: if self.whole {
                Some(report.servers.iter().map(|server| server.keys).sum())
            } else {
                report.layout_chunks
            },
            used_bytes: report.used().0,
            evicted_keys: report.evicted_keys(),
            input_bytes: sum(|server| server.input_bytes),
            output_bytes: sum(|server| server.output_bytes),
        })
    }
}

/// The recipe, with room for the arm's blocks.
fn settings(store: &StoreConfig, moved: Moved<'_>) -> StoreSettings {
    let blocks = moved.blocks as f64 * moved.block_bytes as f64;
    StoreSettings {
        capacity: Some(Bytes((blocks * OVERHEAD) as u64 + BASE)),
        policy: match store.policy {
            EvictionPolicy::None => "noeviction",
            EvictionPolicy::Lru | EvictionPolicy::Arc => "allkeys-lru",
        }
        .to_owned(),
        below: moved.below.map(Path::to_path_buf),
        ..StoreSettings::default()
    }
}

/// The address that the arm names, with its password.
fn address(arm: &Arm, access: &StoreAccess) -> Result<Address, DeployError> {
    let mut address: Address = access.address.parse().map_err(|error| DeployError::Setting {
        key: format!("arms.{}.store.address", arm.name),
        problem: format!("{error}"),
    })?;
    if let Some(file) = &access.password_file {
        let text = std::fs::read_to_string(Path::new(file)).map_err(|source| {
            DeployError::File { what: "the store's password", path: file.clone(), source }
        })?;
        address.password = Some(Secret::new(text.trim_end_matches(['\n', '\r'])));
    }
    Ok(address)
}
