//! An agent that dials its field, as the pods of a job do, and answers over that connection.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use weir_http::Url;
use weir_http::request::{self, Method};

use crate::agent::{Agent, AgentEnd};
use crate::error::AgentError;
use crate::message::{UPGRADE, path};

const LOOK: Duration = Duration::from_millis(100);
const CONNECT: Duration = Duration::from_secs(5);
/// A field may come up after its agents.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);
/// Of the field's answer.
const HEAD_BYTES_MAX: usize = 8 << 10;

enum Failed {
    /// It may work later.
    Now(String),
    Refused(String),
}

impl Agent {
    /// Works for the field at `url` until it lets the agent go or falls silent.
    pub fn dial(self: &Arc<Self>, url: &Url) -> Result<AgentEnd, AgentError> {
        let (sender, ended) = sync_channel(1);
        let (own, field) = (Arc::clone(self), url.clone());
        std::thread::Builder::new()
            .name("dial".to_owned())
            .spawn(move || _ = sender.send(own.dial_again(&field)))
            .map_err(|error| AgentError::io("start a thread", &error))?;
        loop {
            match ended.recv_timeout(LOOK) {
                Ok(error) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(AgentEnd::Forsaken),
            }
            if let Some(end) = self.look_after() {
                return Ok(end);
            }
        }
    }

    /// After each end of a connection: the field remembers the agent.
    fn dial_again(&self, url: &Url) -> AgentError {
        let mut connected = Instant::now();
        loop {
            match self.connect(url) {
                Ok(stream) => {
                    let _ = self.serve(stream);
                    connected = Instant::now();
                }
                Err(Failed::Refused(problem)) => {
                    return AgentError::RefusedByField { url: url.to_string(), problem };
                }
                Err(Failed::Now(problem)) if connected.elapsed() > PATIENCE => {
                    let waited = PATIENCE.as_secs();
                    return AgentError::NoField { url: url.to_string(), waited, problem };
                }
                Err(Failed::Now(_)) => {}
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn connect(&self, url: &Url) -> Result<TcpStream, Failed> {
        let now = |error: std::io::Error| Failed::Now(error.to_string());
        let addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(now)?;
        let mut last = Failed::Now("the name has no address".to_owned());
        let mut connected = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => last = now(error),
            }
        }
        let mut stream = connected.ok_or(last)?;
        let hello = serde_json::to_vec(&self.hello()).unwrap_or_default();
        let mut headers = vec![
            ("Connection", "Upgrade".to_owned()),
            ("Upgrade", UPGRADE.to_owned()),
            ("Content-Type", "application/json".to_owned()),
        ];
        if let Some(token) = self.token() {
            headers.push(("Authorization", token.header()));
        }
        let target = url.target(path::AGENTS);
        let head = request::head(Method::Post, url, &target, &headers, Some(hello.len()))
            .map_err(|error| Failed::Refused(error.to_string()))?;
        stream.set_read_timeout(Some(CONNECT)).map_err(now)?;
        stream.write_all(&[head, hello].concat()).map_err(now)?;
        let answer = answer_head(&mut stream).map_err(now)?;
        if answer.split(' ').nth(1) == Some("101") {
            return Ok(stream);
        }
        let mut why = Vec::new();
        let _ = (&mut stream).take(HEAD_BYTES_MAX as u64).read_to_end(&mut why);
        let why = String::from_utf8_lossy(&why).into_owned();
        let status = answer.lines().next().unwrap_or_default().to_owned();
        Err(Failed::Refused(if why.is_empty() { status } else { why }))
    }
}

/// Byte by byte: what follows is the field's first request.
fn answer_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
