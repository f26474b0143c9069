//! What can go wrong with TLS, with the remedy.

use std::path::PathBuf;

use rustls::{CertificateError, Error, InvalidMessage};
use thiserror::Error as ThisError;

/// Why there is no session with a server.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum TlsError {
    /// The provider has none of the protocol versions.
    #[error("TLS cannot be set up: {0}")]
    Provider(String),
    /// The file with certificates cannot be read.
    #[error("cannot read the CA certificates in {}: {why}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system has no trusted certificates.
    #[error(
        "this system has no trusted CA certificates ({why}): install ca-certificates, or name a \
         CA file"
    )]
    NoSystemRoots {
        /// What the search met.
        why: String,
    },
    /// The host is neither a name nor an address.
    #[error("{host:?} is no host name for TLS")]
    ServerName {
        /// The host.
        host: String,
    },
    /// The certificate is not trusted.
    #[error("the certificate of {host} is not trusted: {why}; {remedy}")]
    Certificate {
        /// The host.
        host: String,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The server does not speak TLS.
    #[error("{host} does not speak TLS on this port ({why}): write http:// in the URL")]
    NotTls {
        /// The host.
        host: String,
        /// What the protocol says.
        why: String,
    },
    /// Anything else that ends a session.
    #[error("TLS with {host} failed: {why}")]
    Protocol {
        /// The host.
        host: String,
        /// What the protocol says.
        why: String,
    },
    /// The connection was cut without the farewell that TLS demands.
    #[error("{host} cut the TLS connection off{}", if *handshaking { " inside the handshake" } else { "" })]
    CutOff {
        /// The host.
        host: String,
        /// Whether the handshake was still going on.
        handshaking: bool,
    },
}

impl TlsError {
    /// Translates an error of the session with `host`.
    pub(super) fn of_session(host: &str, handshaking: bool, error: &Error) -> Self {
        let host = host.to_owned();
        let why = error.to_string();
        match error {
            Error::InvalidCertificate(certificate) => {
                Self::Certificate { host, why, remedy: remedy(certificate) }
            }
            // A plain-text answer ("HTTP/1.1 400 ...") is no TLS record.
            Error::InvalidMessage(InvalidMessage::InvalidContentType) if handshaking => {
                Self::NotTls { host, why }
            }
            _ => Self::Protocol { host, why },
        }
    }
}

fn remedy(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "name the CA file that issued it, or accept any certificate (insecure)"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "use a name that the certificate holds, or accept any certificate (insecure)"
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "renew it and check the clocks, or accept any certificate (insecure)"
        }
        _ => "accept any certificate (insecure) if this is your own server",
    }
}
