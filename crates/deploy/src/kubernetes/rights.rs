//! Rights that an arm's stack needs, as a Role grants them.

use std::collections::BTreeSet;

use weir_kubernetes::k8s_openapi::api::rbac::v1::{PolicyRule, Role as RbacRole};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_kubernetes::{Manifest, Right};

/// What is done with each object.
const CHANGES: [&str; 4] = ["get", "list", "patch", "delete"];
/// What is used beside the objects: verbs, API group, resource.
const BESIDE: [(&[&str], &str, &str); 5] = [
    (&["list"], "", "pods"),
    (&["get"], "", "pods/log"),
    // Kubernetes before 1.35 asks for the first only.
    (&["get", "create"], "", "pods/portforward"),
    (&["list"], "apps", "replicasets"),
    (&["get", "create", "update", "delete"], "coordination.k8s.io", "leases"),
];

/// Each once, in a stable order. A Role is made only by who has what it grants.
pub(super) fn needed<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Vec<Right> {
    let mut all = BTreeSet::new();
    for manifest in manifests {
        let kind = manifest.kind();
        let verbs = CHANGES.iter().map(|verb| (*verb).to_owned());
        all.extend(
            verbs.map(|verb| (!kind.in_namespace, kind.group.clone(), kind.plural.clone(), verb)),
        );
        if kind.plural == "roles" {
            all.extend(granted(manifest));
        }
    }
    for (verbs, group, resource) in BESIDE {
        let of = |verb: &&str| (false, group.to_owned(), resource.to_owned(), (*verb).to_owned());
        all.extend(verbs.iter().map(of));
    }
    let right = |(is_of_cluster, group, resource, verb): (bool, String, String, String)| {
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, sub)) => (resource.to_owned(), Some(sub.to_owned())),
            None => (resource, None),
        };
        Right { verb, group, resource, subresource, name: None, in_namespace: !is_of_cluster }
    };
    all.into_iter().map(right).collect()
}

/// By a Role.
fn granted(role: &Manifest) -> Vec<(bool, String, String, String)> {
    let Ok(role) = serde_json::from_value::<RbacRole>(role.value().clone()) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for rule in role.rules.unwrap_or_default() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let of = |verb: &String| (false, group.clone(), resource.clone(), verb.clone());
                all.extend(rule.verbs.iter().map(of));
            }
        }
    }
    all
}

/// A Role with these rights, for whoever runs Weir in the namespace.
pub(super) fn role(rights: &[Right], namespace: &str) -> Manifest {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for right in rights.iter().filter(|right| right.in_namespace) {
        let sub = right.subresource.as_ref().map_or(String::new(), |sub| format!("/{sub}"));
        let (groups, resource) =
            (Some(vec![right.group.clone()]), format!("{}{sub}", right.resource));
        let same = rules.iter_mut().find(|rule| {
            rule.api_groups == groups
                && rule.resources.as_deref() == Some(std::slice::from_ref(&resource))
        });
        match same {
            Some(rule) => rule.verbs.push(right.verb.clone()),
            None => rules.push(PolicyRule {
                api_groups: groups,
                resources: Some(vec![resource]),
                verbs: vec![right.verb.clone()],
                ..PolicyRule::default()
            }),
        }
    }
    let metadata = ObjectMeta {
        name: Some("weir-user".to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    Manifest::of(&RbacRole { metadata, rules: Some(rules) })
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
        let beside: usize = BESIDE.iter().map(|(verbs, ..)| verbs.len()).sum();
        assert_eq!(told.len(), 2 * CHANGES.len() + beside, "{told:?}");
        assert!(told.contains(&"patch deployments.apps".to_owned()), "{told:?}");
        assert!(told.contains(&"get pods/log".to_owned()), "{told:?}");
    }

    #[test]
    fn a_role_has_what_the_roles_that_it_makes_grant() {
        let watch = PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(vec!["pods".to_owned()]),
            verbs: vec!["watch".to_owned()],
            ..PolicyRule::default()
        };
        let picker = RbacRole { rules: Some(vec![watch]), ..RbacRole::default() };
        let rights = needed([Manifest::of(&picker)].iter());
        let told: Vec<String> = rights.iter().map(words).collect();
        assert!(told.contains(&"watch pods".to_owned()), "{told:?}");
        let yaml = role(&rights, "lab").yaml();
        let pods =
            "- apiGroups:\n  - \"\"\n  resources:\n  - pods\n  verbs:\n  - list\n  - watch\n";
        assert!(yaml.contains(pods), "{yaml}");
        assert!(yaml.contains("namespace: lab"), "{yaml}");
    }
}
