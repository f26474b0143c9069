//! Clients that disconnect at every stage, and servers that stop.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use weir_model::Nanos;
use weir_serve::TimeMode;
use weir_service::suite::{self, JSON, PATIENCE, ask, connect, eventually, get, metric, post};

use crate::fixture::{config, start};

fn request(number: u32, stream: bool, tokens: u32) -> Vec<u8> {
    let prompt: Vec<u32> = (0..100).map(|at| 1000 + (number * 7 + at) % 3000).collect();
    let body = json!({"prompt": prompt, "max_tokens": tokens, "stream": stream}).to_string();
    let more = format!("connection: close\r\n{JSON}");
    suite::request("POST", "/v1/completions", &more, body.as_bytes())
}

fn in_flight(address: SocketAddr) -> f64 {
    metric(address, "vllm:num_requests_running") + metric(address, "vllm:num_requests_waiting")
}

fn aborted(address: SocketAddr) -> f64 {
    let page = get(address, "/metrics").body;
    let line = page.lines().find(|line| {
        line.starts_with("vllm:request_success_total") && line.contains("finished_reason=\"abort\"")
    });
    line.and_then(|line| line.rsplit(' ').next()).expect("a line").parse().expect("a number")
}

/// At least one byte.
fn taste(stream: &mut TcpStream) {
    let mut buffer = [0u8; 300];
    assert!(stream.read(&mut buffer).expect("it answers") > 0);
}

#[test]
fn clients_that_vanish_at_any_stage_leave_nothing_behind() {
    // 5 ms per pass: 600 tokens take three seconds.
    let server = start(config(TimeMode::Real));
    for number in 0..400u32 {
        let mut stream = connect(server.addr);
        let bytes = request(number, number % 2 == 0, 600);
        match number % 8 {
            0 => {}
            1 => stream.write_all(&bytes[..20]).expect("it reads"),
            2 | 3 => stream.write_all(&bytes[..bytes.len() - 10]).expect("it reads"),
            // A complete request, then a disconnect at once or during the answer.
            4 => {
                stream.write_all(&bytes).expect("it reads");
                taste(&mut stream);
                taste(&mut stream);
            }
            5 => {
                stream.write_all(&bytes).expect("it reads");
                stream.shutdown(Shutdown::Both).expect("it is open");
            }
            _ => stream.write_all(&bytes).expect("it reads"),
        }
    }
    // Requests that are still read are in no gauge: the streams that had begun, at least, must end.
    eventually("aborted streams and an empty engine", || {
        aborted(server.addr) >= 50.0 && in_flight(server.addr) == 0.0
    });
    assert_eq!(metric(server.addr, "vllm:kv_cache_usage_perc"), 0.0, "all blocks are back");
    let reset = ask(server.addr, "POST", "/reset_prefix_cache", "", b"");
    assert_eq!(reset.body, r#"{"success":true}"#, "no block is held");
    let good = post(server.addr, "/v1/completions", &json!({"prompt": "a", "max_tokens": 2}));
    assert_eq!(good.status, 200);
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn the_cache_is_not_reset_under_a_request() {
    let server = start(config(TimeMode::Real));
    let mut stream = connect(server.addr);
    stream.write_all(&request(0, true, 2000)).expect("it reads");
    eventually("a running request", || in_flight(server.addr) == 1.0);
    let reset = ask(server.addr, "POST", "/reset_prefix_cache", "", b"");
    assert_eq!(reset.body, r#"{"success":false}"#);
    drop(stream);
    eventually("an empty engine", || in_flight(server.addr) == 0.0);
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn a_reader_that_sleeps_gets_everything_and_stops_nobody() {
    let server = start(config(TimeMode::Instant));
    let mut sleeper = connect(server.addr);
    sleeper.write_all(&request(0, true, 3900)).expect("it reads");
    // 3,900 frames exceed all buffers on the way.
    for _ in 0..20 {
        let other = post(server.addr, "/v1/completions", &json!({"prompt": "a", "max_tokens": 50}));
        assert_eq!(other.status, 200);
    }
    eventually("an idle engine", || in_flight(server.addr) == 0.0);
    let mut all = Vec::new();
    sleeper.read_to_end(&mut all).expect("it answers");
    let text = String::from_utf8(all).expect("UTF-8");
    assert_eq!(text.matches("\"index\":0").count(), 3900);
    assert!(text.contains("[DONE]"));
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn a_stopping_server_finishes_what_it_began() {
    let server = start(config(TimeMode::Real));
    let address = server.addr;
    let mut stream = connect(address);
    stream.write_all(&request(0, true, 100)).expect("it reads");
    taste(&mut stream);
    let stopping = std::thread::spawn(move || server.shutdown());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it answers to the end");
    assert!(String::from_utf8_lossy(&rest).contains("[DONE]"));
    stopping.join().expect("it does not panic").expect("it ends cleanly");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_stopping_server_does_not_wait_for_ever() {
    let mut config = config(TimeMode::Real);
    config.grace = Nanos::from_millis(50);
    let server = start(config);
    let idle = connect(server.addr);
    let mut stream = connect(server.addr);
    stream.write_all(&request(0, true, 3000)).expect("it reads");
    taste(&mut stream);
    let start = Instant::now();
    server.shutdown().expect("it ends cleanly");
    assert!(start.elapsed() < Duration::from_secs(10), "3000 tokens would take 15 seconds");
    let mut rest = Vec::new();
    // An end or an error, but not the end of the answer.
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
    drop(idle);
}

#[test]
fn scaled_time_runs_faster_and_real_time_does_not_run_ahead() {
    // 100 passes of 5 ms: at least half a second of model time.
    let body = json!({"prompt": [1, 2, 3], "max_tokens": 100});
    let took = |time: TimeMode| {
        let server = start(config(time));
        let start = Instant::now();
        assert_eq!(post(server.addr, "/v1/completions", &body).status, 200);
        let took = start.elapsed();
        server.shutdown().expect("it ends cleanly");
        took
    };
    assert!(took(TimeMode::Real) >= Duration::from_millis(500));
    let slowed = took(TimeMode::Scaled(0.5));
    assert!(slowed >= Duration::from_secs(1) && slowed < PATIENCE, "{slowed:?}");
}
