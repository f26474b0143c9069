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
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::LocalSet;
use weir_model::Nanos;
use weir_router::{PolicyConfig, TierWeights};

use crate::config::{ProxyConfig, ProxyError};
use crate::decision::block_tokens;
use crate::events::{apply_all, hear};
use crate::forward::answer;
use crate::index::Index;
use crate::known::{ProxyTotals, SharedState};
use crate::scrape::watch;
use crate::state::ProxyState;

/// Unsent bytes that hyper holds per connection; also the longest request head.
const BUFFER_BYTES: usize = 64 << 10;
/// Pause after a failed `accept`: only closed connections free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Clones stop the same proxy.
#[derive(Debug, Clone)]
pub struct ProxyStopper(watch::Sender<bool>);

impl ProxyStopper {
    pub fn new() -> Self {
        Self(watch::channel(false).0)
    }

    /// Accepts no further connection; open answers get the configured grace.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Default for ProxyStopper {
    fn default() -> Self {
        Self::new()
    }
}

/// Dropping it stops the proxy and waits for the thread.
#[derive(Debug)]
pub struct ProxyHandle {
    pub addr: SocketAddr,
    stopper: ProxyStopper,
    thread: Option<JoinHandle<Result<ProxyTotals, ProxyError>>>,
}

impl ProxyHandle {
    /// Waits for the thread. Answers still open after the grace are cut off.
    pub fn shutdown(mut self) -> Result<ProxyTotals, ProxyError> {
        self.join()
    }

    fn join(&mut self) -> Result<ProxyTotals, ProxyError> {
        self.stopper.stop();
        let Some(thread) = self.thread.take() else { return Ok(ProxyTotals::default()) };
        thread.join().unwrap_or(Err(ProxyError::Panicked))
    }
}

impl Drop for ProxyHandle {
    fn drop(&mut self) {
        // Only `shutdown` can return the result.
        let _ = self.join();
    }
}

#[derive(Debug)]
pub struct Proxy;

impl Proxy {
    pub fn start(config: ProxyConfig, listener: TcpListener) -> Result<ProxyHandle, ProxyError> {
        let addr = local_addr(&listener)?;
        let stopper = ProxyStopper::new();
        let stop = stopper.clone();
        let (ready, started) = mpsc::channel();
        let run = move || {
            Self::run(&config, listener, &stop, || {
                let _ = ready.send(());
            })
        };
        let mut handle = ProxyHandle { addr, stopper, thread: Some(spawn("weir-route", run)?) };
        match started.recv() {
            Ok(()) => Ok(handle),
            // The thread ended before it was ready; its result has the reason.
            Err(_) => Err(handle.join().err().unwrap_or(ProxyError::Panicked)),
        }
    }

    /// Runs until stopped. `ready` is called once the proxy accepts.
    pub fn run(
        config: &ProxyConfig,
        listener: TcpListener,
        stopper: &ProxyStopper,
        ready: impl FnOnce(),
    ) -> Result<ProxyTotals, ProxyError> {
        config.check()?;
        raise_descriptor_limit();
        let shared = Arc::new(SharedState::new(config, open_index(config)?));
        let state = Rc::new(ProxyState::new(config, Arc::clone(&shared))?);
        // It watches from another core where there is one.
        let watching = Watching::start(config, &shared)?;
        if let Some(core) = config.core {
            pin_to(core)?;
        }
        let runtime = runtime()?;
        let serving = serve(config, state, listener, stopper.0.subscribe(), ready);
        let result = LocalSet::new().block_on(&runtime, serving);
        let totals = shared.totals();
        drop(shared);
        watching.stop();
        result.map(|()| totals)
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ProxyError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map_err(|source| ProxyError::System { what: "start a thread", source })
}

fn runtime() -> Result<tokio::runtime::Runtime, ProxyError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ProxyError::System { what: "make a runtime", source })
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, ProxyError> {
    listener
        .local_addr()
        .map_err(|source| ProxyError::System { what: "read the listener's address", source })
}

/// Each connection needs a descriptor. Beyond the limit `accept` fails.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn pin_to(core: usize) -> Result<(), ProxyError> {
    let mut cores = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
        return Err(ProxyError::Core { core, source });
    }
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| ProxyError::Core { core, source: error.into() })
}

fn open_index(config: &ProxyConfig) -> Result<Option<Index>, ProxyError> {
    let PolicyConfig::PrecisePrefix { index, .. } = &config.router.policy else {
        return Ok(None);
    };
    let replicas = config.replicas.iter().map(weir_http::url::Url::address).collect();
    let weights = TierWeights { gpu: index.gpu_weight, below: index.tier_weight };
    Ok(Some(Index::open(config.index.as_ref(), replicas, weights, index.counts_stores)?))
}

/// The threads beside the forwarding one.
struct Watching {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Watching {
    fn start(config: &ProxyConfig, shared: &Arc<SharedState>) -> Result<Self, ProxyError> {
        let stop = watch::Sender::new(false);
        let mut watching = Self { stop, threads: Vec::new() };
        let policy = &config.router.policy;
        let interval = policy.scrape_interval().unwrap_or(PolicyConfig::SCRAPE_INTERVAL);
        let orders = if shared.index.is_some() {
            let (orders, received) = mpsc::channel();
            let (weak, block_tokens) = (Arc::downgrade(shared), block_tokens(policy));
            let apply = move || apply_all(&received, &weak, block_tokens);
            watching.threads.push(spawn("weir-route-idx", apply)?);
            Some(orders)
        } else {
            None
        };
        let (runtime, mut stopped) = (runtime()?, watching.stop.subscribe());
        let (shared, endpoints) = (Arc::clone(shared), config.kv_events.clone());
        let watch_all = move || {
            let tasks = LocalSet::new();
            for at in 0..shared.replicas.len() as u16 {
                let interval = Duration::from_nanos(interval.0);
                tasks.spawn_local(watch(at, interval, Arc::clone(&shared), orders.clone()));
            }
            let is_one_each = endpoints.len() == shared.replicas.len();
            for (at, endpoint) in endpoints.into_iter().enumerate() {
                let Some(orders) = orders.clone() else { continue };
                let replica = is_one_each.then_some(at as u16);
                tasks.spawn_local(hear(endpoint, replica, Arc::clone(&shared), orders));
            }
            drop((orders, shared));
            let until_stopped = async {
                // An error means that the proxy is gone.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            tasks.block_on(&runtime, until_stopped);
        };
        watching.threads.push(spawn("weir-route-obs", watch_all)?);
        Ok(watching)
    }

    fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

async fn serve(
    config: &ProxyConfig,
    state: Rc<ProxyState>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    ready: impl FnOnce(),
) -> Result<(), ProxyError> {
    let address = local_addr(&listener)?;
    let refused = |source| ProxyError::Listen { address, source };
    listener.set_nonblocking(true).map_err(refused)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(refused)?;
    ready();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => spawn_connection(&state, stream),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            // An error means that all stoppers are dropped.
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    drop(listener);
    // After the grace, dropping the tasks closes the remaining connections.
    let Nanos(grace) = config.grace;
    let _ = tokio::time::timeout(Duration::from_nanos(grace), state.drain()).await;
    Ok(())
}

fn spawn_connection(state: &Rc<ProxyState>, stream: TcpStream) {
    // A token is a small write and must not wait for the last acknowledgement. The option is not
    // essential.
    let _ = stream.set_nodelay(true);
    let service = service_fn({
        let state = Rc::clone(state);
        move |request: Request<Incoming>| {
            let state = Rc::clone(&state);
            async move { Ok::<_, std::convert::Infallible>(answer(state, request).await) }
        }
    });
    let serving = http1::Builder::new()
        // Copying small frames into one buffer is cheaper than gathering them.
        .writev(false)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut open = state.open_connection();
    tokio::task::spawn_local(async move {
        let mut serving = pin!(serving);
        let stop_requested = async { open.stopping.wait_for(|stopping| *stopping).await.is_ok() };
        // A client that goes away drops the answer, and with it the request at the replica.
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
