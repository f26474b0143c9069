//! Weir's own engine in real time, on a thread of this process, for as long as a cell lasts.

use std::net::TcpListener;

use weir_serve::tokenizer::TokenizerConfig;
use weir_serve::{ServeConfig, Server, ServerHandle};
use weir_spec::plan::{Arm, Deployment, EmulatedTarget};

use crate::error::DeployError;
use crate::tiers::Tiers;

/// Dropping it stops it.
#[derive(Debug)]
pub struct Emulated {
    // Before the tiers, which it uses to its end.
    server: ServerHandle,
    tiers: Option<Tiers>,
}

impl Emulated {
    /// `core` pins its threads; `run` is the run's id.
    pub fn start(
        target: &EmulatedTarget,
        deployment: &Deployment,
        arm: &Arm,
        core: Option<usize>,
        run: &str,
    ) -> Result<Self, DeployError> {
        let failed = |error: &dyn std::fmt::Display| DeployError::Emulated(error.to_string());
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| failed(&error))?;
        let tiers = Tiers::open(target, deployment, arm, run)?;
        let mut config = config(deployment, arm, tiers.as_ref())?;
        config.core = core;
        let server = Server::start(config, listener).map_err(|error| failed(&error))?;
        Ok(Self { server, tiers })
    }

    /// Tiers with real bytes only.
    pub const fn tiers(&self) -> Option<&Tiers> {
        self.tiers.as_ref()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    /// Waits for open answers, then closes the tiers.
    pub fn stop(self) -> Result<(), DeployError> {
        let ended = self.server.shutdown();
        self.tiers.map_or(Ok(()), Tiers::close)?;
        ended.map_err(|error| DeployError::Emulated(error.to_string()))
    }
}

/// Engines, tiers and routing of an arm, under the model's name.
pub fn config(
    deployment: &Deployment,
    arm: &Arm,
    tiers: Option<&Tiers>,
) -> Result<ServeConfig, DeployError> {
    let replicas = u16::try_from(deployment.replicas)
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
    config.mover = tiers.map(Tiers::mover);
    config.tokenizer = TokenizerConfig::BuiltIn { vocabulary: deployment.model.vocabulary };
    Ok(config)
}
