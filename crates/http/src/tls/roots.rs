use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::TlsError;

/// Every certificate must be usable. Returns authorities and raw certificates.
pub(super) fn from_file(
    path: &Path,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let refuse = |why: String| TlsError::CaFile { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    let mut named = Vec::new();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate.clone()).map_err(|error| refuse(error.to_string()))?;
        named.push(certificate);
    }
    if roots.is_empty() {
        return Err(refuse("it has no PEM block BEGIN CERTIFICATE".to_owned()));
    }
    Ok((roots, named))
}

/// Unusable certificates are skipped.
pub(super) fn of_the_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = match found.errors.first() {
            Some(error) => error.to_string(),
            None => format!("{unusable} unusable ones"),
        };
        return Err(TlsError::NoSystemRoots { why });
    }
    Ok(roots)
}
