//! llm-d's endpoint picker and Envoy in front of an arm's replicas, for one cell.
//!
//! Start order: index store, services, picker, Envoy. The replicas run before, because a picker
//! asks them for tokens.

mod files;
mod parts;
mod place;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_http::{TlsConfig, Url};
use weir_model::{Bytes, Product};
use weir_observe::{Selection, UtcClock};
use weir_picker::config::PickerPorts;
use weir_picker::{Door, IndexStore, PickedReplicas, PickerConfig, Services};
use weir_router::PolicyConfig;
use weir_spec::plan::{Arm, LiveRouter, Plan, RouterKind};
use weir_store::StoreClient;
use weir_store::server::{StoreServer, StoreSettings};

use crate::endpoint::Access;
use crate::error::DeployError;
use crate::ports;
use crate::process::{Owner, Process, Recipe};

use files::Files;
use parts::Parts;
pub use parts::preflight;
pub(crate) use place::place;

/// From the start of a process until it answers.
const PATIENCE: Duration = Duration::from_mins(1);
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// For a regular end.
const GRACE: Duration = Duration::from_secs(5);
const SCRAPE: Duration = Duration::from_secs(5);
/// Of an index: about 100 bytes per block and replica, and blocks for some TiB of KV.
const INDEX_BYTES: Bytes = Bytes::from_gib(4);
/// Replicas that a picker found, by release.
const READY: [&str; 2] = ["inference_pool_ready_pods", "llm_d_epp_ready_endpoints"];

/// True where requests to the arm's replicas go through a router that is started for them.
pub fn is_needed(router: &LiveRouter, arm: &Arm, replicas: u32) -> bool {
    router.kind == RouterKind::LlmD && arm.is_routed() && replicas > 1
}

pub fn is_planned(plan: &Plan) -> bool {
    parts::routed(plan).next().is_some()
}

/// What a front is for.
#[derive(Clone, Copy)]
pub(crate) struct FrontPlan<'a> {
    pub(crate) router: &'a LiveRouter,
    pub(crate) arm: &'a Arm,
    pub(crate) model: &'a str,
    pub(crate) owner: &'a Owner,
    /// For sockets and files that other programs read.
    pub(crate) scratch: &'a Path,
    /// For logs and configurations, which stay with the cell.
    pub(crate) logs: &'a Path,
    /// True when the user stops the run.
    pub(crate) stopped: &'a dyn Fn() -> bool,
}

/// Dropping it ends its processes.
#[derive(Debug)]
pub struct Front {
    // In the order of ending: users of a part go before it.
    envoy: Process,
    picker: Process,
    _services: Services,
    index: Option<StoreServer>,
    door: Url,
    metrics: Url,
    takes_token_ids: bool,
}

impl Front {
    /// Waits until the picker has found all replicas and Envoy answers.
    pub(crate) fn start(
        plan: FrontPlan<'_>,
        replicas: &PickedReplicas,
    ) -> Result<Self, DeployError> {
        let parts = Parts::find(plan.router, plan.arm)?;
        let index = index_store(plan.arm, plan.scratch)?;
        let socket = plan.scratch.join("tokens.sock");
        let services = Services::start(replicas, plan.model, &socket)?;
        let config = PickerConfig {
            policy: plan.arm.routing.policy.clone(),
            model: plan.model.to_owned(),
            replicas: replicas.clone(),
            index: index.as_ref().map_or(IndexStore::Memory, |server| IndexStore::Server {
                product: server.product(),
                address: format!("redis://{}", server.endpoint()),
            }),
            tokenizer_socket: socket,
            endpoints_file: plan.scratch.join("endpoints.json"),
            ports: PickerPorts {
                grpc: ports::free()?,
                health: ports::free()?,
                metrics: ports::free()?,
            },
        };
        let files = Files { plan: &plan, config: &config, parts: &parts };
        let metrics = ports::url(config.ports.metrics)?;
        let picker = Self::picker(&files, &services, &metrics)?;
        let (envoy, door) = Self::envoy(&files)?;
        Ok(Self {
            envoy,
            picker,
            _services: services,
            index,
            door,
            metrics,
            takes_token_ids: parts.release.takes_token_ids(),
        })
    }

    fn picker(
        files: &Files<'_>,
        services: &Services,
        metrics: &Url,
    ) -> Result<Process, DeployError> {
        let recipe = files.picker(services)?;
        let all = files.config.replicas.addresses.len() as f64;
        up(files.plan, &recipe, || ready_replicas(metrics).is_some_and(|ready| ready >= all))
    }

    fn envoy(files: &Files<'_>) -> Result<(Process, Url), DeployError> {
        let local = |port| ([127, 0, 0, 1], port).into();
        let replicas = &files.config.replicas;
        let every = replicas.addresses.iter().map(|address| (*address, replicas.port).into());
        let door = Door {
            address: local(ports::free()?),
            admin: local(ports::free()?),
            picker: local(files.config.ports.grpc),
            fail_open: if files.plan.router.fail_open { every.collect() } else { Vec::new() },
        };
        let recipe = files.envoy(&door)?;
        let admin = ports::url(door.admin.port())?;
        let process = up(files.plan, &recipe, || ports::is_ready(&admin, "/ready"))?;
        Ok((process, ports::url(door.address.port())?))
    }

    /// Where requests come in.
    pub(crate) const fn door(&self) -> &Url {
        &self.door
    }

    /// Of the picker, with its path.
    pub(crate) fn metrics(&self) -> Url {
        Url { path: self.metrics.target("/metrics"), ..self.metrics.clone() }
    }

    pub(crate) const fn takes_token_ids(&self) -> bool {
        self.takes_token_ids
    }

    /// Keys in the index outside the picker's memory, with the product. None where there is none,
    /// or it does not answer.
    pub fn index_keys(&self) -> Option<(Product, u64)> {
        let server = self.index.as_ref()?;
        let client = StoreClient::new(&server.address(), &TlsConfig::default()).ok()?;
        let reports = client.counters(Instant::now() + SCRAPE).ok()?;
        Some((server.product(), reports.first()?.keyspace?.keys))
    }

    /// An error where a part has died, with the cause from its log.
    pub(crate) fn check(&self, arm: &str) -> Result<(), DeployError> {
        self.picker.check()?;
        self.envoy.check()?;
        match &self.index {
            Some(index) if !index.is_running() => Err(DeployError::Store {
                arm: arm.to_owned(),
                problem: format!("the index in {} has ended", index.product()),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn stop(self) -> Result<(), DeployError> {
        let envoy = self.envoy.stop(GRACE);
        let picker = self.picker.stop(GRACE);
        envoy?;
        picker?;
        Ok(())
    }
}

/// The arm's own store for its index, where the policy has one outside the picker's memory.
fn index_store(arm: &Arm, scratch: &Path) -> Result<Option<StoreServer>, DeployError> {
    let Some(product) = index_product(arm) else { return Ok(None) };
    let settings = StoreSettings {
        capacity: Some(INDEX_BYTES),
        // A lost key is a hit that is not seen, which nobody would notice.
        policy: "noeviction".to_owned(),
        below: Some(scratch.to_path_buf()),
        ..StoreSettings::default()
    };
    let server = StoreServer::start(product, settings).map_err(|error| DeployError::Store {
        arm: arm.name.clone(),
        problem: error.to_string(),
    })?;
    Ok(Some(server))
}

pub(crate) fn index_product(arm: &Arm) -> Option<Product> {
    match &arm.routing.policy {
        PolicyConfig::PrecisePrefix { index, .. } => {
            Product::ALL.into_iter().find(|product| product.name() == index.backend)
        }
        _ => None,
    }
}

fn up(
    plan: &FrontPlan<'_>,
    recipe: &Recipe,
    ready: impl Fn() -> bool,
) -> Result<Process, DeployError> {
    let mut process = Process::start(recipe, plan.owner)?;
    process.wait_ready(Instant::now() + PATIENCE, ASK_AGAIN, || {
        if (plan.stopped)() { Err(DeployError::Interrupted) } else { Ok(ready()) }
    })?;
    Ok(process)
}

fn ready_replicas(metrics: &Url) -> Option<f64> {
    let scraper = Access::default().scraper(metrics, "/metrics", Selection::relevant());
    let page = scraper.scrape(&UtcClock::anchored(), SCRAPE).ok()?;
    READY.into_iter().find_map(|metric| page.gauge_sum(metric, &[]))
}

/// The absolute path: whoever reads it runs in another folder.
fn written(path: &Path, value: &serde_json::Value) -> Result<PathBuf, DeployError> {
    std::fs::write(path, format!("{value:#}\n")).and_then(|()| std::path::absolute(path)).map_err(
        |source| DeployError::File {
            what: "a configuration of the router",
            path: path.display().to_string(),
            source,
        },
    )
}
