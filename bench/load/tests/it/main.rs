//! The mock and the bare loop as programs, whose figures must agree.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use weir_bench_load::truth::{Run, Served};

struct Mock {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Mock {
    fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mock"))
            .arg("--until-stdin-closes")
            .args(options)
            .arg("--log")
            .arg(folder.path().join("log.csv"))
            .arg("--summary")
            .arg(folder.path().join("run.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the mock starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("an output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, address, folder }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        stream
    }

    fn end(&mut self) -> (Run, Vec<Served>) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        kill_process(pid, Signal::TERM).expect("a signal");
        assert!(self.child.wait().expect("an end").success());
        self.truth()
    }

    fn truth(&self) -> (Run, Vec<Served>) {
        let text = std::fs::read(self.folder.path().join("run.json")).expect("a summary");
        let run = serde_json::from_slice(&text).expect("JSON");
        let log = self.folder.path().join("log.csv");
        let mut reader = csv::Reader::from_path(log).expect("a log");
        (run, reader.deserialize().map(|row| row.expect("a row")).collect())
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(tokens: u32, id: &str, connection: &str) -> String {
    let body = format!(r#"{{"prompt":[1,2,3],"max_tokens":{tokens},"stream":true}}"#);
    format!(
        "POST /v1/completions HTTP/1.1\r\nHost: mock\r\nX-Request-Id: {id}\r\n\
         Connection: {connection}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn tokens_in(text: &str) -> usize {
    text.matches(r#""text":" flow""#).count()
}

#[test]
fn bare_and_mock_agree() {
    let mut mock = Mock::start(&["--first-ms", "20", "--every-ms", "2"]);
    let rows: PathBuf = mock.folder.path().join("bare.csv");
    let output = Command::new(env!("CARGO_BIN_EXE_bare"))
        .arg(format!("http://{}", mock.address))
        .args(["--streams", "4", "--requests", "12", "--output-tokens", "10", "--out"])
        .arg(&rows)
        .output()
        .expect("bare runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&figures["requests"], &figures["tokens"]), (&12.into(), &120.into()));

    let (run, served) = mock.end();
    assert_eq!((run.requests, run.complete, run.connections), (12, 12, 4));
    assert_eq!((run.tokens, run.in_flight_max), (120, 4));
    let mut reader = csv::Reader::from_path(&rows).expect("rows");
    for row in reader.deserialize() {
        let (id, start, first, last, tokens, _): (String, u64, u64, u64, u32, u64) =
            row.expect("a row");
        let truth = served.iter().find(|row| row.request_id == id).expect("the request");
        assert_eq!((tokens, truth.tokens, truth.complete), (10, 10, true));
        // One clock on both sides, so causes come before effects.
        assert!(start <= truth.arrived_ns && truth.arrived_ns <= truth.read_ns);
        assert!(truth.first_token_ns - truth.read_ns >= 20_000_000);
        assert!(truth.last_token_ns - truth.read_ns >= 38_000_000);
        assert!(truth.first_token_ns <= first && truth.last_token_ns <= last);
        assert!(truth.first_token_ns <= truth.first_taken_ns);
    }
}

#[test]
fn a_client_that_does_not_read_waits_alone() {
    let mut mock = Mock::start(&["--burst", "64"]);
    let mut slow = mock.connect();
    slow.write_all(request(100_000, "slow", "close").as_bytes()).expect("sent");
    // Until the slow one's 20 MB no longer fit into the sockets.
    let start = Instant::now();
    let mut fast = mock.connect();
    loop {
        fast.write_all(b"GET /summary HTTP/1.1\r\nHost: mock\r\n\r\n").expect("sent");
        let mut bytes = vec![0; 1 << 16];
        let read = fast.read(&mut bytes).expect("a summary");
        if !String::from_utf8_lossy(&bytes[..read]).contains(r#""stalls":0"#) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it never stalled");
    }
    let mut other = mock.connect();
    other.write_all(request(100, "fast", "close").as_bytes()).expect("sent");
    let mut text = String::new();
    other.read_to_string(&mut text).expect("an answer");
    assert_eq!(tokens_in(&text), 100);
    text.clear();
    slow.read_to_string(&mut text).expect("an answer");
    assert_eq!(tokens_in(&text), 100_000);
    let (run, served) = mock.end();
    assert!(run.stalls > 0 && served.iter().all(|row| row.complete));
    assert_eq!(served[0].request_id, "fast");
}

#[test]
fn requests_behind_each_other_and_vanishing_clients() {
    let mut mock = Mock::start(&[]);
    let mut both = mock.connect();
    let text = request(3, "one", "keep-alive") + &request(4, "two", "close");
    both.write_all(text.as_bytes()).expect("sent");
    let mut text = String::new();
    both.read_to_string(&mut text).expect("answers");
    assert_eq!((tokens_in(&text), text.matches("[DONE]").count()), (7, 2));

    let mut gone = mock.connect();
    gone.write_all(request(1_000_000, "gone", "close").as_bytes()).expect("sent");
    let mut bytes = [0; 1024];
    assert!(gone.read(&mut bytes).expect("a start") > 0);
    drop(gone);
    let mut last = mock.connect();
    last.write_all(b"nonsense\r\n\r\n").expect("sent");
    let mut text = String::new();
    last.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    let (run, served) = mock.end();
    assert_eq!((run.requests, run.complete, served.len()), (3, 2, 3));
    assert_eq!((served[2].request_id.as_str(), served[2].complete), ("gone", false));
}

#[test]
fn the_mock_ends_with_whoever_started_it() {
    let mut mock = Mock::start(&[]);
    drop(mock.child.stdin.take());
    assert!(mock.child.wait().expect("an end").success());
    assert_eq!(mock.truth().0.requests, 0);
}

/// Needs the product's program: `WEIR_BIN`, which `scripts/test` sets.
#[test]
fn weir_is_compared_with_the_bare_loop() {
    let Some(weir) = std::env::var_os("WEIR_BIN") else {
        assert!(std::env::var("CI").is_err(), "WEIR_BIN is not set; run scripts/test");
        println!("SKIPPED weir_is_compared_with_the_bare_loop: WEIR_BIN is not set");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("runs.json");
    let output = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["--tools", "bare,weir", "--case", "unpaced-64x128", "--repeats", "1"])
        .args(["--duration-s", "1", "--weir"])
        .arg(weir)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the comparison starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runs: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("a file")).expect("JSON");
    let tools: Vec<&str> = runs["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|run| run["tool"].as_str().expect("a name"))
        .collect();
    assert_eq!(tools, ["bare", "weir"]);
}
