//! The field's requests to one agent, over a connection that is opened again when it broke.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_http::request::{self, Method};
use weir_http::response::{Limits, Progress, ResponseParser};
use weir_http::url::Url;

use crate::lobby::Lobby;
use crate::message::RUN_HEADER;
use crate::token::Token;

/// Without a byte of an answer.
const SILENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// Reports, and parts of rows.
const BODY_BYTES_MAX: usize = 64 << 20;
const READ_BYTES: usize = 64 << 10;

#[derive(Debug, Clone)]
pub(crate) enum ChannelLine {
    Dial,
    /// The agent of this id dials.
    Await(Arc<Lobby>, String),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum CallBody<'a> {
    None,
    Bytes(&'a [u8]),
    File(&'a Path, u64),
}

#[derive(Debug)]
pub(crate) struct CallAnswer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl CallAnswer {
    /// Why the agent refused.
    pub(crate) fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        if text.trim().is_empty() { format!("status {}", self.status) } else { text.into_owned() }
    }

    pub(crate) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        if !self.is_good() {
            return Err(self.words());
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            format!("the agent's answer has another form ({error}); use one version")
        })
    }
}

/// No answer for a while.
#[derive(Debug)]
pub(crate) struct Silent {
    pub(crate) waited: Duration,
    pub(crate) problem: String,
}

#[derive(Debug)]
pub(crate) struct Channel {
    line: ChannelLine,
    url: Url,
    token: Option<Token>,
    run: String,
    stream: Option<TcpStream>,
}

impl Channel {
    pub(crate) const fn new(
        line: ChannelLine,
        url: Url,
        token: Option<Token>,
        run: String,
    ) -> Self {
        Self { line, url, token, run, stream: None }
    }

    pub(crate) fn get(&mut self, path: &str, patience: Duration) -> Result<CallAnswer, Silent> {
        self.call(Method::Get, path, &[], CallBody::None, patience)
    }

    pub(crate) fn post(
        &mut self,
        path: &str,
        message: &impl Serialize,
        patience: Duration,
    ) -> Result<CallAnswer, Silent> {
        let body = serde_json::to_vec(message).unwrap_or_default();
        self.call(Method::Post, path, &[], CallBody::Bytes(&body), patience)
    }

    /// Tried again until `patience` is over: the agent takes a repeated request for the first.
    pub(crate) fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: CallBody<'_>,
        patience: Duration,
    ) -> Result<CallAnswer, Silent> {
        let began = Instant::now();
        loop {
            let left = patience.saturating_sub(began.elapsed());
            let problem = match self.once(method, path, headers, body, left) {
                Ok(answer) => return Ok(answer),
                Err(error) => error.to_string(),
            };
            self.stream = None;
            if began.elapsed() + PAUSE >= patience {
                return Err(Silent { waited: began.elapsed(), problem });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn once(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: CallBody<'_>,
        left: Duration,
    ) -> io::Result<CallAnswer> {
        let mut all = vec![(RUN_HEADER, self.run.clone())];
        all.extend(headers.iter().cloned());
        if let Some(token) = &self.token {
            all.push(("Authorization", token.header()));
        }
        let length = match body {
            CallBody::None => None,
            CallBody::Bytes(bytes) => Some(bytes.len()),
            CallBody::File(_, bytes) => Some(bytes as usize),
        };
        let wrong = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let target = self.url.target(path);
        let head = request::head(method, &self.url, &target, &all, length)
            .map_err(|error| wrong(error.to_string()))?;
        let stream = self.connected(left.min(SILENCE))?;
        match body {
            CallBody::None => stream.write_all(&head)?,
            CallBody::Bytes(bytes) => stream.write_all(&[head.as_slice(), bytes].concat())?,
            CallBody::File(path, bytes) => {
                stream.write_all(&head)?;
                io::copy(&mut File::open(path)?.take(bytes), stream)?;
            }
        }
        read_answer(stream, method).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let waited = format!("no answer within {} s", SILENCE.as_secs());
                io::Error::new(io::ErrorKind::TimedOut, waited)
            }
            _ => error,
        })
    }

    fn connected(&mut self, wait: Duration) -> io::Result<&mut TcpStream> {
        if self.stream.is_none() {
            // Never zero, which sockets take as no time-out.
            let wait = wait.max(PAUSE);
            let stream = match &self.line {
                ChannelLine::Dial => connect(&self.url, wait)?,
                ChannelLine::Await(lobby, id) => lobby.take(id, wait).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotConnected, "it did not connect again")
                })?,
            };
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_write_timeout(Some(SILENCE))?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn connect(url: &Url, wait: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, wait) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_answer(stream: &mut TcpStream, method: Method) -> io::Result<CallAnswer> {
    let wrong = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut parser = ResponseParser::new(Limits::default());
    parser.reset_for(method);
    let (mut body, mut buffer) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
        }
        let progress = parser
            .feed(&buffer[..read], &mut |part: &[u8]| body.extend_from_slice(part))
            .map_err(|error| wrong(error.to_string()))?;
        if body.len() > BODY_BYTES_MAX {
            return Err(wrong("an answer that is too long".to_owned()));
        }
        if let Progress::Complete { .. } = progress {
            let status = parser.head().map_or(0, |head| head.status);
            return Ok(CallAnswer { status, body });
        }
    }
}
