//! What is measured: points, and how long each of them.

use std::time::Duration;

use serde::Serialize;
use weir_model::Bytes;
use weir_workload::config::Draw;

use crate::cpu::cpus;
use crate::error::ProbeError;

/// Smallest block: a page. KV blocks are far larger, and direct access to disks needs whole pages.
pub const LEAST_BLOCK: u64 = 4096;
/// Largest block: Redis takes values up to 512 MiB.
pub const LARGEST_BLOCK: u64 = 512 << 20;
pub const MOST_THREADS: u32 = 256;
/// Most blocks of a batch.
pub const DEEPEST: u32 = 1024;
pub const MOST_REPEATS: u32 = 1000;
/// Most keys of a working set: each is remembered with 32 bytes.
pub const MOST_KEYS: u64 = 1 << 24;
pub const MOST_POINTS: usize = 1000;
/// Buffers of all threads together; more than this is a slip.
pub const MOST_BUFFERS: u64 = 16 << 30;
/// Bytes of the working set where nothing is said: larger than any CPU's cache, small enough
/// for any machine that has a tier.
pub const DEFAULT_WORKING_SET: u64 = 512 << 20;

/// What a thread does, batch after batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    Write,
    /// Loads blocks of the working set.
    Read,
    /// Loads with this share (0 to 1), else stores new blocks.
    Mixed(f64),
    /// Loads, and stores what was missing, as an engine does.
    Engine,
}

impl Work {
    /// The word in tables and files: `write`, `read`, `70%-read`, `engine`.
    pub fn name(self) -> String {
        match self {
            Self::Write => "write".to_owned(),
            Self::Read => "read".to_owned(),
            Self::Mixed(share) => format!("{:.0}%-read", 100.0 * share),
            Self::Engine => "engine".to_owned(),
        }
    }

    pub const fn reads(self) -> bool {
        !matches!(self, Self::Write)
    }

    /// Whether it stores blocks under new keys.
    pub const fn writes_new(self) -> bool {
        matches!(self, Self::Write | Self::Mixed(_))
    }
}

impl Serialize for Work {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// A size of blocks, and the tokens that they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BlockSize {
    pub bytes: Bytes,
    /// Tokens of the chunk, where a model says so.
    pub tokens: Option<u32>,
}

/// One combination that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProbePoint {
    pub block: BlockSize,
    /// Threads, each with one batch under way.
    pub threads: u32,
    /// Blocks of a batch.
    pub depth: u32,
    pub work: Work,
}

impl ProbePoint {
    pub const fn batch_bytes(&self) -> u64 {
        self.block.bytes.0 * self.depth as u64
    }
}

/// How many different keys are loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WorkingSet {
    Blocks(u64),
    /// As many blocks as have these bytes.
    Bytes(Bytes),
    /// As many blocks as make so many times the tier's capacity.
    Capacities(f64),
}

impl WorkingSet {
    /// Blocks, with the tier's capacity where it is known.
    pub fn blocks(self, block: Bytes, capacity: Option<Bytes>) -> Result<u64, ProbeError> {
        let blocks = match self {
            Self::Blocks(blocks) => blocks,
            Self::Bytes(bytes) => bytes.0 / block.0.max(1),
            Self::Capacities(times) => {
                let capacity = capacity.ok_or(ProbeError::NoCapacity { times })?;
                (times * capacity.0 as f64 / block.0.max(1) as f64) as u64
            }
        };
        let blocks = blocks.max(1);
        if blocks > MOST_KEYS {
            return Err(ProbeError::value(
                "working-set",
                format!("{blocks} blocks of {block}"),
                format!("stay below {MOST_KEYS} blocks: shrink it, or take larger blocks"),
            ));
        }
        Ok(blocks)
    }
}

/// How much of a loaded block is compared with what was stored.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// Its last page, and the beginnings of the first and of six more: about a microsecond.
    Sampled,
    /// Every byte.
    Full,
}

/// When the measurement of a point in one repeat ends: with whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointLimits {
    pub duration: Duration,
    /// Time before it that is not counted.
    pub warmup: Duration,
    pub operations: Option<u64>,
}

/// Everything about a measurement but the tier.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeConfig {
    pub blocks: Vec<BlockSize>,
    pub threads: Vec<u32>,
    pub depths: Vec<u32>,
    pub works: Vec<Work>,
    pub working_set: WorkingSet,
    pub draw: Draw,
    pub limits: PointLimits,
    pub repeats: u32,
    /// Longest time of one batch.
    pub deadline: Duration,
    /// How loads are checked.
    pub verify: Verify,
    /// The CPU of the first thread; the others follow.
    pub pin: Option<u32>,
    /// Seed of keys and draws.
    pub seed: u64,
}

impl ProbeConfig {
    /// Refuses what cannot be measured.
    pub fn check(&self) -> Result<(), ProbeError> {
        for block in &self.blocks {
            let bytes = block.bytes.0;
            if !(LEAST_BLOCK..=LARGEST_BLOCK).contains(&bytes) || !bytes.is_multiple_of(8) {
                return Err(ProbeError::value(
                    "block",
                    format!("{bytes} bytes"),
                    format!(
                        "take a multiple of 8 from {} to {}",
                        Bytes(LEAST_BLOCK),
                        Bytes(LARGEST_BLOCK)
                    ),
                ));
            }
        }
        check_each("threads", &self.threads, MOST_THREADS)?;
        check_each("depth", &self.depths, DEEPEST)?;
        check_each("repeats", &[self.repeats], MOST_REPEATS)?;
        for (key, empty) in [("block", self.blocks.is_empty()), ("mix", self.works.is_empty())] {
            if empty {
                return Err(ProbeError::value(key, "the list is empty", "give one value"));
            }
        }
        if self.limits.duration.is_zero() {
            return Err(ProbeError::value("duration", "no time at all", "give e.g. `1s`"));
        }
        if self.deadline.is_zero() {
            return Err(ProbeError::value("deadline", "no time at all", "give e.g. `10s`"));
        }
        if self.limits.operations == Some(0) {
            return Err(ProbeError::value("operations", "0 blocks", "give 1 or more"));
        }
        if let Some(first) = self.pin {
            check_pin(first, &cpus())?;
        }
        self.check_sizes()
    }

    fn check_sizes(&self) -> Result<(), ProbeError> {
        let points = self.points().len();
        if points > MOST_POINTS {
            return Err(ProbeError::value(
                "sweep",
                format!("{points} points"),
                format!("stay below {MOST_POINTS}"),
            ));
        }
        let largest = |list: &[u32]| u64::from(list.iter().copied().max().unwrap_or(1));
        let block = self.blocks.iter().map(|block| block.bytes.0).max().unwrap_or(0);
        let buffers = block * largest(&self.threads) * largest(&self.depths);
        if buffers > MOST_BUFFERS {
            return Err(ProbeError::value(
                "depth",
                format!("{} of buffers for all threads", Bytes(buffers)),
                format!("stay below {}: fewer threads, or a smaller depth", Bytes(MOST_BUFFERS)),
            ));
        }
        Ok(())
    }

    /// All points: blocks, then threads, then depths, then works.
    pub fn points(&self) -> Vec<ProbePoint> {
        let mut points = Vec::new();
        for &block in &self.blocks {
            for &threads in &self.threads {
                for &depth in &self.depths {
                    for &work in &self.works {
                        points.push(ProbePoint { block, threads, depth, work });
                    }
                }
            }
        }
        points
    }
}

fn check_pin(first: u32, cpus: &[u32]) -> Result<(), ProbeError> {
    if cpus.is_empty() || cpus.contains(&first) {
        return Ok(());
    }
    let names: Vec<String> = cpus.iter().map(u32::to_string).collect();
    let names = names.join(", ");
    Err(ProbeError::value(
        "pin",
        format!("this process may not use CPU {first}"),
        format!("give one of {names}"),
    ))
}

fn check_each(key: &'static str, list: &[u32], most: u32) -> Result<(), ProbeError> {
    if list.is_empty() {
        return Err(ProbeError::value(key, "the list is empty", "give one value"));
    }
    match list.iter().find(|value| !(1..=most).contains(*value)) {
        Some(value) => Err(ProbeError::value(
            key,
            format!("{value}"),
            format!("give a number from 1 to {most}"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_is_not_there_is_refused_with_those_that_are() {
        check_pin(3, &[1, 3]).unwrap();
        let refused = check_pin(2, &[1, 3]).unwrap_err().to_string();
        assert!(refused.contains("CPU 2; give one of 1, 3"), "{refused}");
        assert!(!cpus().is_empty());
    }

    #[test]
    fn a_working_set_is_counted_in_blocks() {
        let block = Bytes(2 << 20);
        let capacity = Some(Bytes::from_gib(1));
        assert_eq!(WorkingSet::Blocks(7).blocks(block, None).unwrap(), 7);
        assert_eq!(WorkingSet::Bytes(Bytes(512 << 20)).blocks(block, None).unwrap(), 256);
        assert_eq!(WorkingSet::Capacities(2.0).blocks(block, capacity).unwrap(), 1024);
        let unknown = WorkingSet::Capacities(2.0).blocks(block, None).unwrap_err();
        assert!(unknown.to_string().contains("does not say how much it holds"), "{unknown}");
        assert!(WorkingSet::Bytes(Bytes(1 << 50)).blocks(block, None).is_err());
    }
}
