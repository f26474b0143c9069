//! What can go wrong with a place where things run.

use weir_http::{FetchError, RequestError, TlsError, UrlError};

/// A place that cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The text is no URL. It is not repeated beyond what the error says: it may hold a secret.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A header that cannot be sent.
    #[error("header `{name}`: {source}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: RequestError,
    },
    /// A file that could not be read.
    #[error("cannot read {what} {path}: {source}; check the path")]
    File {
        /// What it was wanted as.
        what: &'static str,
        /// Where it was looked for.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Certificates that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server could not be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The server answered with something else than it should.
    #[error("{url}: {problem}; {remedy}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The model is not served there.
    #[error("{url} serves {served}, not `{model}`; write one of those as the model's name")]
    Model {
        /// The endpoint.
        url: String,
        /// What was asked for.
        model: String,
        /// What it serves.
        served: String,
    },
    /// A tier of an arm cannot hold what it should.
    #[error("arm `{arm}`: {problem}; {remedy}")]
    Tier {
        /// The arm.
        arm: String,
        /// What is in the way.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The remote store of an arm cannot be used.
    #[error("the store of arm `{arm}`: {problem}")]
    Store {
        /// The arm.
        arm: String,
        /// What is in the way, with the remedy.
        problem: String,
    },
    /// A value of the experiment that only this place can check.
    #[error("{key}: {problem}")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong with it, with the remedy.
        problem: String,
    },
    /// A tier does not do what it is asked.
    #[error(transparent)]
    TierCall(#[from] weir_store::TierError),
    /// What an arm asks for cannot be had with the software that is installed.
    #[error("arm `{arm}`: {problem}; {remedy}")]
    Unsupported {
        /// The arm.
        arm: String,
        /// What is in the way.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A process does not do what it should.
    #[error(transparent)]
    Process(#[from] crate::process::ProcessError),
    /// A model's folder lacks something.
    #[error("{path}: {problem}; {remedy}")]
    Weights {
        /// The folder.
        path: String,
        /// What it lacks.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// No checkpoint could be made.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    /// No port is free.
    #[error("no free port on this machine: {0}; end what holds them")]
    Port(std::io::Error),
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
    /// Weir's own engine could not be brought up.
    #[error("the emulated engine: {0}")]
    Emulated(String),
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

    /// True where the user's own words are wrong, and not what they speak of.
    pub const fn is_mistake(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_mistake(),
            Self::Url(_)
            | Self::Header { .. }
            | Self::File { .. }
            | Self::Model { .. }
            | Self::Setting { .. }
            | Self::Unsupported { .. } => true,
            _ => false,
        }
    }

    /// True where a port that was free had been taken meanwhile.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Process(error) if error.is_port_taken())
    }
}
