//! The practical limit of a RESP store: one blocking socket, `writev` of commands with their
//! payloads, and bodies received in place. Lengths are known, so replies are compared and not
//! parsed.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

/// Bytes of blocks in flight, as in Weir's pipeline; two blocks are always allowed. The best of
/// 256 KiB to 32 MiB: with more, written bytes have left the caches when they are read, and a
/// server builds all possible replies before it sends the first.
const OPEN_BYTES: usize = 512 << 10;
const OK: &[u8] = b"+OK\r\n";
/// Of one `writev`; the system takes 1024.
const SLICES_MAX: usize = 1024;
const REPLY_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Bare {
    socket: TcpStream,
    block_bytes: usize,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Bare {
    pub(crate) fn connect(port: u16, block_bytes: usize) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).context("the store")?;
        socket.set_nodelay(true).context("TCP_NODELAY")?;
        Ok(Self { socket, block_bytes, text: Vec::new(), ends: Vec::new() })
    }

    pub(crate) fn control(&mut self, words: &[&str]) -> Result<String> {
        self.text.clear();
        write!(self.text, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.text, "${}\r\n{word}\r\n", word.len())?;
        }
        self.socket.write_all(&self.text)?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") {
            let mut byte = [0];
            self.socket.read_exact(&mut byte)?;
            reply.push(byte[0]);
            ensure!(reply.len() < REPLY_BYTES_MAX, "{words:?}: no end of the reply");
        }
        let reply = String::from_utf8_lossy(&reply).trim_end().to_owned();
        ensure!(!reply.starts_with('-'), "{words:?}: {reply}");
        Ok(reply)
    }

    pub(crate) fn information(&mut self, name: &str) -> Result<String> {
        let head = self.control(&["INFO", "server"])?;
        let bytes: usize = head.trim_start_matches('$').parse().context("INFO")?;
        ensure!(bytes < REPLY_BYTES_MAX, "INFO: {bytes} bytes");
        let mut text = vec![0; bytes + 2];
        self.socket.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned()).context("INFO has no such line")
    }

    /// Keeps as many blocks in flight as the window has room for.
    pub(crate) fn put<'b>(
        &mut self,
        keys: &[Vec<u8>],
        blocks: impl Iterator<Item = &'b [u8]>,
    ) -> Result<()> {
        self.heads(keys)?;
        let half = self.window() / 2;
        let (mut at, mut begun, mut answered) = (0, 0, 0);
        let mut slices = Vec::with_capacity(2 * half + 1);
        for (block, end) in blocks.zip(&self.ends) {
            slices.push(IoSlice::new(&self.text[at..*end]));
            slices.push(IoSlice::new(block));
            (at, begun) = (*end, begun + 1);
            let is_last = begun == keys.len();
            if is_last {
                slices.push(IoSlice::new(b"\r\n"));
            }
            if is_last || begun % half == 0 {
                write(&self.socket, &mut slices)?;
                slices.clear();
                // Half a window stays in flight.
                let until = if is_last { begun } else { begun - half };
                stored(&self.socket, until - answered)?;
                answered = until;
            }
        }
        Ok(())
    }

    fn window(&self) -> usize {
        (OPEN_BYTES / self.block_bytes).max(2)
    }

    /// Heads of `SET`, each with the end of the payload before it.
    fn heads(&mut self, keys: &[Vec<u8>]) -> Result<()> {
        self.text.clear();
        self.ends.clear();
        for (index, key) in keys.iter().enumerate() {
            let before = if index == 0 { "" } else { "\r\n" };
            write!(self.text, "{before}*3\r\n$3\r\nSET\r\n${}\r\n", key.len())?;
            self.text.extend_from_slice(key);
            write!(self.text, "\r\n${}\r\n", self.block_bytes)?;
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    /// Keeps as many requests in flight as the window has room for.
    pub(crate) fn get<'b>(
        &mut self,
        keys: &[Vec<u8>],
        blocks: impl Iterator<Item = &'b mut [u8]>,
    ) -> Result<()> {
        let window = self.window();
        let head = format!("${}\r\n", self.block_bytes).into_bytes();
        let mut end = vec![0; 2 + head.len()];
        let mut asked = 0;
        for (index, block) in blocks.enumerate() {
            // Half a window at a time: one write for many requests.
            if asked < keys.len() && (asked - index) * 2 <= window {
                let until = keys.len().min(index + window);
                self.ask(&keys[asked..until])?;
                asked = until;
            }
            if index == 0 {
                self.socket.read_exact(&mut end[2..])?;
            }
            ensure!(end[2..] == head, "GET: {}", String::from_utf8_lossy(&end));
            let last = index + 1 == keys.len();
            let end_bytes = if last { 2 } else { end.len() };
            self.receive(block, &mut end[..end_bytes])?;
        }
        Ok(())
    }

    fn ask(&mut self, keys: &[Vec<u8>]) -> Result<()> {
        self.text.clear();
        for key in keys {
            write!(self.text, "*2\r\n$3\r\nGET\r\n${}\r\n", key.len())?;
            self.text.extend_from_slice(key);
            self.text.extend_from_slice(b"\r\n");
        }
        Ok(self.socket.write_all(&self.text)?)
    }

    fn receive(&mut self, block: &mut [u8], end: &mut [u8]) -> Result<()> {
        let mut slices = [IoSliceMut::new(block), IoSliceMut::new(end)];
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let read = self.socket.read_vectored(left)?;
            ensure!(read > 0, "the store closed the connection");
            IoSliceMut::advance_slices(&mut left, read);
        }
        Ok(())
    }
}

fn write(mut socket: &TcpStream, slices: &mut [IoSlice<'_>]) -> Result<()> {
    let mut left = slices;
    while !left.is_empty() {
        let several = left.len().min(SLICES_MAX);
        let written = socket.write_vectored(&left[..several])?;
        ensure!(written > 0, "the store takes no more bytes");
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

/// Waits for `replies` to `SET`.
fn stored(mut socket: &TcpStream, replies: usize) -> Result<()> {
    let wanted = OK.repeat(replies);
    let mut got = vec![0; wanted.len()];
    socket.read_exact(&mut got)?;
    ensure!(got == wanted, "SET: {}", String::from_utf8_lossy(&got));
    Ok(())
}
