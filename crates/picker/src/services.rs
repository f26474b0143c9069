//! The services that a picker needs beside it, on a thread of this process.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixListener;
use weir_http::{Url, UrlError};
use weir_service::{ServiceError, ServiceThread};

use crate::cluster_api;
use crate::replicas::PickedReplicas;
use crate::tokenizer::{self, Engines};

#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    #[error("a service beside the picker cannot {what}: {source}")]
    System { what: String, source: io::Error },
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What a picker asks for beside it.
#[derive(Debug, Clone, Copy)]
pub struct ServiceNeeds<'a> {
    /// A Kubernetes API in which it finds its replicas.
    pub cluster_api: bool,
    /// The socket of a tokenizer service, which is made there: the folder must exist.
    pub tokenizer: Option<&'a Path>,
}

/// Stand-in of the Kubernetes API, and tokenizer service. Dropping it ends them.
#[derive(Debug)]
pub struct Services {
    /// Of the API.
    port: Option<u16>,
    /// None where nothing is needed.
    _thread: Option<ServiceThread<(), ServicesError>>,
}

impl Services {
    pub fn start(
        replicas: &PickedReplicas,
        model: &str,
        needs: ServiceNeeds<'_>,
    ) -> Result<Self, ServicesError> {
        let (api, port) = if needs.cluster_api { Some(listen()?).unzip() } else { (None, None) };
        let unix = needs.tokenizer.map(listen_at).transpose()?;
        if api.is_none() && unix.is_none() {
            return Ok(Self { port, _thread: None });
        }
        let urls = replicas.names().into_iter().map(|name| Url::parse(&format!("http://{name}")));
        let urls = urls.collect::<Result<Vec<Url>, _>>()?;
        let engines = Arc::new(Engines { urls, model: model.to_owned() });
        let api = api.map(|listener| (listener, cluster_api::routes(replicas.clone())));
        Ok(Self { port, _thread: Some(Self::run(api, unix, engines)?) })
    }

    /// The tokenizer service alone, which asks one of these engines. A socket that an earlier one
    /// left is replaced.
    pub fn tokenizer(urls: Vec<Url>, model: &str, socket: &Path) -> Result<Self, ServicesError> {
        if socket.exists() {
            let what = format!("replace {}", socket.display());
            std::fs::remove_file(socket).map_err(failed(&what))?;
        }
        let unix = listen_at(socket)?;
        let engines = Arc::new(Engines { urls, model: model.to_owned() });
        Ok(Self { port: None, _thread: Some(Self::run(None, Some(unix), engines)?) })
    }

    fn run(
        api: Option<(TcpListener, axum::Router)>,
        unix: Option<StdUnixListener>,
        engines: Arc<Engines>,
    ) -> Result<ServiceThread<(), ServicesError>, ServicesError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start"))?;
        ServiceThread::start("picker services", move |stopper, ready| {
            let served = runtime.block_on(async {
                let (listener, routes) = api.unzip();
                let api = listener.map(tokio::net::TcpListener::from_std).transpose();
                let api = api.map_err(failed("listen"))?.zip(routes);
                let unix =
                    unix.map(UnixListener::from_std).transpose().map_err(failed("listen"))?;
                ready();
                let serve_api = async {
                    match api {
                        // Ends only with the process.
                        Some((api, routes)) => drop(axum::serve(api, routes).await),
                        None => pending().await,
                    }
                };
                let serve_tokens = async {
                    match unix {
                        Some(unix) => tokenizer::serve(unix, engines).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    () = serve_api => {}
                    () = serve_tokens => {}
                    () = stopper.stopped() => {}
                }
                Ok(())
            });
            // Requests to engines that hang are not waited for.
            runtime.shutdown_background();
            served
        })
    }

    /// Of the API; None where none is needed.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> ServicesError {
    let what = what.to_owned();
    move |source| ServicesError::System { what, source }
}

fn listen() -> Result<(TcpListener, u16), ServicesError> {
    let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listen"))?;
    let port = api.local_addr().map_err(failed("find its port"))?.port();
    api.set_nonblocking(true).map_err(failed("listen"))?;
    Ok((api, port))
}

fn listen_at(socket: &Path) -> Result<StdUnixListener, ServicesError> {
    let unix = StdUnixListener::bind(socket)
        .map_err(failed(&format!("listen on {}", socket.display())))?;
    unix.set_nonblocking(true).map_err(failed("listen"))?;
    Ok(unix)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_what_is_needed_runs() {
        let folder = std::env::temp_dir().join(format!("weir-services-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("tokens.sock");
        let replicas = PickedReplicas {
            addresses: vec![Ipv4Addr::new(127, 0, 0, 2)],
            port: 8000,
            events_port: 5557,
        };
        let start = |cluster_api, tokenizer| {
            Services::start(&replicas, "model", ServiceNeeds { cluster_api, tokenizer }).unwrap()
        };
        assert_eq!(start(false, None).port(), None);
        let api = start(true, None);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, api.port().unwrap())).is_ok());
        assert!(!socket.exists());
        let tokens = start(false, Some(&socket));
        assert_eq!(tokens.port(), None);
        assert!(UnixStream::connect(&socket).is_ok());
        drop(tokens);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
