//! Ports of this machine, and whether somebody answers there.

use std::net::TcpListener;
use std::time::Duration;

use weir_http::{Fetch, Url, fetch};

use crate::error::DeployError;

/// Per answer of a starting process.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn free() -> Result<u16, DeployError> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(DeployError::Port)
}

pub(crate) fn url(port: u16) -> Result<Url, DeployError> {
    let text = format!("http://127.0.0.1:{port}");
    Ok(Url::parse(&text)?)
}

pub(crate) fn is_ready(url: &Url, path: &str) -> bool {
    let mut request = Fetch::get(url, path);
    request.timeout = PATIENCE;
    fetch(&request).is_ok_and(|answer| answer.head.status == 200)
}
