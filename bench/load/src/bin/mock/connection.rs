//! A client's connection: input with the kernel's arrival times, output as far as the socket takes
//! it.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use nix::sys::time::TimeSpec;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use weir_bench_load::clock::{monotonic_ns, monotonic_of_unix};
use weir_bench_load::truth::Served;

use crate::frame::Frames;

/// Per read.
const READ_BYTES: usize = 256 << 10;

pub(crate) struct Connection {
    socket: OwnedFd,
    pub(crate) number: u64,
    pub(crate) input: Vec<u8>,
    /// Arrival of the newest bytes of `input`, by the kernel.
    pub(crate) arrived_ns: u64,
    /// Output that the socket did not take yet.
    pending: Vec<u8>,
    pub(crate) answer: Option<Answer>,
    /// Close once `pending` is empty.
    pub(crate) closing: bool,
    pub(crate) leave_given: bool,
}

pub(crate) struct Answer {
    pub(crate) body: Body,
    pub(crate) row: Served,
    pub(crate) due_ns: u64,
    pub(crate) keep_alive: bool,
    /// Only `pending` is left.
    pub(crate) written: bool,
}

pub(crate) enum Body {
    Stream(Frames),
    Whole(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Done,
    /// The socket is full; the rest is kept.
    Stalled,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Some,
    Nothing,
    Gone,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, number: u64) -> Self {
        Self {
            socket,
            number,
            input: Vec::new(),
            arrived_ns: 0,
            pending: Vec::new(),
            answer: None,
            closing: false,
            leave_given: false,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn read(&mut self, scratch: &mut Vec<u8>) -> Read {
        scratch.resize(READ_BYTES, 0);
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(scratch)];
        let fd = self.socket.as_raw_fd();
        let got =
            match recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Ok(got) => got,
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Read::Nothing,
                Err(_) => return Read::Gone,
            };
        let bytes = got.bytes;
        if bytes == 0 {
            return Read::Gone;
        }
        let stamp = got.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(time) => Some(time),
                _ => None,
            })
        });
        self.arrived_ns = stamp.map_or_else(monotonic_ns, |time| {
            monotonic_of_unix(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
        });
        self.input.extend_from_slice(&scratch[..bytes]);
        Read::Some
    }

    /// After earlier pending bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            return Write::Stalled;
        }
        match send_some(self.socket.as_fd(), bytes) {
            Ok(sent) if sent == bytes.len() => Write::Done,
            Ok(sent) => {
                self.pending.extend_from_slice(&bytes[sent..]);
                Write::Stalled
            }
            Err(_) => Write::Gone,
        }
    }

    pub(crate) fn write_tokens(&mut self, tokens: u32, first: bool) -> Write {
        let Some(Answer { body: Body::Stream(frames), .. }) = &self.answer else {
            return Write::Done;
        };
        let bytes = frames.write(tokens, first);
        // `pending` is empty: a stalled stream gets no turn.
        match send_some(self.socket.as_fd(), bytes) {
            Ok(sent) if sent == bytes.len() => Write::Done,
            Ok(sent) => {
                self.pending.extend_from_slice(&bytes[sent..]);
                Write::Stalled
            }
            Err(_) => Write::Gone,
        }
    }

    pub(crate) fn flush(&mut self) -> Write {
        match send_some(self.socket.as_fd(), &self.pending) {
            Ok(sent) => {
                self.pending.drain(..sent);
                if self.pending.is_empty() { Write::Done } else { Write::Stalled }
            }
            Err(_) => Write::Gone,
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

fn send_some(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match send(socket, &bytes[sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(more) => sent += more,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}
