//! Loads on a server with failing requests, from reports on other tools: failed requests are not
//! work, and figures without data are not shown.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::Value;

use crate::binary::weir;
use crate::folder::json;

/// Lists its model, and ends every `often`-th answer after its first token. Its threads end with
/// the test's process.
fn server(often: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asked = asked.clone();
            std::thread::spawn(move || {
                let next = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                serve(stream, || next().is_multiple_of(often))
            });
        }
    });
    address
}

fn serve(stream: TcpStream, is_broken: impl Fn() -> bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        let mut length = 0;
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
            if let Some(value) = head[from..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if head.starts_with("GET /v1/models ") {
            write(&mut stream, "200 OK", "application/json", r#"{"data": [{"id": "broken"}]}"#)?;
        } else if head.starts_with("POST /v1/completions ") {
            let asked: Value = serde_json::from_slice(&body)?;
            let tokens = asked["max_tokens"].as_u64().unwrap_or(1);
            let token = "data: {\"choices\": [{\"index\": 0, \"text\": \" a\"}]}\n\n";
            let prompt = asked["prompt"].as_array().map_or(0, Vec::len);
            let usage = format!(
                "data: {{\"choices\": [], \"usage\": {{\"prompt_tokens\": {prompt}, \
                 \"completion_tokens\": {tokens}}}}}\n\ndata: [DONE]\n\n"
            );
            let text = if is_broken() {
                format!("{token}data: {{\"error\": {{\"message\": \"the engine died\"}}}}\n\n")
            } else {
                token.repeat(tokens as usize) + &usage
            };
            write(&mut stream, "200 OK", "text/event-stream", &text)?;
        } else {
            write(&mut stream, "404 Not Found", "text/plain", "no such path")?;
        }
    }
}

fn write(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes())
}

#[test]
fn a_level_of_broken_requests_is_no_result() {
    let url = format!("http://{}", server(1));
    let folder = tempfile::tempdir().unwrap();
    let mut args = vec!["load", &url, "--users", "2", "--requests", "12"];
    args.extend(["--prompt-tokens", "16", "--output-tokens", "4", "--out", "run"]);
    args.extend(["--format", "vllm-bench=v.json"]);
    let answer = weir(folder.path(), &args);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("c2 failed: 12 of 12 measured requests failed"), "{words}");
    assert!(words.contains("(at most 1 % is allowed): "), "the cause follows: {words}");
    assert!(!words.contains("generator was the limit"), "{words}");
    let row = answer.out.lines().find(|line| line.starts_with("  c2  ")).unwrap();
    let fields: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(fields[..9], ["c2", "0", "12", "-", "-", "-", "-", "-", "-"], "{row}");
    let cell = folder.path().join("run/cells/broken/endpoint/as-deployed/c2/0/cell.json");
    let figures = &json(&cell)["figures"];
    assert_eq!((&figures["failed"], &figures["measured"]), (&12.into(), &12.into()), "{figures}");
    assert!(figures["output_tokens_per_s"].is_null(), "{figures}");
    assert!(figures["ttft_ms"]["p99"].is_null(), "{figures}");
    assert!(figures["failed_output_tokens_per_s"].as_f64().unwrap() > 0.0, "{figures}");
    let bench = json(&folder.path().join("v.json"));
    assert_eq!((&bench["completed"], &bench["failed"]), (&0.into(), &12.into()));
    assert!(bench["mean_ttft_ms"].is_null() && bench["output_throughput"].is_null(), "{bench}");
}

#[test]
fn a_level_of_broken_requests_is_compared_with_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (run, often) in [("sound", usize::MAX), ("broken", 1)] {
        let url = format!("http://{}", server(often));
        let args = ["load", &url, "--users", "2", "--requests", "12", "--prompt-tokens", "16"];
        weir(folder.path(), &[&args[..], &["--output-tokens", "4", "--out", run]].concat());
    }
    let answer = weir(folder.path(), &["compare", "sound", "broken"]).done();
    // The level is listed with its reason, and without figures.
    let rows: Vec<&str> = answer.out.lines().filter(|line| line.contains("  c2  ")).collect();
    assert_eq!(rows.len(), 1, "{}", answer.out);
    let fields: Vec<&str> = rows[0].split_whitespace().take(6).collect();
    assert_eq!(fields, ["as-deployed", "c2", "verdict", "-", "-", "-"], "{}", answer.out);
    assert!(rows[0].contains("-> failed (12 of 12"), "{}", answer.out);
}

#[test]
fn the_share_of_failures_that_is_allowed_can_be_said() {
    let url = format!("http://{}", server(4));
    let folder = tempfile::tempdir().unwrap();
    let load = |run: &str, more: &[&str]| {
        let mut args = vec!["load", &url, "--users", "2", "--requests", "24"];
        args.extend(["--prompt-tokens", "16", "--output-tokens", "4", "--out", run]);
        args.extend(more);
        weir(folder.path(), &args);
        json(&folder.path().join(run).join("cells/broken/endpoint/as-deployed/c2/0/cell.json"))
    };
    let strict = load("strict", &[]);
    assert_eq!(strict["status"]["requests-failed"]["most"], 0.01, "{strict}");
    // Complete, or refused because the machine is busy: not for its requests.
    let lenient = load("lenient", &["--max-failures", "0.5"]);
    assert!(lenient["status"]["requests-failed"].is_null(), "{lenient}");
    assert_eq!(lenient["figures"]["failed"], 6, "{lenient}");
    assert_eq!(lenient["figures"]["completed"], 18, "{lenient}");
}
