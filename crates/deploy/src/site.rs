//! One running arm during a cell.

use std::time::Duration;

use weir_http::Url;
use weir_model::Note;
use weir_observe::{Scraper, Selection};
use weir_picker::REPLICA_HEADER;
use weir_spec::plan::{Arm, ClientOptions, Deployment, EndpointTarget, LiveTarget};

use crate::emulated::Emulated;
use crate::endpoint::{Access, EngineEndpoint};
use crate::error::DeployError;
use crate::front::Front;
use crate::kubernetes::Pods;
use crate::local::{CellPlace, Local};
use crate::remote::RemoteStore;
use crate::tiers::Tiers;

#[derive(Debug)]
pub struct Site {
    endpoints: Vec<EngineEndpoint>,
    /// Of a router in front of them.
    door: Option<EngineEndpoint>,
    metrics: Vec<Url>,
    model: String,
    replicas: Vec<String>,
    stands: Stands,
}

#[derive(Debug)]
enum Stands {
    /// Deployed before, with the store that the arm names.
    Found(Option<Box<RemoteStore>>),
    Emulated(Box<Emulated>),
    Local(Box<Local>),
    Kubernetes(Box<Pods>),
}

impl Stands {
    fn front(&self) -> Option<&Front> {
        match self {
            Self::Found(_) => None,
            Self::Emulated(emulated) => emulated.front(),
            Self::Local(local) => local.front(),
            Self::Kubernetes(pods) => pods.front(),
        }
    }

    fn processes(&self) -> Option<&Local> {
        match self {
            Self::Local(local) => Some(local),
            Self::Found(_) | Self::Emulated(_) | Self::Kubernetes(_) => None,
        }
    }
}

impl Site {
    /// Starts an arm, or finds its deployment, and checks that the model is served.
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
                let stopped = place.stopped;
                let core = server_core(client);
                let emulated = Emulated::start(target, deployment, arm, core, place)?;
                let endpoints =
                    emulated.urls().map(|url| EngineEndpoint::new(&url, Access::default()));
                let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
                Self::started(Stands::Emulated(Box::new(emulated)), endpoints, deployment, stopped)
            }
            LiveTarget::Local(target) => {
                let stopped = place.stopped;
                let local = Local::start(target, deployment, arm, place)?;
                let endpoints = local.endpoints();
                Self::started(Stands::Local(Box::new(local)), endpoints, deployment, stopped)
            }
            LiveTarget::Kubernetes(target) => {
                let stopped = place.stopped;
                let pods = Pods::start(target, deployment, arm, place)?;
                let endpoints = pods.endpoints().to_vec();
                Self::started(Stands::Kubernetes(Box::new(pods)), endpoints, deployment, stopped)
            }
        }
    }

    fn started(
        stands: Stands,
        endpoints: Vec<EngineEndpoint>,
        deployment: &Deployment,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, DeployError> {
        for endpoint in &endpoints {
            endpoint.choose(Some(&deployment.model.name), stopped)?;
        }
        let front = stands.front();
        let door = front.map(|front| through(front, endpoints[0].access())).transpose()?;
        let engines = endpoints.iter().map(|endpoint| below(endpoint.url(), "/metrics"));
        let lmcache = stands.processes().and_then(Local::lmcache);
        let metrics = engines
            .chain(lmcache.map(|url| below(url, "/metrics")))
            .chain(front.into_iter().flat_map(Front::metrics))
            .collect();
        // One emulated server routes by itself where it has several replicas.
        let is_one_each = endpoints.len() == deployment.replicas as usize;
        let replicas = if is_one_each { addresses(&endpoints) } else { Vec::new() };
        let model = deployment.model.name.clone();
        Ok(Self { endpoints, door, metrics, model, replicas, stands })
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
        // Behind one URL there may be a gateway with any number of replicas.
        let replicas = if endpoints.len() > 1 { addresses(&endpoints) } else { Vec::new() };
        let (model, stands) = (name.to_owned(), Stands::Found(store));
        Ok(Self { endpoints, door: None, metrics, model, replicas, stands })
    }

    /// The engines.
    pub fn endpoints(&self) -> &[EngineEndpoint] {
        &self.endpoints
    }

    /// Where the load goes: the router in front of the engines, or they themselves.
    pub fn doors(&self) -> &[EngineEndpoint] {
        self.door.as_ref().map_or(&self.endpoints, std::slice::from_ref)
    }

    /// False: the router in front reads prompts as text only.
    pub fn takes_token_ids(&self) -> bool {
        self.front().is_none_or(Front::takes_token_ids)
    }

    /// Of the model that engines here were started with.
    pub fn tokenizer_file(&self) -> Option<String> {
        self.processes().and_then(Local::tokenizer_file)
    }

    pub fn front(&self) -> Option<&Front> {
        self.stands.front()
    }

    /// Response header with the replica that answered: Weir's own where Weir set up the router.
    pub fn replica_header<'a>(&self, client: &'a ClientOptions) -> &'a str {
        if self.front().is_some() { REPLICA_HEADER } else { &client.replica_header }
    }

    pub fn metrics(&self) -> &[Url] {
        &self.metrics
    }

    /// `IP:PORT` of each engine, as a response header names it; the index is the replica's number.
    /// Empty where they are not known.
    pub fn replicas(&self) -> &[String] {
        &self.replicas
    }

    /// Where engines publish KV events, in the order of [`Self::replicas`]; empty where that is not
    /// known.
    pub fn kv_event_endpoints(&self) -> Vec<String> {
        match &self.stands {
            Stands::Local(local) => local.kv_event_endpoints(),
            Stands::Emulated(emulated) => emulated.kv_event_endpoints(),
            Stands::Kubernetes(pods) => pods.kv_event_endpoints(),
            Stands::Found(_) => Vec::new(),
        }
    }

    pub fn scraper(&self, url: &Url) -> Scraper {
        self.endpoints[0].access().scraper(url, "", Selection::relevant())
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    /// True when it was started for this cell: its caches are empty.
    pub const fn is_fresh(&self) -> bool {
        match &self.stands {
            Stands::Found(_) => false,
            Stands::Emulated(_) | Stands::Local(_) => true,
            Stands::Kubernetes(pods) => pods.is_fresh(),
        }
    }

    pub fn tiers(&self) -> Option<&Tiers> {
        match &self.stands {
            Stands::Emulated(emulated) => emulated.tiers(),
            Stands::Found(_) | Stands::Local(_) | Stands::Kubernetes(_) => None,
        }
    }

    pub fn processes(&self) -> Option<&Local> {
        self.stands.processes()
    }

    /// True where programs of others were started for the cell.
    pub fn has_processes(&self) -> bool {
        let are_pods = matches!(self.stands, Stands::Kubernetes(_));
        self.processes().is_some() || self.front().is_some() || are_pods
    }

    pub fn store(&self) -> Option<&RemoteStore> {
        match &self.stands {
            Stands::Found(store) => store.as_deref(),
            Stands::Emulated(emulated) => emulated.tiers().and_then(Tiers::remote),
            Stands::Local(local) => local.store(),
            Stands::Kubernetes(pods) => pods.store(),
        }
    }

    /// On its tiers, one sentence each.
    pub fn notes(&self) -> Vec<Note> {
        match &self.stands {
            Stands::Found(store) => store.iter().flat_map(|store| store.notes()).cloned().collect(),
            Stands::Emulated(emulated) => emulated.tiers().map_or_else(Vec::new, Tiers::notes),
            Stands::Local(local) => local.notes(),
            Stands::Kubernetes(pods) => pods.notes(),
        }
    }

    /// An error where a part has died, with the cause from its log.
    pub fn check(&self) -> Result<(), DeployError> {
        match &self.stands {
            Stands::Local(local) => local.check(),
            Stands::Emulated(emulated) => emulated.check(),
            Stands::Kubernetes(pods) => pods.check(),
            Stands::Found(_) => Ok(()),
        }
    }

    /// The same, however short ago it was asked: after the last request nobody asks again.
    pub fn check_last(&self) -> Result<(), DeployError> {
        match &self.stands {
            Stands::Kubernetes(pods) => pods.look(),
            Stands::Local(_) | Stands::Emulated(_) | Stands::Found(_) => self.check(),
        }
    }

    pub fn tear_down(self) -> Result<(), DeployError> {
        match self.stands {
            Stands::Found(_) => Ok(()),
            Stands::Emulated(emulated) => emulated.stop(),
            Stands::Local(local) => local.stop(),
            Stands::Kubernetes(pods) => pods.leave(),
        }
    }
}

/// The CPU after the client's workers', where those are pinned.
fn server_core(client: &ClientOptions) -> Option<usize> {
    client.pin.map(|first| (first + client.workers) as usize)
}

/// Requests to the door carry what those to the engines carry.
fn through(front: &Front, access: &Access) -> Result<EngineEndpoint, DeployError> {
    EngineEndpoint::new(&front.door().to_string(), access.clone())
}

fn addresses(endpoints: &[EngineEndpoint]) -> Vec<String> {
    endpoints.iter().map(|endpoint| endpoint.url().address()).collect()
}

fn below(url: &Url, path: &str) -> Url {
    Url { path: url.target(path), ..url.clone() }
}

fn parsed(text: &str) -> Result<Url, DeployError> {
    Ok(Url::parse(text)?)
}
