//! A store without a keyspace: it parses and answers a block client's commands, and keeps nothing.
//! Its difference to a real store is the cost of keys, memory and eviction; its difference to the
//! [`raw`](super::raw) path is the cost of the protocol.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use super::ServerError;
use super::host::{Host, Serve, Share, Stream};
use crate::resp::{Address, StoreEndpoint};

/// Bytes of one read. Redis reads the rest of a large value in one go; a buffer that stays in the
/// CPU's cache is the cheaper limit.
const READ_BYTES: usize = 256 << 10;
const LINE_MAX: usize = 64;
/// A batch of keys to remove.
const ARGUMENTS_MAX: u64 = 4096;
/// Longest inspected argument; longer ones are values.
const WORD_MAX: usize = 32;
const ARGUMENT_MAX: u64 = 512 << 20;
const NOTE_EVERY: u32 = 32;

pub struct NullServer {
    host: Host,
    value_bytes: usize,
}

impl std::fmt::Debug for NullServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NullServer")
            .field("endpoint", self.host.endpoint())
            .field("value_bytes", &self.value_bytes)
            .finish_non_exhaustive()
    }
}

impl NullServer {
    /// Every `GET` returns `value_bytes` bytes: a block, and its trailer if the layout has one
    /// (disable checksums: they will not match). Listens on a free port of 127.0.0.1, or on a unix
    /// socket.
    pub fn start(value_bytes: usize, unix: bool) -> Result<Self, ServerError> {
        let value: Arc<[u8]> = vec![0x5a; value_bytes].into();
        let serve: Arc<Serve> = Arc::new(move |stream: &mut Stream, share: &mut Share<'_>| {
            Session { stream, share, value: &value, inbox: vec![0; READ_BYTES], from: 0, to: 0 }
                .serve()
        });
        Ok(Self { host: Host::start(unix, serve)?, value_bytes })
    }

    pub const fn endpoint(&self) -> &StoreEndpoint {
        self.host.endpoint()
    }

    pub fn address(&self) -> Address {
        Address {
            endpoints: vec![self.endpoint().clone()],
            cluster: false,
            tls: false,
            user: None,
            password: None,
            database: 0,
        }
    }

    /// CPU time of its connections so far, nanoseconds; complete after they were closed.
    pub fn cpu_ns(&self) -> u64 {
        self.host.cpu_ns()
    }
}

struct Session<'a, 'b> {
    stream: &'a mut Stream,
    share: &'a mut Share<'b>,
    value: &'a [u8],
    inbox: Vec<u8>,
    from: usize,
    to: usize,
}

type Word = ([u8; WORD_MAX], usize);

impl Session<'_, '_> {
    fn serve(mut self) -> io::Result<()> {
        let mut out = Vec::new();
        let mut commands = 0;
        loop {
            // Answers are sent together when nothing more can be read, as real servers do.
            if self.from == self.to && !out.is_empty() {
                self.stream.write_all(&out)?;
                out.clear();
            }
            if self.from == self.to && !self.fill()? {
                return Ok(());
            }
            let (word, length) = self.command()?;
            commands += 1;
            if commands % NOTE_EVERY == 0 {
                self.share.note();
            }
            if word[..length].eq_ignore_ascii_case(b"GET") {
                out.extend_from_slice(format!("${}\r\n", self.value.len()).as_bytes());
                let mut slices =
                    [IoSlice::new(&out), IoSlice::new(self.value), IoSlice::new(b"\r\n")];
                self.stream.write_slices(&mut slices)?;
                out.clear();
            } else {
                out.extend_from_slice(answer(&word[..length].to_ascii_uppercase()));
            }
        }
    }

    /// False at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        self.from = 0;
        self.to = self.stream.read(&mut self.inbox)?;
        Ok(self.to > 0)
    }

    fn command(&mut self) -> io::Result<Word> {
        let arguments = self.number(b'*', ARGUMENTS_MAX)?;
        let mut word = ([0; WORD_MAX], 0);
        for index in 0..arguments {
            let length = self.number(b'$', ARGUMENT_MAX)?;
            if index == 0 && length <= WORD_MAX as u64 {
                for _ in 0..length {
                    word.0[word.1] = self.byte()?;
                    word.1 += 1;
                }
                self.pass_over(2)?;
            } else {
                self.pass_over(length + 2)?;
            }
        }
        Ok(word)
    }

    fn byte(&mut self) -> io::Result<u8> {
        if self.from == self.to && !self.fill()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.from += 1;
        Ok(self.inbox[self.from - 1])
    }

    fn number(&mut self, kind: u8, limit: u64) -> io::Result<u64> {
        let mut value = 0_u64;
        for index in 0..LINE_MAX {
            match self.byte()? {
                byte if index == 0 && byte == kind => {}
                byte if index > 0 && byte.is_ascii_digit() => {
                    value = value * 10 + u64::from(byte - b'0');
                    if value > limit {
                        break;
                    }
                }
                b'\r' if index > 1 => {
                    return if self.byte()? == b'\n' { Ok(value) } else { Err(odd()) };
                }
                _ => break,
            }
        }
        Err(odd())
    }

    fn pass_over(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            if self.from == self.to && !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = bytes.min((self.to - self.from) as u64);
            self.from += step as usize;
            bytes -= step;
        }
        Ok(())
    }
}

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "expected a RESP command")
}

const fn answer(word: &[u8]) -> &'static [u8] {
    match word {
        b"SET" | b"SELECT" | b"CLIENT" => b"+OK\r\n",
        b"EXISTS" | b"TOUCH" | b"UNLINK" | b"DEL" | b"DBSIZE" => b":1\r\n",
        b"PING" => b"+PONG\r\n",
        b"SCAN" => b"*2\r\n$1\r\n0\r\n*0\r\n",
        b"INFO" => b"$23\r\nserver_name:weir-null\r\n\r\n",
        b"CONFIG" => b"*0\r\n",
        _ => b"-ERR unknown command\r\n",
    }
}
