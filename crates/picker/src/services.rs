//! The services that a picker needs beside it, on a thread of this process.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
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

/// Stand-in of the Kubernetes API, and tokenizer service. Dropping it ends them.
#[derive(Debug)]
pub struct Services {
    /// Of the API.
    port: u16,
    _thread: ServiceThread<(), ServicesError>,
}

impl Services {
    /// `socket` is made: the folder must exist.
    pub fn start(
        replicas: &PickedReplicas,
        model: &str,
        socket: &PathBuf,
    ) -> Result<Self, ServicesError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| ServicesError::System { what, source }
        };
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listen"))?;
        let port = api.local_addr().map_err(failed("find its port"))?.port();
        let unix = StdUnixListener::bind(socket)
            .map_err(failed(&format!("listen on {}", socket.display())))?;
        api.set_nonblocking(true).map_err(failed("listen"))?;
        unix.set_nonblocking(true).map_err(failed("listen"))?;
        let urls = replicas.names().into_iter().map(|name| Url::parse(&format!("http://{name}")));
        let urls = urls.collect::<Result<Vec<Url>, _>>()?;
        let engines = Arc::new(Engines { urls, model: model.to_owned() });
        let routes = cluster_api::routes(replicas.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start"))?;
        let thread = ServiceThread::start("picker services", move |stopper, ready| {
            let served = runtime.block_on(async {
                let api = tokio::net::TcpListener::from_std(api).map_err(failed("listen"))?;
                let unix = UnixListener::from_std(unix).map_err(failed("listen"))?;
                ready();
                tokio::select! {
                    // Ends only with the process.
                    _ = axum::serve(api, routes) => {}
                    () = tokenizer::serve(unix, engines) => {}
                    () = stopper.stopped() => {}
                }
                Ok(())
            });
            // Requests to engines that hang are not waited for.
            runtime.shutdown_background();
            served
        })?;
        Ok(Self { port, _thread: thread })
    }

    pub const fn port(&self) -> u16 {
        self.port
    }
}
