//! Host memory against plain `memcpy`, and the disk against fio, on the same blocks: ratios of
//! medians over interleaved rounds, so that a busy machine slows both sides. On the disk both write
//! from a few reused buffers, as fio does.
//!
//! `cargo bench -p weir-store --bench local [-- --folder DIR]`; the folder is for the disk's files,
//! by default the build's scratch folder. Without fio only the disk's own figures are printed.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use weir_store::suite::{content, key};
use weir_store::{
    Block, ChunkHash, DiskOptions, DiskTier, EngineChoice, Get, Loaded, MemoryOptions, MemoryTier,
    Put, Slab, Stored, Tier,
};
use weir_tier::EvictionPolicy;

#[derive(Clone, Copy)]
struct Size {
    /// Odd after the warm-up of the disk, which takes one more.
    rounds: u64,
    /// Bytes copied per round: far more than any cache holds.
    memory_bytes: usize,
    disk_bytes: usize,
}

/// `cargo bench` measures; `cargo test` only checks that this still runs.
fn size_of_run() -> Size {
    if std::env::args().any(|argument| argument == "--bench") {
        Size { rounds: 8, memory_bytes: 256 << 20, disk_bytes: 512 << 20 }
    } else {
        Size { rounds: 2, memory_bytes: 32 << 20, disk_bytes: 32 << 20 }
    }
}

/// Bytes per load call of the disk.
const DISK_WINDOW: usize = 32 << 20;
const DEPTH: u16 = 16;
const BLOCK_SIZES: [usize; 2] = [64 << 10, 2 << 20];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = arguments
        .iter()
        .position(|argument| argument == "--folder")
        .and_then(|at| arguments.get(at + 1))
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    println!("{:<34} {:>10} {:>10} {:>7}", "", "tier GB/s", "limit GB/s", "ratio");
    for block_bytes in BLOCK_SIZES {
        memory(block_bytes)?;
    }
    for block_bytes in BLOCK_SIZES {
        for engine in [EngineChoice::Auto, EngineChoice::Threads] {
            disk(&folder, block_bytes, engine)?;
        }
    }
    Ok(())
}

fn memory(block_bytes: usize) -> Outcome<()> {
    let Size { rounds, memory_bytes, .. } = size_of_run();
    let count = memory_bytes / block_bytes;
    let slab = Slab::new(2 * count as u32, block_bytes)?;
    let sources = filled(&slab, count);
    let mut sinks = blocks(&slab, count);
    let capacity = count as u32;
    let options = MemoryOptions { capacity, block_bytes, eviction: EvictionPolicy::Lru };
    let tier = MemoryTier::new(options)?;
    let batch = batch_of(block_bytes);
    let [mut plain, mut put, mut get] = [(); 3].map(|()| Vec::new());
    for round in 0..=rounds {
        let copied = timed(|| {
            for (source, sink) in sources.iter().zip(&mut sinks) {
                sink.copy_from_slice(source);
            }
            std::hint::black_box(&mut sinks);
        });
        // New keys every round: from the second one on, each block evicts one.
        let stored = timed(|| put_all(&tier, &sources.iter().collect::<Vec<_>>(), round, batch));
        let loaded = timed(|| get_all(&tier, &mut sinks, &in_order(count), round, batch));
        // The first round fills the tier and is a warm-up.
        if round > 0 {
            plain.push(copied);
            put.push(stored);
            get.push(loaded);
        }
    }
    println!("memory: {}, backed by {}", size(block_bytes), tier.pages());
    let bytes = count * block_bytes;
    line("put against memcpy", bytes, &mut put, Some(&mut plain));
    line("get against memcpy", bytes, &mut get, Some(&mut plain));
    Ok(())
}

fn disk(folder: &Path, block_bytes: usize, engine: EngineChoice) -> Outcome<()> {
    let Size { rounds, disk_bytes, .. } = size_of_run();
    let count = disk_bytes / block_bytes;
    let scratch = tempfile::tempdir_in(folder)?;
    let window = DISK_WINDOW / block_bytes;
    let slab = Slab::new(window as u32 + u32::from(DEPTH), block_bytes)?;
    let sources = filled(&slab, DEPTH.into());
    let mut sinks = blocks(&slab, window);
    let tier = DiskTier::open(&DiskOptions {
        depth: DEPTH,
        engine,
        slab: Some(slab),
        ..DiskOptions::new(scratch.path(), count as u32, block_bytes)
    })?;
    println!("disk: {}, {}", size(block_bytes), tier.engine());
    for warning in tier.warnings() {
        println!("  warning: {warning}");
    }
    let fio = Fio { file: scratch.path().join("fio"), block_bytes, engine };
    let has_fio = Command::new("fio").arg("--version").output().is_ok();
    let order = permuted(count);
    let cycle: Vec<&Block> = sources.iter().cycle().take(count).collect();
    let [mut put, mut get, mut fio_put, mut fio_get] = [(); 4].map(|()| Vec::new());
    for round in 0..=rounds {
        let limit = |pattern| if has_fio { fio.run(pattern).map(Some) } else { Ok(None) };
        let store = || timed(|| put_all(&tier, &cycle, round, count));
        // Randomly loaded blocks are evicted in that order, so writes are random too.
        // Alternating, because the device may slow down over time.
        let (stored, fio_stored) = if round % 2 == 0 {
            let stored = store();
            (stored, limit("randwrite")?)
        } else {
            let limit = limit("randwrite")?;
            (store(), limit)
        };
        let mut load = || timed(|| get_all(&tier, &mut sinks, &order, round, window));
        let (loaded, fio_loaded) = if round % 2 == 0 {
            let loaded = load();
            (loaded, limit("randread")?)
        } else {
            let limit = limit("randread")?;
            (load(), limit)
        };
        // The first rounds allocate the file system's extents of both files.
        if round > 1 {
            put.push(stored);
            get.push(loaded);
            fio_put.extend(fio_stored);
            fio_get.extend(fio_loaded);
        }
    }
    let bytes = count * block_bytes;
    line("put against fio randwrite", bytes, &mut put, has_fio.then_some(&mut fio_put));
    line("get against fio randread", bytes, &mut get, has_fio.then_some(&mut fio_get));
    Ok(())
}

struct Fio {
    file: PathBuf,
    block_bytes: usize,
    engine: EngineChoice,
}

impl Fio {
    fn run(&self, pattern: &str) -> Outcome<Duration> {
        let bytes = size_of_run().disk_bytes;
        let share = bytes / usize::from(DEPTH);
        let mut command = Command::new("fio");
        command
            .args(["--name=limit", "--direct=1", "--minimal", "--terse-version=3"])
            .arg(format!("--filename={}", self.file.display()))
            .arg(format!("--size={bytes}"))
            .arg(format!("--bs={}", self.block_bytes))
            .arg(format!("--rw={pattern}"));
        match self.engine {
            EngineChoice::Threads => command
                .args(["--ioengine=psync", "--thread", "--group_reporting"])
                .arg(format!("--numjobs={DEPTH}"))
                .arg(format!("--io_size={share}"))
                .arg(format!("--offset_increment={share}")),
            EngineChoice::Auto | EngineChoice::IoUring => command
                .args(["--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1"])
                .arg(format!("--iodepth={DEPTH}")),
        };
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<&str> = text.trim().split(';').collect();
        // Terse version 3: KiB moved and milliseconds taken, of reads and of writes.
        let (kib, bandwidth) = if pattern == "randwrite" { (46, 47) } else { (5, 6) };
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let (Some(kib), Some(kib_per_s)) = (number(kib), number(bandwidth)) else {
            return Err(format!("fio: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
        };
        if (kib * 1024.0 - bytes as f64).abs() > 1.0 {
            return Err(format!("fio moved {kib} KiB of {bytes} bytes").into());
        }
        Ok(Duration::from_secs_f64(kib / kib_per_s))
    }
}

fn name(round: u64, index: usize) -> ChunkHash {
    key(round << 32 | index as u64)
}

fn put_all(tier: &impl Tier, sources: &[&Block], round: u64, batch: usize) {
    let mut outcomes = vec![Stored::Full; batch];
    let mut puts = Vec::with_capacity(batch);
    for (number, part) in sources.chunks(batch).enumerate() {
        puts.clear();
        puts.extend(
            part.iter()
                .enumerate()
                .map(|(index, bytes)| Put { key: name(round, number * batch + index), bytes }),
        );
        tier.put(&puts, later(), &mut outcomes[..part.len()]);
        assert!(outcomes[..part.len()].iter().all(|outcome| *outcome == Stored::Stored));
    }
}

/// Loads blocks in an order, `batch` per call; sinks are reused if they are fewer.
fn get_all(tier: &impl Tier, sinks: &mut [Block], order: &[usize], round: u64, batch: usize) {
    let mut outcomes = vec![Loaded::Miss; batch];
    let parts = sinks.len() / batch;
    for (number, names) in order.chunks(batch).enumerate() {
        let mut gets: Vec<Get<'_>> = sinks[number % parts * batch..]
            .iter_mut()
            .zip(names)
            .map(|(into, index)| Get { key: name(round, *index), into })
            .collect();
        let outcomes = &mut outcomes[..gets.len()];
        tier.get(&mut gets, later(), outcomes);
        assert!(outcomes.iter().all(|outcome| *outcome == Loaded::Hit));
    }
}

fn blocks(slab: &std::sync::Arc<Slab>, count: usize) -> Vec<Block> {
    std::iter::from_fn(|| slab.take()).take(count).collect()
}

fn filled(slab: &std::sync::Arc<Slab>, count: usize) -> Vec<Block> {
    let mut blocks = blocks(slab, count);
    for (index, block) in blocks.iter_mut().enumerate() {
        content(name(0, index), block);
    }
    blocks
}

/// Blocks per call of a request for some thousand tokens: at most 32 MiB, at most 64.
fn batch_of(block_bytes: usize) -> usize {
    ((32 << 20) / block_bytes).clamp(1, 64)
}

fn in_order(count: usize) -> Vec<usize> {
    (0..count).collect()
}

/// Every index once, far from its neighbours: the counts are powers of two, the step is odd.
fn permuted(count: usize) -> Vec<usize> {
    (0..count).map(|index| index.wrapping_mul(0x9e37_79b1) % count).collect()
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn later() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn line(what: &str, bytes: usize, ours: &mut [Duration], limit: Option<&mut Vec<Duration>>) {
    let rate = |times: &mut [Duration]| {
        times.sort_unstable();
        bytes as f64 / times[times.len() / 2].as_secs_f64() / 1e9
    };
    let ours = rate(ours);
    match limit {
        Some(limit) => {
            let limit = rate(limit);
            println!("  {what:<32} {ours:>10.2} {limit:>10.2} {:>7.2}", ours / limit);
        }
        None => println!("  {what:<32} {ours:>10.2} {:>10} {:>7}", "no fio", "-"),
    }
}

fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}
