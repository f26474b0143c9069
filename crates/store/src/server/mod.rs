//! Servers that Weir starts: a real store in a scratch folder ([`StoreServer`]), and two that only
//! measure the cost of a path ([`null`], [`raw`]).

mod error;
mod host;
pub mod null;
mod process;
pub mod raw;
mod recipe;

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_http::{TlsClient, TlsConfig};
use weir_model::Product;

use crate::held::{Held, hold};
use crate::resp::connection::StoreConnection;
use crate::resp::{Address, RespError, StoreEndpoint};

pub use error::ServerError;
pub use null::NullServer;
use process::Process;
pub use raw::{RawClient, RawServer};
pub use recipe::{Listen, StoreSettings, TlsFiles};

const BOOT: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// A free port may be taken a moment later.
const PORT_ATTEMPTS: u32 = 5;
const LOG_BYTES: usize = 2000;

/// The program of a product on `PATH`.
pub fn program(product: Product) -> Option<PathBuf> {
    let name = product.traits().program;
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
}

pub fn installed(product: Product) -> Result<PathBuf, ServerError> {
    let of = product.traits();
    program(product).ok_or(ServerError::Absent { program: of.program, install: of.install })
}

/// Prefix of the scratch folders of stores and other servers.
pub const FOLDER_PREFIX: &str = "weir-store-";

/// Ends when this is dropped and when the process that started it dies.
#[derive(Debug)]
pub struct StoreServer {
    product: Product,
    #[cfg_attr(not(feature = "suite"), expect(dead_code, reason = "tests start it again"))]
    program: PathBuf,
    settings: StoreSettings,
    folder: TempDir,
    endpoint: StoreEndpoint,
    /// The port without TLS of a TLS server.
    #[cfg_attr(not(feature = "suite"), expect(dead_code, reason = "tests connect there"))]
    plain: Option<u16>,
    process: Process,
    _held: Held,
}

impl StoreServer {
    /// Starts a store, and waits until it answers.
    pub fn start(product: Product, settings: StoreSettings) -> Result<Self, ServerError> {
        let program = installed(product)?;
        let below = settings.below.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new()
            .prefix(FOLDER_PREFIX)
            .tempdir_in(&below)
            .and_then(|folder| hold(folder.path()).map(|held| (folder, held)))
            .map_err(|error| ServerError::Folder { path: below, error });
        let (folder, held) = folder?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let endpoint = match settings.listen {
                Listen::Unix => StoreEndpoint::Unix(folder.path().join("store.sock")),
                Listen::Port(port) => loopback(port),
                Listen::FreePort => loopback(free_port()?),
            };
            let plain = settings.tls.is_some().then(free_port).transpose()?;
            let started = launch(product, &program, &settings, folder.path(), &endpoint, plain);
            match started {
                // Another process may have taken the port.
                Err(ServerError::Ended { .. })
                    if settings.listen == Listen::FreePort && attempts < PORT_ATTEMPTS => {}
                Err(error) => return Err(error),
                Ok(process) => {
                    return Ok(Self {
                        product,
                        program,
                        settings,
                        folder,
                        endpoint,
                        plain,
                        process,
                        _held: held,
                    });
                }
            }
        }
    }

    pub const fn product(&self) -> Product {
        self.product
    }

    pub const fn endpoint(&self) -> &StoreEndpoint {
        &self.endpoint
    }

    /// Includes the password.
    pub fn address(&self) -> Address {
        address(&self.settings, &self.endpoint)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn is_running(&self) -> bool {
        self.process.ended().is_none()
    }

    pub fn log(&self) -> String {
        log(self.folder.path())
    }
}

#[cfg(feature = "suite")]
impl StoreServer {
    /// Of a server that speaks TLS.
    pub const fn plain_port(&self) -> Option<u16> {
        self.plain
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// As `kill -STOP`, until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.process.pause();
    }

    pub fn resume(&self) {
        self.process.resume();
    }

    /// Restarts it at the same address after [`kill`](Self::kill), and waits until it answers.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        if let StoreEndpoint::Unix(path) = &self.endpoint {
            // A killed server leaves its socket.
            let _ = fs::remove_file(path);
        }
        let Self { product, program, settings, folder, endpoint, plain, .. } = &*self;
        self.process = launch(*product, program, settings, folder.path(), endpoint, *plain)?;
        Ok(())
    }
}

fn loopback(port: u16) -> StoreEndpoint {
    StoreEndpoint::Tcp { host: "127.0.0.1".to_owned(), port }
}

fn free_port() -> Result<u16, ServerError> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(ServerError::Port)
}

fn address(settings: &StoreSettings, endpoint: &StoreEndpoint) -> Address {
    Address {
        endpoints: vec![endpoint.clone()],
        cluster: false,
        tls: settings.tls.is_some(),
        user: None,
        password: settings.password.clone(),
        database: 0,
    }
}

fn log(folder: &Path) -> String {
    let bytes = fs::read(folder.join("log")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn launch(
    product: Product,
    program: &Path,
    settings: &StoreSettings,
    folder: &Path,
    endpoint: &StoreEndpoint,
    plain: Option<u16>,
) -> Result<Process, ServerError> {
    let in_folder = |path: &Path, error| ServerError::Folder { path: path.to_owned(), error };
    let config = folder.join("store.conf");
    // It may hold a password: no other user can read it, and no process list shows it.
    let text = settings.config(product, folder, endpoint, plain);
    File::create(&config)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| in_folder(&config, error))?;
    let path = folder.join("log");
    let log_file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|error| in_folder(&path, error))?;
    let mut command = std::process::Command::new(program);
    command.args(recipe::config_flag(product)).arg(&config).current_dir(folder);
    let name = product.traits().program;
    let process = Process::start(command, log_file)
        .map_err(|error| ServerError::Start { program: name, error })?;
    wait_until_ready(name, &process, settings, folder, endpoint)?;
    Ok(process)
}

fn wait_until_ready(
    program: &'static str,
    process: &Process,
    settings: &StoreSettings,
    folder: &Path,
    endpoint: &StoreEndpoint,
) -> Result<(), ServerError> {
    let deadline = Instant::now() + BOOT;
    let address = address(settings, endpoint);
    // This checks readiness, not identity.
    let trust = TlsConfig { ca_file: None, insecure: true };
    let tls = address.tls.then(|| TlsClient::without_alpn(&trust)).transpose();
    let tls = tls.map_err(|error| ServerError::NotReady {
        program,
        why: error.to_string(),
        log: String::new(),
    })?;
    let tail = || {
        let text = log(folder);
        let from = text.len().saturating_sub(LOG_BYTES);
        text.get(from..).unwrap_or(&text).trim().to_owned()
    };
    loop {
        if let Some(status) = process.ended() {
            return Err(ServerError::Ended { program, status: status.to_string(), log: tail() });
        }
        let asked = StoreConnection::open(&address, endpoint, tls.as_ref(), deadline)
            .and_then(|mut connection| is_process(&mut connection, process.pid(), deadline));
        match asked {
            Ok(true) => return Ok(()),
            // Another process has the port: the started server is about to end.
            Ok(false) if Instant::now() < deadline => std::thread::sleep(ASK_AGAIN),
            Ok(false) => {
                let why = format!("another server has {endpoint}");
                return Err(ServerError::NotReady { program, why, log: tail() });
            }
            Err(RespError::Disconnected { .. } | RespError::Refused { .. })
                if Instant::now() < deadline =>
            {
                std::thread::sleep(ASK_AGAIN);
            }
            Err(error) => {
                return Err(ServerError::NotReady { program, why: error.to_string(), log: tail() });
            }
        }
    }
}

fn is_process(
    connection: &mut StoreConnection,
    pid: u32,
    deadline: Instant,
) -> Result<bool, RespError> {
    connection.demand(&[b"PING"], deadline)?;
    let info = connection.demand(&[b"INFO", b"server"], deadline)?;
    let said = info.text().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse::<u32>().ok())
    });
    Ok(said.is_none_or(|said| said == pid))
}
