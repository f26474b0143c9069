//! Refusals, in vLLM 0.32.0's words (captured on 2026-11-20) where it has them.

use serde_json::{Value, json};
use weir_serve::{ServeError, Server, ServerHandle, TimeMode};
use weir_service::suite::{self, JSON, get, post};

use crate::fixture::{config, start};

/// Body fields, error type, parameter (empty: none), and a part of the message.
type Case = (&'static str, &'static str, &'static str, &'static str);

const BAD: &str = "BadRequestError";
const SHAPE: &str = "Bad Request";
const UNKNOWN: &str = "NotFoundError";
const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";
/// The prompt of all cases without one.
const PROMPT: &str = r#""prompt":[100,101,102],"#;
const MESSAGES: &str = r#""messages":[{"role":"user","content":"x"}],"#;

const MODELS: [Case; 2] = [
    (
        r#""model":"nope""#,
        UNKNOWN,
        "model",
        "The model `nope` does not exist. Valid aliases: tiny.",
    ),
    (r#""model":5"#, SHAPE, "body.model", "valid string"),
];

const LENGTHS: [Case; 9] = [
    (
        r#""max_tokens":-1"#,
        BAD,
        "max_tokens",
        "max_tokens must be at least 1, got -1. (parameter=max_tokens, value=-1)",
    ),
    (r#""max_tokens":0"#, BAD, "max_tokens", "got 0."),
    (r#""max_tokens":"a""#, SHAPE, "body.max_tokens", "unable to parse string as an integer"),
    (r#""max_tokens":1.5"#, SHAPE, "body.max_tokens", "got a number with a fractional part"),
    (r#""max_tokens":[1]"#, SHAPE, "body.max_tokens", "valid integer"),
    (r#""max_tokens":1e30"#, BAD, "max_tokens", "cannot be greater than max_model_len=4096"),
    (
        r#""max_tokens":5000"#,
        BAD,
        "max_tokens",
        "max_tokens=5000 cannot be greater than max_model_len=4096. Please request fewer \
         output tokens. (parameter=max_tokens, value=5000)",
    ),
    (
        r#""min_tokens":5,"max_tokens":2"#,
        BAD,
        "",
        "min_tokens must be less than or equal to max_tokens=2, got 5.",
    ),
    (r#""min_tokens":-5"#, BAD, "", "min_tokens must be greater than or equal to 0, got -5."),
];

const SAMPLING: [Case; 6] = [
    (r#""n":0"#, BAD, "", "n must be at least 1, got 0."),
    (
        r#""temperature":-1"#,
        BAD,
        "temperature",
        "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)",
    ),
    (r#""top_p":2"#, BAD, "top_p", "top_p must be in (0, 1], got 2.0."),
    (r#""top_k":-5"#, BAD, "", "top_k must be 0 (disable), or at least 1, got -5."),
    (r#""presence_penalty":9"#, BAD, "", "presence_penalty must be in [-2, 2], got 9.0."),
    (r#""seed":"x""#, SHAPE, "body.seed", "integer"),
];

const UNSUPPORTED: [Case; 3] = [
    (r#""n":2"#, BAD, "n", "n=2 is not supported"),
    (r#""echo":true"#, BAD, "echo", "not supported"),
    (r#""logprobs":1"#, BAD, "logprobs", "not supported"),
];

const OTHER_FIELDS: [Case; 6] = [
    (
        r#""stream_options":{"include_usage":true}"#,
        BAD,
        "stream_options",
        "Stream options can only be defined when `stream=True`.",
    ),
    (r#""stream":5"#, SHAPE, "body.stream", "valid boolean"),
    (r#""stop":5"#, SHAPE, "body.stop", "valid list"),
    (r#""priority":"x""#, SHAPE, "body.priority", "integer"),
    (r#""kv_transfer_params":5"#, SHAPE, "body.kv_transfer_params", "valid dictionary"),
    (
        r#""kv_transfer_params":{"max_load_tokens":-1}"#,
        BAD,
        "kv_transfer_params",
        "must not be negative",
    ),
];

const PROMPTS: [Case; 17] = [
    (r#""prompt":[-1]"#, SHAPE, "body.prompt.0", "greater than or equal to 0"),
    (r#""prompt":[1,2.5]"#, SHAPE, "body.prompt.1", "fractional"),
    (r#""prompt":[999999],"max_tokens":1"#, BAD, "", "Token id 999999 is out of vocabulary"),
    (r#""prompt":[1099511627776],"max_tokens":1"#, BAD, "", "is out of vocabulary"),
    (r#""prompt":[]"#, BAD, "", "You must pass at least one prompt"),
    (r#""prompt":"""#, BAD, "prompt", "must be provided and non-empty"),
    (r#""prompt":null"#, BAD, "prompt", "must be provided and non-empty"),
    ("", BAD, "prompt", "must be provided and non-empty"),
    (r#""prompt":[[]]"#, BAD, "", "The decoder prompt cannot be empty"),
    (r#""prompt":["a",""]"#, BAD, "", "The decoder prompt cannot be empty"),
    (r#""prompt":{"a":1}"#, SHAPE, "body.prompt", "<dict of"),
    (r#""prompt":5"#, SHAPE, "body.prompt", "valid string"),
    (r#""prompt":[1,"a"]"#, SHAPE, "body.prompt.1", "valid integer"),
    (r#""prompt":["a",1]"#, SHAPE, "body.prompt.1", "valid string"),
    (r#""prompt":[[1],["a"]]"#, SHAPE, "body.prompt.1", "valid integer"),
    (r#""prompt":[[[1]]]"#, SHAPE, "body.prompt.0", "valid integer"),
    (r#""prompt":"a","cache_salt":5"#, SHAPE, "body.cache_salt", "valid string"),
];

const CONVERSATIONS: [Case; 7] = [
    (
        r#""messages":[]"#,
        BAD,
        "",
        "Cannot apply chat template to an empty conversation. Provide at least one message.",
    ),
    (r#""messages":"x""#, SHAPE, "body.messages", "valid list"),
    ("", SHAPE, "body.messages", "Field required"),
    (r#""messages":[5]"#, SHAPE, "body.messages.0", "valid dictionary"),
    (r#""messages":[{"content":"x"}]"#, SHAPE, "body.messages.0.role", "Field required"),
    (
        r#""messages":[{"role":"user","content":5}]"#,
        SHAPE,
        "body.messages.0.content",
        "valid string",
    ),
    (
        r#""messages":[{"role":"user","content":[{"type":"image_url"}]}]"#,
        BAD,
        "",
        "tiny is not a multimodal model",
    ),
];

const CHAT_FIELDS: [Case; 5] = [
    (r#""max_tokens":5000"#, BAD, "max_tokens", "cannot be greater than max_model_len=4096"),
    (r#""max_tokens":0"#, BAD, "max_tokens", "got 0."),
    (r#""model":"zz""#, UNKNOWN, "model", "Valid aliases: tiny."),
    (r#""logprobs":true"#, BAD, "logprobs", "not supported"),
    (r#""tools":[{"type":"function"}],"tool_choice":"auto""#, BAD, "", "tool choice requires"),
];

fn check_one(server: &ServerHandle, path: &str, body: &Value, case: Case) {
    let (_, kind, param, says) = case;
    let answer = post(server.addr, path, body);
    let error = &answer.json()["error"];
    let status = if kind == UNKNOWN { 404 } else { 400 };
    let param = if param.is_empty() { Value::Null } else { json!(param) };
    let short: String = body.to_string().chars().take(120).collect();
    assert_eq!(answer.status, status, "{short}: {}", answer.body);
    assert_eq!(error["type"], kind, "{short}: {}", answer.body);
    assert_eq!(error["param"], param, "{short}: {}", answer.body);
    assert_eq!(error["code"], status, "{short}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(says), "{short}: {message}");
}

/// Each body is `start` and the case's fields. The server must still answer afterwards.
fn check(path: &str, start: &str, tables: &[&[Case]]) {
    let server = start_instant();
    for case in tables.iter().copied().flatten() {
        let body = format!("{{{start}{}}}", case.0);
        let body = serde_json::from_str(&body).expect("cases are JSON");
        check_one(&server, path, &body, *case);
    }
    assert_goes_on(server);
}

fn start_instant() -> ServerHandle {
    start(config(TimeMode::Instant))
}

fn assert_goes_on(server: ServerHandle) {
    let good = post(server.addr, COMPLETIONS, &json!({"prompt": "a", "max_tokens": 1}));
    assert_eq!(good.status, 200, "the server goes on");
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn fields_of_completions() {
    check(COMPLETIONS, PROMPT, &[&MODELS, &LENGTHS, &SAMPLING, &UNSUPPORTED, &OTHER_FIELDS]);
}

#[test]
fn prompts_of_completions() {
    check(COMPLETIONS, "", &[&PROMPTS]);
}

#[test]
fn conversations() {
    check(CHAT, "", &[&CONVERSATIONS]);
}

#[test]
fn fields_of_chat() {
    check(CHAT, MESSAGES, &[&CHAT_FIELDS]);
}

#[test]
fn what_is_too_long() {
    let server = start_instant();
    for (body, param, says) in [
        (
            json!({"prompt": vec![5; 5000], "max_tokens": 1}),
            "input_tokens",
            "your prompt contains 5000 input tokens, which exceeds this limit",
        ),
        (json!({"prompt": vec![5; 4096], "max_tokens": 1}), "max_tokens", "got 0."),
        (json!({"prompt": vec!["a"; 1025]}), "prompt", "maximum allowed count"),
        (
            json!({"prompt": "a", "cache_salt": "s".repeat(2000)}),
            "cache_salt",
            "at most 1024 bytes",
        ),
    ] {
        check_one(&server, COMPLETIONS, &body, ("", BAD, param, says));
    }
    let body = json!({"messages": [{"role": "user", "content": "§ ".repeat(5000)}]});
    check_one(&server, CHAT, &body, ("", BAD, "input_tokens", "exceeds this limit"));
    assert_goes_on(server);
}

#[test]
fn lengths_are_clipped_to_the_context_as_vllm_clips_them() {
    let server = start(config(TimeMode::Instant));
    let body = json!({"prompt": vec![5; 4090], "max_tokens": 100});
    let usage = post(server.addr, "/v1/completions", &body).json()["usage"].clone();
    assert_eq!((&usage["completion_tokens"], &usage["total_tokens"]), (&json!(6), &json!(4096)));
    let body = json!({"prompt": [1, 2, 3, 4, 5, 6], "truncate_prompt_tokens": 4, "max_tokens": 1});
    let usage = post(server.addr, "/v1/completions", &body).json()["usage"].clone();
    assert_eq!(usage["prompt_tokens"], 4);
    let body = json!({"prompt": "x"});
    let usage = post(server.addr, "/v1/completions", &body).json()["usage"].clone();
    assert_eq!(usage["completion_tokens"], 16, "vLLM's default for completions");
    let body = json!({"messages": [{"role": "user", "content": "x"}]});
    let usage = post(server.addr, "/v1/chat/completions", &body).json()["usage"].clone();
    assert_eq!(usage["completion_tokens"], 1024, "the cap for chat");
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn bodies_that_are_no_json_objects() {
    let mut config = config(TimeMode::Instant);
    config.body_limit = 10_000;
    let server = start(config);
    let ask = |body: &[u8]| suite::ask(server.addr, "POST", "/v1/completions", JSON, body);
    for (body, says) in [
        (b"{bad json".as_slice(), "json_invalid"),
        (b"{\"prompt\":\"a\"", "json_invalid"),
        (b"", "Field required"),
        (b"[]", "model_attributes_type"),
        (b"5", "model_attributes_type"),
        (b"{\"prompt\":\"a\",\"max_tokens\":NaN}", "json_invalid"),
    ] {
        let answer = ask(body);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["type"], "Bad Request");
        assert!(answer.body.contains(says), "{}", answer.body);
    }
    assert_eq!(
        ask(b"{\"prompt\":\"\xff\"}").body,
        r#"{"detail":"There was an error parsing the body"}"#
    );
    let deep = "[".repeat(5000);
    assert_eq!(ask(format!("{{\"prompt\":{deep}").as_bytes()).status, 400);
    let long = ask(&vec![b' '; 20_000]);
    assert_eq!(long.status, 413, "{}", long.body);
    assert!(long.body.contains("10000 bytes"), "{}", long.body);
    for content_type in ["", "content-type: text/plain\r\n"] {
        let answer = suite::ask(server.addr, "POST", "/v1/completions", content_type, b"{}");
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("Only 'application/json' is allowed"), "{}", answer.body);
    }
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn routes_and_methods() {
    let server = start(config(TimeMode::Instant));
    for (method, path) in [("GET", "/nope"), ("POST", "/nope"), ("GET", "/v1")] {
        let answer = suite::ask(server.addr, method, path, "", b"");
        assert_eq!((answer.status, answer.body.as_str()), (404, r#"{"detail":"Not Found"}"#));
    }
    for (method, path, allow) in [
        ("GET", "/v1/completions", "POST"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("GET", "/reset_prefix_cache", "POST"),
        ("DELETE", "/health", "GET"),
        ("PUT", "/v1/models", "GET"),
    ] {
        let answer = suite::ask(server.addr, method, path, "", b"");
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (405, r#"{"detail":"Method Not Allowed"}"#)
        );
        let allowed = answer.header("allow").unwrap_or_default();
        assert!(allowed.contains(allow), "{method} {path}: {allowed}");
    }
    for (path, body, param) in [
        ("/tokenize", json!({"x": 1}), json!("body.prompt")),
        ("/tokenize", json!({"prompt": "x", "model": "zz"}), json!("model")),
        ("/detokenize", json!({}), json!("body.tokens")),
        ("/detokenize", json!({"tokens": [-1]}), json!("body.tokens.0")),
        ("/v1/completions/render", json!({"prompt": vec![5; 5000]}), json!("input_tokens")),
    ] {
        let answer = post(server.addr, path, &body);
        assert_eq!(answer.json()["error"]["param"], param, "{}", answer.body);
    }
    assert_eq!(
        post(server.addr, "/detokenize", &json!({"tokens": [9_999_999]})).body,
        r#"{"prompt":""}"#
    );
    assert_eq!(get(server.addr, "/health").status, 200);
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn configurations_that_cannot_serve() {
    let refused = |change: &dyn Fn(&mut weir_serve::ServeConfig)| {
        let mut config = config(TimeMode::Instant);
        change(&mut config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let error = Server::start(config, listener).expect_err("it is refused").to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    assert!(refused(&|it| it.models.clear()).contains("model name"));
    assert!(refused(&|it| it.time = TimeMode::Scaled(0.0)).contains("time scale 0"));
    assert!(refused(&|it| it.core = Some(100_000)).contains("core 100000"));
    let small = weir_serve::tokenizer::TokenizerConfig::BuiltIn { vocabulary: 10 };
    assert!(refused(&|it| it.tokenizer = small.clone()).contains("258"));
    assert!(matches!(
        Server::start(
            {
                let mut c = config(TimeMode::Real);
                c.time = TimeMode::Scaled(f64::NAN);
                c
            },
            std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"),
        ),
        Err(ServeError::TimeScale(_))
    ));
}
