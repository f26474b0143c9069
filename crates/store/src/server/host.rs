//! Threads that serve local connections, for the null store and the raw path.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use super::ServerError;
use crate::held::{Held, hold};
use crate::resp::StoreEndpoint;

/// Concurrent connections; a measurement has fewer.
const CONNECTIONS_MAX: usize = 256;
/// Interval at which the accepting thread checks for its end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// `patience` is the timeout of reads and writes.
    pub(super) fn connect(endpoint: &StoreEndpoint, patience: Duration) -> io::Result<Self> {
        let stream = match endpoint {
            StoreEndpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port))?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
            StoreEndpoint::Unix(path) => Self::Unix(UnixStream::connect(path)?),
        };
        stream.set_patience(patience)?;
        Ok(stream)
    }

    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let patience = Some(patience.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
        }
    }

    fn twin(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn close(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    pub(super) fn write_slices(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !slices.is_empty() {
            match self.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => IoSlice::advance_slices(&mut slices, bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> Option<Stream> {
        let fd = match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        };
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&LOOK)), Ok(1..)) {
            return None;
        }
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().ok()?;
                let _ = stream.set_nodelay(true);
                Some(Stream::Tcp(stream))
            }
            Self::Unix(listener) => listener.accept().ok().map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Meter {
    cpu_ns: AtomicU64,
    stops: AtomicBool,
}

pub(super) struct Share<'a> {
    meter: &'a Meter,
    counted: u64,
}

impl Share<'_> {
    pub(super) fn note(&mut self) {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        self.meter.cpu_ns.fetch_add(now - self.counted, Ordering::Relaxed);
        self.counted = now;
    }
}

pub(super) type Serve = dyn Fn(&mut Stream, &mut Share<'_>) -> io::Result<()> + Send + Sync;

/// Its threads end when it is dropped.
pub(super) struct Host {
    endpoint: StoreEndpoint,
    meter: Arc<Meter>,
    acceptor: Option<JoinHandle<()>>,
    _folder: Option<(TempDir, Held)>,
}

impl Host {
    /// Listens on a free port of 127.0.0.1, or on a unix socket in a scratch folder.
    pub(super) fn start(unix: bool, serve: Arc<Serve>) -> Result<Self, ServerError> {
        let (listener, endpoint, folder) = if unix { listen_unix()? } else { listen_tcp()? };
        let meter = Arc::new(Meter::default());
        let shared = Arc::clone(&meter);
        let accept = move || accept(&listener, &shared, &serve);
        let place = endpoint.to_string();
        let acceptor = std::thread::Builder::new()
            .name("weir-accept".to_owned())
            .spawn(accept)
            .map_err(|error| ServerError::Listen { place, error })?;
        Ok(Self { endpoint, meter, acceptor: Some(acceptor), _folder: folder })
    }

    pub(super) const fn endpoint(&self) -> &StoreEndpoint {
        &self.endpoint
    }

    /// CPU time of its serving threads, nanoseconds.
    pub(super) fn cpu_ns(&self) -> u64 {
        self.meter.cpu_ns.load(Ordering::Relaxed)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.meter.stops.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

type Listening = (Listener, StoreEndpoint, Option<(TempDir, Held)>);

fn listen_tcp() -> Result<Listening, ServerError> {
    let refuse = |error| ServerError::Listen { place: "127.0.0.1".to_owned(), error };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(refuse)?;
    let port = listener.local_addr().map_err(refuse)?.port();
    Ok((Listener::Tcp(listener), super::loopback(port), None))
}

fn listen_unix() -> Result<Listening, ServerError> {
    let folder = tempfile::Builder::new()
        .prefix(super::FOLDER_PREFIX)
        .tempdir()
        .and_then(|folder| hold(folder.path()).map(|held| (folder, held)))
        .map_err(|error| ServerError::Folder { path: std::env::temp_dir(), error })?;
    let path = folder.0.path().join("socket");
    let refuse = |error| ServerError::Listen { place: path.display().to_string(), error };
    let listener = UnixListener::bind(&path).map_err(refuse)?;
    Ok((Listener::Unix(listener), StoreEndpoint::Unix(path), Some(folder)))
}

/// Accepts until the host stops, then ends all connections and waits for their threads.
fn accept(listener: &Listener, meter: &Meter, serve: &Arc<Serve>) {
    let open: Mutex<Vec<(u64, Stream)>> = Mutex::default();
    let lock = || open.lock();
    std::thread::scope(|scope| {
        let mut number = 0;
        while !meter.stops.load(Ordering::Relaxed) {
            let Some(mut stream) = listener.accept() else { continue };
            let Ok(twin) = stream.twin() else { continue };
            if lock().len() >= CONNECTIONS_MAX {
                continue;
            }
            number += 1;
            let own = number;
            lock().push((own, twin));
            scope.spawn(move || {
                let mut share = Share { meter, counted: 0 };
                // The client notices every kind of end.
                let _ = serve(&mut stream, &mut share);
                share.note();
                stream.close();
                lock().retain(|(number, _)| *number != own);
            });
        }
        lock().iter().for_each(|(_, stream)| stream.close());
    });
}
