//! A plain HTTP/1.1 client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn replica(&self) -> &str {
        self.header("x-weir-replica").expect("a replica answered")
    }

    pub(crate) fn events(&self) -> Vec<&str> {
        let events = self.body.split("\n\n").filter(|event| !event.is_empty());
        events.map(|event| event.strip_prefix("data: ").expect("only data")).collect()
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
    stream
}

pub(crate) fn request(method: &str, path: &str, body: &str, more: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         {more}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Reply {
    let mut stream = connect(address);
    let bytes = request(method, path, body, "connection: close\r\n");
    stream.write_all(&bytes).expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it answers");
    parse(&bytes)
}

pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Reply {
    ask(address, "POST", path, &body.to_string())
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Reply {
    ask(address, "GET", path, "")
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
pub(crate) fn metric(address: SocketAddr, name: &str) -> f64 {
    let page = get(address, "/metrics");
    assert_eq!(page.status, 200);
    let lines = page.body.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
