//! The programs of a front, and whether they can serve an arm.

use std::path::PathBuf;

use weir_picker::PickerRelease;
use weir_spec::plan::{Arm, LiveRouter, LiveTarget, Plan, RouterKind};
use weir_store::server::program;

use super::{index_product, is_needed};
use crate::error::DeployError;
use crate::setup::{RouterPart, RouterParts};

#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) envoy: PathBuf,
    pub(crate) picker: PathBuf,
    pub(crate) release: PickerRelease,
}

impl Parts {
    /// Those of the target, else those of `weir setup router`.
    pub(crate) fn find(router: &LiveRouter, arm: &Arm) -> Result<Self, DeployError> {
        let installed = RouterParts::installed()?;
        let part = |own: &Option<String>, part| match own {
            Some(path) => Ok(PathBuf::from(path)),
            None => installed.find(part).ok_or_else(|| DeployError::Unsupported {
                arm: arm.name.clone(),
                problem: format!("{} is not installed on this machine", part.what()),
                remedy: "run `weir setup router`".to_owned(),
            }),
        };
        let picker = part(&router.picker, RouterPart::Picker)?;
        let release = PickerRelease::of(&picker)?;
        Ok(Self { envoy: part(&router.envoy, RouterPart::Envoy)?, picker, release })
    }
}

/// Arms that need a front on this machine, with what the target says of it. That of pods is a pod.
pub(super) fn routed(plan: &Plan) -> impl Iterator<Item = (&LiveRouter, &Arm)> {
    let live = plan.target.live().filter(|_| plan.target.kubernetes().is_none());
    let router = live.and_then(LiveTarget::router);
    router.into_iter().flat_map(|router| {
        plan.deployments.iter().flat_map(move |deployment| {
            let needed = |arm: &&Arm| is_needed(router, arm, deployment.replicas);
            deployment.arms.iter().filter(needed).map(move |arm| (router, arm))
        })
    })
}

/// An error for a routed arm whose router or index store is not installed.
pub fn preflight(plan: &Plan) -> Result<(), DeployError> {
    for (router, arm) in routed(plan) {
        if router.kind == RouterKind::LlmD {
            Parts::find(router, arm)?;
        }
        let absent = index_product(arm).filter(|product| program(*product).is_none());
        if let Some(product) = absent {
            return Err(DeployError::Unsupported {
                arm: arm.name.clone(),
                problem: format!("{product}, which keeps its index, is not installed"),
                remedy: product.traits().install.to_owned(),
            });
        }
    }
    Ok(())
}
