use std::time::Duration;

use serde::Serialize;
use weir_model::Bytes;
use weir_workload::config::Draw;

use crate::cpu::cpus;
use crate::error::ProbeError;

/// A page: KV blocks are far larger, and direct access to disks needs whole pages.
pub const LEAST_BLOCK: u64 = 4096;
/// Redis takes values up to 512 MiB.
pub const LARGEST_BLOCK: u64 = 512 << 20;
pub const MOST_THREADS: u32 = 256;
pub const DEEPEST: u32 = 1024;
pub const MOST_REPEATS: u32 = 1000;
/// Each key of a working set takes 32 bytes of memory.
pub const MOST_KEYS: u64 = 1 << 24;
pub const MOST_POINTS: usize = 1000;
/// Bytes of all threads' buffers; more is a typing error.
pub const MOST_BUFFERS: u64 = 16 << 30;
/// Bytes: larger than any CPU's cache, small enough for any machine that has a tier.
pub const DEFAULT_WORKING_SET: u64 = 512 << 20;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    Write,
    Read,
    /// Loads with this probability, otherwise stores new blocks.
    Mixed(f64),
    /// Loads, and stores missing blocks, as an engine does.
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

    pub const fn writes_new(self) -> bool {
        matches!(self, Self::Write | Self::Mixed(_))
    }
}

impl Serialize for Work {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BlockSize {
    pub bytes: Bytes,
    /// Tokens of the chunk, if a model is given.
    pub tokens: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProbePoint {
    pub block: BlockSize,
    /// Each with one batch in flight.
    pub threads: u32,
    pub depth: u32,
    pub work: Work,
}

impl ProbePoint {
    pub const fn batch_bytes(&self) -> u64 {
        self.block.bytes.0 * self.depth as u64
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WorkingSet {
    Blocks(u64),
    /// As many blocks as fit in these bytes.
    Bytes(Bytes),
    /// A multiple of the tier's capacity.
    Capacities(f64),
}

impl WorkingSet {
    /// `capacity` is the tier's, if known.
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

/// A point's repeat ends at whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointLimits {
    pub duration: Duration,
    /// Not counted.
    pub warmup: Duration,
    pub operations: Option<u64>,
}

/// A measurement's settings except the tier.
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
    pub deadline: Duration,
    pub verify: Verify,
    /// CPU of the first thread; the others use the next ones.
    pub pin: Option<u32>,
    pub seed: u64,
}

impl ProbeConfig {
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

    /// Order: blocks, threads, depths, works.
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
