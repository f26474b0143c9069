//! Weir's own router as the door, on threads of this process.

use std::net::{Ipv4Addr, TcpListener};

use weir_http::Url;
use weir_picker::PickedReplicas;
use weir_proxy::{Proxy, ProxyConfig, ProxyHandle};
use weir_store::server::StoreServer;

use super::FrontPlan;
use crate::address::EngineAddress;
use crate::error::DeployError;

pub(super) fn start(
    plan: FrontPlan<'_>,
    replicas: &PickedReplicas,
    index: Option<&StoreServer>,
) -> Result<ProxyHandle, DeployError> {
    let urls = EngineAddress::all_of(replicas).map(EngineAddress::url);
    let urls = urls.collect::<Result<Vec<Url>, _>>()?;
    let mut config = ProxyConfig::new(urls, plan.arm.routing.clone());
    if plan.arm.routing.policy.hears_events() {
        config.kv_events = EngineAddress::all_of(replicas).map(EngineAddress::events_url).collect();
    }
    config.index = index.map(StoreServer::address);
    config.log = Some(plan.logs.join("decisions.jsonl"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DeployError::Port)?;
    Ok(Proxy::start(config, listener)?)
}
