//! Answers in the forms of real servers, and how their tokens are counted.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use weir_load::{LoadConfig, PromptForm, TextError, TextMaker};
use weir_model::{AnswerFacts, Nanos, Outcome, Prompt, RequestRow};
use weir_workload::client::Api;

use crate::server::*;

/// The row of one request for four tokens, and the facts of its answer.
fn play_one(
    answer: impl Into<Vec<u8>>,
    change: impl FnOnce(&mut LoadConfig),
) -> (RequestRow, AnswerFacts) {
    let answer = answer.into();
    let server = Server::start(move |_, stream| {
        let _ = stream.write_all(&answer);
        false
    });
    let mut config = config(server.address);
    change(&mut config);
    let (mut rows, report) = play(&config, single_turns(1, 4));
    (rows.remove(0), report.answers)
}

fn streamed(events: &[&str]) -> String {
    format!("{STREAM}{}{LAST_CHUNK}", chunk(&events.concat()))
}

fn done(events: &[&str]) -> (RequestRow, AnswerFacts) {
    let (row, facts) = play_one(streamed(events), |_| {});
    assert_eq!((row.outcome, &row.error), (Outcome::Done, &None), "{events:?}");
    assert_eq!(facts.answers(), 1);
    (row, facts)
}

fn event(json: &str) -> String {
    format!("data: {json}\n\n")
}

fn delta(fields: &str) -> String {
    event(&format!(r#"{{"choices":[{{"index":0,"delta":{{{fields}}},"finish_reason":null}}]}}"#))
}

fn error_of(answer: impl Into<Vec<u8>>) -> String {
    play_one(answer, |_| {}).0.error.expect("a failure")
}

/// Gateways send usage without a list of choices, and numbers with a point.
#[test]
fn usage_is_read_in_every_form() {
    let token = token("x");
    for usage in [
        r#"{"choices":null,"usage":{"prompt_tokens":8,"completion_tokens":4}}"#,
        r#"{"usage":{"prompt_tokens":8.0,"completion_tokens":4.0,"prompt_tokens_details":null}}"#,
        r#"{"choices":[],"usage":{"completion_tokens":4,"completion_tokens_details":{"x":[1]}}}"#,
        // With the finish reason in one event, and beside a last token.
        r#"{"choices":[{"text":"","finish_reason":"length"}],"usage":{"completion_tokens":4}}"#,
    ] {
        let (row, facts) = done(&[&token, &token, &event(usage), DONE]);
        assert_eq!((row.output_tokens.get(), row.prompt_tokens.get()), (4, 8), "{usage}");
        assert_eq!((row.chunk_gaps.len(), facts.by_usage), (1, 1), "{usage}");
    }
    // Counts that grow with every token: the last one is valid.
    let counted = |count: u32| {
        event(&format!(r#"{{"choices":[{{"text":"x"}}],"usage":{{"completion_tokens":{count}}}}}"#))
    };
    let (row, facts) = done(&[&counted(1), &counted(3), &counted(4), DONE]);
    assert_eq!((row.output_tokens.get(), row.chunk_gaps.len(), facts.by_usage), (4, 2, 1));
}

/// Speculative decoding: four tokens in one event, without usage.
#[test]
fn without_usage_a_reached_limit_counts() {
    for usage in ["", r#"{"choices":[],"usage":{"prompt_tokens":null,"completion_tokens":null}}"#] {
        let usage = if usage.is_empty() { String::new() } else { event(usage) };
        let (row, facts) = done(&[&token("a b c d"), FINISH, &usage, DONE]);
        assert_eq!((row.output_tokens.get(), facts.by_limit, facts.by_events), (4, 1, 0));
        assert!(!facts.counts_events());
    }
    // A count of 0 despite output counts as none.
    let (row, facts) = done(&[&token("x"), FINISH, &usage(8, 0), DONE]);
    assert_eq!((row.output_tokens.get(), facts.by_limit), (4, 1));
    let (row, facts) = play_one(streamed(&[&token("x"), FINISH, DONE]), |config| {
        config.client.body.insert("max_tokens".to_owned(), serde_json::Value::Null);
    });
    assert_eq!((row.output_tokens.get(), facts.by_events, facts.counts_events()), (1, 1, true));
}

#[derive(Debug)]
struct Letters;

impl TextMaker for Letters {
    fn text(&self, prompt: &Prompt) -> Result<String, TextError> {
        Ok("x".repeat(prompt.tokens().get() as usize))
    }
    fn token_ids(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError> {
        Ok(vec![0; prompt.tokens().get() as usize])
    }
    fn output_tokens(&self, text: &str) -> Result<u32, TextError> {
        Ok(text.len() as u32)
    }
}

#[test]
fn without_usage_and_limit_a_tokenizer_counts_and_else_events_are_marked() {
    let stop = "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n";
    let events = [&token("abc"), &token("de"), stop, DONE];
    let (row, facts) = done(&events);
    assert_eq!((row.output_tokens.get(), facts.by_events), (2, 1));
    assert!(facts.counts_events());
    let with_tokenizer = |config: &mut LoadConfig| {
        config.prompts = PromptForm::Text(Arc::new(Letters));
        config.client.api = Api::Chat;
    };
    let thought =
        [&delta(r#""reasoning_content":"abc","content":null"#), &delta(r#""content":"de""#)];
    let (row, facts) = play_one(streamed(&[thought[0], thought[1], stop, DONE]), with_tokenizer);
    assert_eq!((row.outcome, row.output_tokens.get()), (Outcome::Done, 5), "{:?}", row.error);
    assert_eq!((facts.by_tokenizer, facts.by_events, row.chunk_gaps.len()), (1, 0, 1));
    let (row, facts) =
        play_one(streamed(&[thought[0], thought[1], stop, &usage(8, 4), DONE]), with_tokenizer);
    assert_eq!((row.output_tokens.get(), facts.by_usage, facts.by_tokenizer), (4, 1, 0));
}

/// Parts of a token, and tool calls with separate events for names and arguments.
#[test]
fn more_events_than_tokens_are_measured() {
    let token = token("x");
    let (row, facts) = done(&[&token, &token, &token, &token, &token, FINISH, &usage(8, 4), DONE]);
    assert_eq!((row.output_tokens.get(), row.chunk_gaps.len()), (4, 4));
    assert_eq!((facts.by_usage, facts.more_events), (1, 1));
    let role = delta(r#""role":"assistant","content":null"#);
    let name = delta(r#""tool_calls":[{"index":0,"function":{"name":"f","arguments":""}}]"#);
    let part = delta(r#""tool_calls":[{"index":0,"function":{"arguments":"a"}}]"#);
    let (row, facts) =
        done(&[&role, &name, &part, &part, &part, &part, FINISH, &usage(8, 4), DONE]);
    assert_eq!((row.output_tokens.get(), row.chunk_gaps.len(), facts.more_events), (4, 4, 1));
}

/// Behind a buffering proxy the gaps between tokens are the proxy's.
#[test]
fn answers_that_come_in_one_piece_are_told_from_streams() {
    let at_once = |gap: Duration| {
        let server = Server::start(move |_, stream| {
            let _ = stream.write_all(STREAM.as_bytes());
            let tail = [FINISH, &usage(8, 8), DONE].concat();
            let mut said = vec![token("x"); 8];
            said.push(tail);
            let pieces = if gap.is_zero() { vec![said.concat()] } else { said };
            for piece in pieces {
                std::thread::sleep(gap);
                let _ = stream.write_all(chunk(&piece).as_bytes());
            }
            let _ = stream.write_all(LAST_CHUNK.as_bytes());
            false
        });
        let (rows, report) = play(&config(server.address), single_turns(1, 8));
        assert_eq!((rows[0].output_tokens.get(), report.answers.answers()), (8, 1));
        report.answers.in_one_piece
    };
    assert_eq!(at_once(Duration::ZERO), 1);
    assert_eq!(at_once(Duration::from_millis(2)), 0);
}

#[test]
fn empty_deltas_are_no_output_wherever_they_stand() {
    let empties = [
        delta(r#""content":"""#),
        delta(r#""content":null"#),
        delta(r#""role":"assistant""#),
        delta(""),
        event(r#"{"choices":[]}"#),
        event(r#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#),
        event(r#"{"choices":[{"index":0,"delta":{"content": "", "tool_calls": []}}]}"#),
    ];
    let outputs = [
        delta(r#""content":"x""#),
        delta(r#""reasoning":"x","content":"""#),
        delta(r#""reasoning_content":"x","content":null"#),
        delta(r#""tool_calls":[{"index":0,"function":{"arguments":"a"}}]"#),
    ];
    let mut events: Vec<&str> = Vec::new();
    for output in &outputs {
        events.extend(empties.iter().map(String::as_str));
        events.push(output);
    }
    events.extend(empties.iter().map(String::as_str));
    let usage = usage(8, 4);
    events.extend([FINISH, &usage, DONE]);
    let (row, facts) = done(&events);
    assert_eq!((row.output_tokens.get(), row.chunk_gaps.len(), facts.more_events), (4, 3, 0));
}

/// A gap spans an empty event between two tokens.
#[test]
fn gaps_reach_over_empty_events() {
    let server = Server::start(|_, stream| {
        stream.write_all(STREAM.as_bytes()).unwrap();
        let (token, empty) = (token("x"), token(""));
        for event in [&token, &empty, &empty, &token] {
            stream.write_all(chunk(event).as_bytes()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let end = format!("{FINISH}{}{DONE}", usage(8, 4));
        stream.write_all(format!("{}{LAST_CHUNK}", chunk(&end)).as_bytes()).is_ok()
    });
    let (rows, _) = play(&config(server.address), single_turns(1, 4));
    assert_eq!(rows[0].chunk_gaps.len(), 1, "{:?}", rows[0].error);
    assert!(rows[0].chunk_gaps[0] >= Nanos::from_millis(60), "{:?}", rows[0].chunk_gaps);
    assert_eq!(rows[0].first_token.unwrap() + rows[0].chunk_gaps[0], rows[0].end);
}

#[test]
fn a_stream_of_events_is_one_under_any_type() {
    let four = [token("x").as_str(); 4].concat();
    let answer = streamed(&[&four, FINISH, &usage(8, 4), DONE]);
    let answer = answer.replace("text/event-stream", "application/json");
    let (row, _) = play_one(answer, |_| {});
    assert_eq!((row.output_tokens.get(), &row.error), (4, &None));
}

#[test]
fn an_end_that_is_stated_needs_no_done() {
    let token = token("x");
    let (row, _) = done(&[&token, &token, &token, &token, FINISH, &usage(8, 4)]);
    assert_eq!(row.output_tokens.get(), 4);
    let cut = error_of(streamed(&[&token, &token, &usage(8, 2)]));
    assert!(cut.starts_with("truncated stream: it ended after 3 events, no [DONE]"), "{cut}");
}

#[test]
fn other_lengths_are_told_and_refused_where_they_were_to_be_exact() {
    let token = token("x");
    let stop = "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n";
    let early = streamed(&[&token, &token, stop, &usage(8, 2), DONE]);
    let refused = error_of(early.clone());
    assert!(
        refused
            .starts_with("wrong token count: 2 tokens came, 4 were requested (finish_reason stop)")
            && refused.contains("--allow-eos"),
        "{refused}"
    );
    let (row, facts) = play_one(early, |config| config.client.ignore_eos = false);
    assert_eq!((row.outcome, row.output_tokens.get()), (Outcome::Done, 2));
    let ended = facts.ended_early;
    assert_eq!((ended.requests, ended.asked, ended.came), (1, 4, 2));
    // The server counted 2 of the prompt's 8 tokens.
    let four = [token.as_str(); 4].concat();
    let (row, facts) = done(&[&four, FINISH, &usage(2, 4), DONE]);
    assert_eq!(row.prompt_tokens.get(), 2);
    let cut = facts.prompts_cut;
    assert_eq!((cut.requests, cut.asked, cut.came), (1, 8, 2));
    // One token more, at the start of the text, is not reported.
    let (_, facts) = done(&[&four, FINISH, &usage(9, 4), DONE]);
    assert_eq!((facts.prompts_cut.requests, facts.prompts_longer.requests), (0, 0));
    let second = event(r#"{"choices":[{"index":1,"text":""}]}"#);
    let several = error_of(streamed(&[&token, &second, &token, &second, &usage(8, 8), DONE]));
    assert!(several.contains("several answers to one request"), "{several}");
    let empty = error_of(streamed(&[stop, &usage(8, 0), DONE]));
    assert_eq!(empty, "wrong token count: the answer is empty");
}

/// The caller's own length fields, and the other limit field.
#[test]
fn the_length_of_an_answer_is_asked_in_the_servers_words() {
    let server = Server::start(|asked, stream| {
        let limit = asked.body["max_completion_tokens"].as_u64().unwrap() as usize;
        assert!(asked.body.get("max_tokens").is_none(), "{}", asked.body);
        assert_eq!(asked.body["min_tokens"], limit, "{}", asked.body);
        let tokens = token("x").repeat(limit);
        let body = format!("{tokens}{FINISH}{}{DONE}", usage(8, limit));
        stream.write_all(format!("{STREAM}{}{LAST_CHUNK}", chunk(&body)).as_bytes()).is_ok()
    });
    let mut config = config(server.address);
    config.limit_field = weir_load::LimitField::MaxCompletionTokens;
    let (rows, _) = play(&config, single_turns(1, 4));
    assert_eq!((rows[0].output_tokens.get(), &rows[0].error), (4, &None));
    config.limit_field = weir_load::LimitField::MaxTokens;
    config.client.body.insert("max_tokens".to_owned(), serde_json::Value::Null);
    config.client.body.insert("max_completion_tokens".to_owned(), 7.into());
    let (rows, report) = play(&config, single_turns(1, 4));
    assert_eq!((rows[0].output_tokens.get(), &rows[0].error), (7, &None));
    assert_eq!(report.answers.went_on.requests, 0);
}

#[test]
fn refusals_are_understood_or_named() {
    let refusal = |status: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
        error_of([head.as_bytes(), body].concat())
    };
    for status in ["307 Temporary Redirect", "301 Moved Permanently"] {
        let headers = "Location: https://me:pw@other:8443/v1/completions?token=S3CRET\r\n";
        let error = refusal(status, headers, b"");
        let code = &status[..3];
        assert_eq!(
            error,
            format!(
                "status: {code}: redirects are not followed: give the address \
                 https://other:8443/v1/completions"
            )
        );
    }
    // `{"error":{"message":"gone"}}` through gzip.
    let gzip = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 171, 86, 74, 45, 42, 202, 47, 82, 178, 170, 86, 202, 77,
        45, 46, 78, 76, 79, 85, 178, 82, 74, 207, 207, 75, 85, 170, 173, 5, 0, 208, 120, 17, 33,
        28, 0, 0, 0,
    ];
    let error = refusal("502 Bad Gateway", "Content-Encoding: gzip\r\n", &gzip);
    assert_eq!(error, "status: 502: gone");
    let error = refusal("502 Bad Gateway", "Content-Encoding: br\r\n", b"\x0b\x02\x80");
    assert_eq!(error, "status: 502: (the message is compressed with br)");
    let stream = STREAM.replace("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n");
    let error = error_of(format!("{stream}{}{LAST_CHUNK}", chunk("zzz")));
    assert!(error.starts_with("protocol: the answer is compressed (gzip)"), "{error}");
}

/// Servers repeat the key that they refuse.
#[test]
fn what_headers_hold_is_not_repeated_in_errors() {
    let body = r#"{"error":{"message":"Incorrect key S3CRET-1, token S3CRET-2, S3CRET-3"}}"#;
    let answer = format!("HTTP/1.1 401 No\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (row, _) = play_one(answer, |config| {
        config.bearer = Some("S3CRET-3".to_owned());
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        config.headers = vec![header("api-key", "S3CRET-1"), header("X", "Token S3CRET-2")];
    });
    assert_eq!(row.error.unwrap(), "status: 401: Incorrect key ***, token ***, ***");
}
