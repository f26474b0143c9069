//! A server with Apache Kvrocks' differences from Redis, since no package registry has a Kvrocks
//! binary. Real RESP over a real socket, real bytes in an ordered map, no disk.
//!
//! Behaviour of 2.10.1, observed on a running server and read in its source
//! (`src/commands/scan_base.h`, `src/commands/cmd_server.cc`, `src/storage/redis_db.cc`,
//! `src/server/server.cc`).

mod keyspace;
mod session;

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keyspace::Keyspace;
use parking_lot::{Condvar, Mutex, MutexGuard};
use session::Session;

use crate::resp::{Address, StoreEndpoint};
use crate::server::StoreSettings;

const GONE: Duration = Duration::from_millis(20);
/// Longest wait for a port that another process took meanwhile.
const REBIND: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// Up to 2.10: `MATCH` is a literal prefix.
    V2_10,
    /// `MATCH` is a glob, without its backslashes.
    V2_11,
    /// The CPU time of `INFO` has a fraction.
    V2_12,
}

impl Release {
    const fn version(self) -> &'static str {
        match self {
            Self::V2_10 => "2.10.1",
            Self::V2_11 => "2.11.0",
            Self::V2_12 => "2.12.0",
        }
    }
}

#[derive(Debug)]
pub struct ScriptedKvrocks {
    shared: Arc<Shared>,
    address: SocketAddr,
    settings: StoreSettings,
    threads: Option<Threads>,
}

#[derive(Debug)]
struct Shared {
    release: Release,
    password: Option<String>,
    without: Vec<String>,
    keyspace: Mutex<Keyspace>,
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    is_paused: Mutex<bool>,
    goes_on: Condvar,
}

impl Shared {
    fn keyspace(&self) -> MutexGuard<'_, Keyspace> {
        self.keyspace.lock()
    }

    fn wait(&self) {
        let mut paused = self.is_paused.lock();
        while *paused {
            self.goes_on.wait(&mut paused);
        }
    }

    fn set_paused(&self, paused: bool) {
        *self.is_paused.lock() = paused;
        self.goes_on.notify_all();
    }
}

#[derive(Debug)]
struct Threads {
    stops: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: JoinHandle<()>,
}

impl ScriptedKvrocks {
    /// Starts it on a free port of 127.0.0.1. It uses these settings: password, capacity (in bytes:
    /// a real one has whole GiB, too many for a test) and `rename-command X ""`.
    pub fn start(release: Release, settings: StoreSettings) -> io::Result<Self> {
        let renamed = |line: &String| {
            let rest = line.strip_prefix("rename-command ")?;
            Some(rest.strip_suffix(" \"\"")?.to_ascii_uppercase())
        };
        let without: Vec<String> = settings.lines.iter().filter_map(renamed).collect();
        if let Some(unknown) = without.iter().find(|word| !session::KNOWN.contains(&word.as_str()))
        {
            return Err(io::Error::other(format!("{unknown}: no such command in rename-command")));
        }
        let shared = Arc::new(Shared {
            release,
            password: settings.password.as_ref().map(|secret| secret.reveal().to_owned()),
            without,
            keyspace: Mutex::new(Keyspace::new(settings.capacity.map(|bytes| bytes.0))),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            is_paused: Mutex::new(false),
            goes_on: Condvar::new(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let threads = Some(Threads::start(&shared, listener)?);
        Ok(Self { shared, address, settings, threads })
    }

    /// Includes the password.
    pub fn address(&self) -> Address {
        Address {
            endpoints: vec![StoreEndpoint::Tcp {
                host: self.address.ip().to_string(),
                port: self.address.port(),
            }],
            cluster: false,
            tls: false,
            user: None,
            password: self.settings.password.clone(),
            database: 0,
        }
    }

    /// Answers nothing until [`resume`](Self::resume), as after `kill -STOP`.
    pub fn pause(&self) {
        self.shared.set_paused(true);
    }

    pub fn resume(&self) {
        self.shared.set_paused(false);
    }

    /// Ends as by `kill -9` and restarts at the same address. Acknowledged writes are kept, because
    /// a real one has a write-ahead log.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        std::thread::sleep(GONE);
        let began = Instant::now();
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(error) if began.elapsed() > REBIND => return Err(error),
                Err(_) => std::thread::sleep(GONE),
            }
        };
        self.threads = Some(Threads::start(&self.shared, listener)?);
        Ok(())
    }

    fn stop(&mut self) {
        self.resume();
        if let Some(threads) = self.threads.take() {
            threads.stop(self.address);
        }
    }
}

impl Drop for ScriptedKvrocks {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Threads {
    fn start(shared: &Arc<Shared>, listener: TcpListener) -> io::Result<Self> {
        let (stops, open) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (shared, stopped, streams) =
            (Arc::clone(shared), Arc::clone(&stops), Arc::clone(&open));
        let accept = move || accept(&listener, &shared, &stopped, &streams);
        let acceptor = std::thread::Builder::new().name("kvrocks".to_owned()).spawn(accept)?;
        Ok(Self { stops, open, acceptor })
    }

    fn stop(self, address: SocketAddr) {
        self.stops.store(true, Ordering::Release);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(address);
        for stream in self.open.lock().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = self.acceptor.join();
    }
}

fn accept(
    listener: &TcpListener,
    shared: &Shared,
    stops: &AtomicBool,
    open: &Mutex<Vec<TcpStream>>,
) {
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let mut streams = open.lock();
            if stops.load(Ordering::Acquire) {
                // Connections accepted after the others were ended.
                for stream in streams.iter() {
                    let _ = stream.shutdown(Shutdown::Both);
                }
                return;
            }
            let _ = stream.set_nodelay(true);
            if let Ok(twin) = stream.try_clone() {
                streams.push(twin);
                scope.spawn(move || {
                    // The client notices every kind of end.
                    let _ = Session::new(shared, &stream).serve();
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        }
    });
}
