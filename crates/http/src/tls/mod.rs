//! TLS for a client, without I/O. The cryptography provider (`ring`) is given explicitly, because
//! rustls panics when it must choose between two in one process.

mod error;
mod roots;
mod session;
mod trust;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;

pub use error::TlsError;
pub use session::{TlsProgress, TlsSession};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// PEM, instead of the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate, as `curl --insecure` does.
    pub insecure: bool,
}

/// Loaded certificates; clones share them.
#[derive(Debug, Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Reads files, so not for the timed path.
    pub fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        // The server must not choose HTTP/2.
        Self::with_alpn(config, vec![b"http/1.1".to_vec()])
    }

    /// For protocols such as Redis.
    pub fn without_alpn(config: &TlsConfig) -> Result<Self, TlsError> {
        Self::with_alpn(config, Vec::new())
    }

    fn with_alpn(config: &TlsConfig, protocols: Vec<Vec<u8>>) -> Result<Self, TlsError> {
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Provider(error.to_string()))?;
        let mut client = if config.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(trust::AnyCertificate::new(&provider)))
                .with_no_client_auth()
        } else if let Some(path) = &config.ca_file {
            let (roots, named) = roots::from_file(path)?;
            let verifier = trust::NamedCertificates::new(roots, named, provider)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth()
        } else {
            builder.with_root_certificates(roots::of_the_system()?).with_no_client_auth()
        };
        client.alpn_protocols = protocols;
        Ok(Self { config: Arc::new(client) })
    }

    /// `host` is a name or an IP address without brackets.
    pub fn session(&self, host: &str) -> Result<TlsSession, TlsError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TlsError::ServerName { host: host.to_owned() })?;
        TlsSession::new(Arc::clone(&self.config), name, host)
    }
}
