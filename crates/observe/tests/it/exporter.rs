use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_http::Url;

#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Status 200 with this type and body.
    Answer(&'static str, String),
    Status(u16, &'static str),
    /// Extra header lines, type and body.
    Headers(&'static str, String),
    /// Keeps the connection open without an answer until the client leaves.
    Silence,
    /// Sends the first half of a body and then nothing more.
    Half(String),
}

/// Prometheus text.
pub(crate) fn text(body: &str) -> Act {
    Act::Answer("text/plain; version=0.0.4; charset=utf-8", body.to_owned())
}

/// Serves the acts request by request, and repeats the last one.
pub(crate) struct Exporter {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    acts: Arc<Mutex<Vec<Act>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Exporter {
    pub(crate) fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let acts = Arc::new(Mutex::new(acts));
        let (heard, left) = (Arc::clone(&requests), Arc::clone(&acts));
        let accepting = std::thread::spawn(move || {
            let mut serving = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let Some(request) = read_request(&stream) else { continue };
                if request.starts_with("STOP ") {
                    break;
                }
                heard.lock().push(request);
                let act = {
                    let mut acts = left.lock();
                    if acts.len() > 1 { acts.remove(0) } else { acts[0].clone() }
                };
                // On its own thread: a silent answer must not delay the next one.
                serving.push(std::thread::spawn(move || answer(stream, &act)));
            }
            for thread in serving {
                thread.join().unwrap();
            }
        });
        Self { address, requests, acts, accepting: Some(accepting) }
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    pub(crate) fn act(&self, acts: Vec<Act>) {
        *self.acts.lock() = acts;
    }

    pub(crate) fn wait_for(&self, requests: usize) {
        let begin = Instant::now();
        while self.requests().len() < requests {
            assert!(begin.elapsed() < Duration::from_secs(20), "no {requests} requests in 20 s");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(b"STOP / HTTP/1.1\r\n\r\n");
        }
        if let Some(thread) = self.accepting.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the server failed");
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<String> {
    let mut head = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        if line.is_empty() {
            return Some(head);
        }
        head.push_str(&line);
        head.push('\n');
    }
    None
}

fn answer(mut stream: TcpStream, act: &Act) {
    let whole = |status: &str, headers: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    };
    let bytes = match act {
        Act::Answer(content_type, body) => {
            whole("200 OK", &format!("Content-Type: {content_type}\r\n"), body)
        }
        Act::Status(status, body) => whole(&format!("{status} No"), "", body),
        Act::Headers(headers, body) => whole("200 OK", headers, body),
        Act::Silence => String::new(),
        Act::Half(body) => {
            let all = whole("200 OK", "Content-Type: text/plain\r\n", body);
            all[..all.len() - body.len() / 2].to_owned()
        }
    };
    // The client may have left.
    let _ = stream.write_all(bytes.as_bytes());
    if matches!(act, Act::Silence | Act::Half(_)) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}
