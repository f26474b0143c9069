//! What can go wrong with a store, with the remedy, and which [`Fault`] it counts as.

use weir_http::TlsError;

use super::address::AddressError;
use super::layout::LayoutError;
use super::refusal::Refusal;
use crate::tier::{Fault, TierError};

/// Why a call to a store failed. Addresses in it have no passwords.
#[derive(Debug, thiserror::Error)]
pub enum RespError {
    /// The address makes no sense.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The layout makes no sense.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A setting makes no sense.
    #[error("store {place}: {problem}")]
    Setting {
        /// The store.
        place: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// TLS cannot be set up or failed.
    #[error("store {place}: {}", tls_text(error))]
    Tls {
        /// The store.
        place: String,
        /// What happened.
        error: TlsError,
    },
    /// The deadline passed.
    #[error("store {place}: no answer in time while {doing}")]
    Timeout {
        /// The store.
        place: String,
        /// What was being done.
        doing: &'static str,
    },
    /// No more callers may wait.
    #[error("store {place}: {waiting} callers wait for a connection: give it more connections")]
    Busy {
        /// The store.
        place: String,
        /// How many wait.
        waiting: usize,
    },
    /// There is no connection, or it broke.
    #[error("store {place}: {why}")]
    Disconnected {
        /// The store.
        place: String,
        /// What the system says, and what to do.
        why: String,
    },
    /// What came is not RESP, or answers something else.
    #[error("store {place}: this is not what a RESP store says: {why}")]
    Protocol {
        /// The store.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store refuses.
    #[error("store {place} refuses: {why}{}{remedy}", if remedy.is_empty() { "" } else { "; " })]
    Refused {
        /// The store.
        place: String,
        /// What it says.
        why: String,
        /// What to do.
        remedy: &'static str,
        /// Of what kind the refusal is.
        refusal: Refusal,
    },
}

impl RespError {
    /// A refusal in the server's own words, with the remedy that its kind has.
    pub(super) fn refused(place: &str, words: &str) -> Self {
        Self::of_kind(place, words, Refusal::of(words.as_bytes()))
    }

    /// The same of a kind that the words alone do not tell.
    pub(super) fn of_kind(place: &str, words: &str, refusal: Refusal) -> Self {
        // The remedy goes on with it.
        let why = words.trim_end_matches('.').to_owned();
        let (place, remedy) = (place.to_owned(), refusal.remedy());
        Self::Refused { place, why, remedy, refusal }
    }

    /// Whether the store does not let this user ask, or has no such question.
    pub const fn is_not_allowed(&self) -> bool {
        matches!(self, Self::Refused { refusal: Refusal::Permission | Refusal::UnknownCommand, .. })
    }

    /// Whether the store refuses to write: it is a replica, it is full, or the user may not.
    pub const fn is_of_writing(&self) -> bool {
        matches!(
            self,
            Self::Refused { refusal: Refusal::ReadOnly | Refusal::Full | Refusal::Permission, .. }
        )
    }

    /// What it counts as.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Address(_) | Self::Layout(_) | Self::Setting { .. } => Fault::Refused,
            Self::Refused { refusal, .. } => refusal.fault(),
            Self::Tls { error, .. } => match error {
                TlsError::CutOff { .. } => Fault::Disconnected,
                TlsError::Protocol { .. } | TlsError::NotTls { .. } => Fault::Protocol,
                _ => Fault::Refused,
            },
            Self::Timeout { .. } => Fault::Timeout,
            Self::Busy { .. } => Fault::Busy,
            Self::Disconnected { .. } => Fault::Disconnected,
            Self::Protocol { .. } => Fault::Protocol,
        }
    }

    /// As an error of the tier at `place`.
    pub(crate) fn of_tier(&self, place: &str) -> TierError {
        TierError { fault: self.fault(), place: place.to_owned(), problem: self.to_string() }
    }
}

/// The wire's own remedy speaks of web addresses.
fn tls_text(error: &TlsError) -> String {
    match error {
        TlsError::NotTls { host, why } => format!(
            "{host} does not speak TLS on this port ({why}): write redis:// instead of rediss://"
        ),
        other => other.to_string(),
    }
}
