//! Replicas that die and return, clients that go away.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::json;
use weir_router::PolicyConfig;
use weir_serve::{Server, ServerHandle, TimeMode};
use weir_service::suite::{JSON, Reply, connect, eventually, get, metric, post, request};

use crate::fixture::{
    Replicas, config, engine, listener, precise, publishing, replica, start, url,
};

fn ask(proxy: SocketAddr) -> Reply {
    post(proxy, "/v1/completions", &json!({"prompt": "a b c", "max_tokens": 1}))
}

fn again(address: SocketAddr) -> TcpListener {
    let mut bound = None;
    eventually("the freed port", || {
        bound = TcpListener::bind(address).ok();
        bound.is_some()
    });
    bound.expect("just bound")
}

fn instant(listener: TcpListener) -> ServerHandle {
    Server::start(engine(2000, TimeMode::Instant), listener).expect("it starts")
}

#[test]
fn a_replica_that_dies_is_left_out_until_it_returns() {
    let (first, second) = (instant(listener()), instant(listener()));
    let (first_addr, second_addr) = (first.addr, second.addr);
    let proxy = start(config(vec![url(first_addr), url(second_addr)], PolicyConfig::RoundRobin));
    let homes: Vec<String> = (0..4).map(|_| replica(&ask(proxy.addr)).to_owned()).collect();
    let (one, two) = (first_addr.to_string(), second_addr.to_string());
    assert_eq!(homes, [&*one, &*two, &*one, &*two]);

    first.shutdown().expect("it ends");
    for _ in 0..6 {
        let reply = ask(proxy.addr);
        assert_eq!((reply.status, replica(&reply)), (200, &*two));
    }
    eventually("the news", || metric(proxy.addr, "weir_route_replica_up") == 1.0);

    second.shutdown().expect("it ends");
    let reply = ask(proxy.addr);
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("no replica answers"), "{}", reply.body);
    eventually("a health that fails", || get(proxy.addr, "/health").status == 503);

    let first = instant(again(first_addr));
    eventually("its return", || ask(proxy.addr).status == 200);
    assert_eq!(replica(&ask(proxy.addr)), one);
    assert_eq!(get(proxy.addr, "/health").status, 200);
    drop(first);
    let totals = proxy.shutdown().expect("it ends cleanly");
    assert!(totals.requests >= 13 && totals.unanswered >= 1, "{totals:?}");
}

#[test]
fn the_index_forgets_a_replica_that_died() {
    let mut replicas = Replicas::start(2, 2000);
    let mut config = config(replicas.urls(), precise());
    config.kv_events.clone_from(&replicas.endpoints);
    let proxy = start(config);
    replicas.are_heard_by(proxy.addr);
    let prompt: Vec<u32> = (0..320).collect();
    let ask = || {
        let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 1});
        post(proxy.addr, "/v1/completions", &body)
    };
    let home = replica(&ask()).to_owned();
    eventually("events", || metric(proxy.addr, "weir_route_index_keys") >= 24.0);
    assert_eq!(replica(&ask()), home);
    let at =
        replicas.servers.iter().position(|it| it.addr.to_string() == home).expect("one of two");
    let died = replicas.servers.remove(at);
    let (address, endpoint) = (died.addr, replicas.endpoints.remove(at));
    died.shutdown().expect("it ends");
    eventually("a smaller index", || metric(proxy.addr, "weir_route_index_keys") < 20.0);
    let port = endpoint.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a port");
    let returned = publishing(again(address), port, 2000, &format!("kv@{address}@tiny"));
    eventually("its return", || metric(proxy.addr, "weir_route_replica_up") == 2.0);
    replicas.servers.push(returned);
    // It is heard again without a new proxy.
    replicas.are_heard_by(proxy.addr);
}

#[test]
fn clients_that_go_away_end_their_requests() {
    // 5 ms per pass: 2,000 tokens take ten seconds.
    let server = Server::start(engine(2000, TimeMode::Real), listener()).expect("it starts");
    let proxy = start(config(vec![url(server.addr)], PolicyConfig::Random));
    let running = || metric(server.addr, "vllm:num_requests_running");
    for stream in [true, false] {
        let body = json!({"prompt": "a b c", "max_tokens": 2000, "stream": stream}).to_string();
        let mut client = connect(proxy.addr);
        client
            .write_all(&request("POST", "/v1/completions", JSON, body.as_bytes()))
            .expect("it reads");
        eventually("a running request", || running() == 1.0);
        assert_eq!(metric(proxy.addr, "weir_route_requests_in_flight"), 1.0);
        if stream {
            assert!(client.read(&mut [0; 300]).expect("it streams") > 0, "before its end");
        }
        drop(client);
        eventually("an engine without requests", || running() == 0.0);
        eventually("no request", || metric(proxy.addr, "weir_route_requests_in_flight") == 0.0);
    }
    assert_eq!(ask(proxy.addr).status, 200);
}

#[test]
fn a_stop_lets_answers_end_and_cuts_off_those_that_take_too_long() {
    let server = Server::start(engine(2000, TimeMode::Real), listener()).expect("it starts");
    let mut config = config(vec![url(server.addr)], PolicyConfig::Random);
    config.grace = weir_model::Nanos::from_secs(20);
    let proxy = start(config);
    let body = json!({"prompt": "a b c", "max_tokens": 60, "stream": true}).to_string();
    let mut client = connect(proxy.addr);
    let more = format!("connection: close\r\n{JSON}");
    client
        .write_all(&request("POST", "/v1/completions", &more, body.as_bytes()))
        .expect("it reads");
    assert!(client.read(&mut [0; 100]).expect("it streams") > 0);
    proxy.shutdown().expect("it ends cleanly");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the answer ends");
    assert!(String::from_utf8_lossy(&rest).contains("[DONE]"));
}

#[test]
fn a_replica_that_breaks_off_is_told() {
    let upstream = listener();
    let proxy = start(config(vec![url(upstream.local_addr().unwrap())], PolicyConfig::Random));
    std::thread::spawn(move || {
        // Reads a little and closes.
        while let Ok((mut stream, _)) = upstream.accept() {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = stream.read(&mut [0; 10]);
        }
    });
    let reply = ask(proxy.addr);
    assert_eq!(reply.status, 502);
    assert!(reply.body.contains("the connection broke"), "{}", reply.body);
}
