//! An API server that answers as a test says. One request per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use weir_kubernetes::{Cluster, ClusterAccess};

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Told {
        code: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// The connection is closed without an answer.
    Nothing,
}

impl Answer {
    fn of(code: u16, body: &Value) -> Self {
        Self::Told { code, headers: Vec::new(), body: body.to_string() }
    }
}

pub(crate) fn ok(body: &Value) -> Answer {
    Answer::of(200, body)
}

pub(crate) fn created(body: &Value) -> Answer {
    Answer::of(201, body)
}

/// As a server writes a failure.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: &Value) -> Answer {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                      "message": message, "reason": reason, "details": details, "code": code});
    Answer::of(code, &body)
}

pub(crate) fn absent(name: &str) -> Answer {
    status(404, "NotFound", &format!("\"{name}\" not found"), &json!({"name": name}))
}

pub(crate) struct ApiServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Answers `/version` itself.
    pub(crate) fn start(mut answer: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ends = Arc::new(AtomicBool::new(false));
        let (log, end) = (Arc::clone(&asked), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let Some(request) = read(&mut stream) else { continue };
                let told = if request.path() == "/version" {
                    ok(&json!({"major": "1", "minor": "37", "gitVersion": "v1.37.2",
                               "gitCommit": "", "gitTreeState": "", "buildDate": "",
                               "goVersion": "", "compiler": "", "platform": ""}))
                } else {
                    log.lock().unwrap().push(request.clone());
                    answer(&request)
                };
                write(&mut stream, told);
            }
        });
        Self { address, asked, ends, thread: Some(thread) }
    }

    pub(crate) fn cluster(&self) -> Cluster {
        Cluster::connect(&self.access()).unwrap()
    }

    pub(crate) fn access(&self) -> ClusterAccess {
        ClusterAccess {
            server: Some(format!("http://{}", self.address)),
            namespace: "lab".to_owned(),
            ..Default::default()
        }
    }

    /// All requests so far, but those of `/version`.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// `GET /path`, one per request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.target)).collect()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Asked { method, target, body })
}

fn write(stream: &mut TcpStream, answer: Answer) {
    let Answer::Told { code, headers, body } = answer else { return };
    let headers = headers
        .into_iter()
        .fold(String::new(), |all, (key, value)| all + key + ": " + &value + "\r\n");
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n{headers}\r\n"
    );
    // A client that gave up is no fault of the server.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}
