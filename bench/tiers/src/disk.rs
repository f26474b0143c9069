//! Disks: Weir's tier, fio and LMCache's adapters on one file system, past the page cache.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use weir_store::{Block, DiskOptions, DiskTier, Get, Loaded, Put, Slab, Stored, Tier};

use crate::Setting;
use crate::allocations;
use crate::blocks::{check, fill, name, shuffled, size, spoil, take};
use crate::contest::{Contestant, Seat, run};
use crate::figures::{Allocations, Case, Demand, Round};
use crate::fio::{self, Fio};
use crate::lmcache::{Job, Lmcache};
use crate::machine::Reading;
use crate::resp::zeros;

/// Requests in flight.
pub(crate) const DEPTHS: [u16; 2] = [16, 8];
/// Per call: a long prefix.
const CALL_BYTES: usize = 128 << 20;
/// Different blocks that are written repeatedly, as fio does with its buffers.
const SOURCES: usize = 16;
const PATIENCE: Duration = Duration::from_mins(2);
/// The largest of `O_DIRECT`.
const ALIGNMENT: usize = 4096;
/// File systems in memory: magic numbers of `statfs(2)`.
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

const LIMIT: Demand = Demand { rate: Some(0.95), processor: None, is_limit: true };
const PEER: Demand = Demand { rate: Some(1.5), processor: None, is_limit: false };

/// A new folder in `wanted`, or beside this program.
pub(crate) fn folder(wanted: Option<&Path>) -> Result<tempfile::TempDir> {
    let own = std::env::current_exe().context("where this program is")?;
    let parent = match wanted {
        Some(folder) => folder,
        None => own.parent().context("this program is in no folder")?,
    };
    let named = || format!("--dir {}", parent.display());
    let system = rustix::fs::statfs(parent).with_context(named)?;
    if matches!(system.f_type as u64, TMPFS | RAMFS) {
        bail!("{}: is in memory; name a folder on a disk", named());
    }
    tempfile::Builder::new().prefix("weir-tiers-").tempdir_in(parent).with_context(named)
}

pub(crate) fn case(
    setting: &Setting,
    folder: &Path,
    block_bytes: usize,
    depth: u16,
) -> Result<Case> {
    setting.cores.release()?;
    let name = format!("disk, {}, depth {depth}", size(block_bytes));
    let scratch = tempfile::tempdir_in(folder).context("no folder for the case")?;
    let call = CALL_BYTES / block_bytes;
    let calls = (setting.disk_bytes / CALL_BYTES).max(2);
    let shape = Shape { block_bytes, depth, call, calls };
    let slab = Slab::new((call + SOURCES) as u32, block_bytes)?;
    let (mut sources, mut sinks) = (take(&slab, SOURCES)?, take(&slab, call)?);
    fill(&mut sources);
    let zeros_s_per_gb = zeros(&mut sinks);
    let tier = DiskTier::open(&DiskOptions {
        depth,
        slab: Some(slab),
        ..DiskOptions::new(scratch.path().join("weir"), (call * calls) as u32, block_bytes)
    })?;
    let mut notes = vec![format!(
        "{} written and read in random order per round, {} a call of Weir; Weir: {}",
        size(calls * CALL_BYTES),
        size(CALL_BYTES),
        tier.engine()
    )];
    notes.extend(tier.warnings().iter().map(|warning| format!("warning: {warning}")));
    let mut seats = vec![Seat::Taken(Box::new(Weir { shape, tier, sources, sinks, round: 0 }))];
    let file = scratch.path().join("fio");
    seats.push(match fio::version() {
        Ok(version) => {
            let fio = Fio { file, bytes: calls * CALL_BYTES, block_bytes, depth };
            Seat::Taken(Box::new(Limit { version, fio }))
        }
        Err(why) => Seat::Empty { name: "fio".to_owned(), demand: LIMIT, why },
    });
    for kind in [Kind::Fs, Kind::Native] {
        let peer = |lmcache| {
            let folder = scratch.path().join(kind.adapter());
            Peer { kind, lmcache, shape, folder, zeros_s_per_gb }
        };
        seats.push(match setting.lmcache.clone() {
            Ok(lmcache) => Seat::Taken(Box::new(peer(lmcache))),
            Err(why) => Seat::Empty { name: kind.name(), demand: kind.demand(), why },
        });
    }
    run(name, notes, seats, setting.pace)
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    block_bytes: usize,
    depth: u16,
    /// Blocks of a call, and calls.
    call: usize,
    calls: usize,
}

impl Shape {
    const fn blocks(self) -> usize {
        self.call * self.calls
    }
}

struct Weir {
    shape: Shape,
    tier: DiskTier,
    sources: Vec<Block>,
    sinks: Vec<Block>,
    round: u64,
}

impl Weir {
    fn put(&self, places: std::ops::Range<usize>, outcomes: &mut [Stored]) -> Result<u64> {
        let put = |place| {
            let key = name(self.round << 32 | place as u64);
            let source: &Block = &self.sources[place % SOURCES];
            Put { key, bytes: source }
        };
        let puts: Vec<Put<'_>> = places.map(put).collect();
        let outcomes = &mut outcomes[..puts.len()];
        let before = allocations::so_far();
        self.tier.put(&puts, Instant::now() + PATIENCE, outcomes);
        let allocated = allocations::so_far() - before;
        let failed = outcomes.iter().find(|outcome| **outcome != Stored::Stored);
        ensure!(failed.is_none(), "not stored: {failed:?} {:?}", self.tier.trouble());
        Ok(allocated)
    }

    fn get(&mut self, places: &[usize], outcomes: &mut [Loaded]) -> Result<u64> {
        let get =
            |(place, into): (&usize, _)| Get { key: name(self.round << 32 | *place as u64), into };
        let into = self.sinks.iter_mut().map(|block| &mut **block);
        let mut gets: Vec<Get<'_>> = places.iter().zip(into).map(get).collect();
        let outcomes = &mut outcomes[..gets.len()];
        let before = allocations::so_far();
        self.tier.get(&mut gets, Instant::now() + PATIENCE, outcomes);
        let allocated = allocations::so_far() - before;
        let failed = outcomes.iter().find(|outcome| **outcome != Loaded::Hit);
        ensure!(failed.is_none(), "not loaded: {failed:?} {:?}", self.tier.trouble());
        Ok(allocated)
    }
}

impl Contestant for Weir {
    fn name(&self) -> String {
        "Weir".to_owned()
    }

    fn demand(&self) -> Option<Demand> {
        None
    }

    fn warm_up_rounds(&self) -> u32 {
        // The first makes the file system's extents.
        1
    }

    fn round(&mut self) -> Result<Round> {
        self.round += 1;
        let Shape { block_bytes, call, calls, .. } = self.shape;
        let bytes = (self.shape.blocks() * block_bytes) as u64;
        let mut stored = vec![Stored::Full; call];
        let mut fetched = vec![Loaded::Miss; call];
        let order = shuffled(self.shape.blocks());
        let start = Reading::take(None, None);
        for number in 0..calls {
            self.put(number * call..(number + 1) * call, &mut stored)?;
        }
        let put = start.sample(Reading::take(None, None), bytes, None);
        spoil(&mut self.sinks);
        let start = Reading::take(None, None);
        for places in order.chunks(call) {
            self.get(places, &mut fetched)?;
        }
        let get = start.sample(Reading::take(None, None), bytes, None);
        let last = order.chunks(call).next_back().context("no blocks")?;
        let wanted = last.iter().map(|place| &self.sources[place % SOURCES]);
        check(&self.sinks, wanted, "Weir")?;
        Ok([put, get])
    }

    fn allocations(&mut self) -> Result<Option<[Allocations; 2]>> {
        let half = self.shape.call / 2;
        let mut counts = [[0; 2]; 2];
        let mut stored = vec![Stored::Full; self.shape.call];
        let mut fetched = vec![Loaded::Miss; self.shape.call];
        for (place, blocks) in [half, self.shape.call].into_iter().enumerate() {
            self.round += 1;
            counts[0][place] = self.put(0..blocks, &mut stored)?;
            let places: Vec<usize> = (0..blocks).collect();
            counts[1][place] = self.get(&places, &mut fetched)?;
        }
        Ok(Some(counts.map(|[few, many]| Allocations::of_calls(few, many, half))))
    }
}

/// The limit of the device.
struct Limit {
    version: String,
    fio: Fio,
}

impl Contestant for Limit {
    fn name(&self) -> String {
        self.version.clone()
    }

    fn demand(&self) -> Option<Demand> {
        Some(LIMIT)
    }

    fn warm_up_rounds(&self) -> u32 {
        1
    }

    fn round(&mut self) -> Result<Round> {
        self.fio.round()
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Fs,
    Native,
}

impl Kind {
    const fn adapter(self) -> &'static str {
        match self {
            Self::Fs => "fs",
            Self::Native => "fs_native",
        }
    }

    fn name(self) -> String {
        format!("LMCache, {}", self.adapter())
    }

    /// The other one is compared for information.
    fn demand(self) -> Demand {
        match self {
            Self::Fs => PEER,
            Self::Native => Demand::default(),
        }
    }
}

/// LMCache's files, opened with `O_DIRECT`. As many submissions in flight as the depth: an adapter
/// handles the blocks of one submission in sequence, or with its workers.
struct Peer {
    kind: Kind,
    lmcache: Lmcache,
    shape: Shape,
    folder: PathBuf,
    zeros_s_per_gb: f64,
}

impl Contestant for Peer {
    fn name(&self) -> String {
        self.kind.name()
    }

    fn demand(&self) -> Option<Demand> {
        Some(self.kind.demand())
    }

    fn round(&mut self) -> Result<Round> {
        let Shape { block_bytes, depth, call, calls } = self.shape;
        let folder = self.folder.to_str().context("the folder's name is not UTF-8")?;
        let mut adapter =
            json!({"type": self.kind.adapter(), "base_path": folder, "use_odirect": true});
        if matches!(self.kind, Kind::Native) {
            adapter["num_workers"] = json!(depth);
        }
        let round = self.lmcache.run(&Job {
            adapter,
            block_bytes,
            keys: call / usize::from(depth),
            in_flight: depth.into(),
            rounds: calls - 1,
            align: ALIGNMENT,
            server: None,
            zeros_s_per_gb: self.zeros_s_per_gb,
        });
        // It does not store existing blocks.
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).context("LMCache's files")?;
        }
        round
    }
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn memory_is_no_disk() {
        let error = folder(Some("/dev/shm".as_ref())).expect_err("no disk");
        assert!(error.to_string().contains("in memory"), "{error}");
        assert!(folder(Some("/nowhere".as_ref())).is_err());
        assert!(folder(None).is_ok());
    }
}
