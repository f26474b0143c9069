//! An arm's remote store, deployed or started for a cell. The emulated engine moves blocks through
//! it; beside a real LMCache it is only counted and emptied.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_model::{Bytes, FactKind, FactSource, FactValue, Note, Product, RunningFacts, TierNote};
use weir_observe::signals::StoreCounts;
use weir_spec::plan::{Arm, StoreAccess};
use weir_store::resp::{AddressError, MARK_KEY, Secret, ServerReport};
use weir_store::server::{StoreServer, StoreSettings};
use weir_store::{
    Address, Checked, KeyLayout, RespError, RespOptions, RespTier, SharingOptions, SingleFlight,
    StoreClient, StoreEndpoint, StoreReport, Tier,
};
use weir_tier::{EvictionPolicy, StoreConfig};

use crate::error::DeployError;
use crate::log;
use crate::mark::{Marking, StoreMark, user_words};
use crate::process::Owner;
use crate::store_probe::StoreProbe;

pub(crate) fn emulated_layout(model: &str, owner: &Owner) -> KeyLayout {
    KeyLayout::LmcacheServer {
        model: format!("{NAMESPACE}/{model}"),
        kv_rank: KV_RANK,
        object_group: 0,
        salt: Some(owner.cache_salt()),
    }
}

/// Keys of LMCache's server for an engine with `ranks` storing ranks. A key with the run's salt is
/// the run's for any number of ranks.
pub(crate) fn server_layout(model: &str, ranks: u32, salt: Option<String>) -> KeyLayout {
    let world = u8::try_from(ranks).ok().filter(|_| salt.is_none());
    KeyLayout::LmcacheServerRanks { model: model.to_owned(), world, salt }
}

/// Ranks that store together are one worker, in the form of LMCache's server: `world << 24 | rank
/// << 16 | local world << 8 | local rank`.
const KV_RANK: u32 = 0x0100_0100;
/// Prefix of the model's name in keys: an LMCache that serves the model must neither read nor
/// clear Weir's blocks, which are no KV cache.
const NAMESPACE: &str = "weir-emulated";
/// A store's allocator and metadata per byte of blocks: size classes are a quarter of a power of
/// two apart.
const OVERHEAD: f64 = 1.25;
/// A store's own memory, bytes.
const BASE: u64 = 64 << 20;
/// For facts of a store, and for setting a mark.
const PATIENCE: Duration = Duration::from_secs(30);
const SAID: FactSource = FactSource::StoreInfo;
const UNCOUNTED: &str = "the arm's keys cannot be counted: SCAN does not find a key that was just \
                         written for that, or none may be written; name a store that has SCAN and \
                         takes keys";
/// Fewest chunks with kept checksums.
const CHUNKS_MIN: u64 = 1024;

/// In LMCache's form.
#[derive(Debug, Clone)]
pub(crate) struct StorePlace {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreTraffic<'a> {
    pub(crate) layout: &'a KeyLayout,
    pub(crate) block_bytes: usize,
    /// Capacity of the arm.
    pub(crate) blocks: u64,
    /// Threads, and blocks that each moves at once.
    pub(crate) workers: usize,
    pub(crate) batch: usize,
    pub(crate) checksums: bool,
    /// Parent folder of a started store's files: one found again by name after a crash, or the
    /// system's temporary folder.
    pub(crate) below: Option<&'a Path>,
}

/// Database 0 of one server without TLS.
pub(crate) fn place_of(address: &Address) -> Option<StorePlace> {
    match address.endpoints.as_slice() {
        [StoreEndpoint::Tcp { host, port }]
            if !address.tls && !address.cluster && address.database == 0 =>
        {
            Some(StorePlace {
                host: host.clone(),
                port: *port,
                user: address.user.clone(),
                password: address.password.clone(),
            })
        }
        _ => None,
    }
}

/// What is allowed with existing keys of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys<'a> {
    /// Keys have this run's name: they are removed.
    Run(&'a Owner),
    /// Others with this model and software write such keys: they are removed only where the
    /// experiment says so.
    Anybody(&'a Owner, Emptying),
    /// Read only.
    Deployment,
}

/// Whether other runs' keys may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emptying {
    Asked,
    Never,
}

impl<'a> Keys<'a> {
    /// The run's own with a salt; else by the arm's setting.
    pub(crate) fn of(arm: &Arm, owner: &'a Owner, is_salted: bool) -> Self {
        let asked = arm.store_access.as_ref().is_some_and(|access| access.empty);
        match (is_salted, asked) {
            (true, _) => Self::Run(owner),
            (false, true) => Self::Anybody(owner, Emptying::Asked),
            (false, false) => Self::Anybody(owner, Emptying::Never),
        }
    }

    const fn owner(self) -> Option<&'a Owner> {
        match self {
            Self::Run(owner) | Self::Anybody(owner, _) => Some(owner),
            Self::Deployment => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct RemoteStore {
    arm: String,
    /// Dropped before the store.
    mark: Option<StoreMark>,
    /// For requests other than blocks.
    resp: Arc<RespTier>,
    /// For all replicas: simultaneous requests for a block load it once.
    shared: Arc<dyn Tier>,
    product: Product,
    address: Address,
    /// All of its keys count, because the form of the arm's is not known.
    whole: bool,
    /// One sentence each.
    notes: Vec<Note>,
    /// Started for this cell; ends with this.
    server: Option<StoreServer>,
}

impl RemoteStore {
    /// Finds or starts a store with room for the arm's blocks, with keys in the form of LMCache's
    /// server. A deployed store is checked and marked.
    pub(crate) fn open(
        arm: &Arm,
        store: &StoreConfig,
        moved: StoreTraffic<'_>,
        keys: Keys<'_>,
    ) -> Result<Self, DeployError> {
        let failed = |error: &dyn std::fmt::Display| DeployError::Store {
            arm: arm.name.clone(),
            problem: error.to_string(),
        };
        let product = store.product;
        let (address, server) = if let Some(access) = &arm.store_access {
            (address(arm, access)?, None)
        } else {
            let server = StoreServer::start(product, settings(store, moved))
                .map_err(|error| failed(&error))?;
            (server.address(), Some(server))
        };
        let mut options =
            RespOptions::new(address.clone(), moved.layout.clone(), moved.block_bytes);
        // As LMCache does: existing blocks are not sent again.
        options.skip_present = true;
        // One batch per worker, plus the mark and the counters.
        options.connections = moved.workers + 2;
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
        let mut opened = Self {
            arm: arm.name.clone(),
            mark: None,
            resp,
            shared,
            product,
            address,
            whole: keys == Keys::Deployment,
            notes: Vec::new(),
            server,
        };
        let block = moved.block_bytes as u64;
        opened.look(moved.blocks.saturating_mul(block), block)?;
        if !opened.is_own() {
            opened.enter(keys)?;
        }
        Ok(opened)
    }

    /// Beside a real `LMCache`, which moves the chunks.
    pub(crate) fn beside_lmcache(
        arm: &Arm,
        store: &StoreConfig,
        layout: &KeyLayout,
        chunk_bytes: u64,
        below: Option<&Path>,
        keys: Keys<'_>,
    ) -> Result<Self, DeployError> {
        let chunk_bytes = chunk_bytes.max(1);
        let moved = StoreTraffic {
            layout,
            block_bytes: usize::try_from(chunk_bytes).unwrap_or(usize::MAX),
            blocks: store.capacity.0 / chunk_bytes,
            workers: 1,
            batch: 1,
            checksums: false,
            below,
        };
        Self::open(arm, store, moved, keys)
    }

    /// Counted, and never written or emptied.
    pub(crate) fn of_endpoint(
        arm: &Arm,
        store: &StoreConfig,
        chunk_bytes: u64,
    ) -> Result<Self, DeployError> {
        let layout = server_layout("unknown", 1, None);
        Self::beside_lmcache(arm, store, &layout, chunk_bytes, None, Keys::Deployment)
    }

    /// In the form of LMCache's adapter.
    pub(crate) fn place(&self) -> Option<StorePlace> {
        place_of(&self.address)
    }

    /// An error where a store started for the cell has died.
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

    /// Of a store started for the cell.
    pub(crate) fn log(&self) -> Option<String> {
        self.server.as_ref().map(StoreServer::log)
    }

    /// For all replicas.
    pub(crate) fn tier(&self) -> Arc<dyn Tier> {
        Arc::clone(&self.shared)
    }

    /// True where it was started for the cell.
    pub const fn is_own(&self) -> bool {
        self.server.is_some()
    }

    /// "redis", "valkey" or "kvrocks", by the arm.
    pub const fn product(&self) -> &'static str {
        self.product.name()
    }

    /// The last error between Weir and the store.
    pub fn problem(&self) -> Option<String> {
        self.resp.problem()
    }

    /// Verified by a count.
    pub(crate) fn empty(&self, deadline: Instant) -> Result<(), DeployError> {
        self.resp.clear(deadline).map_err(|error| self.failed(&error))?;
        match self.report(deadline)?.layout_chunks {
            Some(0) => Ok(()),
            None => Err(self.failed(&UNCOUNTED)),
            Some(left) => Err(self.failed(&format!(
                "{left} keys of the arm are there after they were removed; keep other runs from \
                 the store while a cell is measured"
            ))),
        }
    }

    fn failed(&self, problem: &dyn std::fmt::Display) -> DeployError {
        DeployError::Store { arm: self.arm.clone(), problem: problem.to_string() }
    }

    /// With a count of the arm's keys where their form is known.
    fn report(&self, deadline: Instant) -> Result<StoreReport, DeployError> {
        let report = if self.whole {
            self.servers(deadline).map(StoreReport::of_servers)
        } else {
            self.resp.report(deadline)
        };
        report.map_err(|error| {
            self.failed(&format!("{error}; look whether it is up and allows INFO and SCAN"))
        })
    }

    /// Refuses another product and a store without room for one block; notes other deviations. A
    /// store that Weir started has the right settings.
    fn look(&mut self, wanted: u64, block: u64) -> Result<(), DeployError> {
        if self.is_own() && self.product.traits().evicts {
            return Ok(());
        }
        let report = self.report(Instant::now() + PATIENCE)?;
        if let Some(other) = report.servers.iter().find(|of| of.product != Some(self.product)) {
            return Err(self.failed(&other_product(other, self.product)));
        }
        let warnings = report.warnings().into_iter();
        self.notes.extend(warnings.map(|text| TierNote::Warning(text).into()));
        let place = self.resp.place();
        match room(&report, wanted, block) {
            Room::Enough => {}
            Room::Some { free, limit } => {
                let (wanted, limit) = (Bytes(wanted), limit.to_string());
                self.notes.push(TierNote::StoreRoom { place, free, wanted, limit }.into());
            }
            Room::None { free, limit } => {
                return Err(self.failed(&format!(
                    "{place} has room for {free}, and one block has {}: its limit is {limit}; raise \
                     it, or let it evict (maxmemory-policy allkeys-lru)",
                    Bytes(block)
                )));
            }
        }
        Ok(())
    }

    /// Marks a deployed store, and removes only permitted keys.
    fn enter(&mut self, keys: Keys<'_>) -> Result<(), DeployError> {
        let place = self.resp.place();
        let Some(owner) = keys.owner() else {
            // This store is never written, not even with a mark.
            let marked = self.resp.marked(Instant::now() + PATIENCE).ok().flatten();
            self.notes
                .extend(marked.map(|mark| {
                    Note::from(TierNote::StoreShared { place, by: user_words(&mark) })
                }));
            return Ok(());
        };
        match StoreMark::set(&self.resp, owner) {
            Marking::Set(mark) => self.mark = Some(mark),
            Marking::Taken(by) => {
                return Err(self.failed(&format!(
                    "{place} is used by another weir run ({by}), as its key {MARK_KEY} says; wait \
                     for its end, or name another store"
                )));
            }
            Marking::Refused(error) if error.is_of_writing() => {
                let (place, error) = (place.clone(), error.to_string());
                self.notes.push(TierNote::StoreUnmarked { place, error }.into());
            }
            Marking::Refused(error) => return Err(self.failed(&error)),
        }
        let report = self.report(Instant::now() + PATIENCE)?;
        if report.layout_chunks.is_none() && keys_may_be_others(keys) {
            return Err(self.failed(&UNCOUNTED));
        }
        let ours = report.layout_chunks.unwrap_or(0);
        if let (Keys::Anybody(_, Emptying::Never), Some(example)) = (keys, &report.layout_example) {
            return Err(self.failed(&format!(
                "{place} holds {ours} keys with the names that this arm would write, such as \
                 {example}, and this run did not write them; write `store: {{address: {}, empty: \
                 true}}` to have them removed, or name another store",
                self.address
            )));
        }
        let ours = ours + u64::from(self.mark.is_some());
        match report.keys().map(|all| all.saturating_sub(ours)) {
            Some(0) => {}
            keys => self.notes.push(TierNote::OtherKeys { place, keys }.into()),
        }
        Ok(())
    }

    pub(crate) fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// A note where another run replaced the mark.
    pub fn taken(&self) -> Option<Note> {
        let by = self.mark.as_ref()?.taken()?;
        Some(TierNote::StoreTaken { place: self.resp.place(), by }.into())
    }

    pub(crate) fn servers(&self, deadline: Instant) -> Result<Vec<ServerReport>, RespError> {
        self.resp.servers(deadline)
    }

    /// Empty where they do not answer.
    pub(crate) fn facts(&self, deadline: Instant) -> RunningFacts {
        let mut facts = RunningFacts::default();
        for server in self.servers(deadline).unwrap_or_default() {
            let mut add = |kind, text| facts.add(kind, &server.place, FactValue::Text(text), SAID);
            add(FactKind::StoreProduct, server.product_name().to_owned());
            add(FactKind::StoreVersion, server.version.clone());
        }
        facts
    }

    /// Source of [`probe`](Self::probe)'s samples.
    pub fn source(&self) -> String {
        format!("{} INFO", self.product.name())
    }

    pub fn probe(&self) -> Result<StoreProbe, DeployError> {
        let client = StoreClient::new(&self.address, &self.resp.options().tls);
        let client = client.map_err(|error| self.failed(&error.to_string()))?;
        Ok(StoreProbe::new(client, self.source()))
    }

    pub fn counts(&self, deadline: Instant) -> Result<StoreCounts, DeployError> {
        Ok(store_counts(&self.report(deadline)?, self.whole))
    }
}

/// `whole`: all of its keys count, whatever their form.
pub(crate) fn store_counts(report: &StoreReport, whole: bool) -> StoreCounts {
    let sum = |of: fn(&ServerReport) -> u64| {
        Some(report.servers.iter().map(of).sum::<u64>()).filter(|bytes| *bytes > 0)
    };
    StoreCounts {
        keys: if whole { report.keys() } else { report.layout_chunks },
        used_bytes: report.used().map(|bytes| bytes.0),
        used_fields: report.servers.first().map_or(&[], |server| server.used_fields),
        evicted_keys: report.evicted_keys(),
        expired_keys: report.expired_keys(),
        flushes: report.flushes(),
        runs: report.servers.iter().map(|server| server.run_id.clone()).collect(),
        input_bytes: sum(|server| server.input_bytes),
        output_bytes: sum(|server| server.output_bytes),
        refusals: report.refused_writes(),
        are_all_keys: whole,
    }
}

/// Whether the layout's keys may belong to others who did not ask for removal.
const fn keys_may_be_others(keys: Keys<'_>) -> bool {
    matches!(keys, Keys::Anybody(_, Emptying::Never))
}

fn settings(store: &StoreConfig, moved: StoreTraffic<'_>) -> StoreSettings {
    let blocks = moved.blocks as f64 * moved.block_bytes as f64;
    StoreSettings {
        below: moved.below.map(Path::to_path_buf),
        ..settings_for(store.policy, Bytes(blocks as u64))
    }
}

/// Of a store that is to hold this many bytes of blocks.
pub(crate) fn settings_for(policy: EvictionPolicy, blocks: Bytes) -> StoreSettings {
    StoreSettings {
        capacity: Some(Bytes((blocks.0 as f64 * OVERHEAD) as u64 + BASE)),
        policy: match policy {
            EvictionPolicy::None => "noeviction",
            EvictionPolicy::Lru | EvictionPolicy::Arc => "allkeys-lru",
        }
        .to_owned(),
        ..StoreSettings::default()
    }
}

fn other_product(found: &ServerReport, wanted: Product) -> String {
    let ServerReport { place, product, version, .. } = found;
    match product {
        Some(product) => format!(
            "{place} is {product} {version}, and the arm says {wanted}; write preset \
             lmcache-{product}, or name a {wanted}"
        ),
        None => {
            format!("{place} is an unsupported store, and the arm says {wanted}; name a {wanted}")
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Room {
    /// The planned room, or no limit.
    Enough,
    Some {
        free: Bytes,
        limit: Bytes,
    },
    None {
        free: Bytes,
        limit: Bytes,
    },
}

fn room(report: &StoreReport, wanted: u64, block: u64) -> Room {
    let Some(limit) = report.limit() else { return Room::Enough };
    // A store that evicts makes room.
    let evicts = report.servers.iter().all(|server| server.policy.starts_with("allkeys"));
    let free = match report.used() {
        _ if evicts => limit,
        Some(used) => Bytes(limit.0.saturating_sub(used.0)),
        // It has a limit, and does not report its use.
        None => return Room::Enough,
    };
    if free.0 < block {
        Room::None { free, limit }
    } else if free.0 < wanted {
        Room::Some { free, limit }
    } else {
        Room::Enough
    }
}

/// Before anything is started.
pub fn check_address(arm: &Arm) -> Result<(), DeployError> {
    arm.store_access.as_ref().map_or(Ok(()), |access| address(arm, access).map(drop))
}

/// With its password.
fn address(arm: &Arm, access: &StoreAccess) -> Result<Address, DeployError> {
    let wrong = |problem: String| DeployError::Setting {
        key: format!("arms.{}.store.address", arm.name),
        problem,
    };
    let mut address: Address =
        access.address.parse().map_err(|error: AddressError| wrong(error.to_string()))?;
    if let Some(file) = &access.password_file {
        let text = std::fs::read_to_string(Path::new(file)).map_err(|source| {
            DeployError::File { what: "the store's password", path: file.clone(), source }
        })?;
        let password = text.trim_end_matches(['\n', '\r']);
        if password.is_empty() {
            return Err(DeployError::Setting {
                key: format!("arms.{}.store.password_file", arm.name),
                problem: format!("{file} is empty; write the password into it"),
            });
        }
        address.password = Some(Secret::new(password));
    }
    if address.user.is_some() && address.password.is_none() {
        return Err(wrong(
            "it names a user and no password; write the password into a file, and \
             `password_file: that file` beside the address"
                .to_owned(),
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests;
