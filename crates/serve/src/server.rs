use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{mpsc as channel, watch};
use tokio::task::LocalSet;

use crate::clock::{TimeMode, unix_seconds};
use crate::config::{ServeConfig, ServeError};
use crate::engine_loop::EngineLoop;
use crate::http::{ControlState, answer, router};
use crate::interner::Interner;
use crate::mover::Mover;
use crate::state::{ServerInfo, ServerState};
use crate::telemetry::Telemetry;
use crate::timer::Timer;
use crate::tokenizer::Tokenizer;

/// Unsent bytes that hyper holds per connection; also the longest request head.
const BUFFER_BYTES: usize = 64 << 10;
/// Pause after a failed `accept`: only closed connections free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Clones stop the same server.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub fn new() -> Self {
        Self(watch::channel(false).0)
    }

    /// Refuses new requests; open answers get the configured grace.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Stopper {
    fn default() -> Self {
        Self::new()
    }
}

/// Dropping it stops the server and waits for the thread.
#[derive(Debug)]
pub struct ServerHandle {
    pub addr: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl ServerHandle {
    /// Waits for the thread. Answers still open after the grace are cut off.
    pub fn shutdown(mut self) -> Result<(), ServeError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), ServeError> {
        self.stopper.stop();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or(Err(ServeError::Panicked))
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        // Only `shutdown` can return the result.
        let _ = self.join();
    }
}

#[derive(Debug)]
pub struct Server;

impl Server {
    pub fn start(config: ServeConfig, listener: TcpListener) -> Result<ServerHandle, ServeError> {
        let addr = local_addr(&listener)?;
        let stopper = Stopper::new();
        let stop = stopper.clone();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("weir-serve".to_owned())
            .spawn(move || {
                run(&config, listener, &stop, || {
                    let _ = ready.send(());
                })
            })
            .map_err(|source| ServeError::System { what: "start a thread", source })?;
        let mut handle = ServerHandle { addr, stopper, thread: Some(thread) };
        match started.recv() {
            Ok(()) => Ok(handle),
            // The thread ended before it was ready; its result has the reason.
            Err(_) => Err(handle.join().err().unwrap_or(ServeError::Panicked)),
        }
    }

    /// Runs until stopped. `ready` is called once the server accepts.
    pub fn run(
        config: &ServeConfig,
        listener: TcpListener,
        stopper: &Stopper,
        ready: impl FnOnce(),
    ) -> Result<(), ServeError> {
        run(config, listener, stopper, ready)
    }
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener
        .local_addr()
        .map_err(|source| ServeError::System { what: "read the listener's address", source })
}

fn run(
    config: &ServeConfig,
    listener: TcpListener,
    stopper: &Stopper,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    config.check()?;
    raise_descriptor_limit();
    if let Some(core) = config.core {
        pin_to(core)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ServeError::System { what: "make a runtime", source })?;
    LocalSet::new().block_on(&runtime, serve(config, listener, stopper.0.subscribe(), ready))
}

/// Each connection needs a descriptor. Beyond the limit `accept` fails.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn pin_to(core: usize) -> Result<(), ServeError> {
    let mut cores = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
        return Err(ServeError::Core { core, source });
    }
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| ServeError::Core { core, source: error.into() })
}

async fn serve(
    config: &ServeConfig,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let address = local_addr(&listener)?;
    let refused = |source| ServeError::Listen { address, source };
    listener.set_nonblocking(true).map_err(refused)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(refused)?;
    let info = Arc::new(server_info(config, address)?);
    let interner = Interner::new(info.tokenizer.answers(), config.remembered_tokens);
    let telemetry = Telemetry::open(config).await?;
    let instant = config.time == TimeMode::Instant;
    let mut engines = EngineLoop::new(config.resolved_cluster(), interner, instant, telemetry)?;
    let (done, completions) = channel::unbounded_channel();
    let mover_config = config.mover.clone().filter(|_| config.cluster.offload.is_some());
    let mover = mover_config.map(|config| Mover::start(config, done)).transpose()?;
    if mover.is_some() {
        engines.use_external_io();
    }
    let timer =
        Timer::new().map_err(|source| ServeError::System { what: "make a timer", source })?;
    let state = ServerState::new(Arc::clone(&info), engines, mover, config);
    let (commands, received) = channel::unbounded_channel();
    let control = TowerToHyperService::new(router(ControlState { info, commands }));
    let running = tokio::task::spawn_local({
        let state = Rc::clone(&state);
        async move { state.run_engines(timer, completions).await }
    });
    let controlling = tokio::task::spawn_local({
        let state = Rc::clone(&state);
        async move { state.handle_control(received).await }
    });
    ready();
    let mut running = pin!(running);
    let mut result = Ok(());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => spawn_connection(&state, &control, stream),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            // An error means that all stoppers are dropped.
            _ = stop.wait_for(|stop| *stop) => break,
            ended = &mut running => {
                result = ended.unwrap_or(Err(ServeError::Panicked));
                break;
            }
        }
    }
    drop(listener);
    // After the grace, dropping the tasks closes the remaining connections.
    let _ = tokio::time::timeout(Duration::from_nanos(config.grace.0), state.drain()).await;
    running.abort();
    controlling.abort();
    state.close_publishers().await;
    result
}

fn server_info(config: &ServeConfig, address: SocketAddr) -> Result<ServerInfo, ServeError> {
    let created = unix_seconds();
    Ok(ServerInfo {
        models: config.models.clone(),
        tokenizer: Tokenizer::new(&config.tokenizer)?,
        max_model_len: config.cluster.engine.max_model_len,
        chat_default_tokens: config.chat_default_tokens,
        prompt_tokens_details: config.prompt_tokens_details,
        body_limit: config.body_limit,
        block_tokens: config.cluster.engine.block_size,
        pool_blocks: config.cluster.engine.blocks,
        seed: (created * 1e9) as u64 ^ u64::from(address.port()),
        created: created as u64,
    })
}

fn spawn_connection(
    state: &Rc<ServerState>,
    control: &TowerToHyperService<axum::Router>,
    stream: TcpStream,
) {
    // A token is a small write and must not wait for the last acknowledgement. The option is not
    // essential.
    let _ = stream.set_nodelay(true);
    let service = service_fn({
        let state = Rc::clone(state);
        let control = control.clone();
        move |request: Request<Incoming>| answer(Rc::clone(&state), control.clone(), request)
    });
    let serving = http1::Builder::new()
        // Copying small frames into one buffer is cheaper than gathering them.
        .writev(false)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopping = state.open_connection();
    tokio::task::spawn_local(async move {
        let mut serving = pin!(serving);
        // A broken connection drops its response, which aborts the request.
        let stop_requested = async { stopping.wait_for(|stopping| *stopping).await.is_ok() };
        let _ = tokio::select! {
            biased;
            ended = serving.as_mut() => ended,
            _ = stop_requested => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
    });
}
