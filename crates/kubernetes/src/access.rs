//! How a cluster is reached: which file, which context, which login.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde_saphyr::Error as YamlError;

use crate::error::{KubernetesError, chain};

/// A proxy or a switched-off cluster does not answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Without a server: the kubeconfig, else `KUBECONFIG`, else `~/.kube/config`, else the account of
/// the pod that this runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterAccess {
    pub kubeconfig: Option<PathBuf>,
    /// Else the file's current one.
    pub context: Option<String>,
    /// `https://host:6443`: a login by token, without a kubeconfig.
    pub server: Option<String>,
    pub token_file: Option<PathBuf>,
    /// Else the roots of this machine.
    pub ca_file: Option<PathBuf>,
    pub namespace: String,
}

/// A configuration without secrets in its debug form.
pub(crate) struct Login {
    pub(crate) config: kube::Config,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.config.cluster_url)
    }
}

impl ClusterAccess {
    pub(crate) async fn login(&self) -> Result<Login, KubernetesError> {
        let mut config = match &self.server {
            Some(server) => self.by_token(server)?,
            None => self.by_kubeconfig().await?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Calls are retried here, where each try is in the journal.
        config.default_retry = false;
        Ok(Login { config })
    }

    fn by_token(&self, server: &str) -> Result<kube::Config, KubernetesError> {
        let wrong = || KubernetesError::Server { server: server.to_owned() };
        let url: http::Uri = server.parse().map_err(|_| wrong())?;
        if url.host().is_none() || !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(wrong());
        }
        let mut config = kube::Config::new(url);
        if let Some(path) = &self.ca_file {
            if !read("ca_file", path)?.contains("-----BEGIN CERTIFICATE-----") {
                let cause = "must hold a certificate in PEM form".to_owned();
                return Err(KubernetesError::AccessFile {
                    key: "ca_file",
                    path: path.clone(),
                    cause,
                });
            }
            // The client trusts what the file holds, and reads it again when it changes.
            config.root_cert = Some(Vec::new());
            config.root_cert_file = Some(path.clone());
        }
        if let Some(path) = &self.token_file {
            let text = read("token_file", path)?;
            let token = text.trim();
            if token.is_empty() || token.contains(char::is_whitespace) {
                let cause = "must hold one token".to_owned();
                return Err(KubernetesError::AccessFile {
                    key: "token_file",
                    path: path.clone(),
                    cause,
                });
            }
            if token.len() == text.len() {
                // Read again each minute: a token that is mounted into a pod changes.
                config.auth_info.token_file = Some(path.display().to_string());
            } else {
                // The client would send the line break of a file that a person wrote.
                config.auth_info.token = Some(token.to_owned().into());
            }
        }
        Ok(config)
    }

    async fn by_kubeconfig(&self) -> Result<kube::Config, KubernetesError> {
        let (kubeconfig, path) = match &self.kubeconfig {
            Some(path) => (Kubeconfig::read_from(path), path.clone()),
            None => (Kubeconfig::read(), default_path()),
        };
        let kubeconfig = match kubeconfig {
            Ok(kubeconfig) => kubeconfig,
            Err(error) if is_absent(&error) && self.kubeconfig.is_none() => {
                return kube::Config::incluster().map_err(|_| KubernetesError::NoKubeconfig {
                    tried: format!("{} is absent, and this is no pod", path.display()),
                });
            }
            Err(error) => {
                return Err(KubernetesError::Kubeconfig { path, cause: told(&error) });
            }
        };
        let known: Vec<&str> = kubeconfig.contexts.iter().map(|one| one.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        match self.context.as_ref().or(kubeconfig.current_context.as_ref()) {
            None => return Err(KubernetesError::NoContext { known }),
            Some(context) if !kubeconfig.contexts.iter().any(|one| one.name == *context) => {
                let context = context.clone();
                return Err(KubernetesError::UnknownContext { context, known });
            }
            Some(_) => {}
        }
        let options = KubeConfigOptions { context: self.context.clone(), ..Default::default() };
        kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| KubernetesError::Kubeconfig { path, cause: told(&error) })
    }
}

fn default_path() -> PathBuf {
    match std::env::var_os("KUBECONFIG") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => std::env::home_dir().unwrap_or_default().join(".kube/config"),
    }
}

fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::ReadConfig(cause, _) => cause.kind() == std::io::ErrorKind::NotFound,
        KubeconfigError::FindPath => true,
        _ => false,
    }
}

/// Without a quotation of the file: the line at fault may be a token.
fn told(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => unquoted(error),
        KubeconfigError::ReadConfig(cause, _) => cause.to_string(),
        other => chain(other),
    }
}

fn unquoted(error: &YamlError) -> String {
    match error.location() {
        Some(at) => format!("wrong YAML at line {}, column {}", at.line(), at.column()),
        None => "wrong YAML".to_owned(),
    }
}

fn read(key: &'static str, path: &Path) -> Result<String, KubernetesError> {
    std::fs::read_to_string(path).map_err(|error| KubernetesError::AccessFile {
        key,
        path: path.to_owned(),
        cause: error.to_string(),
    })
}
