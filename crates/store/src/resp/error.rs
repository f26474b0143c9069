//! Store errors with their remedies, and the [`TierFault`] of each.

use weir_http::TlsError;

use super::address::AddressError;
use super::layout::LayoutError;
use super::refusal::ErrorReply;
use crate::tier::{TierError, TierFault};

/// Addresses in it have no passwords.
#[derive(Debug, thiserror::Error)]
pub enum RespError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("store {place}: {problem}")]
    Setting { place: String, problem: String },
    #[error("store {place}: {}", tls_text(error))]
    Tls { place: String, error: TlsError },
    #[error("store {place}: no answer in time while {doing}")]
    Timeout { place: String, doing: &'static str },
    #[error("store {place}: {waiting} callers wait for a connection: give it more connections")]
    Busy { place: String, waiting: usize },
    #[error("store {place}: {why}")]
    Disconnected { place: String, why: String },
    #[error("store {place}: unexpected answer for a RESP store: {why}")]
    Protocol { place: String, why: String },
    #[error("store {place} refuses: {why}{}{remedy}", if remedy.is_empty() { "" } else { "; " })]
    Refused { place: String, why: String, remedy: &'static str, refusal: ErrorReply },
}

impl RespError {
    pub(super) fn refused(place: &str, words: &str) -> Self {
        Self::of_kind(place, words, ErrorReply::of(words.as_bytes()))
    }

    /// The same with a kind that the words alone do not show.
    pub(super) fn of_kind(place: &str, words: &str, refusal: ErrorReply) -> Self {
        // The remedy continues the sentence.
        let why = words.trim_end_matches('.').to_owned();
        let (place, remedy) = (place.to_owned(), refusal.remedy());
        Self::Refused { place, why, remedy, refusal }
    }

    /// Whether the user lacks the permission, or the store lacks the command.
    pub const fn is_not_allowed(&self) -> bool {
        matches!(
            self,
            Self::Refused { refusal: ErrorReply::Permission | ErrorReply::UnknownCommand, .. }
        )
    }

    /// Whether the store refuses writes: a replica, a full store, or a missing permission.
    pub const fn is_of_writing(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                refusal: ErrorReply::ReadOnly | ErrorReply::Full | ErrorReply::Permission,
                ..
            }
        )
    }

    pub const fn fault(&self) -> TierFault {
        match self {
            Self::Address(_) | Self::Layout(_) | Self::Setting { .. } => TierFault::Refused,
            Self::Refused { refusal, .. } => refusal.fault(),
            Self::Tls { error, .. } => match error {
                TlsError::CutOff { .. } => TierFault::Disconnected,
                TlsError::Protocol { .. } | TlsError::NotTls { .. } => TierFault::Protocol,
                _ => TierFault::Refused,
            },
            Self::Timeout { .. } => TierFault::Timeout,
            Self::Busy { .. } => TierFault::Busy,
            Self::Disconnected { .. } => TierFault::Disconnected,
            Self::Protocol { .. } => TierFault::Protocol,
        }
    }

    pub(crate) fn of_tier(&self, place: &str) -> TierError {
        TierError { fault: self.fault(), place: place.to_owned(), problem: self.to_string() }
    }
}

/// The remedy of the HTTP error speaks of web addresses.
fn tls_text(error: &TlsError) -> String {
    match error {
        TlsError::NotTls { host, why } => format!(
            "{host} does not speak TLS on this port ({why}): write redis:// instead of rediss://"
        ),
        other => other.to_string(),
    }
}
