//! What Weir does with a Kubernetes API: apply objects, wait for them, remove them, and know what
//! stands in the way.
//!
//! It knows no plan, arm or engine. Calls block; the asynchronous client is on a thread of its own.

mod access;
mod answer;
mod apply;
mod cluster;
mod discovery;
mod error;
mod facts;
mod forward;
mod journal;
mod lease;
mod manifest;
mod pods;
mod removal;
mod resource;
mod rollout;
mod transport;

pub use k8s_openapi;

pub use access::ClusterAccess;
pub use apply::{Applied, ApplyMode, FieldChange};
pub use cluster::Cluster;
pub use error::{FieldConflict, KubernetesError};
pub use facts::{ClockSkew, ClusterFacts, Right};
pub use forward::Forward;
pub use journal::ApiCall;
pub use lease::LeaseGuard;
pub use manifest::Manifest;
pub use pods::{PodState, ReadyPod};
pub use removal::{Finalizer, Leftover, Removal, Removed};
pub use resource::{CallSubject, Named, Placed, ResourceKind};
pub use rollout::{Rollout, Trouble, TroubleCause};
