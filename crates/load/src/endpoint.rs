//! Resolved addresses, and the constant part of the request head.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use weir_http::Url;
use weir_http::request::{Method, write_head};
use weir_http::tls::TlsClient;
use weir_model::Nanos;

use crate::config::LoadConfig;
use crate::error::LoadError;
use crate::replicas::ReplicaNames;

/// Per address, if a name has several.
const TRY_ADDRESS: Duration = Duration::from_secs(1);

/// Where requests go, and who answers them.
#[derive(Debug)]
pub(crate) struct Endpoints {
    pub(crate) list: Vec<Endpoint>,
    pub(crate) replicas: ReplicaNames,
}

impl Endpoints {
    pub(crate) fn open(config: &LoadConfig) -> Result<Self, LoadError> {
        let list = config.endpoints.iter().map(|url| Endpoint::open(url, config));
        let replicas = ReplicaNames::new(&config.replicas);
        Ok(Self { list: list.collect::<Result<_, _>>()?, replicas })
    }
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsClient>,
    /// Of an endpoint that is one of the replicas.
    pub(crate) replica: Option<u16>,
    /// Most that the ways through the kernels add to each time.
    pub(crate) kernel_path: Nanos,
    /// Request line and shared headers, without the empty line.
    head: Vec<u8>,
    sends_request_id: bool,
    sends_session_id: bool,
}

impl Endpoint {
    fn open(url: &Url, config: &LoadConfig) -> Result<Self, LoadError> {
        let client = || TlsClient::new(&config.tls);
        let tls = url.scheme_is_tls.then(client).transpose();
        let tls = tls.map_err(|error| LoadError::Tls(error.to_string()))?;
        let mut headers: Vec<(&str, String)> = Vec::new();
        let given =
            |wanted: &str| config.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        for (name, value) in &config.headers {
            headers.push((name, value.clone()));
        }
        let accept = if config.client.stream { "text/event-stream" } else { "application/json" };
        let own = [
            ("Content-Type", "application/json"),
            ("Accept", accept),
            // Without it a proxy may compress, which delays events.
            ("Accept-Encoding", "identity"),
        ];
        for (name, value) in own {
            if !given(name) {
                headers.push((name, value.to_owned()));
            }
        }
        if let Some(token) = config.bearer.as_ref().filter(|_| !given("authorization")) {
            headers.push(("Authorization", format!("Bearer {token}")));
        }
        if !config.client.reuse_connections && !given("connection") {
            headers.push(("Connection", "close".to_owned()));
        }
        let mut head = Vec::new();
        let target = url.target(config.client.api.path());
        write_head(&mut head, Method::Post, url, &target, &headers, None)
            .map_err(|error| LoadError::Config(error.to_string()))?;
        // The empty line comes after each request's own headers.
        head.truncate(head.len() - 2);
        let replica = config.replicas.iter().position(|replica| *replica == url.address());
        let replica = replica.and_then(|number| u16::try_from(number).ok());
        Ok(Self {
            address: resolve(url)?,
            url: url.clone(),
            replica,
            tls,
            kernel_path: Nanos::ZERO,
            head,
            sends_request_id: !given("x-request-id"),
            sends_session_id: !given("x-session-id"),
        })
    }

    pub(crate) fn write_head(&self, out: &mut Vec<u8>, request: u64, session: u64, body: usize) {
        use std::io::Write;
        out.clear();
        out.extend_from_slice(&self.head);
        // Writing to memory does not fail.
        if self.sends_request_id {
            let _ = write!(out, "X-Request-Id: weir-{request}\r\n");
        }
        if self.sends_session_id {
            let _ = write!(out, "X-Session-ID: weir-session-{session}\r\n");
        }
        let _ = write!(out, "Content-Length: {body}\r\n\r\n");
    }
}

/// The first address that accepts a connection (`localhost` has IPv6 and IPv4), else the first, so
/// that requests report the error.
fn resolve(url: &Url) -> Result<SocketAddr, LoadError> {
    let refuse = |cause: String| LoadError::Resolve { endpoint: url.address(), cause };
    let addresses: Vec<SocketAddr> = (url.host.as_str(), url.port)
        .to_socket_addrs()
        .map_err(|error| refuse(error.to_string()))?
        .collect();
    if let [_, _, ..] = addresses.as_slice() {
        let answers =
            |address: &&SocketAddr| TcpStream::connect_timeout(address, TRY_ADDRESS).is_ok();
        if let Some(address) = addresses.iter().find(answers) {
            return Ok(*address);
        }
    }
    addresses.first().copied().ok_or_else(|| refuse("the name has none".to_owned()))
}
