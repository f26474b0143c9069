//! Rights that an arm's stack needs, as a Role grants them.

use std::collections::BTreeSet;

use weir_kubernetes::{Manifest, Right};

/// What is done with each object.
const CHANGES: [&str; 4] = ["get", "list", "patch", "delete"];
/// What is looked at beside the objects: verb, resource, subresource.
const LOOKS: [(&str, &str, Option<&str>); 2] =
    [("list", "pods", None), ("get", "pods", Some("log"))];

pub(super) fn needed<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Vec<Right> {
    let kinds: BTreeSet<_> = manifests.map(Manifest::kind).collect();
    let changes = kinds.into_iter().flat_map(|kind| {
        CHANGES.map(|verb| Right {
            verb: verb.to_owned(),
            group: kind.group.clone(),
            resource: kind.plural.clone(),
            subresource: None,
            name: None,
            in_namespace: kind.in_namespace,
        })
    });
    let looks = LOOKS.map(|(verb, resource, subresource)| Right {
        verb: verb.to_owned(),
        group: String::new(),
        resource: resource.to_owned(),
        subresource: subresource.map(str::to_owned),
        name: None,
        in_namespace: true,
    });
    changes.chain(looks).collect()
}

/// "patch deployments.apps"
pub(super) fn words(right: &Right) -> String {
    let Right { verb, group, resource, subresource, .. } = right;
    let sub = subresource.as_ref().map_or(String::new(), |sub| format!("/{sub}"));
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    format!("{verb} {resource}{group}{sub}")
}

#[cfg(test)]
mod tests {
    use weir_kubernetes::k8s_openapi::api::apps::v1::Deployment;
    use weir_kubernetes::k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn each_kind_is_asked_for_once() {
        let maps = [ConfigMap::default(), ConfigMap::default()].map(|map| Manifest::of(&map));
        let engine = Manifest::of(&Deployment::default());
        let rights = needed(maps.iter().chain([&engine]));
        let told: Vec<String> = rights.iter().map(words).collect();
        assert_eq!(told.len(), 2 * CHANGES.len() + LOOKS.len(), "{told:?}");
        assert!(told.contains(&"patch deployments.apps".to_owned()), "{told:?}");
        assert!(told.contains(&"get pods/log".to_owned()), "{told:?}");
    }
}
