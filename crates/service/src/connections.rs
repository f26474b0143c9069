//! HTTP/1 connections of one service.

use std::error::Error;
use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::thread::ServiceError;

/// Unsent bytes that hyper holds per connection; also the longest request head.
const BUFFER_BYTES: usize = 64 << 10;
/// Pause after a failed `accept`: only closed connections free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Takes connections once [`Connections::accept`] runs. Needs a runtime.
pub fn listen(listener: TcpListener) -> Result<tokio::net::TcpListener, ServiceError> {
    let what = "read the listener's address";
    let address = listener.local_addr().map_err(|source| ServiceError::System { what, source })?;
    let refused = |source| ServiceError::Listen { address, source };
    listener.set_nonblocking(true).map_err(refused)?;
    tokio::net::TcpListener::from_std(listener).map_err(refused)
}

/// Clones have the same connections.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    /// True once they are closed. Each open one has a receiver.
    closing: watch::Sender<bool>,
}

impl Connections {
    /// Each request of each connection goes to a clone of `service`. Runs until `end`, and returns
    /// what that gave. Needs [`block_on`](crate::block_on).
    pub async fn accept<S, B, R>(
        &self,
        listener: tokio::net::TcpListener,
        service: S,
        end: impl Future<Output = R>,
    ) -> R
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let serving = serve(stream, service.clone(), self.closing.subscribe());
                        tokio::task::spawn_local(serving);
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                ended = &mut end => return ended,
            }
        }
    }

    pub fn are_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Asks all to end after their present answer, and waits for them. What is open after the grace
    /// ends with the runtime.
    pub async fn close(&self, grace: Duration) {
        self.closing.send_replace(true);
        let _ = tokio::time::timeout(grace, self.closing.closed()).await;
    }
}

async fn serve<S, B>(stream: TcpStream, service: S, mut closing: watch::Receiver<bool>)
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // A token is a small write and must not wait for the last acknowledgement. The option is not
    // essential.
    let _ = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        // Copying small frames into one buffer is cheaper than gathering them.
        .writev(false)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let asked_to_close = async { closing.wait_for(|closing| *closing).await.is_ok() };
    // A client that goes away drops the answer, and with it what the answer comes from.
    let _ = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        _ = asked_to_close => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
}
