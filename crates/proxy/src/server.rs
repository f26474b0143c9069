use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::task::spawn_local;
use weir_model::Nanos;
use weir_router::{PolicyConfig, TierWeights};
use weir_service::{
    Connections, ServiceError, ServiceHandle, ServiceThread, Stopper, block_on, listen, pin_thread,
    raise_descriptor_limit, spawn,
};

use crate::config::{ProxyConfig, ProxyError};
use crate::decision::block_tokens;
use crate::events::{apply_all, hear};
use crate::forward::answer;
use crate::index::Index;
use crate::known::{ProxyTotals, SharedState};
use crate::scrape::watch;
use crate::state::ProxyState;

pub type ProxyHandle = ServiceHandle<ProxyTotals, ProxyError>;

#[derive(Debug)]
pub struct Proxy;

impl Proxy {
    pub fn start(config: ProxyConfig, listener: TcpListener) -> Result<ProxyHandle, ProxyError> {
        ServiceHandle::start("weir-route", listener, move |listener, stopper, ready| {
            Self::run(&config, listener, stopper, ready)
        })
    }

    /// Runs until stopped. `ready` is called once the proxy accepts.
    pub fn run(
        config: &ProxyConfig,
        listener: TcpListener,
        stopper: &Stopper,
        ready: impl FnOnce(),
    ) -> Result<ProxyTotals, ProxyError> {
        config.check()?;
        let _ = raise_descriptor_limit(None);
        let shared = Arc::new(SharedState::new(config, open_index(config)?));
        let state = Rc::new(ProxyState::new(config, Arc::clone(&shared))?);
        // It watches from another core where there is one.
        let watching = Watching::start(config, &shared)?;
        if let Some(core) = config.core {
            pin_thread(&[core]).map_err(ServiceError::from)?;
        }
        let result = block_on(serve(config, state, listener, stopper, ready))?;
        let totals = shared.totals();
        drop(shared);
        watching.stop();
        result.map(|()| totals)
    }
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
    observing: ServiceThread<(), ServiceError>,
    /// Ends when nobody is left who gives it orders.
    applying: Option<JoinHandle<()>>,
}

impl Watching {
    fn start(config: &ProxyConfig, shared: &Arc<SharedState>) -> Result<Self, ProxyError> {
        let policy = &config.router.policy;
        let interval = policy.scrape_interval().unwrap_or(PolicyConfig::SCRAPE_INTERVAL);
        let (orders, applying) = if shared.index.is_some() {
            let (orders, received) = mpsc::channel();
            let (weak, block_tokens) = (Arc::downgrade(shared), block_tokens(policy));
            let apply = move || apply_all(&received, &weak, block_tokens);
            (Some(orders), Some(spawn("weir-route-idx", apply)?))
        } else {
            (None, None)
        };
        let (shared, endpoints) = (Arc::clone(shared), config.kv_events.clone());
        let observe = async move |stopper: &Stopper, ready: &dyn Fn()| {
            for at in 0..shared.replicas.len() as u16 {
                let interval = Duration::from_nanos(interval.0);
                spawn_local(watch(at, interval, Arc::clone(&shared), orders.clone()));
            }
            let is_one_each = endpoints.len() == shared.replicas.len();
            for (at, endpoint) in endpoints.into_iter().enumerate() {
                let Some(orders) = orders.clone() else { continue };
                let replica = is_one_each.then_some(at as u16);
                spawn_local(hear(endpoint, replica, Arc::clone(&shared), orders));
            }
            drop((orders, shared));
            ready();
            stopper.stopped().await;
        };
        let observing = ServiceThread::start("weir-route-obs", move |stopper, ready| {
            block_on(observe(stopper, ready))
        })?;
        Ok(Self { observing, applying })
    }

    fn stop(self) {
        drop(self.observing);
        if let Some(thread) = self.applying {
            let _ = thread.join();
        }
    }
}

async fn serve(
    config: &ProxyConfig,
    state: Rc<ProxyState>,
    listener: TcpListener,
    stopper: &Stopper,
    ready: impl FnOnce(),
) -> Result<(), ProxyError> {
    let listener = listen(listener)?;
    let connections = Connections::default();
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Rc::clone(&state);
        async move { Ok::<_, std::convert::Infallible>(answer(state, request).await) }
    });
    ready();
    connections.accept(listener, service, stopper.stopped()).await;
    let Nanos(grace) = config.grace;
    connections.close(Duration::from_nanos(grace)).await;
    Ok(())
}
