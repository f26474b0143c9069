//! A place where one arm stands while a cell is measured.

use std::time::Duration;

use weir_http::Url;
use weir_model::Note;
use weir_observe::{Scraper, Selection};
use weir_spec::plan::{
    Arm, ClientOptions, Deployment, EmulatedTarget, EndpointTarget, LiveTarget, LocalTarget,
};

use crate::emulated::Emulated;
use crate::endpoint::{Access, EngineEndpoint};
use crate::error::DeployError;
use crate::local::{CellPlace, Local};
use crate::remote::RemoteStore;
use crate::tiers::Tiers;

/// Where an arm's engines are asked and observed.
#[derive(Debug)]
pub struct Site {
    endpoints: Vec<EngineEndpoint>,
    metrics: Vec<Url>,
    model: String,
    stands: Stands,
}

#[derive(Debug)]
enum Stands {
    /// Nothing: it was there, with the store that the arm names.
    Found(Option<Box<RemoteStore>>),
    Emulated(Box<Emulated>),
    Local(Box<Local>),
}

impl Site {
    /// Brings an arm up, or finds where it is deployed, and checks that the model is served there.
    pub fn stand_up(
        target: &LiveTarget,
        client: &ClientOptions,
        deployment: &Deployment,
        arm: &Arm,
        place: CellPlace<'_>,
    ) -> Result<Self, DeployError> {
        match target {
            LiveTarget::Endpoint(target) => {
                Self::found(target, client, deployment, arm, place.stopped)
            }
            LiveTarget::Emulated(target) => {
                Self::emulated(target, client, deployment, arm, place.run)
            }
            LiveTarget::Local(target) => Self::local(target, deployment, arm, place),
        }
    }

    fn local(
        target: &LocalTarget,
        deployment: &Deployment,
        arm: &Arm,
        place: CellPlace<'_>,
    ) -> Result<Self, DeployError> {
        let stopped = place.stopped;
        let local = Local::start(target, deployment, arm, place)?;
        let endpoints = local.endpoints();
        for endpoint in &endpoints {
            endpoint.choose(Some(&deployment.model.name), stopped)?;
        }
        let engines = endpoints.iter().map(|endpoint| below(endpoint.url(), "/metrics"));
        let beside = local.lmcache().map(|url| below(url, "/metrics"));
        Ok(Self {
            metrics: engines.chain(beside).collect(),
            endpoints,
            model: deployment.model.name.clone(),
            stands: Stands::Local(Box::new(local)),
        })
    }

    fn found(
        target: &EndpointTarget,
        client: &ClientOptions,
        deployment: &Deployment,
        arm: &Arm,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, DeployError> {
        let access = Access::of(target, Duration::from_nanos(client.request_timeout.0))?;
        let name = target.model.as_deref().unwrap_or(&deployment.model.name);
        let mut endpoints = Vec::new();
        for url in target.urls(&arm.name) {
            let endpoint = EngineEndpoint::new(url, access.clone())?;
            endpoint.choose(Some(name), stopped)?;
            endpoints.push(endpoint);
        }
        let metrics = match &target.metrics {
            None => endpoints.iter().map(|endpoint| below(endpoint.url(), "/metrics")).collect(),
            Some(urls) => urls.0.iter().map(|text| parsed(text)).collect::<Result<_, _>>()?,
        };
        let store = match arm.offload.as_ref().and_then(|offload| offload.store.as_ref()) {
            Some(store) if arm.store_access.is_some() => {
                let chunk = arm.offload.as_ref().map_or(0, |offload| offload.chunk_bytes.kept);
                Some(Box::new(RemoteStore::of_endpoint(arm, store, chunk)?))
            }
            _ => None,
        };
        Ok(Self { endpoints, metrics, model: name.to_owned(), stands: Stands::Found(store) })
    }

    fn emulated(
        target: &EmulatedTarget,
        client: &ClientOptions,
        deployment: &Deployment,
        arm: &Arm,
        run: &str,
    ) -> Result<Self, DeployError> {
        let emulated = Emulated::start(target, deployment, arm, server_core(client), run)?;
        let endpoint = EngineEndpoint::new(&emulated.url(), Access::default())?;
        endpoint.choose(Some(&deployment.model.name), &|| false)?;
        Ok(Self {
            metrics: vec![below(endpoint.url(), "/metrics")],
            endpoints: vec![endpoint],
            model: deployment.model.name.clone(),
            stands: Stands::Emulated(Box::new(emulated)),
        })
    }

    pub fn endpoints(&self) -> &[EngineEndpoint] {
        &self.endpoints
    }

    /// Where metrics are read: full URLs.
    pub fn metrics(&self) -> &[Url] {
        &self.metrics
    }

    /// Reads the metrics at one of them.
    pub fn scraper(&self, url: &Url) -> Scraper {
        self.endpoints[0].access().scraper(url, "", Selection::relevant())
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    /// True when it was brought up for this cell: its caches are empty.
    pub const fn is_fresh(&self) -> bool {
        !matches!(self.stands, Stands::Found(_))
    }

    /// The emulated tiers that were brought up with it.
    pub fn tiers(&self) -> Option<&Tiers> {
        match &self.stands {
            Stands::Emulated(emulated) => emulated.tiers(),
            Stands::Found(_) | Stands::Local(_) => None,
        }
    }

    /// The processes that were brought up with it.
    pub fn processes(&self) -> Option<&Local> {
        match &self.stands {
            Stands::Local(local) => Some(local),
            Stands::Found(_) | Stands::Emulated(_) => None,
        }
    }

    /// The store behind the arm.
    pub fn store(&self) -> Option<&RemoteStore> {
        match &self.stands {
            Stands::Found(store) => store.as_deref(),
            Stands::Emulated(emulated) => emulated.tiers().and_then(Tiers::remote),
            Stands::Local(local) => local.store(),
        }
    }

    /// What a measurement there should know of its tiers, one sentence each.
    pub fn notes(&self) -> Vec<Note> {
        match &self.stands {
            Stands::Found(store) => store.iter().flat_map(|store| store.notes()).cloned().collect(),
            Stands::Emulated(emulated) => emulated.tiers().map_or_else(Vec::new, Tiers::notes),
            Stands::Local(local) => local.notes(),
        }
    }

    /// Refuses where a part of it has died, with the cause that its log gives.
    pub fn check(&self) -> Result<(), DeployError> {
        match &self.stands {
            Stands::Local(local) => local.check(),
            Stands::Found(_) | Stands::Emulated(_) => Ok(()),
        }
    }

    /// Takes down what was brought up.
    pub fn tear_down(self) -> Result<(), DeployError> {
        match self.stands {
            Stands::Found(_) => Ok(()),
            Stands::Emulated(emulated) => emulated.stop(),
            Stands::Local(local) => local.stop(),
        }
    }
}

/// The processor of a server beside the client's workers: the one after theirs, where they are
/// pinned.
fn server_core(client: &ClientOptions) -> Option<usize> {
    client.pin.map(|first| (first + client.workers) as usize)
}

fn below(url: &Url, path: &str) -> Url {
    Url { path: url.target(path), ..url.clone() }
}

fn parsed(text: &str) -> Result<Url, DeployError> {
    Ok(Url::parse(text)?)
}
