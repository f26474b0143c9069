//! A plain HTTP/1.1 client for tests: each request on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A header line.
pub const JSON: &str = "content-type: application/json\r\n";

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn events(&self) -> Vec<&str> {
        let events = self.body.split("\n\n").filter(|event| !event.is_empty());
        events.map(|event| event.strip_prefix("data: ").expect("only data")).collect()
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
    stream
}

/// `more` are header lines.
pub fn request(method: &str, path: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{more}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

pub fn ask(address: SocketAddr, method: &str, path: &str, more: &str, body: &[u8]) -> Reply {
    let mut stream = connect(address);
    let more = format!("connection: close\r\n{more}");
    // A server may refuse a body before it has read it.
    let _ = stream.write_all(&request(method, path, &more, body));
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it answers");
    parse(&bytes)
}

pub fn post(address: SocketAddr, path: &str, body: &Value) -> Reply {
    ask(address, "POST", path, JSON, body.to_string().as_bytes())
}

pub fn get(address: SocketAddr, path: &str) -> Reply {
    ask(address, "GET", path, "", b"")
}

fn parse(bytes: &[u8]) -> Reply {
    let text = String::from_utf8(bytes.to_vec()).expect("all that is sent is UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status line");
    let reply = Reply { status, head: head.to_owned(), body: body.to_owned() };
    if reply.header("transfer-encoding") == Some("chunked") {
        return Reply { body: unchunked(body), ..reply };
    }
    reply
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(size, 16).expect("in hexadecimal");
        if size == 0 {
            assert_eq!(rest, "\r\n", "nothing follows the last chunk");
            return whole;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").expect("a chunk ends");
    }
}

/// Summed over its labels.
pub fn metric(address: SocketAddr, name: &str) -> f64 {
    let page = get(address, "/metrics");
    assert_eq!(page.status, 200);
    let lines = page.body.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
