//! Connection of one fetch, plain or TLS, with one deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::error::seconds;
use super::{Fetch, FetchError};
use crate::tls::{TlsClient, TlsConfig, TlsError, TlsSession};

const READ_BYTES: usize = 64 * 1024;

pub(super) struct Bounds {
    pub(super) what: String,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
}

impl Bounds {
    /// Never zero, which sockets take as no time-out.
    fn left(&self, doing: &str) -> Result<Duration, FetchError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.timed_out(doing)) } else { Ok(left) }
    }

    fn timed_out(&self, doing: &str) -> FetchError {
        let (what, after) = (self.what.clone(), self.timeout);
        FetchError::TimedOut { what, after, doing: doing.to_owned() }
    }

    fn broken(&self, doing: &str, error: &std::io::Error) -> FetchError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.timed_out(doing),
            _ => FetchError::Broken {
                what: self.what.clone(),
                doing: doing.to_owned(),
                why: error.to_string(),
            },
        }
    }

    pub(super) fn tls(&self, error: TlsError) -> FetchError {
        FetchError::Tls { what: self.what.clone(), error }
    }
}

pub(super) struct Wire<'a> {
    bounds: &'a Bounds,
    stream: TcpStream,
    tls: Option<TlsSession>,
    out: Vec<u8>,
    buffer: Vec<u8>,
    pub(super) peer: SocketAddr,
}

impl<'a> Wire<'a> {
    /// Uses the host's first address that accepts.
    pub(super) fn open(fetch: &Fetch, bounds: &'a Bounds) -> Result<Self, FetchError> {
        // Before connecting, so that a missing CA file is found without a server.
        let tls = match (fetch.url.scheme_is_tls, &fetch.tls) {
            (false, _) => None,
            (true, Some(client)) => Some(client.session(&fetch.url.host)),
            (true, None) => Some(
                TlsClient::new(&TlsConfig::default())
                    .and_then(|client| client.session(&fetch.url.host)),
            ),
        };
        let tls = tls.transpose().map_err(|error| bounds.tls(error))?;
        let (stream, peer) = connect(fetch, bounds)?;
        // Reduces latency; not essential.
        let _ = stream.set_nodelay(true);
        Ok(Self { bounds, stream, tls, out: Vec::new(), buffer: vec![0; READ_BYTES], peer })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsSession::is_handshaking)
    }

    /// TLS holds it until the handshake ends in [`receive`](Self::receive).
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        match &mut self.tls {
            None => write(&mut self.stream, bytes, self.bounds),
            Some(session) => {
                session.write_plain(bytes).map_err(|error| self.bounds.tls(error))?;
                self.flush_tls()
            }
        }
    }

    /// Waits for bytes. True if more may come.
    pub(super) fn receive(
        &mut self,
        doing: &str,
        plain: &mut impl FnMut(&[u8]),
    ) -> Result<bool, FetchError> {
        let count = loop {
            let left = self.bounds.left(doing)?;
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut self.buffer));
            match read {
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.bounds.broken(doing, &error)),
            }
        };
        let bytes = &self.buffer[..count];
        let Some(session) = &mut self.tls else {
            if count > 0 {
                plain(bytes);
            }
            return Ok(count > 0);
        };
        if count == 0 {
            session.end_of_input().map_err(|error| self.bounds.tls(error))?;
            return Ok(false);
        }
        let progress = session.read_tls(bytes, plain);
        // After an error too, as the alert gives the server the reason.
        let flushed = self.flush_tls();
        let progress = progress.map_err(|error| self.bounds.tls(error))?;
        if !progress.peer_has_closed {
            flushed?;
        }
        Ok(!progress.peer_has_closed)
    }

    fn flush_tls(&mut self) -> Result<(), FetchError> {
        let Some(session) = &mut self.tls else { return Ok(()) };
        self.out.clear();
        session.take_tls(&mut self.out);
        write(&mut self.stream, &self.out, self.bounds)
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], bounds: &Bounds) -> Result<(), FetchError> {
    let doing = "sending the request";
    while !bytes.is_empty() {
        let left = bounds.left(doing)?;
        match stream.set_write_timeout(Some(left)).and_then(|()| stream.write(bytes)) {
            Ok(0) => return Err(bounds.broken(doing, &ErrorKind::WriteZero.into())),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(bounds.broken(doing, &error)),
        }
    }
    Ok(())
}

fn connect(fetch: &Fetch, bounds: &Bounds) -> Result<(TcpStream, SocketAddr), FetchError> {
    let mut attempts = Vec::new();
    let (mut refused, mut slow) = (true, false);
    for address in resolve(&fetch.url.host, fetch.url.port, bounds)? {
        let doing = format!("connecting to {address}");
        let wait = bounds.left(&doing)?.min(fetch.connect_timeout).max(Duration::from_nanos(1));
        match TcpStream::connect_timeout(&address, wait) {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => {
                let is_slow = matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
                refused &= error.kind() == ErrorKind::ConnectionRefused;
                slow |= is_slow;
                attempts.push(if is_slow {
                    format!("{address} did not answer within {}", seconds(wait))
                } else {
                    format!("{address}: {error}")
                });
            }
        }
    }
    let remedy = if refused {
        "start the server, or check the port"
    } else if slow {
        "check the address and firewalls in between"
    } else {
        "check the address and the network"
    };
    let (what, attempts) = (bounds.what.clone(), attempts.join(", "));
    Err(FetchError::Connect { what, attempts, remedy })
}

/// On its own thread, because the system's resolver has no deadline. Late results are dropped.
fn resolve(host: &str, port: u16, bounds: &Bounds) -> Result<Vec<SocketAddr>, FetchError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let doing = format!("looking up the host {host:?}");
    let not_found = |why: String| FetchError::NameNotFound {
        what: bounds.what.clone(),
        host: host.to_owned(),
        why,
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    let name = host.to_owned();
    let lookup = move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // The receiver is gone after the deadline.
        let _ = sender.send(found);
    };
    std::thread::Builder::new()
        .name("name-lookup".to_owned())
        .spawn(lookup)
        .map_err(|error| bounds.broken(&doing, &error))?;
    match receiver.recv_timeout(bounds.left(&doing)?) {
        Ok(Ok(addresses)) if addresses.is_empty() => {
            Err(not_found("it has no addresses".to_owned()))
        }
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(not_found(error.to_string())),
        Err(_) => Err(bounds.timed_out(&doing)),
    }
}
