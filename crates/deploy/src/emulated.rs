//! Weir's own engine in real time, on threads of this process, for as long as a cell lasts.
//!
//! Without a router in front, one server has all replicas of an arm and the simulator's router.
//! Behind a picker each replica is a server with an address of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use weir_serve::kv_events::{EventForm, PublisherConfig, TierForm};
use weir_serve::tokenizer::TokenizerConfig;
use weir_serve::{ServeConfig, Server, ServerHandle};
use weir_spec::plan::{Arm, Deployment, EmulatedTarget};

use crate::address::EngineAddress;
use crate::error::DeployError;
use crate::front::{self, Front, FrontPlan};
use crate::leftovers::Scratch;
use crate::local::CellPlace;
use crate::process::Owner;
use crate::tiers::Tiers;

/// Dropping it stops it.
#[derive(Debug)]
pub struct Emulated {
    // In the order of ending: users of a part go before it.
    front: Option<Front>,
    servers: Vec<ServerHandle>,
    tiers: Option<Tiers>,
    events: Vec<String>,
    arm: String,
    /// Last: the processes in front have files and a socket there.
    scratch: Option<Scratch>,
}

impl Emulated {
    /// `core` pins the threads of its servers.
    pub fn start(
        target: &EmulatedTarget,
        deployment: &Deployment,
        arm: &Arm,
        core: Option<usize>,
        place: CellPlace<'_>,
    ) -> Result<Self, DeployError> {
        let is_routed = front::is_needed(&target.router, arm, deployment.replicas);
        let servers = if is_routed { deployment.replicas } else { 1 };
        let tiers = Tiers::open(target, deployment, arm, servers, place.run)?;
        let mut emulated = Self {
            front: None,
            servers: Vec::new(),
            tiers,
            events: Vec::new(),
            arm: arm.name.clone(),
            scratch: None,
        };
        if is_routed {
            emulated.start_behind_a_picker(target, deployment, arm, core, place)?;
        } else {
            let mut config = config(deployment, arm, deployment.replicas)?;
            config.mover = emulated.tiers.as_ref().map(Tiers::mover);
            config.core = core;
            emulated.serve(config, (Ipv4Addr::LOCALHOST, 0).into())?;
        }
        Ok(emulated)
    }

    fn start_behind_a_picker(
        &mut self,
        target: &EmulatedTarget,
        deployment: &Deployment,
        arm: &Arm,
        core: Option<usize>,
        place: CellPlace<'_>,
    ) -> Result<(), DeployError> {
        let replicas = front::place(deployment.replicas)?;
        for (number, at) in EngineAddress::all_of(&replicas).enumerate() {
            let mut config = config(deployment, arm, 1)?;
            config.mover = self.tiers.as_ref().map(|tiers| tiers.mover_of(number));
            config.core = core;
            config.kv_events = Some(published(at, deployment, arm));
            self.serve(config, (at.host, at.port).into())?;
            self.events.push(at.events_url());
        }
        let owner = Owner::this_process(place.run)?;
        let scratch = Scratch::new(&owner)?;
        let logs = place.logs()?;
        let plan = FrontPlan {
            router: &target.router,
            arm,
            model: &deployment.model.name,
            owner: &owner,
            scratch: scratch.path(),
            logs: &logs,
            stopped: place.stopped,
        };
        self.front = Some(Front::start(plan, &replicas)?);
        self.scratch = Some(scratch);
        Ok(())
    }

    fn serve(&mut self, config: ServeConfig, at: SocketAddr) -> Result<(), DeployError> {
        let failed = |error: &dyn std::fmt::Display| DeployError::Emulated(error.to_string());
        let listener = TcpListener::bind(at).map_err(|error| failed(&error))?;
        let server = Server::start(config, listener).map_err(|error| failed(&error))?;
        self.servers.push(server);
        Ok(())
    }

    /// Tiers with real bytes only.
    pub const fn tiers(&self) -> Option<&Tiers> {
        self.tiers.as_ref()
    }

    pub const fn front(&self) -> Option<&Front> {
        self.front.as_ref()
    }

    /// Where the servers publish KV events. Empty for one server without a router in front.
    pub fn kv_event_endpoints(&self) -> Vec<String> {
        self.events.clone()
    }

    pub fn urls(&self) -> impl Iterator<Item = String> {
        self.servers.iter().map(|server| format!("http://{}", server.addr))
    }

    /// An error where a part in front has died.
    pub fn check(&self) -> Result<(), DeployError> {
        self.front.as_ref().map_or(Ok(()), |front| front.check(&self.arm))
    }

    /// Waits for open answers, then closes the tiers.
    pub fn stop(self) -> Result<(), DeployError> {
        let front = self.front.map_or(Ok(()), Front::stop);
        let ended: Vec<_> = self.servers.into_iter().map(ServerHandle::shutdown).collect();
        self.tiers.map_or(Ok(()), Tiers::close)?;
        for ended in ended {
            ended.map_err(|error| DeployError::Emulated(error.to_string()))?;
        }
        front
    }
}

fn published(
    at: EngineAddress,
    deployment: &Deployment,
    arm: &Arm,
) -> (PublisherConfig, EventForm) {
    let publisher = PublisherConfig {
        endpoint: at.events_bind(),
        replay_endpoint: None,
        buffer_steps: PublisherConfig::BUFFER_STEPS,
        topic: at.events_topic(&deployment.model.name),
    };
    (publisher, event_form(deployment, arm, true))
}

/// `self_describing` as vLLM's `self_describing_kv_events`.
pub fn event_form(deployment: &Deployment, arm: &Arm, self_describing: bool) -> EventForm {
    let tiers = arm.offload.as_ref().map(|offload| TierForm {
        mechanism: offload.mechanism,
        chunk_tokens: offload.chunk_tokens,
        self_describing,
    });
    EventForm { tiers, ..EventForm::new(deployment.engine_of(arm).block_size) }
}

/// Engines, tiers and routing of an arm, under the model's name.
pub fn config(
    deployment: &Deployment,
    arm: &Arm,
    replicas: u32,
) -> Result<ServeConfig, DeployError> {
    let replicas = u16::try_from(replicas)
        .map_err(|_| DeployError::Emulated("more replicas than 65,535".to_owned()))?;
    let cluster = weir_cluster::ClusterConfig {
        engine: deployment.engine_of(arm).clone(),
        timing: deployment.timing.clone(),
        offload: arm.offload.clone(),
        router: arm.routing.clone(),
        replicas,
        kv_events: false,
    };
    let mut config = ServeConfig::new(cluster, deployment.model.name.clone());
    config.tokenizer = TokenizerConfig::BuiltIn { vocabulary: deployment.model.vocabulary };
    Ok(config)
}
