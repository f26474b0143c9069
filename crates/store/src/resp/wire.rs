//! One stream to a server; it blocks only in [`Wire::wait`], which has a deadline.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags,
    SocketType, connect, getpeername, getsockname, sendmsg, socket_with, sockopt,
};
use weir_http::{TlsClient, TlsError, TlsSession};

use super::address::StoreEndpoint;
use super::error::RespError;

/// Plain bytes encrypted at once: four TLS records, so that a large block is not held twice.
const TLS_FEED: usize = 64 << 10;
const TLS_READ: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Wire {
    fd: OwnedFd,
    place: String,
    is_unix: bool,
    tls: Option<Box<Tls>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IoProgress {
    pub(crate) bytes: usize,
    /// Whether more may move at once; otherwise the caller must wait.
    pub(crate) more: bool,
}

#[derive(Debug)]
struct Tls {
    session: TlsSession,
    /// Encrypted bytes; those from `sent` on are unsent.
    out: Vec<u8>,
    sent: usize,
    inbox: Vec<u8>,
    /// Decrypted bytes; those from `taken` on are unread.
    plain: Vec<u8>,
    taken: usize,
}

impl Wire {
    /// Connects, and completes the TLS handshake if `tls` is given.
    pub(crate) fn open(
        endpoint: &StoreEndpoint,
        tls: Option<&TlsClient>,
        deadline: Instant,
    ) -> Result<Self, RespError> {
        let place = endpoint.to_string();
        let fd = match endpoint {
            StoreEndpoint::Unix(path) => {
                let address = SocketAddrUnix::new(path).map_err(|e| broken(&place, CONNECT, e))?;
                let fd = socket(AddressFamily::UNIX).map_err(|e| broken(&place, CONNECT, e))?;
                connect(&fd, &address).map_err(|e| broken(&place, CONNECT, e))?;
                fd
            }
            StoreEndpoint::Tcp { host, port } => connect_tcp(host, *port, &place, deadline)?,
        };
        let is_unix = matches!(endpoint, StoreEndpoint::Unix(_));
        let mut wire = Self { fd, place, is_unix, tls: None };
        if let (Some(client), StoreEndpoint::Tcp { host, .. }) = (tls, endpoint) {
            let session = client.session(host).map_err(|error| wire.tls_error(error))?;
            let (out, inbox) = (Vec::new(), vec![0; TLS_READ]);
            let (plain, sent, taken) = (Vec::new(), 0, 0);
            wire.tls = Some(Box::new(Tls { session, out, sent, inbox, plain, taken }));
            wire.shake_hands(deadline)?;
        }
        Ok(wire)
    }

    fn shake_hands(&mut self, deadline: Instant) -> Result<(), RespError> {
        loop {
            self.flush()?;
            let Some(tls) = &self.tls else { return Ok(()) };
            if !tls.session.is_handshaking() && !self.wants_flush() {
                return Ok(());
            }
            let writes = self.wants_flush();
            if self.read_tls()?.bytes == 0 {
                self.wait(!writes, writes, deadline, SHAKE)?;
            }
        }
    }

    fn tls_error(&self, error: TlsError) -> RespError {
        RespError::Tls { place: self.place.clone(), error }
    }

    fn broken(&self, doing: &str, error: Errno) -> RespError {
        broken(&self.place, doing, error)
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Whether both ends have one address: the server, or a proxy to it, is on this machine.
    pub(super) fn is_local(&self) -> bool {
        let host = |address: SocketAddrAny| match address.try_into().ok()? {
            SocketAddr::V4(address) => Some(IpAddr::from(*address.ip())),
            SocketAddr::V6(address) => Some(IpAddr::from(*address.ip())),
        };
        let there = getpeername(&self.fd).ok().flatten().and_then(host);
        let here = getsockname(&self.fd).ok().and_then(host);
        self.is_unix || (there.is_some() && there == here)
    }

    pub(crate) const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn wants_flush(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.sent < tls.out.len() || tls.session.wants_write())
    }

    /// Whether an idle stream is healthy: open and without unexpected bytes.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&now)), Ok(0))
            && self.tls.as_ref().is_none_or(|tls| tls.taken == tls.plain.len())
    }

    pub(crate) fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<IoProgress, RespError> {
        if self.tls.is_none() {
            return self.send_plain(slices);
        }
        self.flush()?;
        if self.wants_flush() {
            return Ok(IoProgress { bytes: 0, more: false });
        }
        let Some(tls) = &mut self.tls else { return Ok(IoProgress { bytes: 0, more: false }) };
        let mut bytes = 0;
        for slice in slices {
            let part = &slice[..slice.len().min(TLS_FEED - bytes)];
            let fed = tls.session.write_plain(part);
            bytes += part.len();
            if let Err(error) = fed {
                return Err(self.tls_error(error));
            }
            if bytes == TLS_FEED {
                break;
            }
        }
        self.flush()?;
        Ok(IoProgress { bytes, more: !self.wants_flush() })
    }

    fn send_plain(&self, slices: &[IoSlice<'_>]) -> Result<IoProgress, RespError> {
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        loop {
            let mut ancillary = SendAncillaryBuffer::default();
            match sendmsg(&self.fd, slices, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(bytes) => return Ok(IoProgress { bytes, more: bytes == wanted }),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(IoProgress { bytes: 0, more: false }),
                Err(error) => return Err(self.broken("sending", error)),
            }
        }
    }

    fn flush(&mut self) -> Result<(), RespError> {
        let Some(mut tls) = self.tls.take() else { return Ok(()) };
        let outcome = loop {
            if tls.sent == tls.out.len() {
                tls.out.clear();
                tls.sent = 0;
                if tls.session.take_tls(&mut tls.out) == 0 {
                    break Ok(());
                }
            }
            match self.send_plain(&[IoSlice::new(&tls.out[tls.sent..])]) {
                Ok(moved) => {
                    tls.sent += moved.bytes;
                    if moved.bytes == 0 {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.tls = Some(tls);
        outcome
    }

    /// Receives into `slices`, in order. The end of the stream is an error.
    pub(crate) fn receive(
        &mut self,
        slices: &mut [IoSliceMut<'_>],
    ) -> Result<IoProgress, RespError> {
        if self.tls.is_none() {
            return self.receive_plain(slices);
        }
        if self.tls.as_ref().is_some_and(|tls| tls.taken == tls.plain.len()) {
            let moved = self.read_tls()?;
            let empty = self.tls.as_ref().is_none_or(|tls| tls.plain.is_empty());
            if empty {
                return Ok(IoProgress { bytes: 0, more: moved.bytes > 0 });
            }
        }
        let Some(tls) = &mut self.tls else { return Ok(IoProgress { bytes: 0, more: false }) };
        let mut bytes = 0;
        for slice in slices {
            let part = &tls.plain[tls.taken..];
            let length = part.len().min(slice.len());
            slice[..length].copy_from_slice(&part[..length]);
            tls.taken += length;
            bytes += length;
        }
        // Only an empty read shows that one must wait.
        Ok(IoProgress { bytes, more: true })
    }

    fn receive_plain(&self, slices: &mut [IoSliceMut<'_>]) -> Result<IoProgress, RespError> {
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        loop {
            match rustix::io::readv(&self.fd, slices) {
                Ok(0) if wanted > 0 => {
                    return Err(RespError::Disconnected {
                        place: self.place.clone(),
                        why: "the server closed the connection".to_owned(),
                    });
                }
                Ok(bytes) => return Ok(IoProgress { bytes, more: bytes == wanted }),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(IoProgress { bytes: 0, more: false }),
                Err(error) => return Err(self.broken("receiving", error)),
            }
        }
    }

    /// Reads and decrypts once; counts encrypted bytes.
    fn read_tls(&mut self) -> Result<IoProgress, RespError> {
        let Some(mut tls) = self.tls.take() else {
            return Ok(IoProgress { bytes: 0, more: false });
        };
        tls.plain.clear();
        tls.taken = 0;
        let read = self.receive_plain(&mut [IoSliceMut::new(&mut tls.inbox)]);
        let fed = read.map(|moved| {
            let plain = &mut tls.plain;
            let mut keep = |span: &[u8]| plain.extend_from_slice(span);
            (moved, tls.session.read_tls(&tls.inbox[..moved.bytes], &mut keep))
        });
        self.tls = Some(tls);
        let (moved, progress) = fed?;
        match progress {
            Ok(progress) if progress.peer_has_closed => Err(RespError::Disconnected {
                place: self.place.clone(),
                why: "the server closed the TLS session".to_owned(),
            }),
            Ok(_) => Ok(moved),
            Err(error) => {
                // The alert tells the server the reason; it may be gone already.
                let _ = self.flush();
                Err(self.tls_error(error))
            }
        }
    }

    pub(crate) fn wait(
        &self,
        read: bool,
        write: bool,
        deadline: Instant,
        doing: &'static str,
    ) -> Result<(), RespError> {
        let mut fds = [PollFd::new(&self.fd, interest(read, write))];
        if wait(&mut fds, deadline) {
            Ok(())
        } else {
            Err(RespError::Timeout { place: self.place.clone(), doing })
        }
    }
}

pub(crate) fn interest(read: bool, write: bool) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, read);
    flags.set(PollFlags::OUT, write);
    flags
}

/// Waits for any of several descriptors; true if one is ready before the deadline.
pub(crate) fn wait(fds: &mut [PollFd<'_>], deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(fds, Some(&left)) {
            Ok(0) | Err(Errno::INTR) => {}
            // An error is a descriptor's own: using it reports which.
            Ok(_) | Err(_) => return true,
        }
    }
}

const CONNECT: &str = "connecting";
/// A store without TLS takes the greeting for an incomplete command and waits.
const SHAKE: &str = "setting up TLS (if the port has none, write redis:// instead of rediss://)";

fn broken(place: &str, doing: &str, error: Errno) -> RespError {
    let remedy = match error {
        Errno::CONNREFUSED | Errno::NOENT => ": is a server running there?",
        _ => "",
    };
    let place = place.to_owned();
    RespError::Disconnected { place, why: format!("{doing}: {error}{remedy}") }
}

fn socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(family, SocketType::STREAM, flags, None)
}

fn connect_tcp(
    host: &str,
    port: u16,
    place: &str,
    deadline: Instant,
) -> Result<OwnedFd, RespError> {
    let mut last = None;
    for address in addresses(host, port, place, deadline)? {
        let outcome = connect_one(&address, place, deadline);
        match outcome {
            Ok(fd) => {
                // Small commands must not wait for one another; a stream without it works too.
                let _ = sockopt::set_tcp_nodelay(&fd, true);
                return Ok(fd);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| RespError::Disconnected {
        place: place.to_owned(),
        why: "the host has no address".to_owned(),
    }))
}

fn connect_one(address: &SocketAddr, place: &str, deadline: Instant) -> Result<OwnedFd, RespError> {
    let refuse = |error| broken(place, CONNECT, error);
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = socket(family).map_err(refuse)?;
    match connect(&fd, address) {
        Ok(()) => return Ok(fd),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(refuse(error)),
    }
    if !wait(&mut [PollFd::new(&fd, PollFlags::OUT)], deadline) {
        return Err(RespError::Timeout { place: place.to_owned(), doing: CONNECT });
    }
    sockopt::socket_error(&fd).map_err(refuse)?.map_err(refuse)?;
    Ok(fd)
}

/// The system's resolver has no deadline, so a thread runs it.
fn addresses(
    host: &str,
    port: u16,
    place: &str,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, RespError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let wanted = (host.to_owned(), port);
    let resolve = move || {
        // The receiver may be gone.
        let _ = sender.send(wanted.to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    };
    let unresolved = |why: String| RespError::Disconnected { place: place.to_owned(), why };
    std::thread::Builder::new()
        .name("weir-resolve".to_owned())
        .spawn(resolve)
        .map_err(|error| unresolved(format!("no thread to resolve the host: {error}")))?;
    let left: Duration = deadline.saturating_duration_since(Instant::now());
    match receiver.recv_timeout(left) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(unresolved(format!("the host has no address: {error}"))),
        Err(_) => Err(RespError::Timeout { place: place.to_owned(), doing: "resolving the host" }),
    }
}
