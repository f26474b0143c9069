//! llm-d's endpoint picker, and Envoy as the door of all requests.
//!
//! Start order: services, picker, Envoy.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_http::Url;
use weir_model::{FactDifference, RunningFacts};
use weir_observe::{Selection, UtcClock};
use weir_picker::config::PickerPorts;
use weir_picker::envoy::STATS;
use weir_picker::{
    Door, IndexStore, PickedReplicas, PickerConfig, PickerRelease, ServiceNeeds, Services, said,
};
use weir_spec::plan::Arm;
use weir_store::server::StoreServer;

use super::files::Files;
use super::{FrontPlan, FrontRecord, Parts};
use crate::endpoint::Access;
use crate::error::DeployError;
use crate::local::StartedCommand;
use crate::log::withhold_configuration;
use crate::ports;
use crate::process::{Process, Recipe};

/// From the start of a process until it answers.
const PATIENCE: Duration = Duration::from_mins(1);
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// For a regular end.
const GRACE: Duration = Duration::from_secs(5);
const SCRAPE: Duration = Duration::from_secs(5);
/// Replicas that a picker found, by release.
const READY: [&str; 2] = ["inference_pool_ready_pods", "llm_d_epp_ready_endpoints"];

#[derive(Debug)]
pub(super) struct BehindEnvoy {
    // In the order of ending: users of a part go before it.
    envoy: Process,
    picker: Process,
    _services: Services,
    /// Of the picker and of Envoy, with their paths.
    metrics: [Url; 2],
    takes_token_ids: bool,
    said: RunningFacts,
    otherwise: Vec<FactDifference>,
}

impl BehindEnvoy {
    /// With the door.
    pub(super) fn start(
        plan: FrontPlan<'_>,
        replicas: &PickedReplicas,
        index: Option<&StoreServer>,
        record: &mut FrontRecord,
    ) -> Result<(Self, Url), DeployError> {
        let parts = Parts::find(plan.router, plan.arm)?;
        parts.release.name().clone_into(&mut record.router);
        let socket = plan.scratch.join("tokens.sock");
        let needs = needs(plan.arm, parts.release, &socket);
        let services = Services::start(replicas, plan.model, needs)?;
        let config = PickerConfig {
            policy: plan.arm.routing.policy.clone(),
            model: plan.model.to_owned(),
            replicas: replicas.clone(),
            index: index.map_or(IndexStore::Memory, |server| IndexStore::Server {
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
            pods: None,
        };
        let files = Files { plan: &plan, config: &config, parts: &parts };
        let metrics = ports::url(config.ports.metrics)?;
        let (picker, said) = Self::picker(&files, &services, &metrics, record)?;
        let (envoy, door, admin) = Self::envoy(&files, record)?;
        let metrics = [(metrics, "/metrics"), (admin, STATS)]
            .map(|(url, path)| Url { path: url.target(path), ..url });
        let takes_token_ids = parts.release.takes_token_ids();
        // None where its release has not the arm's policy, and runs by a configuration of others.
        let planned = config.document(parts.release).ok().map(|of| said::of_document(&of));
        let otherwise = planned.map_or_else(Vec::new, |of| said::differences(&said, &of));
        let behind =
            Self { envoy, picker, _services: services, metrics, takes_token_ids, said, otherwise };
        Ok((behind, door))
    }

    /// With what it says that it runs with.
    fn picker(
        files: &Files<'_>,
        services: &Services,
        metrics: &Url,
        record: &mut FrontRecord,
    ) -> Result<(Process, RunningFacts), DeployError> {
        let recipe = files.picker(services)?;
        record.commands.push(StartedCommand::of(&recipe));
        let all = files.config.replicas.addresses.len() as f64;
        let is_ready = || ready_replicas(metrics).is_some_and(|ready| ready >= all);
        let started = up(files.plan, &recipe, is_ready);
        let said = started.as_ref().map(|picker| said::of_log(&picker.said())).ok();
        if files.plan.arm.processes.picker_config.is_some() {
            let path = recipe.log.display().to_string();
            let failed = |source| DeployError::File { what: "the picker's log", path, source };
            withhold_configuration(&recipe.log).map_err(failed)?;
        }
        Ok((started?, said.unwrap_or_default()))
    }

    /// With the door and the admin address.
    fn envoy(
        files: &Files<'_>,
        record: &mut FrontRecord,
    ) -> Result<(Process, Url, Url), DeployError> {
        let local = |port| ([127, 0, 0, 1], port).into();
        let replicas = &files.config.replicas;
        let every = replicas.addresses.iter().map(|address| (*address, replicas.port).into());
        let door = Door {
            address: local(ports::free()?),
            admin: local(ports::free()?),
            picker: local(files.config.ports.grpc),
            picker_health: files.config.ports.health,
            fail_open: if files.plan.router.fail_open { every.collect() } else { Vec::new() },
        };
        let recipe = files.envoy(&door)?;
        record.commands.push(StartedCommand::of(&recipe));
        let admin = ports::url(door.admin.port())?;
        let process = up(files.plan, &recipe, || ports::is_ready(&admin, "/ready"))?;
        Ok((process, ports::url(door.address.port())?, admin))
    }

    /// Of the parts, each with its name.
    pub(super) fn metrics(&self) -> impl Iterator<Item = (&'static str, &Url)> {
        ["picker", "envoy"].into_iter().zip(&self.metrics)
    }

    pub(super) const fn takes_token_ids(&self) -> bool {
        self.takes_token_ids
    }

    /// By the picker's log.
    pub(super) const fn said(&self) -> &RunningFacts {
        &self.said
    }

    /// What it runs with otherwise than Weir would write for the arm.
    pub(super) fn otherwise(&self) -> &[FactDifference] {
        &self.otherwise
    }

    pub(super) fn check(&self) -> Result<(), DeployError> {
        self.picker.check()?;
        self.envoy.check()?;
        Ok(())
    }

    pub(super) fn stop(self) -> Result<(), DeployError> {
        let envoy = self.envoy.stop(GRACE);
        let picker = self.picker.stop(GRACE);
        envoy?;
        picker?;
        Ok(())
    }
}

/// A user's own configuration may ask for tokens whatever the arm's policy is.
fn needs<'a>(arm: &Arm, release: PickerRelease, socket: &'a Path) -> ServiceNeeds<'a> {
    let is_own = arm.processes.picker_config.is_some();
    let asks = release.asks_tokenizer() && arm.routing.policy.hears_events();
    ServiceNeeds {
        cluster_api: !release.reads_endpoints_file(),
        tokenizer: (is_own || asks).then_some(socket),
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

pub(super) fn ready_replicas(metrics: &Url) -> Option<f64> {
    let scraper = Access::default().scraper(metrics, "/metrics", Selection::relevant());
    let page = scraper.scrape(&UtcClock::anchored(), SCRAPE).ok()?;
    READY.into_iter().find_map(|metric| page.gauge_sum(metric, &[]))
}

/// The absolute path: whoever reads it runs in another folder.
pub(super) fn written(path: &Path, value: &serde_json::Value) -> Result<PathBuf, DeployError> {
    std::fs::write(path, format!("{value:#}\n")).and_then(|()| std::path::absolute(path)).map_err(
        |source| DeployError::File {
            what: "a configuration of the router",
            path: path.display().to_string(),
            source,
        },
    )
}
