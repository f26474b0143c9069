//! What is refused, and in which words: vLLM 0.32.0's, captured on 2026-11-20, where it has them.

use serde_json::{Value, json};
use weir_serve::{ServeError, Server, TimeMode};

use crate::client::{ask_as, config, get, post, start};

/// Body, status, type, parameter, and a part of the message.
type Case = (Value, u16, &'static str, Option<&'static str>, &'static str);

const BAD: &str = "BadRequestError";
const SHAPE: &str = "Bad Request";

fn check(path: &str, cases: Vec<Case>) {
    let server = start(config(TimeMode::Instant));
    for (body, status, kind, param, says) in cases {
        let answer = post(server.addr, path, &body);
        let error = &answer.json()["error"];
        let short: String = body.to_string().chars().take(120).collect();
        assert_eq!(answer.status, status, "{short}: {}", answer.body);
        assert_eq!(error["type"], kind, "{short}: {}", answer.body);
        assert_eq!(error["param"], json!(param), "{short}: {}", answer.body);
        assert_eq!(error["code"], status, "{short}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(says), "{short}: {message}");
    }
    let good = post(server.addr, "/v1/completions", &json!({"prompt": "a", "max_tokens": 1}));
    assert_eq!(good.status, 200, "the server goes on");
    server.shutdown().expect("it ends cleanly");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn completions() {
    let p = || json!([100, 101, 102]);
    check(
        "/v1/completions",
        vec![
            (
                json!({"prompt": p(), "model": "nope"}),
                404,
                "NotFoundError",
                Some("model"),
                "The model `nope` does not exist. Valid aliases: tiny.",
            ),
            (json!({"prompt": p(), "model": 5}), 400, SHAPE, Some("body.model"), "valid string"),
            (
                json!({"prompt": p(), "max_tokens": -1}),
                400,
                BAD,
                Some("max_tokens"),
                "max_tokens must be at least 1, got -1. (parameter=max_tokens, value=-1)",
            ),
            (json!({"prompt": p(), "max_tokens": 0}), 400, BAD, Some("max_tokens"), "got 0."),
            (
                json!({"prompt": p(), "max_tokens": "a"}),
                400,
                SHAPE,
                Some("body.max_tokens"),
                "unable to parse string as an integer",
            ),
            (
                json!({"prompt": p(), "max_tokens": 1.5}),
                400,
                SHAPE,
                Some("body.max_tokens"),
                "got a number with a fractional part",
            ),
            (
                json!({"prompt": p(), "max_tokens": [1]}),
                400,
                SHAPE,
                Some("body.max_tokens"),
                "valid integer",
            ),
            (
                json!({"prompt": p(), "max_tokens": 1e30}),
                400,
                BAD,
                Some("max_tokens"),
                "cannot be greater than max_model_len=4096",
            ),
            (
                json!({"prompt": p(), "max_tokens": 5000}),
                400,
                BAD,
                Some("max_tokens"),
                "max_tokens=5000 cannot be greater than max_model_len=4096. Please request fewer \
             output tokens. (parameter=max_tokens, value=5000)",
            ),
            (
                json!({"prompt": vec![5; 5000], "max_tokens": 1}),
                400,
                BAD,
                Some("input_tokens"),
                "your prompt contains 5000 input tokens, which exceeds this limit",
            ),
            (
                json!({"prompt": vec![5; 4096], "max_tokens": 1}),
                400,
                BAD,
                Some("max_tokens"),
                "got 0.",
            ),
            (
                json!({"prompt": [-1]}),
                400,
                SHAPE,
                Some("body.prompt.0"),
                "greater than or equal to 0",
            ),
            (json!({"prompt": [1, 2.5]}), 400, SHAPE, Some("body.prompt.1"), "fractional"),
            (
                json!({"prompt": [999_999], "max_tokens": 1}),
                400,
                BAD,
                None,
                "Token id 999999 is out of vocabulary",
            ),
            (
                json!({"prompt": [1u64 << 40], "max_tokens": 1}),
                400,
                BAD,
                None,
                "is out of vocabulary",
            ),
            (json!({"prompt": []}), 400, BAD, None, "You must pass at least one prompt"),
            (json!({"prompt": ""}), 400, BAD, Some("prompt"), "must be provided and non-empty"),
            (json!({"prompt": null}), 400, BAD, Some("prompt"), "must be provided and non-empty"),
            (json!({}), 400, BAD, Some("prompt"), "must be provided and non-empty"),
            (json!({"prompt": [[]]}), 400, BAD, None, "The decoder prompt cannot be empty"),
            (json!({"prompt": ["a", ""]}), 400, BAD, None, "The decoder prompt cannot be empty"),
            (json!({"prompt": {"a": 1}}), 400, SHAPE, Some("body.prompt"), "<dict of"),
            (json!({"prompt": 5}), 400, SHAPE, Some("body.prompt"), "valid string"),
            (json!({"prompt": [1, "a"]}), 400, SHAPE, Some("body.prompt.1"), "valid integer"),
            (json!({"prompt": ["a", 1]}), 400, SHAPE, Some("body.prompt.1"), "valid string"),
            (json!({"prompt": [[1], ["a"]]}), 400, SHAPE, Some("body.prompt.1"), "valid integer"),
            (json!({"prompt": [[[1]]]}), 400, SHAPE, Some("body.prompt.0"), "valid integer"),
            (json!({"prompt": vec!["a"; 1025]}), 400, BAD, Some("prompt"), "maximum allowed count"),
            (json!({"prompt": p(), "n": 0}), 400, BAD, None, "n must be at least 1, got 0."),
            (json!({"prompt": p(), "n": 2}), 400, BAD, Some("n"), "n=2 is not supported"),
            (json!({"prompt": p(), "echo": true}), 400, BAD, Some("echo"), "not supported"),
            (json!({"prompt": p(), "logprobs": 1}), 400, BAD, Some("logprobs"), "not supported"),
            (
                json!({"prompt": p(), "min_tokens": 5, "max_tokens": 2}),
                400,
                BAD,
                None,
                "min_tokens must be less than or equal to max_tokens=2, got 5.",
            ),
            (
                json!({"prompt": p(), "min_tokens": -5}),
                400,
                BAD,
                None,
                "min_tokens must be greater than or equal to 0, got -5.",
            ),
            (
                json!({"prompt": p(), "temperature": -1}),
                400,
                BAD,
                Some("temperature"),
                "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)",
            ),
            (
                json!({"prompt": p(), "top_p": 2}),
                400,
                BAD,
                Some("top_p"),
                "top_p must be in (0, 1], got 2.0.",
            ),
            (
                json!({"prompt": p(), "top_k": -5}),
                400,
                BAD,
                None,
                "top_k must be 0 (disable), or at least 1, got -5.",
            ),
            (
                json!({"prompt": p(), "presence_penalty": 9}),
                400,
                BAD,
                None,
                "presence_penalty must be in [-2, 2], got 9.0.",
            ),
            (
                json!({"prompt": p(), "stream_options": {"include_usage": true}}),
                400,
                BAD,
                Some("stream_options"),
                "Stream options can only be defined when `stream=True`.",
            ),
            (json!({"prompt": p(), "stream": 5}), 400, SHAPE, Some("body.stream"), "valid boolean"),
            (json!({"prompt": p(), "stop": 5}), 400, SHAPE, Some("body.stop"), "valid list"),
            (json!({"prompt": p(), "seed": "x"}), 400, SHAPE, Some("body.seed"), "integer"),
            (json!({"prompt": p(), "priority": "x"}), 400, SHAPE, Some("body.priority"), "integer"),
            (
                json!({"prompt": p(), "kv_transfer_params": 5}),
                400,
                SHAPE,
                Some("body.kv_transfer_params"),
                "valid dictionary",
            ),
            (
                json!({"prompt": p(), "kv_transfer_params": {"max_load_tokens": -1}}),
                400,
                BAD,
                Some("kv_transfer_params"),
                "must not be negative",
            ),
            (
                json!({"prompt": p(), "cache_salt": "s".repeat(2000)}),
                400,
                BAD,
                Some("cache_salt"),
                "at most 1024 bytes",
            ),
        ],
    );
}

#[test]
fn chat() {
    let user = || json!([{"role": "user", "content": "x"}]);
    check(
        "/v1/chat/completions",
        vec![
            (
                json!({"messages": []}),
                400,
                BAD,
                None,
                "Cannot apply chat template to an empty conversation. Provide at least one message.",
            ),
            (json!({"messages": "x"}), 400, SHAPE, Some("body.messages"), "valid list"),
            (json!({}), 400, SHAPE, Some("body.messages"), "Field required"),
            (json!({"messages": [5]}), 400, SHAPE, Some("body.messages.0"), "valid dictionary"),
            (
                json!({"messages": [{"content": "x"}]}),
                400,
                SHAPE,
                Some("body.messages.0.role"),
                "Field required",
            ),
            (
                json!({"messages": [{"role": "user", "content": 5}]}),
                400,
                SHAPE,
                Some("body.messages.0.content"),
                "valid string",
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
                400,
                BAD,
                None,
                "tiny is not a multimodal model",
            ),
            (
                json!({"messages": user(), "max_tokens": 5000}),
                400,
                BAD,
                Some("max_tokens"),
                "cannot be greater than max_model_len=4096",
            ),
            (json!({"messages": user(), "max_tokens": 0}), 400, BAD, Some("max_tokens"), "got 0."),
            (
                json!({"messages": [{"role": "user", "content": "§ ".repeat(5000)}]}),
                400,
                BAD,
                Some("input_tokens"),
                "exceeds this limit",
            ),
            (
                json!({"messages": user(), "model": "zz"}),
                404,
                "NotFoundError",
                Some("model"),
                "Valid aliases: tiny.",
            ),
            (
                json!({"messages": user(), "logprobs": true}),
                400,
                BAD,
                Some("logprobs"),
                "not supported",
            ),
            (
                json!({"messages": user(), "tools": [{"type": "function"}], "tool_choice": "auto"}),
                400,
                BAD,
                None,
                "tool choice requires",
            ),
        ],
    );
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
    let json = Some("application/json");
    let ask = |body: &[u8]| ask_as(server.addr, "POST", "/v1/completions", json, body);
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
    for content_type in [None, Some("text/plain")] {
        let answer = ask_as(server.addr, "POST", "/v1/completions", content_type, b"{}");
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("Only 'application/json' is allowed"), "{}", answer.body);
    }
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn routes_and_methods() {
    let server = start(config(TimeMode::Instant));
    for (method, path) in [("GET", "/nope"), ("POST", "/nope"), ("GET", "/v1")] {
        let answer = ask_as(server.addr, method, path, None, b"");
        assert_eq!((answer.status, answer.body.as_str()), (404, r#"{"detail":"Not Found"}"#));
    }
    for (method, path, allow) in [
        ("GET", "/v1/completions", "POST"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("GET", "/reset_prefix_cache", "POST"),
        ("DELETE", "/health", "GET"),
        ("PUT", "/v1/models", "GET"),
    ] {
        let answer = ask_as(server.addr, method, path, None, b"");
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
