//! `fetch` against servers with and without faults.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use weir_http::{Fetch, FetchError, Fetched, Method, Url, fetch};

use crate::tls_session::{Identity, insecure, serve_one};

/// Serves one connection; returns the URL.
fn server(script: impl FnOnce(TcpStream) + Send + 'static) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || script(listener.accept().unwrap().0));
    Url::parse(&format!("http://127.0.0.1:{port}")).unwrap()
}

fn request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        assert!(count > 0, "the request was cut off");
    }
}

fn answering(answer: impl Into<Vec<u8>>) -> Url {
    let answer = answer.into();
    server(move |mut stream| {
        request(&mut stream);
        // The client may close before all is sent.
        let _ = stream.write_all(&answer);
    })
}

fn quick(url: &Url) -> Fetch {
    Fetch { timeout: Duration::from_secs(5), ..Fetch::get(url, "/metrics") }
}

/// Waits for the client's close, so that ours has no effect.
fn until_closed(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn message(result: Result<Fetched, FetchError>) -> String {
    let error = result.unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn gets_and_posts() {
    let url = server(|mut stream| {
        let text = request(&mut stream);
        assert!(text.starts_with("GET /base/metrics HTTP/1.1\r\nHost: 127.0.0.1:"), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nup 1\n").unwrap();
    });
    let url = Url { path: "/base".to_owned(), ..url };
    let fetched = fetch(&quick(&url)).unwrap().success().unwrap();
    assert_eq!((fetched.head.status, &*fetched.text()), (200, "up 1\n"));
    assert_eq!(fetched.head.content_type.as_deref(), Some("text/plain"));
    assert_eq!(fetched.peer.port(), url.port);

    // By name, with a body, an interim response, chunks, and a kept connection.
    let url = server(|mut stream| {
        let text = request(&mut stream);
        assert!(text.starts_with("POST /v1/completions HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Type: application/json\r\n") && text.ends_with("{}"));
        stream
            .write_all(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow Down\r\nTransfer-Encoding: \
                  chunked\r\n\r\n4\r\nwait\r\n0\r\n\r\n",
            )
            .unwrap();
        until_closed(stream);
    });
    let url = Url { host: "localhost".to_owned(), ..url };
    let post = Fetch::post(&url, "/v1/completions", "application/json", b"{}".to_vec());
    let fetched = fetch(&post).unwrap();
    assert_eq!((fetched.head.status, &*fetched.text()), (429, "wait"));
    let error = message(fetched.success());
    assert!(
        error.starts_with("POST http://localhost:") && error.contains("status 429: \"wait\""),
        "{error}"
    );
}

#[test]
fn a_head_request_has_no_body_to_wait_for() {
    let url = server(|mut stream| {
        assert!(request(&mut stream).starts_with("HEAD / "));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
        until_closed(stream);
    });
    let head = Fetch { method: Method::Head, ..Fetch::get(&url, "/") };
    assert_eq!(fetch(&head).unwrap().body, b"");
}

#[test]
fn says_what_a_status_asks_for() {
    for (answer, hint) in [
        ("401 No\r\nContent-Length: 0", "status 401 (check the bearer token): \"\""),
        ("404 No\r\nContent-Length: 0", "status 404 (check the path in the URL)"),
        (
            "307 No\r\nLocation: /v2\r\nContent-Length: 0",
            "redirects are not followed: give the address /v2",
        ),
    ] {
        let url = answering(format!("HTTP/1.1 {answer}\r\n\r\n"));
        let error = message(fetch(&quick(&url)).unwrap().success());
        assert!(error.contains(hint), "{error}");
    }
}

#[test]
fn nothing_listens() {
    // Bound and closed: the port is not reused so soon.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let result = fetch(&quick(&url));
    assert!(matches!(&result, Err(FetchError::Connect { .. })));
    let error = message(result);
    assert!(error.contains(&format!("127.0.0.1:{port}: Connection refused")), "{error}");
    assert!(error.contains("start the server, or check the port"), "{error}");
}

#[test]
fn the_name_is_unknown() {
    let url = Url::parse("http://no-such-host.invalid:8000").unwrap();
    let result = fetch(&quick(&url));
    let error = message(result);
    // A resolver without network may never answer.
    assert!(error.contains("\"no-such-host.invalid\""), "{error}");
    assert!(error.contains("check its spelling") || error.contains("looking up"), "{error}");
}

#[test]
fn a_connection_that_never_comes_up() {
    // Connections beyond a full backlog are not answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while held.len() < 10_000 {
        match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            Ok(stream) => held.push(stream),
            Err(_) => break,
        }
    }
    let url = Url::parse(&format!("http://{address}")).unwrap();
    let start = Instant::now();
    let short = Fetch { connect_timeout: Duration::from_millis(200), ..quick(&url) };
    let result = fetch(&short);
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(matches!(&result, Err(FetchError::Connect { .. })));
    let error = message(result);
    assert!(!error.contains("start the server"), "{error}");
    assert!(error.contains("did not answer within 0.2 s"), "{error}");
}

#[test]
fn silence_ends_at_the_deadline() {
    let url = server(until_closed);
    let start = Instant::now();
    let error = message(fetch(&Fetch { timeout: Duration::from_millis(300), ..quick(&url) }));
    assert!((Duration::from_millis(290)..Duration::from_secs(3)).contains(&start.elapsed()));
    assert!(error.contains("within 0.3 s, while waiting for an answer"), "{error}");
    let url = Url { scheme_is_tls: true, ..server(until_closed) };
    let tls = Some(insecure());
    let request = Fetch { timeout: Duration::from_millis(300), tls, ..quick(&url) };
    let error = message(fetch(&request));
    assert!(error.contains("within 0.3 s, while setting up TLS"), "{error}");
}

#[test]
fn drops_beyond_the_deadline_do_not_extend_it() {
    let url = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        // Each byte comes well before any time-out per read.
        for _ in 0..500 {
            if stream.write_all(b"x").is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let start = Instant::now();
    let error = message(fetch(&Fetch { timeout: Duration::from_millis(300), ..quick(&url) }));
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(error.contains("while reading the body, after"), "{error}");
}

#[test]
fn a_request_that_nobody_reads_ends_at_the_deadline() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let url = server(move |stream| {
        // Held open without reads until the client is done.
        let _ = wait.recv();
        drop(stream);
    });
    let start = Instant::now();
    let post = Fetch::post(&url, "/", "text/plain", vec![b'x'; 64 << 20]);
    let error = message(fetch(&Fetch { timeout: Duration::from_millis(300), ..post }));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(error.contains("while sending the request"), "{error}");
    drop(done);
}

#[test]
fn an_early_refusal_says_more_than_the_broken_pipe() {
    let url = server(|mut stream| {
        let mut some = [0; 1000];
        stream.read_exact(&mut some).unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Unread bytes would make a reset that overtakes the answer.
        until_closed(stream);
    });
    let post = Fetch::post(&url, "/", "text/plain", vec![b'x'; 8 << 20]);
    assert_eq!(fetch(&post).unwrap().head.status, 413);
}

#[test]
fn servers_that_say_something_else() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let deep = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(500));
    for (answer, expected) in [
        ("", "closed the connection without an answer"),
        ("SSH-2.0-x\r\n", "not HTTP: the answer begins with \"SSH-2.0-x\\r\\n\""),
        ("HTTP/1.1 200", "inside the head of its answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "after 3 of 10 bytes of the body"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "malformed chunk size at \"zz",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nx", "no compression was requested"),
        (&long, "longer than 65536 bytes"),
        (&deep, "more than 128 header lines"),
    ] {
        let url = answering(answer);
        let error = message(fetch(&quick(&url)));
        let prefix = format!("GET http://127.0.0.1:{}/metrics: ", url.port);
        assert!(error.starts_with(&prefix) && error.contains(expected), "{error}");
    }
}

#[test]
fn bodies_stop_at_the_limit() {
    for head in
        ["Content-Length: 1000\r\n\r\n", "\r\n", "Transfer-Encoding: chunked\r\n\r\n3E8\r\n"]
    {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}{}", "x".repeat(1000));
        let error = message(fetch(&Fetch { max_body_bytes: 999, ..quick(&answering(answer)) }));
        assert!(error.contains("longer than the 999 bytes"), "{error}");
    }
    let answer = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1000));
    let fetched = fetch(&Fetch { max_body_bytes: 1000, ..quick(&answering(answer)) }).unwrap();
    assert_eq!(fetched.body.len(), 1000);
    // A false length of terabytes is refused before the body is read.
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n";
    assert!(message(fetch(&quick(&answering(answer)))).contains("longer than the 67108864"));
}

#[test]
fn headers_are_checked_before_anything_is_sent() {
    let url = Url::parse("http://127.0.0.1:1").unwrap();
    let headers = vec![("X".to_owned(), "a\r\nY: b".to_owned())];
    let error = message(fetch(&Fetch { headers, ..quick(&url) }));
    assert!(error.contains("the header X has '\\r'"), "{error}");
}

#[test]
fn over_tls() {
    let identity = Identity::new(&["localhost", "127.0.0.1"], false);
    let url = |port| Url::parse(&format!("https://127.0.0.1:{port}")).unwrap();
    let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n".to_vec();
    let sized = [sized, vec![b'x'; 300_000]].concat();
    let port = serve_one(&identity, sized, false);
    let request = Fetch { tls: Some(identity.client()), ..quick(&url(port)) };
    assert_eq!(fetch(&request).unwrap().body.len(), 300_000);

    // Without a length, `close_notify` marks the end; without it the answer was cut.
    let open = b"HTTP/1.1 200 OK\r\n\r\nall of it".to_vec();
    let port = serve_one(&identity, open.clone(), true);
    let request = Fetch { tls: Some(insecure()), ..quick(&url(port)) };
    assert_eq!(&*fetch(&request).unwrap().text(), "all of it");
    let port = serve_one(&identity, open, false);
    let request = Fetch { tls: Some(insecure()), ..quick(&url(port)) };
    assert!(message(fetch(&request)).contains("cut the TLS connection off"));
}

#[test]
fn tls_that_fails() {
    let identity = Identity::new(&["localhost"], false);
    let other = Identity::new(&["localhost"], false);
    let port = serve_one(&identity, Vec::new(), true);
    let url = Url::parse(&format!("https://localhost:{port}")).unwrap();
    let error = message(fetch(&Fetch { tls: Some(other.client()), ..quick(&url) }));
    assert!(
        error.starts_with(&format!("GET https://localhost:{port}/metrics: the certificate")),
        "{error}"
    );
    assert!(error.contains("name the CA file"), "{error}");

    // https to a plain server, and http to a TLS server.
    let plain = server(|mut stream| {
        let mut some = [0; 10];
        stream.read_exact(&mut some).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        until_closed(stream);
    });
    let url = Url { scheme_is_tls: true, ..plain };
    let error = message(fetch(&Fetch { tls: Some(insecure()), ..quick(&url) }));
    assert!(error.contains("does not speak TLS") && error.contains("write http://"), "{error}");
    let port = serve_one(&identity, Vec::new(), true);
    let url = Url::parse(&format!("http://localhost:{port}")).unwrap();
    let error = message(fetch(&quick(&url)));
    assert!(error.contains("which is TLS: write https:// in the URL"), "{error}");
}
