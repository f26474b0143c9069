//! Memory to memory: what moving the blocks costs when nothing else is done.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use weir_store::{Block, Slab};

use super::{Moved, PlainRun};
use crate::cpu;
use crate::error::ProbeError;

/// Bytes that are copied from in turn: more than a processor's cache, so that they come from memory
/// as a tier's blocks do.
const SOURCE_BYTES: usize = 256 << 20;
/// Blocks copied between two looks at the clock.
const UNTIMED: usize = 8;

/// Copies blocks with so many threads, each into `depth` buffers of its own, for some time.
pub fn copy_run(
    threads: u32,
    depth: u32,
    block_bytes: usize,
    time: Duration,
) -> Result<Option<PlainRun>, ProbeError> {
    let sources = (SOURCE_BYTES / block_bytes).max(2);
    let slab = Slab::new(sources as u32 + threads * depth, block_bytes)?;
    let take = |count: usize| take(&slab, count);
    let Some(from) = take(sources) else { return Ok(None) };
    let into: Option<Vec<Vec<Block>>> = (0..threads).map(|_| take(depth as usize)).collect();
    let Some(into) = into else { return Ok(None) };
    let start = Barrier::new(threads as usize);
    let (from, start) = (&from, &start);
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
    Ok(PlainRun::of(&moved))
}

fn take(slab: &Arc<Slab>, count: usize) -> Option<Vec<Block>> {
    (0..count).map(|_| slab.take()).collect()
}

/// One thread's copies.
fn copies(
    from: &[Block],
    mut into: Vec<Block>,
    thread: usize,
    start: &Barrier,
    time: Duration,
) -> Moved {
    let mut place = thread * from.len() / 7;
    let mut bytes = 0;
    start.wait();
    let (began, used) = (Instant::now(), cpu::of_thread());
    while began.elapsed() < time {
        for _ in 0..UNTIMED {
            let count = into.len();
            let source = &from[place % from.len()];
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
        let run = copy_run(1, 2, 1 << 20, Duration::from_millis(50)).unwrap().unwrap();
        assert!(run.s_per_gb > 0.001 && run.s_per_gb < 10.0, "{run:?}");
        // Copying is computing: as much processor time as time, but for what others take.
        let share = run.client_cpu_s_per_gb / run.s_per_gb;
        assert!(share > 0.02 && share < 1.01, "{run:?}");
    }
}
