//! Memory to memory: the cost of moving the blocks alone.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use weir_store::{Block, Slab};

use super::{Moved, PlainRun};
use crate::cpu;
use crate::error::ProbeError;

/// More than a CPU's cache, so that blocks come from memory as a tier's do.
const SOURCE_BYTES: usize = 256 << 20;
const UNTIMED: usize = 8;

/// Allocated once: large pages for it may take the kernel a second.
#[derive(Debug)]
pub struct CopySource(Block);

impl CopySource {
    /// `largest` is the largest block size. None without enough memory.
    pub fn new(largest: usize) -> Result<Option<Self>, ProbeError> {
        let slab = Slab::new(1, SOURCE_BYTES.max(2 * largest))?;
        Ok(slab.take().map(Self))
    }
}

/// None if the slab has too few blocks.
pub fn copy_run(
    CopySource(from): &CopySource,
    slab: &Arc<Slab>,
    threads: u32,
    depth: u32,
    time: Duration,
) -> Option<PlainRun> {
    let into: Option<Vec<Vec<Block>>> = (0..threads).map(|_| take(slab, depth as usize)).collect();
    let into = into?;
    let start = Barrier::new(threads as usize);
    let start = &start;
    let moved: Vec<Moved> = std::thread::scope(|scope| {
        let copies: Vec<_> = into
            .into_iter()
            .enumerate()
            .map(|(thread, blocks)| scope.spawn(move || copies(from, blocks, thread, start, time)))
            .collect();
        copies
            .into_iter()
            .map(|copy| copy.join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
            .collect()
    });
    PlainRun::of(&moved)
}

fn take(slab: &Arc<Slab>, count: usize) -> Option<Vec<Block>> {
    (0..count).map(|_| slab.take()).collect()
}

fn copies(
    from: &[u8],
    mut into: Vec<Block>,
    thread: usize,
    start: &Barrier,
    time: Duration,
) -> Moved {
    let block_bytes = into.first().map_or(1, |block| block.len());
    let sources = from.len() / block_bytes;
    let mut place = thread * sources / 7;
    let mut bytes = 0;
    start.wait();
    let (began, used) = (Instant::now(), cpu::of_thread());
    while began.elapsed() < time {
        for _ in 0..UNTIMED {
            let count = into.len();
            let offset = place % sources * block_bytes;
            let source = &from[offset..offset + block_bytes];
            let block = &mut into[place % count];
            block.copy_from_slice(source);
            bytes += black_box(&**block).len() as u64;
            place += 1;
        }
    }
    Moved { bytes, seconds: began.elapsed().as_secs_f64(), cpu: cpu::of_thread() - used }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_take_processor_time_for_all_of_their_time() {
        let (source, slab) =
            (CopySource::new(1 << 20).unwrap().unwrap(), Slab::new(2, 1 << 20).unwrap());
        let run = copy_run(&source, &slab, 1, 2, Duration::from_millis(50)).unwrap();
        assert!(run.s_per_gb > 0.001 && run.s_per_gb < 10.0, "{run:?}");
        // Copying is computing: CPU time equals wall time, except for other processes' share.
        let share = run.client_cpu_s_per_gb / run.s_per_gb;
        assert!(share > 0.02 && share < 1.01, "{run:?}");
    }
}
