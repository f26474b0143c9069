//! Names and labels of the objects that stand for one deployment of a plan.
//!
//! A person finds all of Weir's by `app.kubernetes.io/managed-by=weir`. Nothing is ever found
//! or removed by its name.

use std::collections::BTreeMap;

use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use weir_spec::plan::{Arm, Deployment};
use xxhash_rust::xxh3::xxh3_64;

/// Of names and values of labels.
const MOST_CHARACTERS: usize = 63;
/// Of a model and hardware in a name, beside a hash.
const MOST_SLUG: usize = 32;

pub(super) const MANAGER: &str = "weir";

pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(super) const STACK: &str = "weir.dev/stack";
pub(super) const ARM: &str = "weir.dev/arm";
pub(super) const ROLE: &str = "weir.dev/role";

/// What an object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// What all others belong to.
    Anchor,
    Engine,
    Store,
    /// Of a router.
    Index,
    Router,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Engine => "engine",
            Self::Store => "store",
            Self::Index => "index",
            Self::Router => "router",
        }
    }
}

/// A deployment in its namespace. All of its arms have the same names: one stands at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StackNames {
    stack: String,
}

impl StackNames {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let of = format!("{} {}", deployment.model.name, deployment.label);
        let model = deployment.model.name.rsplit('/').next().unwrap_or_default();
        let slug = plain(&format!("{model}-{}", deployment.label), MOST_SLUG);
        // Long names may differ in what is cut.
        Self { stack: format!("{slug}-{:06x}", xxh3_64(of.as_bytes()) & 0xff_ffff) }
    }

    pub(super) fn stack(&self) -> &str {
        &self.stack
    }

    /// Of everything that stands for the deployment.
    pub(super) fn selector(&self) -> String {
        format!("{MANAGED_BY}={MANAGER},{STACK}={}", self.stack)
    }

    pub(super) fn object(&self, role: Role) -> String {
        match role {
            Role::Anchor => format!("weir-{}", self.stack),
            _ => format!("{}-{}", role.name(), self.stack),
        }
    }

    /// Labels by which a Deployment knows its pods: the same for all arms.
    pub(super) fn pods(&self, role: Role) -> BTreeMap<String, String> {
        [(MANAGED_BY, MANAGER), (STACK, &self.stack), (ROLE, role.name())]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub(super) fn labels(&self, role: Role, arm: &Arm) -> BTreeMap<String, String> {
        let mut labels = self.pods(role);
        labels.insert(ARM.to_owned(), plain(&arm.name, MOST_CHARACTERS));
        labels
    }

    pub(super) fn meta(&self, role: Role, arm: &Arm, owner: Option<&OwnerReference>) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.object(role)),
            labels: Some(self.labels(role, arm)),
            owner_references: owner.map(|owner| vec![owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// Whoever holds it may change the stack.
pub(super) fn lease_of(stack: &str) -> String {
    format!("weir-{stack}")
}

/// Of all stacks in a namespace.
pub(super) fn all_stacks() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// Among the objects of stacks.
pub(super) fn anchors() -> String {
    format!("{ROLE}={}", Role::Anchor.name())
}

/// Among the objects of a stack.
pub(super) fn with_roles(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    format!("{ROLE} in ({})", names.join(","))
}

/// As a DNS label.
fn plain(text: &str, most: usize) -> String {
    let lower = text.to_ascii_lowercase();
    let plain = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let cut: String = plain.take(most).collect();
    cut.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label_however_long_the_model_is() {
        assert_eq!(plain("Qwen3-8B.Instruct_x-1x-h100", 63), "qwen3-8b-instruct-x-1x-h100");
        assert_eq!(plain("a/b--", 3), "a-b");
        assert_eq!(plain(&"x".repeat(100), MOST_SLUG).len(), MOST_SLUG);
    }
}
