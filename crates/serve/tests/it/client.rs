//! A plain HTTP/1.1 client, and servers for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_serve::{ServeConfig, Server, ServerHandle, TimeMode};

use crate::fixture::cluster;

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
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

pub(crate) fn head(method: &str, path: &str, content_type: Option<&str>, length: usize) -> String {
    let content_type = content_type.map_or(String::new(), |it| format!("content-type: {it}\r\n"));
    format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{content_type}\
         content-length: {length}\r\n\r\n"
    )
}

pub(crate) fn ask_as(
    address: SocketAddr,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Answer {
    let mut stream = connect(address);
    stream.write_all(head(method, path, content_type, body.len()).as_bytes()).expect("it reads");
    // A server may refuse a body before it has read it.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it answers");
    parse(&bytes)
}

pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Answer {
    ask_as(address, "POST", path, Some("application/json"), body.to_string().as_bytes())
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask_as(address, "GET", path, None, b"")
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8(bytes.to_vec()).expect("all that is sent is UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status line");
    let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
    if answer.header("transfer-encoding") == Some("chunked") {
        return Answer { body: unchunked(body), ..answer };
    }
    answer
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

pub(crate) fn config(time: TimeMode) -> ServeConfig {
    let mut config = ServeConfig::new(cluster(2000), "tiny");
    config.time = time;
    config
}

pub(crate) fn start(config: ServeConfig) -> ServerHandle {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    Server::start(config, listener).expect("the configuration is sound")
}

/// Of engine 0, summed over its other labels.
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
