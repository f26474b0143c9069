use std::path::Path;

use crate::document::live_router::LiveRouter;
use crate::error::SpecError;
use crate::plan::{Arm, Deployment, RouterKind};

/// More replicas than addresses that each can have for itself.
const MOST_REPLICAS: u32 = 200;

pub(super) fn check(
    key: &str,
    router: &LiveRouter,
    deployments: &[Deployment],
) -> Result<(), SpecError> {
    let own = [("picker", router.picker.is_some()), ("envoy", router.envoy.is_some())];
    let own = own.into_iter().chain([("fail_open", router.fail_open)]);
    if let Some((name, _)) =
        own.filter(|(_, given)| *given).find(|_| router.kind != RouterKind::LlmD)
    {
        return Err(SpecError::value(
            format!("{key}.{name}"),
            "only llm-d's picker behind Envoy has it",
            "remove it, or write `kind: llm-d`",
        ));
    }
    let routed = |deployment: &&Deployment| deployment.arms.iter().any(Arm::is_routed);
    let many = deployments.iter().filter(routed).find(|of| of.replicas > MOST_REPLICAS);
    match many {
        Some(deployment) if router.kind != RouterKind::Engine => Err(SpecError::value(
            "replicas",
            format!("{} replicas with an address of their own each", deployment.replicas),
            format!("write at most {MOST_REPLICAS}, or `target: simulated`"),
        )),
        _ => Ok(()),
    }
}

/// Programs by path, relative to the experiment file's folder.
pub(super) fn located(router: &LiveRouter, base: &Path) -> LiveRouter {
    let path = |text: &String| base.join(text).display().to_string();
    LiveRouter {
        picker: router.picker.as_ref().map(path),
        envoy: router.envoy.as_ref().map(path),
        ..router.clone()
    }
}
