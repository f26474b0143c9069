use std::io::Write;
use std::sync::Arc;

use serde_json::Value;
use weir_load::{PromptForm, TextError, TextMaker};
use weir_model::{Nanos, Outcome, Prompt};
use weir_workload::Session;
use weir_workload::client::{Answers, Api};

use crate::server::*;

/// Three turns; each quotes all before it.
fn conversation(id: u64) -> Session {
    let content = |n: u64| id * 100 + n;
    let think = Nanos::from_millis(5);
    let (first, answer) = (piece(content(1), 20), piece(content(2), 4));
    let (second, reply) = (piece(content(3), 10), piece(content(4), 5));
    let third = piece(content(5), 3);
    Session {
        id,
        start: None,
        turns: vec![
            turn(&[first], answer, &[], Nanos::ZERO),
            turn(&[first, answer, second], reply, &[0], think),
            turn(&[first, answer, second, reply, third], piece(content(6), 6), &[1], think),
        ],
    }
}

#[test]
fn bodies_and_heads_say_what_was_configured() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.bearer = Some("secret".to_owned());
    config.headers = vec![("X-Tag".to_owned(), "a".to_owned())];
    for (field, value) in [("temperature", serde_json::json!(0.5)), ("user", "me".into())] {
        config.client.body.insert(field.to_owned(), value);
    }
    config.client.body.insert("min_tokens".to_owned(), serde_json::Value::Null);
    let (rows, report) = play(&config, Given(vec![conversation(7)].into_iter()));
    assert!(rows.iter().all(|row| row.outcome == Outcome::Done), "{rows:?}");
    assert_eq!((report.issued, report.unfinished), (3, 0));
    let asked = &server.seen()[0];
    assert!(asked.head.starts_with("POST /v1/completions HTTP/1.1\r\n"), "{}", asked.head);
    for (name, value) in [
        ("Host", server.address.to_string().as_str()),
        ("Authorization", "Bearer secret"),
        ("X-Tag", "a"),
        ("Content-Type", "application/json"),
        ("Accept", "text/event-stream"),
        ("X-Request-Id", "weir-0"),
        ("X-Session-ID", "weir-session-7"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    let mut body = asked.body.clone();
    body["prompt"] = serde_json::Value::Null;
    assert_eq!(
        body,
        serde_json::json!({"model": "test-model", "stream": true, "max_tokens": 4,
            "stream_options": {"include_usage": true}, "temperature": 0.5, "user": "me",
            "ignore_eos": true, "prompt": null})
    );
}

#[test]
fn token_ids_are_those_of_the_symbolic_prompt() {
    let server = Server::start(answer);
    let sessions = vec![conversation(1), conversation(2)];
    let (rows, _) = play(&config(server.address), Given(sessions.clone().into_iter()));
    assert_eq!(rows.len(), 6);
    let seen = server.seen();
    for (at, row) in rows.iter().enumerate() {
        let session = &sessions[at / 3];
        assert_eq!((row.session, row.turn), (session.id, (at % 3) as u32));
        let turn = &session.turns[at % 3];
        let ids: Vec<u32> = turn.prompt.token_ids(1000).collect();
        assert_eq!(seen[at].prompt_ids(), ids);
        assert_eq!(row.prompt_tokens, turn.prompt.tokens());
    }
    let ids: std::collections::BTreeSet<u64> = rows.iter().map(|row| row.prompt_id).collect();
    assert_eq!(ids.len(), 6);
}

#[test]
fn own_answers_are_quoted_as_token_ids() {
    let server = Server::start(|asked, stream| {
        assert_eq!(asked.body["return_token_ids"], true);
        let tokens = asked.max_tokens();
        let event = |ids: &[usize]| {
            format!("data: {{\"choices\":[{{\"text\":\"w\",\"token_ids\":{ids:?}}}]}}\n\n")
        };
        // Two tokens per event where they come in pairs.
        let ids: Vec<usize> = (0..tokens).map(|n| 500 + asked.number * 10 + n).collect();
        let body: String = ids.chunks(2).map(event).collect();
        let body = format!("{body}{FINISH}{}{DONE}", usage(asked.prompt_ids().len(), tokens));
        stream.write_all(format!("{STREAM}{}{LAST_CHUNK}", chunk(&body)).as_bytes()).is_ok()
    });
    let mut config = config(server.address);
    config.client.answers = Answers::Own;
    let session = conversation(1);
    let (rows, _) = play(&config, Given(vec![session.clone()].into_iter()));
    assert!(rows.iter().all(|row| row.outcome == Outcome::Done), "{rows:?}");
    assert!(rows.iter().all(|row| row.output_digest.is_some()));
    let seen = server.seen();
    let canned = |turn: usize| session.turns[turn].prompt.token_ids(1000).collect::<Vec<u32>>();
    assert_eq!(seen[0].prompt_ids(), canned(0));
    let mut second = canned(1);
    second[20..24].copy_from_slice(&[500, 501, 502, 503]);
    assert_eq!(seen[1].prompt_ids(), second);
    let mut third = canned(2);
    third[..34].copy_from_slice(&second);
    third[34..39].copy_from_slice(&[510, 511, 512, 513, 514]);
    assert_eq!(seen[2].prompt_ids(), third);
}

#[test]
fn without_token_ids_a_session_of_own_answers_fails_and_says_why() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.client.answers = Answers::Own;
    let (rows, _) = play(&config, Given(vec![conversation(1)].into_iter()));
    let errors: Vec<&str> = rows.iter().map(|row| row.error.as_deref().unwrap()).collect();
    assert!(errors[0].starts_with("session: the server sent no token ids"), "{errors:?}");
    assert_eq!(errors[1], "session: the answer to turn 0, which this turn quotes, is missing");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn output_is_digested_where_that_is_asked() {
    let server = Server::start(|asked, stream| {
        let text = if asked.number == 2 { "other" } else { "same" };
        let body = format!("{}{}{DONE}", token(text), usage(8, 1));
        stream.write_all(format!("{STREAM}{}{LAST_CHUNK}", chunk(&body)).as_bytes()).is_ok()
    });
    let mut config = config(server.address);
    config.digest_output = true;
    let (rows, _) = play(&config, single_turns(3, 1));
    let digests: Vec<u64> = rows.iter().map(|row| row.output_digest.unwrap()).collect();
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}

#[test]
fn answers_in_one_body_count_their_first_byte() {
    let server = Server::start(|asked, stream| {
        assert_eq!(
            (&asked.body["stream"], asked.header("accept")),
            (&false.into(), Some("application/json"))
        );
        let body =
            r#"{"choices":[{"text":"abcd"}],"usage":{"prompt_tokens":8,"completion_tokens":4}}"#;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).is_ok()
    });
    let mut config = config(server.address);
    config.client.stream = false;
    let (rows, _) = play(&config, single_turns(2, 4));
    for row in rows {
        assert_eq!((row.outcome, row.output_tokens.get()), (Outcome::Done, 4), "{:?}", row.error);
        assert_eq!(row.first_token, row.first_byte);
        assert!(row.chunk_gaps.is_empty() && row.events_per_read.is_none());
    }
}

#[derive(Debug)]
struct Words;

impl TextMaker for Words {
    fn text(&self, prompt: &Prompt) -> Result<String, TextError> {
        if prompt.tokens().get() == 13 {
            return Err(TextError("13 brings bad luck".to_owned()));
        }
        let words: Vec<String> =
            prompt.pieces().iter().map(|p| format!(" {}x{}", p.content.0, p.len)).collect();
        Ok(words.concat())
    }

    fn token_ids(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError> {
        Ok(prompt.pieces().iter().map(|piece| piece.len).collect())
    }

    fn output_tokens(&self, text: &str) -> Result<u32, TextError> {
        Ok(text.split_whitespace().count() as u32)
    }
}

#[test]
fn text_prompts_and_chats_are_made_of_the_same_pieces() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.prompts = PromptForm::Text(Arc::new(Words));
    let (_, _) = play(&config, Given(vec![conversation(1)].into_iter()));
    assert_eq!(server.seen()[1].body["prompt"], " 101x20 102x4 103x10");

    config.client.api = Api::Chat;
    let (rows, _) = play(&config, Given(vec![conversation(1)].into_iter()));
    assert!(rows.iter().all(|row| row.outcome == Outcome::Done), "{rows:?}");
    let asked = &server.seen()[5];
    assert!(asked.head.starts_with("POST /v1/chat/completions "));
    assert_eq!(
        asked.body["messages"],
        serde_json::json!([
            {"role": "user", "content": " 101x20"}, {"role": "assistant", "content": " 102x4"},
            {"role": "user", "content": " 103x10"}, {"role": "assistant", "content": " 104x5"},
            {"role": "user", "content": " 105x3"}
        ])
    );
}

#[test]
fn requests_that_are_not_measured_have_the_form_of_those_that_are() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.prompts = PromptForm::Text(Arc::new(Words));
    config.client.api = Api::Chat;
    config.client.body.insert("tenant".to_owned(), "t".into());
    let body = weir_load::unmeasured_body(&config, 8, 2).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let messages = body["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[0]["role"]), (1, &"user".into()), "{body}");
    assert!(messages[0]["content"].as_str().unwrap().ends_with("x8"), "{body}");
    assert_eq!((&body["max_tokens"], &body["tenant"]), (&2.into(), &"t".into()), "{body}");
}

#[test]
fn a_prompt_that_cannot_be_made_ends_the_run() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.prompts = PromptForm::Text(Arc::new(Words));
    let session = Session {
        id: 3,
        start: None,
        turns: vec![turn(&[piece(1, 13)], piece(2, 4), &[], Nanos::ZERO)],
    };
    let mut rows = Rows::default();
    let given = Given(vec![session].into_iter());
    let error = weir_load::run(&config, given, &mut rows, &weir_load::Live::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prompt of session 3, turn 0 cannot be made: 13 brings bad luck"
    );
}

#[test]
fn a_session_stays_with_its_endpoint() {
    let servers = [Server::start(answer), Server::start(answer)];
    let mut config = config(servers[0].address);
    let other = crate::server::config(servers[1].address);
    config.endpoints.extend(other.endpoints);
    config.replicas.extend(other.replicas);
    let sessions: Vec<Session> = (0..4).map(conversation).collect();
    let (rows, _) = play(&config, Given(sessions.into_iter()));
    assert!(rows.iter().all(|row| row.replica == Some(row.session as u16 % 2)), "{rows:?}");
    assert_eq!(servers.map(|server| server.seen().len()), [6, 6]);
}

#[test]
fn connections_are_kept_or_not_as_asked() {
    for (reuse, connections) in [(true, 1), (false, 5)] {
        let server = Server::start(answer);
        let mut config = config(server.address);
        config.client.reuse_connections = reuse;
        let (rows, _) = play(&config, single_turns(5, 4));
        let used = server.seen().iter().map(|asked| asked.connection).max().unwrap() + 1;
        assert_eq!(used, connections);
        assert_eq!(rows.iter().filter(|row| row.connected.is_some()).count(), connections);
    }
}

#[test]
fn the_replica_is_the_one_that_the_response_names() {
    // A gateway before two replicas. One of them is known; the first answer names nobody.
    let server = Server::start(|asked, stream| {
        let named = match asked.number % 3 {
            0 => String::new(),
            at => format!("X-Weir-Replica: 127.0.0.{}:8000\r\n\r\n", 4 - at),
        };
        let head = STREAM.strip_suffix("\r\n").unwrap();
        let named = if named.is_empty() { "\r\n".to_owned() } else { named };
        let body = whole(asked).strip_prefix(STREAM).unwrap().to_owned();
        stream.write_all(format!("{head}{named}{body}").as_bytes()).is_ok()
    });
    let mut config = config(server.address);
    config.replicas = vec!["127.0.0.2:8000".to_owned()];
    let (rows, report) = play(&config, single_turns(6, 4));
    let replicas: Vec<Option<u16>> = rows.iter().map(|row| row.replica).collect();
    assert_eq!(replicas, [None, Some(1), Some(0), None, Some(1), Some(0)]);
    assert_eq!(report.replicas, ["127.0.0.2:8000", "127.0.0.3:8000"]);
    config.client.replica_header = "x-other".to_owned();
    let (rows, report) = play(&config, single_turns(2, 4));
    assert!(rows.iter().all(|row| row.replica.is_none()));
    assert_eq!(report.replicas, ["127.0.0.2:8000"]);
}
