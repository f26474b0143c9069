//! The server: one thread, one runtime, from a listener to the last answer.

use std::future::{Future, poll_fn};
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

use crate::api::{Desk, Facts, answer, router};
use crate::carrier::Carrier;
use crate::clock::{TimeMode, unix_seconds};
use crate::config::{ServeConfig, ServeError};
use crate::driver::Driver;
use crate::house::House;
use crate::interner::Interner;
use crate::telemetry::Telemetry;
use crate::timer::Timer;
use crate::tokenizer::Tokenizer;

/// Unsent bytes that hyper holds per connection before it stops asking for more frames; also the
/// longest request head.
const BUFFER_BYTES: usize = 64 << 10;
/// Pause after a failed `accept`: descriptors run out, and only connections that close bring some
/// back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Tells a server to stop. Any clone does.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// A stopper for a server that is yet to be started with [`Server::run`].
    pub fn new() -> Self {
        Self(watch::channel(false).0)
    }

    /// Asks for the end: no new requests; open answers may go on for the configured grace.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Stopper {
    fn default() -> Self {
        Self::new()
    }
}

/// A server in its own thread. Dropped, it stops and waits for the thread.
#[derive(Debug)]
pub struct ServerHandle {
    pub addr: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl ServerHandle {
    /// Stops the server: refuses new requests, lets open answers end within the grace, cuts off
    /// what is left, and waits for the thread.
    pub fn shutdown(mut self) -> Result<(), ServeError> {
        self.join()
    }

    /// Something that can stop it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn join(&mut self) -> Result<(), ServeError> {
        self.stopper.stop();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or(Err(ServeError::Panicked))
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `shutdown`.
        let _ = self.join();
    }
}

#[derive(Debug)]
pub struct Server;

impl Server {
    /// Starts a server on its own thread. It is ready when this returns.
    pub fn start(config: ServeConfig, listener: TcpListener) -> Result<ServerHandle, ServeError> {
        let addr = local_addr(&listener)?;
        let stopper = Stopper::new();
        let stop = stopper.clone();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("weir-serve".to_owned())
            .spawn(move || {
                run(&config, listener, &stop, || {
                    // Whoever starts the server waits for this.
                    let _ = ready.send(());
                })
            })
            .map_err(|source| ServeError::System { what: "start a thread", source })?;
        let mut handle = ServerHandle { addr, stopper, thread: Some(thread) };
        match started.recv() {
            Ok(()) => Ok(handle),
            // The thread ended before it was ready: it says why.
            Err(_) => Err(handle.join().err().unwrap_or(ServeError::Panicked)),
        }
    }

    /// Runs a server on this thread until it is told to stop. `ready` is called once it accepts.
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

/// A connection is a descriptor: as many as the system lets this process have. Where it does not,
/// `accept` fails for connections beyond the limit and goes on when others close.
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
    let facts = Arc::new(facts(config, address)?);
    let interner = Interner::new(facts.tokenizer.answers(), config.remembered_tokens);
    let telemetry = Telemetry::open(config).await?;
    let instant = config.time == TimeMode::Instant;
    let mut driver = Driver::new(config.resolved_cluster(), interner, instant, telemetry)?;
    let (done, outcomes) = channel::unbounded_channel();
    let carried = config.carrier.clone().filter(|_| config.cluster.offload.is_some());
    let carrier = carried.map(|carrier| Carrier::start(carrier, done)).transpose()?;
    if carrier.is_some() {
        driver.carry();
    }
    let timer =
        Timer::new().map_err(|source| ServeError::System { what: "make a timer", source })?;
    let house = House::new(Arc::clone(&facts), driver, carrier, config);
    let (commands, orders) = channel::unbounded_channel();
    let control = TowerToHyperService::new(router(Desk { facts, commands }));
    let driving = tokio::task::spawn_local({
        let house = Rc::clone(&house);
        async move { house.drive(timer, outcomes).await }
    });
    let obeying = tokio::task::spawn_local({
        let house = Rc::clone(&house);
        async move { house.obey(orders).await }
    });
    ready();
    let mut driving = pin!(driving);
    let mut result = Ok(());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => welcome(&house, &control, stream),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            // An error means that nobody is left who could ask for the end.
            _ = stop.wait_for(|stop| *stop) => break,
            ended = &mut driving => {
                result = ended.unwrap_or(Err(ServeError::Panicked));
                break;
            }
        }
    }
    drop(listener);
    // Cut off at the end of the grace: dropping the tasks closes what is left.
    let _ = tokio::time::timeout(Duration::from_nanos(config.grace.0), house.empty()).await;
    driving.abort();
    obeying.abort();
    house.close_feeds().await;
    result
}

fn facts(config: &ServeConfig, address: SocketAddr) -> Result<Facts, ServeError> {
    let created = unix_seconds();
    Ok(Facts {
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

/// Serves a connection in a task of its own.
fn welcome(house: &Rc<House>, control: &TowerToHyperService<axum::Router>, stream: TcpStream) {
    // A token is a small write that must not wait for the one before to be acknowledged. The
    // connection works without, so a failure is none of its own.
    let _ = stream.set_nodelay(true);
    let service = service_fn({
        let house = Rc::clone(house);
        let control = control.clone();
        move |request: Request<Incoming>| answer(Rc::clone(&house), control.clone(), request)
    });
    let serving = http1::Builder::new()
        // Small frames are cheaper copied into one buffer than gathered from many.
        .writev(false)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let house = Rc::clone(house);
    tokio::task::spawn_local(async move {
        let place = house.enter();
        let mut serving = pin!(serving);
        let mut told = false;
        // A broken connection has dropped its answer, which gave the request up: nothing is left
        // to be done about the error.
        let _ = poll_fn(|context| {
            house.listen(place, context.waker());
            if house.is_stopping() && !told {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
            serving.as_mut().poll(context)
        })
        .await;
        house.leave(place);
    });
}
