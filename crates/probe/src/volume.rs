use std::sync::Arc;

use weir_model::Bytes;
use weir_store::Slab;

use crate::config::{BlockSize, DEFAULT_WORKING_SET, ProbeConfig, ProbePoint, WorkingSet};
use crate::error::ProbeError;

/// Fewest batches per thread in a lap of new blocks.
const LAP_BATCHES: u64 = 8;

/// New blocks of a lap, with a working set of `working` blocks.
pub(crate) fn lap_blocks(working: u64, point: &ProbePoint) -> u64 {
    let least = LAP_BATCHES * u64::from(point.threads) * u64::from(point.depth);
    let most = (DEFAULT_WORKING_SET / point.block.bytes.0.max(1)).max(least);
    working.clamp(least, most)
}

/// Most bytes stored at one time, over all block sizes. With blocks of `of` bytes the working set
/// has `working` blocks.
pub fn stored(config: &ProbeConfig, of: Bytes, working: u64) -> Bytes {
    let of_size = |block: &BlockSize| {
        let bytes = block.bytes.0.max(1);
        let working = match config.working_set {
            WorkingSet::Blocks(blocks) => blocks,
            _ => (working.saturating_mul(of.0) / bytes).max(1),
        };
        let points = || config.points().into_iter().filter(|point| point.block == *block);
        let kept = if points().any(|point| point.work.reads()) { working } else { 0 };
        let laps = points().filter(|point| point.work.writes_new());
        let lap = laps.map(|point| lap_blocks(working, &point)).max();
        (kept + lap.unwrap_or(0)).saturating_mul(bytes)
    };
    Bytes(config.blocks.iter().map(of_size).max().unwrap_or(0))
}

/// Each thread has one batch for loads and one for stores.
pub fn buffers(config: &ProbeConfig, block: Bytes) -> Result<Arc<Slab>, ProbeError> {
    Ok(Slab::new(buffer_count(config), block.0 as usize)?)
}

pub fn buffer_bytes(config: &ProbeConfig, block: Bytes) -> Bytes {
    block * u64::from(buffer_count(config))
}

fn buffer_count(config: &ProbeConfig) -> u32 {
    let most = |list: &[u32]| list.iter().copied().max().unwrap_or(1);
    2 * most(&config.threads) * most(&config.depths)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_workload::config::Draw;

    use super::*;
    use crate::config::{PointLimits, Verify, Work};

    #[test]
    fn what_is_stored_at_once_is_the_working_set_and_the_largest_lap() {
        let block = |mib: u64| BlockSize { bytes: Bytes(mib << 20), tokens: None };
        let with = |works: &[Work], working_set| ProbeConfig {
            blocks: vec![block(1), block(16)],
            threads: vec![1, 4],
            depths: vec![2],
            works: works.to_vec(),
            working_set,
            draw: Draw::Uniform,
            limits: PointLimits {
                duration: Duration::from_secs(1),
                warmup: Duration::ZERO,
                operations: None,
            },
            repeats: 1,
            deadline: Duration::from_secs(1),
            verify: Verify::Sampled,
            pin: None,
            seed: 0,
        };
        let mib = |mib: u64| Bytes(mib << 20);
        let set = WorkingSet::Bytes(mib(64));
        assert_eq!(stored(&with(&[Work::Read], set), mib(1), 64), mib(64));
        // Eight batches of two blocks of 16 MiB, of four threads: more than the working set.
        assert_eq!(stored(&with(&[Work::Write], set), mib(1), 64), mib(1024));
        assert_eq!(stored(&with(&[Work::Write, Work::Read], set), mib(1), 64), mib(1088));
        // The same number of larger blocks.
        let blocks = WorkingSet::Blocks(64);
        assert_eq!(stored(&with(&[Work::Engine], blocks), mib(1), 64), mib(1024));
    }
}
