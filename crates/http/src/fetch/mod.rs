//! One blocking, bounded request for scrapes, health checks and commands; never for measured
//! requests.

mod error;
mod wire;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::coding;
use crate::quote::Quoted;
use crate::request::{self, Method};
use crate::response::{Framing, Head, HttpError, Limits, Progress, ResponseParser};
use crate::tls::TlsClient;
use crate::url::Url;

pub use error::FetchError;
use wire::{Bounds, Wire};

/// Interval of abort checks.
const LOOK: Duration = Duration::from_millis(20);

const YEAR: Duration = Duration::from_hours(365 * 24);

#[derive(Debug, Clone)]
pub struct Fetch {
    pub method: Method,
    pub url: Url,
    /// Begins with a slash: see [`Url::target`].
    pub target: String,
    /// Besides those of [`request::head`].
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    /// For `https`. None: the system's certificates.
    pub tls: Option<TlsClient>,
    /// Per address; a name may have several.
    pub connect_timeout: Duration,
    /// For everything, name lookup included.
    pub timeout: Duration,
    pub max_body_bytes: usize,
}

impl Fetch {
    /// `path` is below `url`. Limits: 2 s to connect, 10 s in all, 64 MiB of body.
    pub fn get(url: &Url, path: &str) -> Self {
        Self {
            method: Method::Get,
            url: url.clone(),
            target: url.target(path),
            headers: Vec::new(),
            body: None,
            tls: None,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(10),
            max_body_bytes: 64 << 20,
        }
    }

    /// With the limits of [`Fetch::get`].
    pub fn post(url: &Url, path: &str, content_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { method: Method::Post, headers, body: Some(body), ..Self::get(url, path) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Any status is a response: see [`Fetched::success`].
    pub head: Head,
    pub body: Vec<u8>,
    pub peer: SocketAddr,
    what: String,
}

impl Fetched {
    /// Fails unless the status is 2xx.
    pub fn success(self) -> Result<Self, FetchError> {
        let status = self.head.status;
        let hint = match status {
            200..=299 => return Ok(self),
            300..=399 => match self.head.redirect() {
                Some(place) => format!(" (redirects are not followed: give the address {place})"),
                None => String::new(),
            },
            401 | 403 => " (check the bearer token)".to_owned(),
            404 => " (check the path in the URL)".to_owned(),
            _ => String::new(),
        };
        let body = Quoted::new(&self.body);
        Err(FetchError::Status { what: self.what, status, hint, body })
    }

    /// Invalid UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// One request on its own connection, for at most the request's time-out. No redirects, retries or
/// environment proxies.
pub fn fetch(request: &Fetch) -> Result<Fetched, FetchError> {
    let what = what(request);
    let mut headers: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.push(("Connection", "close"));
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept-encoding")) {
        headers.push(("Accept-Encoding", "identity"));
    }
    let length = request.body.as_ref().map(Vec::len);
    let mut bytes = request::head(request.method, &request.url, &request.target, &headers, length)
        .map_err(|error| FetchError::Request { what: what.clone(), error })?;
    bytes.extend_from_slice(request.body.as_deref().unwrap_or_default());

    let now = Instant::now();
    // A time-out beyond the range of the clock becomes a year.
    let deadline = now.checked_add(request.timeout).unwrap_or(now + YEAR);
    let bounds = Bounds { what, timeout: request.timeout, deadline };
    let mut wire = Wire::open(request, &bounds)?;
    // A server may refuse a request before it has read it; its answer says more than a broken pipe.
    let sent = wire.send(&bytes);
    if !matches!(sent, Ok(()) | Err(FetchError::Broken { .. })) {
        sent.clone()?;
    }
    let response = read_response(request, &mut wire, &bounds);
    let peer = wire.peer;
    match (sent, response) {
        (_, Ok((head, body))) => Ok(Fetched { head, body, peer, what: bounds.what }),
        (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
    }
}

/// None once `stopped` returns true. The connection ends with the request's time-out.
pub fn fetch_unless(
    request: &Fetch,
    stopped: &dyn Fn() -> bool,
) -> Option<Result<Fetched, FetchError>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let own = request.clone();
    let spawned = std::thread::Builder::new().name("fetch".to_owned()).spawn(move || {
        let _ = sender.send(fetch(&own));
    });
    if spawned.is_err() {
        return Some(fetch(request));
    }
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(result) => return Some(result),
            Err(mpsc::RecvTimeoutError::Timeout) if stopped() => return None,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            // The thread panicked, a defect; repeat it here.
            Err(mpsc::RecvTimeoutError::Disconnected) => return Some(fetch(request)),
        }
    }
}

fn read_response(
    request: &Fetch,
    wire: &mut Wire<'_>,
    bounds: &Bounds,
) -> Result<(Head, Vec<u8>), FetchError> {
    let failed = |error| FetchError::Http { what: bounds.what.clone(), error };
    let too_large =
        || FetchError::TooLarge { what: bounds.what.clone(), limit: request.max_body_bytes };
    let mut parser = ResponseParser::new(Limits::default());
    parser.reset_for(request.method);
    let mut body = Vec::new();
    loop {
        let doing = match parser.head() {
            None if wire.is_handshaking() => "setting up TLS".to_owned(),
            None => "waiting for an answer".to_owned(),
            Some(_) => format!("reading the body, after {} bytes of it", body.len()),
        };
        let mut fed = Ok(Progress::Head);
        let mut overflow = false;
        let more = wire.receive(&doing, &mut |plain: &[u8]| {
            if fed.is_ok() && !overflow {
                fed = parser.feed(plain, &mut |span: &[u8]| {
                    overflow |= body.len() + span.len() > request.max_body_bytes;
                    if !overflow {
                        body.extend_from_slice(span);
                    }
                });
            }
        });
        let mut progress = fed.map_err(failed)?;
        let more = match (more, progress) {
            // After a complete response the connection's end is irrelevant.
            (_, Progress::Complete { .. }) => true,
            (more, _) => more?,
        };
        if !more {
            progress = parser.end_of_input().map_err(failed)?;
        }
        if let Some(head) = parser.head() {
            let announced = match head.framing {
                Framing::Length(length) => length,
                _ => 0,
            };
            if overflow || announced > request.max_body_bytes as u64 {
                return Err(too_large());
            }
            if let Progress::Complete { .. } = progress {
                let body = plain(head, body, request.max_body_bytes).map_err(failed)?;
                return Ok((head.clone(), body));
            }
        }
    }
}

/// Decodes a body compressed without request. An error response with an invalid body keeps its
/// status.
fn plain(head: &Head, body: Vec<u8>, most: usize) -> Result<Vec<u8>, HttpError> {
    let Some(coding) = head.coding() else { return Ok(body) };
    match coding::decoded(coding, &body, most) {
        Some(plain) => Ok(plain),
        None if head.status >= 300 => {
            Ok(format!("(the message is compressed with {coding})").into_bytes())
        }
        None => Err(HttpError::Header {
            name: "content-encoding",
            value: Quoted::new(coding.as_bytes()),
            why: "no compression was requested",
        }),
    }
}

/// Method and URL, for messages.
fn what(request: &Fetch) -> String {
    let scheme = if request.url.scheme_is_tls { "https" } else { "http" };
    let (method, host) = (request.method.name(), request.url.authority());
    format!("{method} {scheme}://{host}{}", request.target)
}
