//! Kinds that a server has, of itself and of every CRD.

use kube::client::{APIGroupDiscoveryList, APIVersionDiscovery};

use crate::cluster::Cluster;
use crate::error::KubernetesError;
use crate::resource::{CallSubject, ResourceKind};
use crate::transport::Call;

/// One answer per root since Kubernetes 1.27; the client library has the same list.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Kinds whose objects are in a namespace and can be listed and deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Discovered {
    pub(crate) kinds: Vec<ResourceKind>,
    /// Groups whose own server did not answer.
    pub(crate) unknown: Vec<String>,
}

impl Cluster {
    pub(crate) fn discover(&self) -> Result<Discovered, KubernetesError> {
        let mut found = Discovered::default();
        for root in ["/api", "/apis"] {
            let call = Call::get(CallSubject::address(root), root.to_owned());
            let groups = self.ask(&Call { accept: AGGREGATED, ..call })?;
            found.add(&groups);
        }
        Ok(found)
    }
}

impl Discovered {
    /// Of each kind the version that the server prefers.
    fn add(&mut self, groups: &APIGroupDiscoveryList) {
        for group in &groups.items {
            let name = group.metadata.as_ref().and_then(|metadata| metadata.name.as_deref());
            let name = name.unwrap_or_default();
            for version in &group.versions {
                if version.freshness.as_deref() == Some("Stale") {
                    self.unknown.push(name.to_owned());
                }
                self.add_version(name, version);
            }
        }
    }

    fn add_version(&mut self, group: &str, version: &APIVersionDiscovery) {
        for resource in &version.resources {
            let Some(plural) = resource.resource.as_deref() else { continue };
            let can = |verb: &str| resource.verbs.iter().any(|known| known == verb);
            // Events tell of objects, and go by themselves.
            let is_kept = resource.scope.as_deref() == Some("Namespaced")
                && can("list")
                && can("delete")
                && plural != "events";
            let is_known =
                self.kinds.iter().any(|kind| kind.group == group && kind.plural == plural);
            if is_kept && !is_known {
                let kind = resource.response_kind.as_ref().and_then(|kind| kind.kind.clone());
                self.kinds.push(ResourceKind {
                    group: group.to_owned(),
                    version: version.version.clone().unwrap_or_default(),
                    kind: kind.unwrap_or_default(),
                    plural: plural.to_owned(),
                    in_namespace: true,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_preferred_version_of_what_can_be_deleted_is_known() {
        let resource = |plural: &str, scope: &str, verbs: &[&str]| {
            json!({"resource": plural, "scope": scope, "verbs": verbs,
                   "responseKind": {"kind": "K"}})
        };
        let all = ["list", "delete"];
        let groups = json!({"items": [
            {"metadata": {"name": "apps"}, "versions": [
                {"version": "v1", "freshness": "Current", "resources": [
                    resource("deployments", "Namespaced", &all),
                    resource("reviews", "Namespaced", &["create"]),
                    resource("events", "Namespaced", &all),
                    resource("nodes", "Cluster", &all)]},
                {"version": "v1beta1", "freshness": "Current", "resources": [
                    resource("deployments", "Namespaced", &all)]}]},
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [
                {"version": "v1", "freshness": "Stale", "resources": []}]}]});
        let mut found = Discovered::default();
        found.add(&serde_json::from_value(groups).unwrap());
        let kinds: Vec<String> = found.kinds.iter().map(|kind| kind.path("n")).collect();
        assert_eq!(kinds, ["/apis/apps/v1/namespaces/n/deployments"]);
        assert_eq!(found.unknown, ["metrics.k8s.io"]);
    }
}
