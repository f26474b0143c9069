//! Kinds of objects, and where they are in the API.

use std::fmt::{self, Write as _};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};

/// Whether objects of a kind live in a namespace.
pub trait Placed {
    const IN_NAMESPACE: bool;
}

impl Placed for NamespaceResourceScope {
    const IN_NAMESPACE: bool = true;
}

impl Placed for ClusterResourceScope {
    const IN_NAMESPACE: bool = false;
}

/// A typed object that has a name.
pub trait Named: Metadata<Ty = ObjectMeta> + Resource<Scope: Placed> {}

impl<T: Metadata<Ty = ObjectMeta> + Resource<Scope: Placed>> Named for T {}

/// A kind of objects: group, version and the name in addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceKind {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub in_namespace: bool,
}

impl ResourceKind {
    pub(crate) fn of<K: Named>() -> Self {
        Self::of_type::<K>()
    }

    pub(crate) fn of_type<K: Resource<Scope: Placed>>() -> Self {
        Self {
            group: K::GROUP.to_owned(),
            version: K::VERSION.to_owned(),
            kind: K::KIND.to_owned(),
            plural: K::URL_PATH_SEGMENT.to_owned(),
            in_namespace: <K::Scope as Placed>::IN_NAMESPACE,
        }
    }

    /// From the `apiVersion` of an object, which has no slash for the core group.
    pub(crate) fn custom(api_version: &str, kind: &str, plural: &str) -> Self {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            in_namespace: true,
        }
    }

    /// `deployments.apps`, or `pods`: unique over groups.
    pub fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The address of all objects of the kind.
    pub(crate) fn path(&self, namespace: &str) -> String {
        let root = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if self.in_namespace {
            format!("{root}/namespaces/{}/{}", escaped(namespace), self.plural)
        } else {
            format!("{root}/{}", self.plural)
        }
    }

    pub(crate) fn object_path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.path(namespace), escaped(name))
    }
}

/// What a call is about, for errors: "patch deployments.apps `e-1` in namespace `lab`".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSubject {
    pub verb: &'static str,
    pub group: String,
    pub resource: String,
    pub subresource: Option<&'static str>,
    pub name: Option<String>,
    pub namespace: Option<String>,
}

impl CallSubject {
    pub(crate) fn of(verb: &'static str, kind: &ResourceKind, namespace: &str) -> Self {
        Self {
            verb,
            group: kind.group.clone(),
            resource: kind.plural.clone(),
            subresource: None,
            name: None,
            namespace: kind.in_namespace.then(|| namespace.to_owned()),
        }
    }

    /// An address that is no resource: `get /version`.
    pub(crate) fn address(path: &str) -> Self {
        Self {
            verb: "get",
            group: String::new(),
            resource: path.to_owned(),
            subresource: None,
            name: None,
            namespace: None,
        }
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub(crate) fn sub(mut self, subresource: &'static str) -> Self {
        self.subresource = Some(subresource);
        self
    }

    fn full_resource(&self) -> String {
        let sub = self.subresource.map_or_else(String::new, |sub| format!("/{sub}"));
        format!("{}{sub}", self.resource)
    }

    /// The rule of a Role that would allow the call, as it is written in YAML.
    pub(crate) fn grant(&self) -> String {
        let (group, resource) = (&self.group, self.full_resource());
        let verbs = match self.subresource {
            // The client upgrades a GET; since Kubernetes 1.35 the server asks for both.
            Some("portforward") => "\"get\", \"create\"".to_owned(),
            _ => format!("\"{}\"", self.verb),
        };
        format!("{{apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [{verbs}]}}")
    }
}

impl fmt::Display for CallSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.full_resource())?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " `{name}`")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in namespace `{namespace}`")?;
        }
        Ok(())
    }
}

/// For a part of a path, or a value in a query.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{Node, Pod};

    use super::*;

    #[test]
    fn addresses_have_group_and_namespace() {
        let path = |kind: ResourceKind| kind.object_path("lab", "a/b");
        assert_eq!(path(ResourceKind::of::<Pod>()), "/api/v1/namespaces/lab/pods/a%2Fb");
        assert_eq!(
            path(ResourceKind::of::<Deployment>()),
            "/apis/apps/v1/namespaces/lab/deployments/a%2Fb"
        );
        assert_eq!(path(ResourceKind::of::<Node>()), "/api/v1/nodes/a%2Fb");
        let gateway = ResourceKind::custom("gateway.networking.k8s.io/v1", "Gateway", "gateways");
        assert_eq!(gateway.qualified(), "gateways.gateway.networking.k8s.io");
    }

    #[test]
    fn a_subject_says_what_was_asked_and_which_rule_grants_it() {
        let subject =
            CallSubject::of("get", &ResourceKind::of::<Pod>(), "lab").named("e-1").sub("log");
        assert_eq!(subject.to_string(), "get pods/log `e-1` in namespace `lab`");
        assert_eq!(
            subject.grant(),
            r#"{apiGroups: [""], resources: ["pods/log"], verbs: ["get"]}"#
        );
    }
}
