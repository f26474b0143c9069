//! Requests and answers pass unchanged.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use serde_json::{Value, json};
use weir_router::PolicyConfig;
use weir_serve::{Server, TimeMode};
use weir_service::suite::{JSON, connect, get, post, request};

use crate::fixture::{config, engine, listener, replica, start, url};

#[test]
fn answers_are_the_replicas_own() {
    let server = Server::start(engine(2000, TimeMode::Instant), listener()).expect("it starts");
    let proxy = start(config(vec![url(server.addr)], PolicyConfig::Random));
    let prompt: Vec<u32> = (0..100).collect();
    let whole = json!({"prompt": prompt, "max_tokens": 8, "seed": 3});
    let (direct, routed) =
        (post(server.addr, "/v1/completions", &whole), post(proxy.addr, "/v1/completions", &whole));
    assert_eq!(routed.status, 200);
    assert_eq!(replica(&routed), server.addr.to_string());
    assert_eq!(routed.header("content-type"), direct.header("content-type"));
    assert_eq!(routed.json()["choices"], direct.json()["choices"]);

    let chat = json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8,
                      "seed": 3, "stream": true});
    let texts = |address| -> Vec<Value> {
        let reply = post(address, "/v1/chat/completions", &chat);
        let events = reply.events();
        assert_eq!(events.last(), Some(&"[DONE]"));
        let choices = |event: &&str| serde_json::from_str::<Value>(event).ok();
        events.iter().filter_map(choices).map(|event| event["choices"].clone()).collect()
    };
    assert_eq!(texts(proxy.addr), texts(server.addr));
    assert!(texts(proxy.addr).len() >= 8);

    for (path, body) in [
        ("/v1/completions", json!({"prompt": prompt, "max_tokens": -1})),
        ("/v1/completions", json!([1])),
        ("/v1/chat/completions", json!({"messages": 7})),
        ("/nowhere", json!({})),
    ] {
        let (direct, routed) = (post(server.addr, path, &body), post(proxy.addr, path, &body));
        assert_eq!((routed.status, &routed.body), (direct.status, &direct.body), "{path} {body}");
        assert!(direct.status >= 400);
    }
    let models = get(proxy.addr, "/v1/models");
    assert_eq!(models.json()["data"][0]["id"], "tiny");
    assert_eq!(replica(&models), server.addr.to_string());
    proxy.shutdown().expect("it ends cleanly");
}

#[test]
fn a_request_without_a_name_gets_one() {
    let upstream = listener();
    let proxy = start(config(vec![url(upstream.local_addr().unwrap())], PolicyConfig::Random));
    let seen = thread::spawn(move || {
        loop {
            let (mut stream, _) = upstream.accept().expect("the proxy connects");
            let head = head_of(&mut stream);
            // The scrapes of the gauges come here too.
            let is_request = head.starts_with("POST");
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .expect("it reads");
            if is_request {
                return head;
            }
        }
    });
    let reply = post(proxy.addr, "/v1/completions?x=1", &json!({"prompt": "a"}));
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    let head = seen.join().expect("a request came").to_lowercase();
    assert!(head.starts_with("post /v1/completions?x=1 http/1.1"), "{head}");
    assert!(head.contains("x-request-id: route-"), "{head}");
    assert!(!head.contains("connection: close"), "of one connection only: {head}");
}

fn head_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0u8; 1];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).expect("a head"), 1);
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).expect("a head is text")
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_the_connection_goes_on() {
    let server = Server::start(engine(2000, TimeMode::Instant), listener()).expect("it starts");
    let mut config = config(vec![url(server.addr)], PolicyConfig::Random);
    config.body_limit = 1000;
    let proxy = start(config);
    let reply = post(proxy.addr, "/v1/completions", &json!({"prompt": "a ".repeat(600)}));
    assert_eq!(reply.status, 413);
    assert!(reply.body.contains("1000 bytes"), "{}", reply.body);
    let mut stream = connect(proxy.addr);
    for _ in 0..3 {
        let body = json!({"prompt": "a", "max_tokens": 1}).to_string();
        stream
            .write_all(&request("POST", "/v1/completions", JSON, body.as_bytes()))
            .expect("it reads");
        let head = head_of(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a whole answer").parse().expect("a number")];
        stream.read_exact(&mut body).expect("a body");
    }
}
