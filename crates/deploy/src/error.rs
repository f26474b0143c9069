//! What can go wrong with a place where things run.

use weir_http::{FetchError, RequestError, TlsError, UrlError};
use weir_kubernetes::KubernetesError;
use weir_model::{Attributed, ErrorCause};

use crate::kubernetes::Drift;

/// A place that cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The text is no URL. It is not repeated beyond what the error says: it may hold a secret.
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error("header `{name}`: {source}")]
    Header { name: String, source: RequestError },
    #[error("cannot read {what} {path}: {source}; check the path")]
    File { what: &'static str, path: String, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{url}: {problem}; {remedy}")]
    Answer { url: String, problem: String, remedy: String },
    #[error("{url} serves {served}, not `{model}`; write one of those as the model's name")]
    Model { url: String, model: String, served: String },
    #[error("arm `{arm}`: {problem}; {remedy}")]
    Tier { arm: String, problem: String, remedy: String },
    #[error("the store of arm `{arm}`: {problem}")]
    Store { arm: String, problem: String },
    /// A value of the experiment that only this place can check.
    #[error("{key}: {problem}")]
    Setting { key: String, problem: String },
    #[error(transparent)]
    TierCall(#[from] weir_store::TierError),
    /// What an arm asks for cannot be had with the software that is installed.
    #[error("arm `{arm}`: {problem}; {remedy}")]
    Unsupported { arm: String, problem: String, remedy: String },
    #[error(transparent)]
    Process(#[from] crate::process::ProcessError),
    #[error("{path}: {problem}; {remedy}")]
    Weights { path: String, problem: String, remedy: String },
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    #[error("no free port on this machine: {0}; end what holds them")]
    Port(std::io::Error),
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Services(#[from] weir_picker::ServicesError),
    #[error(transparent)]
    Proxy(#[from] weir_proxy::ProxyError),
    #[error(transparent)]
    Release(#[from] weir_picker::ReleaseError),
    #[error(transparent)]
    Kubernetes(Box<KubernetesError>),
    #[error("arm `{arm}`: pod {pod}: {problem}")]
    Pod { arm: String, pod: String, problem: String },
    /// Not a cell of this arm: somebody, or something in the cluster, changed what stands.
    #[error("arm `{arm}`: {object} drifted: {drift}; end what changes it")]
    Drift { arm: String, object: String, drift: Box<Drift> },
    #[error("the emulated engine: {0}")]
    Emulated(String),
}

impl From<KubernetesError> for DeployError {
    fn from(error: KubernetesError) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

impl DeployError {
    /// The same of an answer that should have named the model, with the way around it.
    pub(crate) fn without_a_name(self) -> Self {
        match self {
            Self::Answer { url, problem, remedy } => Self::Answer {
                url,
                problem,
                remedy: format!(
                    "name the model (--model NAME, target.endpoint.model), or {remedy}"
                ),
            },
            other => other,
        }
    }

    /// True where a port that was free had been taken meanwhile.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Process(error) if error.is_port_taken())
    }
}

impl Attributed for DeployError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::mistake_if(match self {
            Self::Checkpoint(error) => error.fault() == ErrorCause::User,
            Self::Url(_)
            | Self::Header { .. }
            | Self::File { .. }
            | Self::Model { .. }
            | Self::Release(_)
            | Self::Setting { .. }
            | Self::Unsupported { .. } => true,
            _ => false,
        })
    }
}
