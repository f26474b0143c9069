//! The target, with the required keys of an endpoint.

use std::collections::BTreeMap;
use std::path::Path;

use weir_model::Nanos;
use weir_workload::ClientOptions;

use super::{HOUR, check_span, kubernetes, live_router, local};
use crate::document::target::{EmulatedTarget, EndpointTarget, LiveTarget, Target};
use crate::error::{SpecError, did_you_mean};
use crate::plan::{ArmRole, Deployment};

pub(super) fn resolve(
    target: &Target,
    base: &Path,
    client: &ClientOptions,
    deployments: &[Deployment],
) -> Result<Target, SpecError> {
    let live = match target {
        Target::Simulated => return Ok(Target::Simulated),
        Target::Live(live) => live,
    };
    Ok(Target::Live(match live {
        LiveTarget::Emulated(emulated) => {
            if client.tokenizer.is_some() {
                return Err(SpecError::value(
                    "client.tokenizer",
                    "the emulated engine takes token ids",
                    "remove it",
                ));
            }
            check_emulated("target.emulated", emulated)?;
            live_router::check("target.emulated.router", &emulated.router, deployments)?;
            LiveTarget::Emulated(EmulatedTarget {
                disk: emulated.disk.as_ref().map(|path| base.join(path).display().to_string()),
                router: live_router::located(&emulated.router, base),
                ..emulated.clone()
            })
        }
        LiveTarget::Local(target) => {
            LiveTarget::Local(Box::new(local::resolve(target, base, client, deployments)?))
        }
        LiveTarget::Kubernetes(target) => {
            LiveTarget::Kubernetes(Box::new(kubernetes::resolve(target, base, deployments)?))
        }
        LiveTarget::Endpoint(endpoint) => {
            check(endpoint, deployments)?;
            LiveTarget::Endpoint(located(endpoint, base))
        }
    }))
}

pub(super) fn located(endpoint: &EndpointTarget, base: &Path) -> EndpointTarget {
    let file = |path: &String| base.join(path).display().to_string();
    EndpointTarget {
        bearer_file: endpoint.bearer_file.as_ref().map(file),
        ca_file: endpoint.ca_file.as_ref().map(file),
        ..endpoint.clone()
    }
}

const MOST_MOVERS: u32 = 256;

pub(super) fn check_emulated(at: &str, target: &EmulatedTarget) -> Result<(), SpecError> {
    let refuse = |key: &str, problem: String, remedy: String| {
        Err(SpecError::value(format!("{at}.{key}"), problem, remedy))
    };
    let scale = target.byte_scale;
    if !(scale > 0.0 && scale <= 1.0) {
        let remedy = "write a number above 0 and at most 1".to_owned();
        return refuse("byte_scale", format!("unsupported scale {scale}"), remedy);
    }
    if !(1..=MOST_MOVERS).contains(&target.movers) {
        let remedy = format!("write a number from 1 to {MOST_MOVERS}");
        return refuse("movers", format!("{} threads", target.movers), remedy);
    }
    if target.deadline.0 == Nanos::ZERO {
        let remedy = "write for example 10s".to_owned();
        return refuse("deadline", "nothing can be done in no time".to_owned(), remedy);
    }
    check_span(&format!("{at}.deadline"), target.deadline.0, HOUR)
}

/// Refuses other parts of a URL: they would be recorded, and can be secret.
pub(super) fn check_urls(endpoint: &EndpointTarget) -> Result<(), SpecError> {
    let own = endpoint.url.0.iter().map(|url| ("url".to_owned(), url));
    let of_arms = endpoint
        .arms
        .iter()
        .flat_map(|(arm, urls)| urls.0.iter().map(move |url| (format!("arms.{arm}"), url)));
    let metrics = endpoint.metrics.iter().flat_map(|urls| &urls.0);
    let metrics = metrics.map(|url| ("metrics".to_owned(), url));
    for (key, url) in own.chain(of_arms).chain(metrics) {
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let what = if authority.contains('@') {
            "a user or password"
        } else if rest.contains('?') {
            "a query"
        } else {
            continue;
        };
        return Err(SpecError::value(
            format!("target.endpoint.{key}"),
            format!("the URL holds {what}, which would be recorded"),
            "leave it out, and write `bearer_file` or `headers`",
        ));
    }
    Ok(())
}

fn check(endpoint: &EndpointTarget, deployments: &[Deployment]) -> Result<(), SpecError> {
    check_urls(endpoint)?;
    let arms: Vec<_> = deployments.first().map_or(Vec::new(), |first| first.arms.iter().collect());
    for name in endpoint.arms.keys() {
        if !arms.iter().any(|arm| arm.name == *name) {
            let nearest = did_you_mean(name, arms.iter().map(|arm| arm.name.as_str()));
            return Err(SpecError::value(
                format!("target.endpoint.arms.{name}"),
                format!("unknown arm{nearest}"),
                "write the name of an arm of the experiment",
            ));
        }
    }
    if deployments.len() > 1 {
        return Err(SpecError::value(
            "target.endpoint",
            format!("{} deployments (models x hardware), and one endpoint", deployments.len()),
            "write one model and one kind of hardware: those that are deployed there",
        ));
    }
    let mut at: BTreeMap<Vec<&str>, &str> = BTreeMap::new();
    for arm in arms {
        let urls = endpoint.urls(&arm.name);
        if urls.is_empty() {
            let problem = format!("nobody says where arm `{}` is deployed", arm.name);
            let remedy = if endpoint.arms.is_empty() {
                "write `target: {endpoint: {url: http://host:8000}}`, or add `--set \
                 target.endpoint.url=http://host:8000`"
                    .to_owned()
            } else {
                format!("add `{}: http://host:8000` to `target.endpoint.arms`", arm.name)
            };
            return Err(SpecError::value("target.endpoint.url", problem, remedy));
        }
        // A control and its repetition may share a deployment; other arms would be compared with
        // themselves.
        if arm.role == ArmRole::ControlAgain {
            continue;
        }
        let places = urls.iter().map(|url| place(url)).collect();
        if let Some(other) = at.insert(places, &arm.name) {
            return Err(SpecError::value(
                "target.endpoint",
                format!("`{other}` and `{}` are the same deployment, {}", arm.name, urls[0]),
                format!(
                    "write where `{0}` is deployed: `arms: {{{0}: http://...}}`, or remove it",
                    arm.name
                ),
            ));
        }
    }
    Ok(())
}

/// Without parts that do not change the place.
fn place(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/v1").unwrap_or(url)
}
