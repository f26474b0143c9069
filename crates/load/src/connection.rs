//! One socket: non-blocking connect, writes from parts, reads with kernel stamps.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, cmsg_space, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sendmsg, socket_with,
    sockopt as options,
};
use weir_http::events::EventSplitter;
use weir_http::response::{Limits, ResponseParser};
use weir_http::tls::TlsSession;
use weir_model::Nanos;

use crate::clock::day_ns;
use crate::exchange::Exchange;

/// A token with its log probabilities is far smaller.
const EVENT_BYTES_MAX: usize = 4 << 20;
const PARTS_PER_SEND: usize = 64;
/// Bytes of the kernel's stamp beside the data.
const STAMP_SPACE: usize = cmsg_space::<TimeSpec>();

/// Measurements of the kernel path, each after a pause like that between tokens.
const PATH_TRIES: u32 = 16;
const PATH_PAUSE: Duration = Duration::from_millis(10);
/// The kernel needs milliseconds to turn its stamps on.
const STAMPS_WITHIN: Duration = Duration::from_secs(1);

/// Makes the kernel stamp arrivals while it lives. The kernel turns stamps on for all sockets,
/// shortly after the first requests them; a cell's first answers need them.
#[derive(Debug)]
pub(crate) struct Stamps {
    _connection: Option<Connection>,
    kernel_path: Nanos,
}

impl Stamps {
    /// Returns once this process's own bytes are stamped, or will not be. Without stamps bounds are
    /// wider.
    pub(crate) fn turn_on() -> Self {
        match Self::see_one() {
            Ok((connection, kernel_path)) => Self { _connection: Some(connection), kernel_path },
            Err(_) => Self { _connection: None, kernel_path: Nanos::ZERO },
        }
    }

    /// Longest time from another program's clock reading, through its write and the kernel, to the
    /// stamp of an arrival here. Measured with caches as cold as between two tokens.
    pub(crate) const fn kernel_path(&self) -> Nanos {
        self.kernel_path
    }

    fn see_one() -> io::Result<(Connection, Nanos)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let connection = Connection::open(listener.local_addr()?, 0)?;
        let (mut peer, _) = listener.accept()?;
        let mut buffer = [0; 16];
        let began = Instant::now();
        while began.elapsed() < STAMPS_WITHIN {
            peer.write_all(b"x")?;
            poll(&mut [PollFd::new(&connection.socket, PollFlags::IN)], None)?;
            if connection.receive(&mut buffer)?.stamp_ns.is_some() {
                break;
            }
            std::thread::yield_now();
        }
        let mut longest = Nanos::ZERO;
        for _ in 0..PATH_TRIES {
            std::thread::sleep(PATH_PAUSE);
            let before = day_ns();
            peer.write_all(b"x")?;
            poll(&mut [PollFd::new(&connection.socket, PollFlags::IN)], None)?;
            if let Some(stamp) = connection.receive(&mut buffer)?.stamp_ns {
                longest = longest.max(Nanos(stamp.saturating_sub(before)));
            }
        }
        Ok((connection, longest))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// TCP is not established.
    Connecting,
    /// TLS is not established.
    Handshaking,
    Busy,
    Idle,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    pub(crate) endpoint: usize,
    pub(crate) state: State,
    pub(crate) tls: Option<Box<TlsSession>>,
    /// TLS bytes to send.
    pub(crate) tls_out: Vec<u8>,
    pub(crate) parser: ResponseParser,
    pub(crate) splitter: EventSplitter,
    pub(crate) exchange: Option<Box<Exchange>>,
    /// A time at which the socket was empty.
    pub(crate) empty_since: Nanos,
    /// The last read left nothing.
    pub(crate) was_drained: bool,
    pub(crate) awaits_writable: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// 0 at the end of input.
    pub(crate) bytes: usize,
    /// Arrival of the last byte, in nanoseconds since 1970.
    pub(crate) stamp_ns: Option<u64>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, endpoint: usize) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        options::set_tcp_nodelay(&socket, true)?;
        // Without stamps, reads report none.
        let _ = setsockopt(&socket, sockopt::ReceiveTimestampns, &true);
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            socket: socket.into(),
            endpoint,
            state: State::Connecting,
            tls: None,
            tls_out: Vec::new(),
            parser: ResponseParser::new(Limits::default()),
            splitter: EventSplitter::new(EVENT_BYTES_MAX),
            exchange: None,
            empty_since: Nanos::ZERO,
            was_drained: true,
            awaits_writable: true,
        })
    }

    /// Fails with `WouldBlock` when the socket is empty.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut space = [0u8; STAMP_SPACE];
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let mut stamp_ns = None;
        if let Ok(controls) = message.cmsgs() {
            for control in controls {
                if let ControlMessageOwned::ScmTimestampns(time) = control {
                    // Positive after 1970.
                    let (seconds, nanos) = (time.tv_sec() as u64, time.tv_nsec() as u64);
                    stamp_ns = Some(seconds * 1_000_000_000 + nanos);
                }
            }
        }
        Ok(Received { bytes: message.bytes, stamp_ns })
    }

    pub(crate) fn connect_result(&self) -> io::Result<()> {
        match self.socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Sends the parts from byte `sent` on; returns the bytes taken. Fails with `WouldBlock` when the
/// kernel takes none.
pub(crate) fn send<'a>(
    socket: &TcpStream,
    parts: impl Iterator<Item = &'a [u8]>,
    sent: usize,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); PARTS_PER_SEND];
    let mut used = 0;
    let mut skip = sent;
    for part in parts {
        if skip >= part.len() {
            skip -= part.len();
            continue;
        }
        slices[used] = IoSlice::new(&part[skip..]);
        skip = 0;
        used += 1;
        if used == PARTS_PER_SEND {
            break;
        }
    }
    let mut control = SendAncillaryBuffer::default();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(socket, &slices[..used], &mut control, flags)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn wait(socket: &TcpStream, what: PollFlags) {
        poll(&mut [PollFd::new(socket, what)], None).unwrap();
    }

    #[test]
    fn parts_are_gathered_and_reads_are_stamped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = Connection::open(listener.local_addr().unwrap(), 0).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        wait(&connection.socket, PollFlags::OUT);
        connection.connect_result().unwrap();

        let parts: Vec<Vec<u8>> = (0..200u8).map(|n| vec![n; usize::from(n % 7)]).collect();
        let whole = parts.concat();
        let mut sent = 0;
        while sent < whole.len() {
            let parts = parts.iter().map(Vec::as_slice);
            sent += send(&connection.socket, parts, sent).unwrap();
        }
        let mut got = vec![0; whole.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, whole);

        let mut buffer = [0; 64];
        let nothing = connection.receive(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        // The kernel turns stamps on shortly after the first socket requests them.
        let began = std::time::Instant::now();
        let mut stamped = false;
        while !stamped {
            assert!(began.elapsed().as_secs() < 30, "no read was stamped by the kernel");
            peer.write_all(b"hello").unwrap();
            wait(&connection.socket, PollFlags::IN);
            let received = connection.receive(&mut buffer).unwrap();
            assert_eq!(&buffer[..received.bytes], b"hello");
            stamped = received.stamp_ns.is_some();
        }
        drop(peer);
        wait(&connection.socket, PollFlags::IN);
        assert_eq!(connection.receive(&mut buffer).unwrap().bytes, 0);
    }

    #[test]
    fn a_refused_connection_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let result = Connection::open(address, 0).and_then(|connection| {
            wait(&connection.socket, PollFlags::OUT);
            connection.connect_result()
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
