//! The same bytes over the same kind of connection, without a protocol except for their number.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use weir_model::Nanos;
use weir_store::server::raw::{RawClient, RawServer};
use weir_store::{Block, Slab};

use super::{Moved, PlainRun};
use crate::cpu;
use crate::error::ProbeError;

/// Longest wait for a local connection.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawRun {
    /// The client's times.
    pub plain: PlainRun,
    /// CPU seconds of the peer per GB.
    pub server_cpu_s_per_gb: f64,
}

/// Moves batches of `depth` blocks of the slab, each thread over its own connection.
pub fn raw_run(
    server: &RawServer,
    is_read: bool,
    threads: u32,
    depth: u32,
    slab: &Arc<Slab>,
    time: Duration,
) -> Result<Option<RawRun>, ProbeError> {
    let mut workers = Vec::new();
    for _ in 0..threads {
        let client = RawClient::connect(server.endpoint(), PATIENCE).map_err(failed)?;
        let blocks: Option<Vec<Block>> = (0..depth).map(|_| slab.take()).collect();
        let Some(blocks) = blocks else { return Ok(None) };
        workers.push((client, blocks));
    }
    let (start, before) = (Barrier::new(threads as usize), server.cpu_ns());
    let start = &start;
    let moved: Vec<std::io::Result<Moved>> = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|(client, blocks)| {
                scope.spawn(move || {
                    start.wait();
                    moves(client, blocks, is_read, time)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
            .collect()
    });
    let moved: std::io::Result<Vec<Moved>> = moved.into_iter().collect();
    let moved = moved.map_err(failed)?;
    let bytes: u64 = moved.iter().map(|one| one.bytes).sum();
    let used = Nanos(server.cpu_ns().saturating_sub(before));
    Ok(PlainRun::of(&moved).map(|plain| RawRun {
        plain,
        server_cpu_s_per_gb: used.as_secs_f64() / (bytes as f64 / 1e9),
    }))
}

fn failed(source: std::io::Error) -> ProbeError {
    ProbeError::System { what: "raw bytes over a local connection".to_owned(), source }
}

/// One thread's batches. Closes the connection at the end, so that the peer's CPU time is complete.
fn moves(
    mut client: RawClient,
    mut blocks: Vec<Block>,
    is_read: bool,
    time: Duration,
) -> std::io::Result<Moved> {
    let batch: u64 = blocks.iter().map(|block| block.len() as u64).sum();
    let mut bytes = 0;
    let (began, used) = (Instant::now(), cpu::of_thread());
    while began.elapsed() < time {
        let deadline = Instant::now() + time + PATIENCE;
        if is_read {
            let mut into: Vec<&mut [u8]> = blocks.iter_mut().map(|block| &mut **block).collect();
            client.receive(&mut into, deadline)?;
        } else {
            let from: Vec<&[u8]> = blocks.iter().map(|block| &**block).collect();
            client.send(&from, deadline)?;
        }
        bytes += batch;
    }
    Ok(Moved { bytes, seconds: began.elapsed().as_secs_f64(), cpu: cpu::of_thread() - used })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_both_ways_and_the_peer_works_for_them() {
        for unix in [false, true] {
            let server = RawServer::start(unix).unwrap();
            for is_read in [false, true] {
                let time = Duration::from_millis(100);
                let slab = Slab::new(8, 256 << 10).unwrap();
                let run = raw_run(&server, is_read, 2, 4, &slab, time).unwrap().unwrap();
                assert!(run.plain.s_per_gb > 0.0 && run.plain.client_cpu_s_per_gb > 0.0, "{run:?}");
                assert!(run.server_cpu_s_per_gb > 0.0, "{run:?}");
            }
        }
    }
}
