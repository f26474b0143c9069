use std::path::PathBuf;

use rustls::{CertificateError, Error, InvalidMessage};
use thiserror::Error as ThisError;

#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum TlsError {
    #[error("TLS cannot be set up: {0}")]
    Provider(String),
    #[error("cannot read the CA certificates in {}: {why}", path.display())]
    CaFile { path: PathBuf, why: String },
    #[error(
        "this system has no trusted CA certificates ({why}): install ca-certificates, or name a \
         CA file"
    )]
    NoSystemRoots { why: String },
    #[error("{host:?} is not a valid host name for TLS")]
    ServerName { host: String },
    #[error("the certificate of {host} is not trusted: {why}; {remedy}")]
    Certificate { host: String, why: String, remedy: &'static str },
    #[error("{host} does not speak TLS on this port ({why}): write http:// in the URL")]
    NotTls { host: String, why: String },
    #[error("TLS with {host} failed: {why}")]
    Protocol { host: String, why: String },
    #[error("{host} cut the TLS connection off{}", if *handshaking { " inside the handshake" } else { "" })]
    CutOff { host: String, handshaking: bool },
}

impl TlsError {
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
