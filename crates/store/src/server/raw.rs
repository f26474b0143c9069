//! Plain bytes over a connection: a header of 16 bytes says how many go which way. This measures
//! the network path alone.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ServerError;
use super::host::{Host, Serve, Share, Stream};
use crate::resp::StoreEndpoint;

/// Bytes of a header: operation and byte count, each 64 bits little endian.
pub const HEADER_BYTES: usize = 16;
/// The client sends bytes; the server returns the header when they have arrived.
const SINK: u64 = 1;
const SOURCE: u64 = 2;
const BLOCK_MAX: u64 = 1 << 30;
/// Blocks in flight together: their headers fit into any socket's buffers, which avoids a deadlock.
const BATCH: usize = 256;
const READ_BYTES: usize = 256 << 10;

pub struct RawServer {
    host: Host,
}

impl std::fmt::Debug for RawServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawServer").field("endpoint", self.host.endpoint()).finish_non_exhaustive()
    }
}

impl RawServer {
    /// Listens on a free port of 127.0.0.1, or on a unix socket.
    pub fn start(unix: bool) -> Result<Self, ServerError> {
        let serve: Arc<Serve> = Arc::new(|stream: &mut Stream, share: &mut Share<'_>| {
            let (source, mut sink) = (vec![0x5a; READ_BYTES], vec![0; READ_BYTES]);
            loop {
                match turn(stream, &source, &mut sink) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    done => done?,
                }
                share.note();
            }
        });
        Ok(Self { host: Host::start(unix, serve)? })
    }

    pub const fn endpoint(&self) -> &StoreEndpoint {
        self.host.endpoint()
    }

    /// CPU time of its connections so far, nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.host.cpu_ns()
    }
}

fn turn(stream: &mut Stream, source: &[u8], sink: &mut [u8]) -> io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let (what, bytes) = parse(header);
    if bytes > BLOCK_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut left = bytes as usize;
    while left > 0 {
        let length = left.min(READ_BYTES);
        left -= match what {
            SINK => match stream.read(&mut sink[..length])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => bytes,
            },
            SOURCE => stream.write(&source[..length])?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
    }
    if what == SINK { stream.write_all(&header) } else { Ok(()) }
}

fn header(what: u64, bytes: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&what.to_le_bytes());
    header[8..].copy_from_slice(&(bytes as u64).to_le_bytes());
    header
}

fn parse(header: [u8; HEADER_BYTES]) -> (u64, u64) {
    let [what, bytes] = [0, 8]
        .map(|at| u64::from_le_bytes(*header[at..].first_chunk().expect("two times eight bytes")));
    (what, bytes)
}

pub struct RawClient {
    stream: Stream,
}

impl std::fmt::Debug for RawClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawClient")
    }
}

impl RawClient {
    pub fn connect(endpoint: &StoreEndpoint, patience: Duration) -> io::Result<Self> {
        Stream::connect(endpoint, patience).map(|stream| Self { stream })
    }

    /// Returns when all blocks have arrived. After an error the connection is unusable.
    pub fn send(&mut self, blocks: &[&[u8]], deadline: Instant) -> io::Result<()> {
        for batch in blocks.chunks(BATCH) {
            self.stream.set_patience(left(deadline)?)?;
            for block in batch {
                let header = header(SINK, block.len());
                let mut slices = [IoSlice::new(&header), IoSlice::new(block)];
                self.stream.write_slices(&mut slices)?;
            }
            let mut back = [0; HEADER_BYTES];
            for block in batch {
                self.stream.read_exact(&mut back)?;
                if back != header(SINK, block.len()) {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        Ok(())
    }

    /// After an error the connection is unusable.
    pub fn receive(&mut self, blocks: &mut [&mut [u8]], deadline: Instant) -> io::Result<()> {
        for batch in blocks.chunks_mut(BATCH) {
            self.stream.set_patience(left(deadline)?)?;
            for block in &*batch {
                self.stream.write_all(&header(SOURCE, block.len()))?;
            }
            for block in batch {
                self.stream.read_exact(block)?;
            }
        }
        Ok(())
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
