//! Frames and bodies against those of vLLM 0.32.0 for the same requests (captured on 2026-11-20
//! with `--enable-prompt-tokens-details`; model `tiny`, blocks of 32). Keys, their order and all
//! values are compared, except ids, times, texts, token ids and the fingerprint.

use serde_json::{Value, json};
use weir_serve::TimeMode;
use weir_service::suite::{Reply, ask, get, post};

use crate::fixture::{config, start};

fn prompt() -> Vec<u32> {
    (100..140).collect()
}

/// Replaces what a model or a clock decides, in the text, to keep the order of keys.
fn blanked(text: &str) -> String {
    let mut text = text.to_owned();
    for key in ["id", "text", "content", "system_fingerprint"] {
        text = blank(&text, &format!("\"{key}\":\""), '"');
    }
    text = blank(&text, "\"created\":", ',');
    text = blank(&text, "\"prompt_token_ids\":[", ']');
    text = blank(&text, "\"token_ids\":[", ']');
    text
}

fn blank(text: &str, before: &str, end: char) -> String {
    let mut parts = text.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = &part[part.find(end).expect("it ends")..];
        out.push_str(before);
        out.push_str(rest);
    }
    out
}

fn blanked_events(answer: &Reply) -> Vec<String> {
    answer.events().into_iter().map(blanked).collect()
}

#[test]
fn a_streamed_completion_looks_like_vllms() {
    let server = start(config(TimeMode::Instant));
    let ask = |body: Value| post(server.addr, "/v1/completions", &body);
    let plain = ask(json!({
        "model": "tiny", "prompt": prompt(), "max_tokens": 3, "ignore_eos": true, "stream": true
    }));
    assert_eq!(plain.status, 200);
    assert_eq!(plain.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(plain.header("transfer-encoding"), Some("chunked"));
    let middle = r#"{"id":"","object":"text_completion","created":,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}"#;
    let last = r#"{"id":"","object":"text_completion","created":,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":null}],"system_fingerprint":""}"#;
    assert_eq!(blanked_events(&plain), [middle, middle, last, "[DONE]"]);
    let id = plain.events()[0].split('"').nth(3).expect("the id").to_owned();
    assert!(id.starts_with("cmpl-") && id.len() == 21, "{id}");
    assert!(plain.events()[..3].iter().all(|event| event.contains(&id)), "one id per answer");

    let with_ids = ask(json!({
        "model": "tiny", "prompt": prompt(), "max_tokens": 3, "stream": true,
        "stream_options": {"include_usage": true}, "return_token_ids": true
    }));
    let expected = [
        r#"{"id":"","object":"text_completion","created":,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":[],"token_ids":[]}]}"#,
        r#"{"id":"","object":"text_completion","created":,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":[]}]}"#,
        r#"{"id":"","object":"text_completion","created":,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":[]}]}"#,
        r#"{"id":"","object":"text_completion","created":,"model":"tiny","choices":[],"usage":{"prompt_tokens":40,"total_tokens":43,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":32}},"system_fingerprint":""}"#,
        "[DONE]",
    ];
    assert_eq!(blanked_events(&with_ids), expected);
    let first: Value = serde_json::from_str(with_ids.events()[0]).expect("JSON");
    assert_eq!(first["choices"][0]["prompt_token_ids"], json!(prompt()));

    let continuous = ask(json!({
        "prompt": prompt(), "max_tokens": 2, "stream": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true}
    }));
    let first = r#"{"id":"","object":"text_completion","created":,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}],"usage":{"prompt_tokens":40,"total_tokens":41,"completion_tokens":1}}"#;
    assert_eq!(blanked_events(&continuous)[0], first);
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn several_prompts_are_several_choices() {
    let server = start(config(TimeMode::Instant));
    let body = json!({
        "prompt": [prompt(), [5, 6, 7]], "max_tokens": 2, "stream": true,
        "stream_options": {"include_usage": true}
    });
    let streamed = post(server.addr, "/v1/completions", &body);
    let events: Vec<Value> = streamed.events()[..4]
        .iter()
        .map(|event| serde_json::from_str(event).expect("JSON"))
        .collect();
    let mut finished: Vec<(u64, bool)> = events
        .iter()
        .map(|event| {
            let choice = &event["choices"][0];
            (choice["index"].as_u64().expect("an index"), choice["finish_reason"] == "length")
        })
        .collect();
    finished.sort_unstable();
    assert_eq!(finished, [(0, false), (0, true), (1, false), (1, true)]);
    let usage = &serde_json::from_str::<Value>(streamed.events()[4]).expect("JSON")["usage"];
    assert_eq!(usage["prompt_tokens"], 43);
    assert_eq!(usage["total_tokens"], 47);

    let body = json!({"prompt": ["hello world", "foo"], "max_tokens": 2});
    let whole = post(server.addr, "/v1/completions", &body);
    let texts: Vec<Value> = whole.json()["choices"].as_array().expect("choices").clone();
    assert_eq!(texts.len(), 2);
    assert_ne!(texts[0]["text"], texts[1]["text"], "another prompt has another answer");
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn a_whole_completion_looks_like_vllms() {
    let server = start(config(TimeMode::Instant));
    let body = json!({
        "model": "tiny", "prompt": prompt(), "max_tokens": 3, "return_token_ids": true,
        "temperature": 0, "seed": 3, "priority": 1, "kv_transfer_params": {"max_load_tokens": 5},
        "stop": ["a"], "request_id": "abc", "unknown_field": 5
    });
    let answer = post(server.addr, "/v1/completions", &body);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["id"], "cmpl-abc");
    let expected = r#"{"id":"","object":"text_completion","created":,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":[],"prompt_logprobs":null,"prompt_token_ids":[],"routed_experts":null}],"service_tier":null,"system_fingerprint":"","usage":{"prompt_tokens":40,"total_tokens":43,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":null,"multimodal_tokens":null},"completion_tokens_details":null},"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}"#;
    assert_eq!(blanked(&answer.body), expected);
    let again = post(server.addr, "/v1/completions", &body).json();
    assert_eq!(again["choices"], answer.json()["choices"], "the same request, the same answer");
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], 32);
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn chat_looks_like_vllms() {
    let server = start(config(TimeMode::Instant));
    let parts = json!([{"type": "text", "text": "hello"}, {"type": "text", "text": "there"}]);
    let messages = json!([
        {"role": "system", "content": "you are"}, {"role": "user", "content": parts}
    ]);
    let ask = |mut body: Value| {
        body["messages"] = messages.clone();
        post(server.addr, "/v1/chat/completions", &body)
    };
    let streamed = ask(json!({"max_completion_tokens": 2, "stream": true}));
    let expected = [
        r#"{"id":"","object":"chat.completion.chunk","created":,"model":"tiny","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}"#,
        r#"{"id":"","object":"chat.completion.chunk","created":,"model":"tiny","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#,
        r#"{"id":"","object":"chat.completion.chunk","created":,"model":"tiny","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"system_fingerprint":""}"#,
        "[DONE]",
    ];
    assert_eq!(blanked_events(&streamed), expected);

    let all = ask(json!({
        "max_tokens": 2, "stream": true, "return_token_ids": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true}
    }));
    let events = blanked_events(&all);
    let prompt = all.events()[0].split("\"prompt_tokens\":").nth(1).expect("usage in every frame");
    let prompt: u32 = prompt.split(',').next().expect("a number").parse().expect("a number");
    let role = format!(
        r#"{{"id":"","object":"chat.completion.chunk","created":,"model":"tiny","choices":[{{"index":0,"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}],"usage":{{"prompt_tokens":{prompt},"total_tokens":{prompt},"completion_tokens":0,"completion_tokens_details":null}},"prompt_token_ids":[],"prompt_text":null}}"#
    );
    assert_eq!(events[0], role);
    let cached = prompt / 16 * 16;
    let usage = format!(
        r#"{{"id":"","object":"chat.completion.chunk","created":,"model":"tiny","choices":[],"usage":{{"prompt_tokens":{prompt},"total_tokens":{},"completion_tokens":2,"prompt_tokens_details":{{"cached_tokens":{cached},"created_cache_tokens":0}}}},"system_fingerprint":""}}"#,
        prompt + 2
    );
    assert_eq!(events[3], usage);

    let whole = ask(json!({"max_tokens": 3}));
    let expected = format!(
        r#"{{"id":"","object":"chat.completion","created":,"model":"tiny","choices":[{{"index":0,"message":{{"role":"assistant","content":"","refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null}},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"routed_experts":null}}],"service_tier":null,"system_fingerprint":"","usage":{{"prompt_tokens":{prompt},"total_tokens":{},"completion_tokens":3,"prompt_tokens_details":{{"cached_tokens":{cached},"created_cache_tokens":0,"multimodal_tokens":null}},"completion_tokens_details":null}},"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}}"#,
        prompt + 3
    );
    assert_eq!(blanked(&whole.body), expected);
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn an_answer_quoted_as_text_or_as_ids_is_found_in_the_cache() {
    let server = start(config(TimeMode::Instant));
    let ask = |path: &str, body: Value| post(server.addr, path, &body).json();
    let cached = |answer: &Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().expect("it is told")
    };
    let first = ask(
        "/v1/completions",
        json!({"prompt": prompt(), "max_tokens": 200, "return_token_ids": true}),
    );
    let mut ids = prompt();
    let answer: Vec<u32> =
        serde_json::from_value(first["choices"][0]["token_ids"].clone()).expect("ids");
    ids.extend(&answer);
    ids.extend([1, 2, 3]);
    let second = ask("/v1/completions", json!({"prompt": ids, "max_tokens": 1}));
    // The last token's KV is never computed, so the last block may be missing.
    assert!(cached(&second) >= (40 + 200 - 1) / 16 * 16, "{}", cached(&second));
    let mut messages = vec![json!({"role": "user", "content": "tell me something long"})];
    let turn = |messages: &[Value]| json!({"messages": messages, "max_tokens": 200});
    let first = ask("/v1/chat/completions", turn(&messages));
    messages.push(first["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "and now?"}));
    let second = ask("/v1/chat/completions", turn(&messages));
    let total = first["usage"]["total_tokens"].as_u64().expect("a number");
    assert!(cached(&second) >= (total - 1) / 16 * 16, "{} of {total}", cached(&second));
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn control_routes_answer_like_vllms() {
    let mut config = config(TimeMode::Instant);
    config.models.push("alias".to_owned());
    let server = start(config);
    let at = server.addr;
    for path in ["/health", "/ping"] {
        let answer = get(at, path);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    assert_eq!(get(at, "/version").body, r#"{"version":"0.32.0"}"#);
    let models = get(at, "/v1/models");
    assert_eq!(models.json()["object"], "list");
    assert_eq!(models.json()["data"][0]["id"], "tiny");
    assert_eq!(models.json()["data"][1]["id"], "alias");
    assert_eq!(models.json()["data"][0]["max_model_len"], 4096);

    let tokens =
        post(at, "/tokenize", &json!({"prompt": "hello world", "return_token_strs": true}));
    let ids = tokens.json()["tokens"].clone();
    assert_eq!(tokens.json()["count"], ids.as_array().expect("a list").len());
    assert_eq!(tokens.json()["max_model_len"], 4096);
    let strings = tokens.json()["token_strs"].as_array().expect("a list").clone();
    let joined: String = strings.iter().filter_map(Value::as_str).collect();
    assert_eq!(joined, "hello world");
    assert_eq!(
        post(at, "/detokenize", &json!({"tokens": ids})).body,
        r#"{"prompt":"hello world"}"#
    );

    let messages = json!([{"role": "user", "content": "hi"}]);
    let chat = post(at, "/tokenize", &json!({"messages": messages})).json()["tokens"].clone();
    let rendered = post(at, "/v1/chat/completions/render", &json!({"messages": messages}));
    assert_eq!(rendered.json()["token_ids"], chat, "routers see what the engine sees");
    let rendered = post(at, "/v1/completions/render", &json!({"prompt": ["hello world", "foo"]}));
    assert_eq!(rendered.json()[0]["token_ids"], ids);
    assert_eq!(rendered.json()[1]["sampling_params"]["max_tokens"], 16);

    post(at, "/v1/completions", &json!({"prompt": prompt(), "max_tokens": 1}));
    let cached = || {
        let body = json!({"prompt": prompt(), "max_tokens": 1});
        let usage = post(at, "/v1/completions", &body).json()["usage"].clone();
        usage["prompt_tokens_details"]["cached_tokens"].as_u64()
    };
    assert_eq!(cached(), Some(32));
    let reset = ask(at, "POST", "/reset_prefix_cache?reset_external=true", "", b"");
    assert_eq!(reset.body, r#"{"success":true}"#);
    assert_eq!(cached(), Some(0));
    server.shutdown().expect("it ends cleanly");
}

#[test]
fn replicas_share_a_port_and_are_engines_of_the_metrics() {
    let mut config = config(TimeMode::Instant);
    config.cluster.replicas = 3;
    config.cluster.router.policy = weir_router::PolicyConfig::RoundRobin;
    let server = start(config);
    for _ in 0..6 {
        post(server.addr, "/v1/completions", &json!({"prompt": prompt(), "max_tokens": 4}));
    }
    let page = get(server.addr, "/metrics").body;
    for engine in 0..3 {
        let line =
            format!("vllm:generation_tokens_total{{engine=\"{engine}\",model_name=\"tiny\"}} 8.0");
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    server.shutdown().expect("it ends cleanly");
}
