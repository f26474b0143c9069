use std::io::Write;
use std::net::{TcpListener, TcpStream};

use weir_load::{Live, LoadConfig, LoadError, LoadShape, PromptForm, run};
use weir_model::{Nanos, Outcome, Prompt, RequestRow};
use weir_workload::Arrivals;
use weir_workload::client::Api;

use crate::server::*;

/// Answers one request for four tokens, then closes.
fn row_of(answer: impl Into<Vec<u8>>) -> RequestRow {
    row_of_pieces(vec![answer.into()])
}

/// Several writes that the client reads separately.
fn row_of_pieces(pieces: Vec<Vec<u8>>) -> RequestRow {
    let server = Server::start(move |_, stream| {
        for piece in &pieces {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        false
    });
    one_row(&config(server.address))
}

fn one_row(config: &LoadConfig) -> RequestRow {
    let (mut rows, report) = play(config, single_turns(1, 4));
    assert_eq!((rows.len(), report.issued), (1, 1));
    rows.remove(0)
}

fn error_of(answer: &str) -> String {
    row_of(answer).error.unwrap_or_else(|| panic!("no error from {answer:?}"))
}

fn streamed(body: &str) -> String {
    format!("{STREAM}{}{LAST_CHUNK}", chunk(body))
}

fn four() -> String {
    (0..4).map(|_| token("x")).collect()
}

#[test]
fn a_good_answer_in_every_dress_is_the_same() {
    let body = format!("{}{FINISH}{}{DONE}", four(), usage(8, 4));
    let close = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n";
    for dressed in [
        streamed(&body),
        streamed(&body.replace('\n', "\r\n")),
        streamed(&body.replace('\n', "\r")),
        streamed(&body.replace("data: ", "data:")),
        streamed(&format!("\u{feff}{body}")),
        streamed(&format!(": comment\n\nevent: x\nid: 7\n{body}")),
        format!("{close}{body}"),
        format!("HTTP/1.1 100 Continue\r\n\r\n{}", streamed(&body)),
    ] {
        let row = row_of(dressed.clone());
        assert_eq!((row.outcome, &row.error), (Outcome::Done, &None), "{dressed}");
        assert_eq!((row.output_tokens.get(), row.chunk_gaps.len()), (4, 3), "{dressed}");
        assert_eq!((row.prompt_tokens.get(), row.gpu_hit_tokens().get()), (8, 4));
    }
}

#[test]
fn an_answer_split_anywhere_is_the_same() {
    let tokens: String = (0..4).map(|_| token("\u{e9}\u{1f600}")).collect();
    let text = format!("{tokens}{FINISH}{}{DONE}", usage(8, 4));
    let answer = streamed(&text).into_bytes();
    // One write per byte: most arrive alone, some together.
    let row = row_of_pieces(answer.chunks(1).map(<[u8]>::to_vec).collect());
    assert_eq!((row.outcome, row.output_tokens.get()), (Outcome::Done, 4), "{:?}", row.error);
    for at in (1..answer.len()).step_by(7) {
        let row = row_of_pieces(vec![answer[..at].to_vec(), answer[at..].to_vec()]);
        assert_eq!((row.outcome, row.chunk_gaps.len()), (Outcome::Done, 3), "{:?}", row.error);
    }
}

#[test]
fn roles_empty_chunks_and_the_end_are_no_output() {
    let said = |text: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
    let body = format!(
        "{role}{}{}{}{}{}{}{end}{}{DONE}",
        said(""),
        said(""),
        said("a"),
        said("b"),
        said("c"),
        said("d"),
        usage(8, 4)
    );
    let row = row_of(streamed(&body));
    assert_eq!((row.outcome, row.chunk_gaps.len()), (Outcome::Done, 3), "{:?}", row.error);
    // Tokens with empty text count for usage, and the first sets the first-token time.
    let silent = format!("{}{}{}{DONE}", said(""), said(""), usage(8, 4));
    let row = row_of(streamed(&silent));
    assert_eq!((row.outcome, row.output_tokens.get()), (Outcome::Done, 4), "{:?}", row.error);
    assert!(row.first_token.is_some() && row.chunk_gaps.is_empty());
}

#[test]
fn broken_streams_are_failures_with_their_cause() {
    let body = four();
    for (answer, cause) in [
        (String::new(), "truncated stream: the server closed the connection without an answer"),
        ("HTTP/1.1 200 O".to_owned(), "truncated stream: the server closed the connection inside"),
        (format!("{STREAM}{}", chunk(&body)), "truncated stream: the server closed"),
        (streamed(&body), "truncated stream: it ended after 4 events, no [DONE]"),
        (streamed(&format!("{body}data: {{\"choi")), "truncated stream: it ended inside event 4"),
        (streamed(&format!("{body}{DONE}{DONE}")), "malformed event: a second [DONE]"),
        (streamed(&format!("{body}{DONE}{body}")), "malformed event: an event after [DONE]"),
        (
            streamed(&format!("{body}data: garbage\n\n{DONE}")),
            "malformed event: event 4 is not a JSON",
        ),
        (streamed(&format!("data: {{\"choices\":7}}\n\n{DONE}")), "malformed event: event 0: "),
        (streamed(&format!("{body}data: {{\"usage\":[}}\n\n{DONE}")), "malformed event: event 4: "),
        (format!("{}junk", streamed(&format!("{body}{DONE}"))), "protocol: 4 bytes behind"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "protocol: not HTTP"),
        (format!("{STREAM}zz\r\n"), "protocol: malformed chunk size"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                .to_owned(),
            "protocol: expected a stream of events, and the answer is: {}",
        ),
        (
            STREAM.replace("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n"),
            "protocol: the answer is compressed (gzip)",
        ),
    ] {
        let error = error_of(&answer);
        assert!(error.starts_with(cause), "{error} from {answer:?}");
    }
}

#[test]
fn a_line_without_end_is_refused_and_not_kept() {
    let server = Server::start(|_, stream| {
        let block = format!("{STREAM}{}", chunk("data: {"));
        let mut alive = stream.write_all(block.as_bytes()).is_ok();
        let more = chunk(&"x".repeat(1 << 20));
        // A gigabyte; the client must disconnect long before.
        for _ in 0..1024 {
            alive = alive && stream.write_all(more.as_bytes()).is_ok();
        }
        assert!(!alive, "the client took a gigabyte");
        false
    });
    let error = one_row(&config(server.address)).error.unwrap();
    assert!(error.starts_with("malformed event: "), "{error}");
}

#[test]
fn wrong_token_counts_are_failures() {
    let body = four();
    let error = error_of(&streamed(&format!("{body}{}{DONE}", usage(8, 5))));
    assert_eq!(error, "wrong token count: 5 tokens came, 4 were requested");
    for short in
        [format!("{}{}{DONE}", token("x"), usage(8, 1)), format!("{body}{}{DONE}", usage(8, 3))]
    {
        let error = error_of(&streamed(&short));
        assert!(
            error.contains("tokens came, 4 were requested; the server ends answers early"),
            "{error}"
        );
    }
}

#[test]
fn refusals_carry_the_servers_message() {
    for (status, body, error) in [
        ("429 Too Many Requests", r#"{"error":{"message":"slow down"}}"#, "status: 429: slow down"),
        ("500 Oops", "Internal\nError", "status: 500: Internal Error"),
        ("404 Not Found", r#"{"detail":"no such model"}"#, "status: 404: no such model"),
        ("503 Busy", "", "status: 503"),
    ] {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(error_of(&answer), error);
    }
    let inside = "data: {\"error\":{\"message\":\"KV cache is full\",\"code\":507}}\n\n";
    let answer = streamed(&format!("{}{inside}{DONE}", token("x")));
    assert_eq!(error_of(&answer), "status: 507: in the stream: KV cache is full");
}

#[test]
fn a_closed_port_is_a_row_and_a_thousand_of_them_are_enough() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (rows, report) = play(&config(address), single_turns(5000, 4));
    assert_eq!(rows.len(), 1000);
    let error = rows[0].error.as_deref().unwrap();
    assert!(error.starts_with(&format!("connect: {address}: Connection refused")), "{error}");
    let gave_up = report.gave_up.unwrap();
    assert_eq!(gave_up.requests, 1000);
    assert!(gave_up.last.starts_with("connect:"), "{}", gave_up.last);
}

/// A listener with a full backlog.
#[test]
fn slow_to_accept_is_a_timeout() {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let fill = std::time::Duration::from_millis(50);
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, fill) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue never fills");
    }
    let mut config = config(address);
    config.client.connect_timeout = Nanos::from_millis(100);
    let row = one_row(&config);
    let error = row.error.unwrap();
    assert_eq!(error, format!("timeout: no connection to {address} after 100ms"));
    assert!(row.end >= Nanos::from_millis(100) && row.connected.is_none());
}

#[test]
fn a_server_that_stops_in_the_middle_is_a_timeout() {
    let server = Server::start(|_, stream| {
        stream.write_all(format!("{STREAM}{}", chunk(&token("x"))).as_bytes()).unwrap();
        true
    });
    let mut config = config(server.address);
    config.client.request_timeout = Nanos::from_millis(100);
    let row = one_row(&config);
    assert_eq!(row.error.as_deref(), Some("timeout: no complete answer after 100ms"));
    assert_eq!(row.output_tokens.get(), 1);
    assert!(row.first_token.is_some() && row.end >= row.start + Nanos::from_millis(100));
}

#[test]
fn after_a_failure_others_go_on_over_new_connections() {
    let server = Server::start(|asked, stream| match asked.number % 3 {
        0 => false,
        1 => {
            let refusal = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(refusal).is_ok()
        }
        _ => answer(asked, stream),
    });
    let (rows, report) = play(&config(server.address), single_turns(30, 4));
    let failed = |kind: &str| {
        rows.iter().filter(|row| row.error.as_ref().is_some_and(|e| e.starts_with(kind))).count()
    };
    assert_eq!((failed("truncated"), failed("status")), (10, 10));
    assert_eq!(rows.iter().filter(|row| row.outcome == Outcome::Done).count(), 10);
    assert_eq!((report.issued, report.gave_up), (30, None));
    assert_eq!(server.seen().len(), 30);
}

#[test]
fn an_answer_before_the_whole_request_is_taken() {
    use std::io::Read;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut some = [0; 1024];
        stream.read_exact(&mut some).unwrap();
        let refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo long";
        stream.write_all(refusal.as_bytes()).unwrap();
        // Unread bytes would make a reset that overtakes the refusal.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let turn = turn(&[piece(1, 2_000_000)], piece(2, 4), &[], Nanos::ZERO);
    let session = weir_workload::Session { id: 0, start: None, turns: vec![turn] };
    let (rows, _) = play(&config(address), Given(vec![session].into_iter()));
    server.join().unwrap();
    assert_eq!(rows[0].error.as_deref(), Some("status: 413: too long"));
}

#[test]
fn impossible_options_are_refused_before_anything_is_sent() {
    let address = "127.0.0.1:9".parse().unwrap();
    let refused = |change: fn(&mut LoadConfig)| {
        let mut config = config(address);
        change(&mut config);
        let mut rows = Rows::default();
        match run(&config, single_turns(1, 4), &mut rows, &Live::new()) {
            Err(error @ (LoadError::Config(_) | LoadError::Workload(_))) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(|c| c.endpoints.clear()).contains("no endpoint"));
    assert!(refused(|c| c.client.workers = 0).contains("no worker"));
    assert!(refused(|c| c.client.api = Api::Chat).contains("chat takes no token ids"));
    assert!(
        refused(|c| c.prompts = PromptForm::TokenIds { vocabulary: 1 }).contains("fewer than 2")
    );
    assert!(
        refused(|c| c.load = LoadShape::Users { users: 0, ramp: Nanos::ZERO })
            .contains("users must be")
    );
    assert!(
        refused(|c| c.load = LoadShape::Open(Arrivals::Poisson { rate: 0.0 }))
            .contains("load.rate")
    );
    let shorter = refused(|c| {
        c.duration = Some(Nanos::from_secs(1));
        c.warmup = Nanos::from_secs(1);
    });
    assert!(shorter.contains("warm-up"), "{shorter}");
    let reserved = refused(|c| drop(c.client.body.insert("prompt".to_owned(), "x".into())));
    assert!(reserved.contains("`prompt` is decided by the workload"), "{reserved}");
    let injected = refused(|c| c.headers.push(("X".to_owned(), "a\r\nY: b".to_owned())));
    assert!(injected.contains("header X"), "{injected}");
}

#[test]
fn a_sink_that_fails_ends_the_run() {
    struct Full;
    impl weir_load::Sink for Full {
        fn row(&mut self, _: RequestRow, _: &Prompt) -> Result<(), String> {
            Err("the disk is full".to_owned())
        }
    }
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.duration = Some(Nanos::from_secs(600));
    let endless = single_turns(1_000_000, 4);
    let error = run(&config, endless, &mut Full, &Live::new()).unwrap_err().to_string();
    assert_eq!(error, "the rows cannot be written: the disk is full");
}
