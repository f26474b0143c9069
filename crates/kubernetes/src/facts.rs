//! What a cluster says of itself, and what its user may do.

use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::apimachinery::pkg::version::Info;
use serde_json::Value;

use crate::cluster::{Cluster, read};
use crate::error::KubernetesError;
use crate::resource::{CallSubject, Placed, ResourceKind};
use crate::transport::{ApiAnswer, Call};

const OPENSHIFT_GROUP: &str = "route.openshift.io";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    pub server: String,
    /// `v1.37.2`
    pub version: String,
    pub openshift: bool,
    /// None: the server is older than 1.28, or does not say.
    pub user: Option<String>,
    pub skew: Option<ClockSkew>,
}

/// The server's clock against this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// Positive: the server's clock is ahead.
    pub ahead_ms: i64,
    /// The true skew is within this bound: half of the answer's whole second and of its way.
    pub bound_ms: u64,
}

/// A verb on a resource, as a Role grants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    pub resource: String,
    /// `log`, `portforward`: a resource `pods/log` would be a name that nobody grants.
    pub subresource: Option<String>,
    /// One object; else all.
    pub name: Option<String>,
    pub in_namespace: bool,
}

impl Cluster {
    pub fn about(&self) -> Result<ClusterFacts, KubernetesError> {
        let call = Call::get(CallSubject::address("/version"), "/version".to_owned());
        let answer = self.send(&call)?;
        let skew = ClockSkew::of(&answer, Timestamp::now());
        let info: Info = read(&call.what, &answer.body)?;
        Ok(ClusterFacts {
            server: self.transport.server.clone(),
            version: info.git_version,
            openshift: self.serves_group(OPENSHIFT_GROUP)?,
            user: self.user()?,
            skew,
        })
    }

    /// In the order of `rights`.
    pub fn may(&self, rights: &[Right]) -> Result<Vec<bool>, KubernetesError> {
        rights.iter().map(|right| self.may_one(right)).collect()
    }

    /// Whether the server has a kind: a CRD is installed, a version is served.
    pub fn serves(&self, api_version: &str, kind: &str) -> Result<bool, KubernetesError> {
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let path = format!("/{root}/{api_version}");
        let found: Option<Value> = self.at_address(&path)?;
        let resources = found.as_ref().and_then(|found| found["resources"].as_array());
        Ok(resources.is_some_and(|all| all.iter().any(|resource| resource["kind"] == kind)))
    }

    fn serves_group(&self, group: &str) -> Result<bool, KubernetesError> {
        Ok(self.at_address::<Value>(&format!("/apis/{group}"))?.is_some())
    }

    fn at_address<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, KubernetesError> {
        match self.ask(&Call::get(CallSubject::address(path), path.to_owned())) {
            Ok(found) => Ok(Some(found)),
            Err(KubernetesError::NotFound { .. } | KubernetesError::UnknownKind { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn user(&self) -> Result<Option<String>, KubernetesError> {
        let review = SelfSubjectReview::default();
        match self.create::<SelfSubjectReview>(&review) {
            Ok(review) => {
                let user = review.status.and_then(|status| status.user_info);
                Ok(user.and_then(|user| user.username))
            }
            Err(
                KubernetesError::UnknownKind { .. }
                | KubernetesError::NotFound { .. }
                | KubernetesError::Forbidden { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn may_one(&self, right: &Right) -> Result<bool, KubernetesError> {
        let attributes = ResourceAttributes {
            verb: Some(right.verb.clone()),
            group: Some(right.group.clone()),
            resource: Some(right.resource.clone()),
            subresource: right.subresource.clone(),
            name: right.name.clone(),
            namespace: right.in_namespace.then(|| self.namespace.clone()),
            ..Default::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..Default::default()
        };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let review = self.create(&review)?;
        Ok(review.status.is_some_and(|status| status.allowed))
    }

    /// Reviews have no name and are not kept.
    pub(crate) fn create<K>(&self, object: &K) -> Result<K, KubernetesError>
    where
        K: k8s_openapi::Resource<Scope: Placed> + serde::Serialize + serde::de::DeserializeOwned,
    {
        let kind = ResourceKind::of_type::<K>();
        let what = CallSubject::of("create", &kind, &self.namespace);
        let body = serde_json::to_vec(object).expect("objects of an API are JSON");
        let path = kind.path(&self.namespace);
        let body = ("application/json", body);
        self.ask(&Call::with_body(what, Method::POST, path, body))
    }
}

impl ClockSkew {
    /// `now` is the time at which the answer had come.
    pub(crate) fn of(answer: &ApiAnswer, now: Timestamp) -> Option<Self> {
        let date = rfc2822::parse(answer.date.as_deref()?).ok()?.timestamp();
        let half_way = answer.took / 2;
        // The date has no fraction: the server's clock was up to a second later.
        let theirs = date.as_millisecond() + 500;
        let ours = now.as_millisecond() - half_way.as_millis() as i64;
        let bound = half_way + Duration::from_millis(500);
        Some(Self { ahead_ms: theirs - ours, bound_ms: bound.as_millis() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skew_is_that_of_the_middle_of_the_answer() {
        let answer = ApiAnswer {
            code: 200,
            body: Vec::new(),
            date: Some("Tue, 01 Dec 2026 03:30:05 GMT".to_owned()),
            took: Duration::from_millis(40),
        };
        let now: Timestamp = "2026-12-01T03:30:00Z".parse().unwrap();
        let found = ClockSkew::of(&answer, now).unwrap();
        assert_eq!(found, ClockSkew { ahead_ms: 5520, bound_ms: 520 });
    }
}
