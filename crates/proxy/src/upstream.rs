//! Connections to one replica, kept between requests.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weir_http::url::Url;

use crate::body::Payload;

/// vLLM's server closes a connection that was idle for 5 s. One that is used at that moment would
/// lose its request.
const IDLE_MAX: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Of answers that are read whole: metrics, models, token ids.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Nothing was sent.
    #[error("no connection: {0}")]
    Unreachable(io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("an answer of more than 64 MiB, or one that broke off: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
}

impl SendError {
    pub(crate) const fn is_unsent(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Nothing listens there: the process is gone, and with it its cache.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unreachable(error)
            if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

#[derive(Debug)]
pub(crate) struct Upstream {
    url: Url,
    authority: HeaderValue,
    /// The one that was used last is at the end.
    idle: RefCell<Vec<(SendRequest<Payload>, Instant)>>,
}

impl Upstream {
    pub(crate) fn new(url: &Url) -> Self {
        let authority = HeaderValue::from_str(&url.authority());
        Self {
            url: url.clone(),
            authority: authority.expect("a URL's host has no control characters"),
            idle: RefCell::default(),
        }
    }

    pub(crate) fn keep(&self, sender: SendRequest<Payload>) {
        if !sender.is_closed() {
            self.idle.borrow_mut().push((sender, Instant::now()));
        }
    }

    /// `path` begins with a slash and may have a query.
    pub(crate) fn target(&self, path: &str) -> String {
        self.url.target(path)
    }

    /// The sender must be kept until the answer is over: dropping it ends the request.
    pub(crate) async fn send(
        &self,
        mut request: Request<Payload>,
    ) -> Result<(Response<Incoming>, SendRequest<Payload>), SendError> {
        request.headers_mut().insert(HOST, self.authority.clone());
        while let Some(mut sender) = self.take_idle() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                // It was closed before anything was written.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut sender = self.connect().await.map_err(SendError::Unreachable)?;
        let response = sender.send_request(request).await?;
        Ok((response, sender))
    }

    fn take_idle(&self) -> Option<SendRequest<Payload>> {
        let mut idle = self.idle.borrow_mut();
        let (sender, since) = idle.pop()?;
        if since.elapsed() < IDLE_MAX {
            return Some(sender);
        }
        // All others are older.
        idle.clear();
        None
    }

    async fn connect(&self) -> io::Result<SendRequest<Payload>> {
        let place = (self.url.host.as_str(), self.url.port);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(place))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        // A token is a small write. The option is not essential.
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            // What breaks it is told to the request on it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// A whole answer of status 200.
    pub(crate) async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<FetchedPage, SendError> {
        let mut request = Request::new(Payload::Whole(body));
        *request.method_mut() = method;
        let target = self.target(path).parse();
        *request.uri_mut() = target.expect("our paths are valid URIs");
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let exchange = async {
            let (response, sender) = self.send(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(SendError::Answer)?.to_bytes();
            self.keep(sender);
            if head.status != StatusCode::OK {
                return Err(SendError::Status(head.status));
            }
            let content_type = head.headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
            Ok(FetchedPage { content_type: content_type.map(str::to_owned), body })
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(SendError::Timeout(timeout)))
    }
}

#[derive(Debug)]
pub(crate) struct FetchedPage {
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
}

/// Of one thread.
pub(crate) fn upstreams<'a>(urls: impl Iterator<Item = &'a Url>) -> Vec<Rc<Upstream>> {
    urls.map(|url| Rc::new(Upstream::new(url))).collect()
}
