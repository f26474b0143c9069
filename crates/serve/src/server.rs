use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc as channel;
use weir_service::{
    ServiceError, ServiceHandle, Stopper, block_on, listen, pin_thread, raise_descriptor_limit,
};

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

pub type ServerHandle = ServiceHandle<(), ServeError>;

#[derive(Debug)]
pub struct Server;

impl Server {
    pub fn start(config: ServeConfig, listener: TcpListener) -> Result<ServerHandle, ServeError> {
        ServiceHandle::start("weir-serve", listener, move |listener, stopper, ready| {
            Self::run(&config, listener, stopper, ready)
        })
    }

    /// Runs until stopped. `ready` is called once the server accepts.
    pub fn run(
        config: &ServeConfig,
        listener: TcpListener,
        stopper: &Stopper,
        ready: impl FnOnce(),
    ) -> Result<(), ServeError> {
        config.check()?;
        let _ = raise_descriptor_limit(None);
        if let Some(core) = config.core {
            pin_thread(&[core]).map_err(ServiceError::from)?;
        }
        block_on(serve(config, listener, stopper, ready))?
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> ServiceError {
    move |source| ServiceError::System { what, source }
}

async fn serve(
    config: &ServeConfig,
    listener: TcpListener,
    stopper: &Stopper,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let listener = listen(listener)?;
    let address = listener.local_addr().map_err(system("read the listener's address"))?;
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
    let timer = Timer::new().map_err(system("make a timer"))?;
    let state = ServerState::new(Arc::clone(&info), engines, mover, config);
    let (commands, received) = channel::unbounded_channel();
    let control = TowerToHyperService::new(router(ControlState { info, commands }));
    let mut running = tokio::task::spawn_local({
        let state = Rc::clone(&state);
        async move { state.run_engines(timer, completions).await }
    });
    let controlling = tokio::task::spawn_local({
        let state = Rc::clone(&state);
        async move { state.handle_control(received).await }
    });
    ready();
    let service = service_fn({
        let state = Rc::clone(&state);
        move |request: Request<Incoming>| answer(Rc::clone(&state), control.clone(), request)
    });
    let end = async {
        tokio::select! {
            () = stopper.stopped() => Ok(()),
            ended = &mut running => ended.unwrap_or_else(|_| Err(ServiceError::Panicked.into())),
        }
    };
    let result = state.connections.accept(listener, service, end).await;
    state.connections.close(Duration::from_nanos(config.grace.0)).await;
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
