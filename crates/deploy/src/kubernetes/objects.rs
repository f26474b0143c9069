//! All objects of an arm, in the order of applying, with the step that each belongs to.

use std::collections::BTreeMap;
use std::fmt;

use weir_kubernetes::Manifest;
use weir_kubernetes::k8s_openapi::api::core::v1::ConfigMap;

use super::arm::PodArm;
use super::engine;
use super::names::Role;
use super::router::PodRouter;
use super::store::PodStore;
use super::volume;
use crate::error::DeployError;

/// Steps of a stack's life, with the numbers that llm-d-benchmark gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StandStep {
    Preflight,
    Namespace,
    Standalone,
    LlmD,
    SmokeTest,
}

impl StandStep {
    pub const ALL: [Self; 5] =
        [Self::Preflight, Self::Namespace, Self::Standalone, Self::LlmD, Self::SmokeTest];

    pub const fn number(self) -> u8 {
        match self {
            Self::Preflight => 1,
            Self::Namespace => 4,
            Self::Standalone => 6,
            Self::LlmD => 7,
            Self::SmokeTest => 8,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Namespace => "namespace",
            Self::Standalone => "standalone",
            Self::LlmD => "llm-d",
            Self::SmokeTest => "smoketest",
        }
    }
}

impl fmt::Display for StandStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:02} {}", self.number(), self.name()))
    }
}

/// An object with its step.
#[derive(Debug, Clone)]
pub struct StackObject {
    pub step: StandStep,
    pub manifest: Manifest,
}

/// What all other objects belong to: they go when it goes, also after a crash.
pub(super) fn anchor(of: &PodArm<'_>) -> ConfigMap {
    let data = [
        ("model", of.deployment.model.name.clone()),
        ("hardware", of.deployment.label.clone()),
        ("arm", of.arm.name.clone()),
    ];
    ConfigMap {
        metadata: of.names.meta(Role::Anchor, of.arm, None),
        data: Some(
            data.into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<BTreeMap<_, _>>(),
        ),
        ..ConfigMap::default()
    }
}

/// Without the anchor.
pub(super) fn all(of: &PodArm<'_>, namespace: &str) -> Result<Vec<StackObject>, DeployError> {
    let mut objects = Vec::new();
    let mut add = |step, manifest| objects.push(StackObject { step, manifest });
    if let Some(claim) = volume::claim(of) {
        add(StandStep::Namespace, Manifest::of(&claim));
    }
    if let Some(product) = of.own_store() {
        for manifest in stored(&PodStore { of, role: Role::Store, product }) {
            add(StandStep::Standalone, manifest);
        }
    }
    if of.target.emulated.is_some() {
        add(StandStep::Standalone, Manifest::of(&engine::plan(of)?));
    }
    add(StandStep::Standalone, Manifest::of(&engine::service(of)));
    add(StandStep::Standalone, Manifest::of(&engine::deployment(of)?));
    if of.is_routed() {
        if let Some(product) = of.index_product() {
            for manifest in stored(&PodStore { of, role: Role::Index, product }) {
                add(StandStep::LlmD, manifest);
            }
        }
        for manifest in PodRouter::new(of)?.manifests(namespace)? {
            add(StandStep::LlmD, manifest);
        }
    }
    Ok(objects)
}

fn stored(store: &PodStore<'_, '_>) -> [Manifest; 3] {
    [
        Manifest::of(&store.config()),
        Manifest::of(&store.service()),
        Manifest::of(&store.deployment()),
    ]
}
