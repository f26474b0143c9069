//! A place where one arm stands while a cell is measured.

use weir_http::Url;
use weir_observe::{Scraper, Selection};
use weir_spec::plan::{Arm, Client, Deployment, EmulatedTarget, EndpointTarget, Plan, Target};

use crate::emulated::Emulated;
use crate::endpoint::{Access, Endpoint};
use crate::error::DeployError;
use crate::tiers::Tiers;

/// Where an arm's engines are asked and observed.
#[derive(Debug)]
pub struct Site {
    endpoints: Vec<Endpoint>,
    metrics: Vec<Url>,
    model: String,
    emulated: Option<Emulated>,
}

impl Site {
    /// Brings an arm up, or finds where it is deployed, and checks that the model is served there.
    pub fn stand_up(plan: &Plan, deployment: &Deployment, arm: &Arm) -> Result<Self, DeployError> {
        match &plan.target {
            Target::Endpoint(target) => Self::found(target, deployment, arm),
            Target::Emulated(target) => Self::emulated(target, &plan.client, deployment, arm),
            Target::Simulated => Err(DeployError::Emulated(
                "a simulated arm stands nowhere: this is a defect of Weir".to_owned(),
            )),
        }
    }

    fn found(
        target: &EndpointTarget,
        deployment: &Deployment,
        arm: &Arm,
    ) -> Result<Self, DeployError> {
        let access = Access::of(target)?;
        let name = target.model.as_deref().unwrap_or(&deployment.model.name);
        let mut endpoints = Vec::new();
        for url in target.urls(&arm.name) {
            let endpoint = Endpoint::new(url, access.clone())?;
            endpoint.choose(Some(name))?;
            endpoints.push(endpoint);
        }
        let metrics = match &target.metrics {
            None => endpoints.iter().map(|endpoint| below(endpoint.url(), "/metrics")).collect(),
            Some(urls) => urls.0.iter().map(|text| parsed(text)).collect::<Result<_, _>>()?,
        };
        Ok(Self { endpoints, metrics, model: name.to_owned(), emulated: None })
    }

    fn emulated(
        target: &EmulatedTarget,
        client: &Client,
        deployment: &Deployment,
        arm: &Arm,
    ) -> Result<Self, DeployError> {
        let emulated = Emulated::start(target, deployment, arm, server_core(client))?;
        let endpoint = Endpoint::new(&emulated.url(), Access::default())?;
        endpoint.choose(Some(&deployment.model.name))?;
        Ok(Self {
            metrics: vec![below(endpoint.url(), "/metrics")],
            endpoints: vec![endpoint],
            model: deployment.model.name.clone(),
            emulated: Some(emulated),
        })
    }

    /// Where requests go.
    pub fn endpoints(&self) -> &[Endpoint] {
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

    /// The model's name there.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// True when it was brought up for this cell: its caches are empty.
    pub const fn is_fresh(&self) -> bool {
        self.emulated.is_some()
    }

    /// The tiers that were brought up with it.
    pub fn tiers(&self) -> Option<&Tiers> {
        self.emulated.as_ref().and_then(Emulated::tiers)
    }

    /// Takes down what was brought up.
    pub fn tear_down(self) -> Result<(), DeployError> {
        self.emulated.map_or(Ok(()), Emulated::stop)
    }
}

/// The processor of a server beside the client's workers: the one after theirs, where they are
/// pinned.
fn server_core(client: &Client) -> Option<usize> {
    client.pin.map(|first| (first + client.workers) as usize)
}

fn below(url: &Url, path: &str) -> Url {
    Url { path: url.target(path), ..url.clone() }
}

fn parsed(text: &str) -> Result<Url, DeployError> {
    Url::parse(text).map_err(|source| DeployError::Url { text: text.to_owned(), source })
}
