//! Loads on realistic servers, and parts of a call that must never be kept.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::binary::{Answer, Running, no_secret_in, weir};
use crate::folder::json;

/// A refused level is a valid result on a machine that is busy with other tests.
const REFUSED: &str = "cells are refused";
const SECRET: &str = "S3CRET-value";

struct Asked {
    path: String,
    body: Value,
}

/// A scripted server: each answer in bytes, then it closes; None for no answer. Its threads end
/// with the test's process.
fn serve(script: impl Fn(&Asked) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = Arc::clone(&script);
            std::thread::spawn(move || converse(stream, &*script));
        }
    });
    url
}

fn converse(mut stream: TcpStream, script: &(impl Fn(&Asked) -> Option<String> + ?Sized)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let is_known = path.ends_with("/models") || path.ends_with("/completions");
    let answer =
        if is_known { script(&Asked { path, body }) } else { plain("404 Not Found", "{}") };
    match answer {
        Some(answer) => drop(stream.write_all(answer.as_bytes())),
        // Held open until the client closes.
        None => drop(reader.read_to_end(&mut Vec::new())),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a script's answer: nothing where it hangs")]
fn plain(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

fn models() -> Option<String> {
    plain("200 OK", &json!({"data": [{"id": "m", "max_model_len": 4096}]}).to_string())
}

/// A stream of events without usage, `per_event` tokens each.
#[expect(clippy::unnecessary_wraps, reason = "a script's answer: nothing where it hangs")]
fn stream(asked: &Asked, per_event: u64, finish: &str) -> Option<String> {
    let tokens = asked.body["max_tokens"].as_u64().unwrap();
    let event = |text: &str, finish: Value| {
        let choice = json!({"index": 0, "text": text, "finish_reason": finish});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let mut events: String = (0..tokens / per_event).map(|_| event("word ", Value::Null)).collect();
    events += &event("", json!(finish));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    Some(format!("{head}{events}data: [DONE]\n\n"))
}

fn load(folder: &Path, url: &str, more: &[&str]) -> Answer {
    let args = ["load", url, "--requests", "3", "--prompt-tokens", "16", "--output-tokens", "8"];
    weir(folder, &[&args[..], &["--out", "run"], more].concat())
}

#[track_caller]
fn cell(folder: &Path, answer: &Answer) -> Value {
    let refused = answer.code == Some(1) && answer.out.contains(REFUSED);
    assert!(refused || answer.code == Some(0), "{}\n{}", answer.out, answer.err);
    json(&folder.join("run/cells/m/endpoint/as-deployed/c1/0/cell.json"))
}

#[test]
fn a_server_that_lists_no_models_is_believed_to_serve_the_named_one() {
    for (status, body) in [
        ("404 Not Found", r#"{"detail":"Not Found"}"#),
        ("401 Unauthorized", r#"{"error":{"message":"missing key"}}"#),
        ("200 OK", r#"{"data":[]}"#),
        ("200 OK", "<html>hello</html>"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let url = serve(move |asked| {
            if asked.path == "/v1/models" {
                return plain(status, body);
            }
            assert_eq!(asked.body["model"], "m");
            stream(asked, 1, "length")
        });
        let unnamed = load(folder.path(), &url, &[]).refusal(3, folder.path());
        assert!(unnamed.contains("--model NAME"), "{unnamed}");
        let answer = load(folder.path(), &url, &["--model", "m"]);
        assert_eq!(cell(folder.path(), &answer)["figures"]["completed"], 3);
    }
}

#[test]
fn a_redirect_is_named_with_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(|_| {
        let target = format!("https://user:{SECRET}@other/v1/models?token={SECRET}");
        let head = format!("HTTP/1.1 307 No\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
        Some(head)
    });
    // Also where the list is not needed: a server that redirects one request redirects all.
    for more in [&[][..], &["--model", "m"]] {
        let line = load(folder.path(), &url, more).refusal(3, folder.path());
        assert!(line.contains("https://other/v1/models") && !line.contains(SECRET), "{line}");
    }
}

/// Steps at which a server hangs: its models, the first streamed request, the first other one, the
/// load.
#[test]
fn every_request_obeys_the_time_limit_and_ctrl_c() {
    for hangs_at in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let hangs = Arc::new(AtomicBool::new(false));
        let is_hanging = Arc::clone(&hangs);
        let url = serve(move |asked| {
            let question = match (asked.path.as_str(), &asked.body["stream"]) {
                ("/v1/models", _) => 0,
                _ if asked.body["max_tokens"] != 2 => 3,
                (_, Value::Bool(true)) => 1,
                _ => 2,
            };
            if question == hangs_at {
                is_hanging.store(true, Ordering::SeqCst);
                return None;
            }
            if question == 0 { models() } else { stream(asked, 1, "length") }
        });
        let began = Instant::now();
        let answer = load(folder.path(), &url, &["--request-timeout", "1s"]);
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        let (code, said) = if hangs_at < 3 {
            (3, answer.err.contains("no complete answer within 1 s"))
        } else {
            let words: Vec<&str> = answer.out.split_whitespace().collect();
            (1, words.join(" ").contains("timeout: no complete answer after 1s"))
        };
        assert!(answer.code == Some(code) && said, "{}\n{}", answer.out, answer.err);

        hangs.store(false, Ordering::SeqCst);
        let mut call = Running::start(folder.path(), &["load", &url, "--out", "other"]);
        call.wait_until("the question", || hangs.load(Ordering::SeqCst));
        let began = Instant::now();
        // Before the run listens, the signal's default action ends it; background jobs of a script
        // ignore Ctrl-C until then.
        call.signal(if hangs_at == 0 { Signal::TERM } else { Signal::INT });
        assert!(!call.end().success());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[test]
fn what_a_server_refuses_is_asked_otherwise_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let wants_other = serve(|asked| {
        if asked.path == "/v1/models" {
            return models();
        }
        if asked.body.get("max_tokens").is_some() {
            let said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.";
            return plain("400 Bad Request", &json!({"error": {"message": said}}).to_string());
        }
        let tokens = asked.body["max_completion_tokens"].clone();
        stream(&Asked { path: String::new(), body: json!({"max_tokens": tokens}) }, 1, "length")
    });
    let answer = load(folder.path(), &wants_other, &[]);
    assert_eq!(cell(folder.path(), &answer)["figures"]["completed"], 3);
    assert!(answer.out.contains("max_completion_tokens"), "{}", answer.out);
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    let body = r#"{"max_tokens":null,"max_completion_tokens":4}"#;
    let answer = load(folder.path(), &wants_other, &["--body", body]);
    let record = cell(folder.path(), &answer);
    assert_eq!(record["figures"]["answers"]["by_limit"], 3, "{record}");

    let strict = serve(|asked| {
        if asked.path == "/v1/models" {
            return models();
        }
        let known = ["model", "prompt", "max_tokens", "temperature", "stream"];
        let body = asked.body.as_object().unwrap();
        let unknown: Vec<&str> =
            body.keys().map(String::as_str).filter(|key| !known.contains(key)).collect();
        if unknown.is_empty() {
            return stream(asked, 1, "length");
        }
        plain("400 Bad Request", &format!("unknown arguments: {}", unknown.join(", ")))
    });
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    let answer = load(folder.path(), &strict, &[]);
    assert_eq!(answer.code, Some(3), "{}", answer.err);
    let flags = r#"--body '{"stream_options":null}'"#;
    assert!(answer.err.contains("--allow-eos") && answer.err.contains(flags), "{}", answer.err);
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    let more = ["--allow-eos", "--body", r#"{"stream_options":null}"#];
    let answer = load(folder.path(), &strict, &more);
    assert_eq!(cell(folder.path(), &answer)["figures"]["completed"], 3);
}

/// 4,096 tokens, unknown to the client.
#[test]
fn a_small_vocabulary_is_found_before_the_load() {
    let small = serve(|asked| {
        if asked.path == "/v1/models" {
            return models();
        }
        let ids = asked.body["prompt"].as_array().unwrap();
        match ids.iter().find(|id| id.as_u64() >= Some(4096)) {
            None => stream(asked, 1, "length"),
            Some(id) => plain("400 Bad Request", &format!("Token id {id} is out of vocabulary")),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let answer = load(folder.path(), &small, &[]);
    assert_eq!(cell(folder.path(), &answer)["figures"]["completed"], 3);
    assert!(answer.out.contains("refuses token id 31999"), "{}", answer.out);
    let folder = tempfile::tempdir().unwrap();
    let answer = load(folder.path(), &small, &["--vocabulary", "4096"]);
    assert_eq!(cell(folder.path(), &answer)["figures"]["completed"], 3);
    assert!(!answer.out.contains("refuses"), "{}", answer.out);
    // A value of the user's is not changed.
    let folder = tempfile::tempdir().unwrap();
    let answer = load(folder.path(), &small, &["--vocabulary", "4097"]);
    assert_eq!(answer.code, Some(3), "{}", answer.out);
    for words in ["Token id 4096", "lower --vocabulary"] {
        assert!(answer.err.contains(words), "{words}: {}", answer.err);
    }
}

#[test]
fn a_load_whose_requests_all_fail_has_no_figures_and_ends_with_one() {
    let url = serve(|asked| match (asked.path.as_str(), asked.body["max_tokens"].as_u64()) {
        ("/v1/models", _) => models(),
        // The unmeasured first requests.
        (_, Some(2)) => stream(asked, 1, "length"),
        _ => plain("400 Bad Request", "no"),
    });
    let folder = tempfile::tempdir().unwrap();
    let answer = load(folder.path(), &url, &["--users", "1,2"]);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    for level in ["c1", "c2"] {
        let mut rows = answer.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.first() == Some(&level) && row.len() == 12);
        let row = row.unwrap_or_else(|| panic!("no row of {level}: {}", answer.out));
        assert_eq!(&row[1..3], ["0", "3"], "{}", answer.out);
        // Rates, times and the bound of their error.
        assert!(row[4..10].iter().all(|figure| *figure == "-"), "{}", answer.out);
    }
    assert!(answer.out.contains("3 of 3 measured requests failed"), "{}", answer.out);
}

/// Gateways require own fields in every request.
#[test]
fn fields_of_a_call_are_in_its_first_requests_too() {
    let url = serve(|asked| {
        if asked.path == "/v1/models" {
            return models();
        }
        if asked.body["tenant"] != "t" {
            return plain("400 Bad Request", "no tenant");
        }
        stream(asked, 1, "length")
    });
    let folder = tempfile::tempdir().unwrap();
    let answer = load(folder.path(), &url, &["--body", r#"{"tenant":"t"}"#]);
    assert_eq!(cell(folder.path(), &answer)["figures"]["completed"], 3);
}

/// Two tokens in each event, and no count of them.
#[test]
fn a_level_without_usage_says_how_its_tokens_were_counted() {
    for (finish, counted, tokens) in [("length", "by_limit", 8.0), ("stop", "by_events", 4.0)] {
        let folder = tempfile::tempdir().unwrap();
        let url =
            serve(
                move |asked| {
                    if asked.path == "/v1/models" { models() } else { stream(asked, 2, finish) }
                },
            );
        let answer = load(folder.path(), &url, &[]);
        let record = cell(folder.path(), &answer);
        let figures = &record["figures"];
        assert_eq!(figures["answers"][counted], 3, "{record}");
        let of = |key: &str| figures[key].as_f64().unwrap();
        let each = of("completed_output_tokens_per_s") / of("requests_per_s");
        assert!((each - tokens).abs() < 1e-6, "{each} tokens per request");
        assert!(answer.out.contains("have no usage"), "{}", answer.out);
        if !answer.out.contains(REFUSED) {
            assert_eq!(answer.out.contains(" ~"), finish == "stop", "{}", answer.out);
        }
    }
}

/// A server that repeats the request, as services do in their refusals.
fn gossip() -> String {
    serve(|asked| {
        if asked.path == "/v1/models" {
            return models();
        }
        let number = asked.body["max_tokens"].as_u64().unwrap();
        // The unmeasured first request succeeds.
        if number == 2 {
            return stream(asked, 1, "length");
        }
        plain("401 Unauthorized", &format!("Incorrect API key provided: {SECRET}"))
    })
}

#[test]
fn what_a_load_is_given_as_a_secret_is_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), SECRET).unwrap();
    let url = gossip();
    let (header, body) = (format!("api-key: {SECRET}"), format!(r#"{{"api_key":"{SECRET}"}}"#));
    for more in [
        &["--header", &header][..],
        &["--bearer-file", "token"],
        &["--header", &header, "--body", &body],
    ] {
        let answer = load(folder.path(), &url, more);
        let said = answer.out + &answer.err;
        assert!(!said.contains(SECRET), "{said}");
        let run = folder.path().join("run");
        assert!(run.join("plan.json").is_file());
        no_secret_in(&run, SECRET);
        // The call becomes an experiment, which needs the secrets again.
        let kept = fs::read_to_string(run.join("experiment.yaml")).unwrap();
        weir(folder.path(), &["plan", "run/experiment.yaml"]).done();
        let args = ["run", "run/experiment.yaml", "--out", "again"];
        if more[0] == "--bearer-file" {
            assert!(kept.contains("bearer_file:") && !kept.contains("withheld"), "{kept}");
        } else {
            assert!(kept.contains("api-key: (withheld)"), "{kept}");
            let line = weir(folder.path(), &args).refusal(2, folder.path());
            assert!(line.contains(".api-key: ") || line.contains(".api_key: "), "{line}");
            assert!(!folder.path().join("again").exists());
        }
        fs::remove_dir_all(folder.path().join("run")).unwrap();
    }
    // URLs with secrets are refused before there is a folder, and not repeated.
    let host = url.trim_start_matches("http://");
    for url in [format!("http://me:{SECRET}@{host}"), format!("http://{host}/v1?key={SECRET}")] {
        let line = load(folder.path(), &url, &[]).refusal(2, folder.path());
        assert!(!line.contains(SECRET) && !folder.path().join("run").exists(), "{line}");
    }
}

#[test]
fn what_a_load_was_asked_can_be_planned_and_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), SECRET).unwrap();
    let url = serve(|asked| match asked.path.as_str() {
        "/v1/models" => models(),
        _ => stream(asked, 1, "length"),
    });
    let more = ["--users", "1,2", "--max-error", "50%", "--header", "tenant: t-0815"];
    let more = [&more[..], &["--bearer-file", "token", "--slo-ttft", "2s", "--seed", "7"]].concat();
    let first = load(folder.path(), &url, &more);
    assert!(matches!(first.code, Some(0 | 1)), "{}\n{}", first.out, first.err);
    let at = |path: &str| json(&folder.path().join(path));
    // From another folder than that of the load's start.
    let inside = folder.path().join("run");
    let planned = weir(&inside, &["plan", "experiment.yaml", "--json"]).done();
    let planned: Value = serde_json::from_str(&planned.out).unwrap();
    let recorded = at("run/plan.json");
    for part in ["target", "client", "slo", "deployments", "cells", "seed", "repeats"] {
        assert_eq!(planned[part], recorded[part], "{part}");
    }
    let header = "target.endpoint.headers.tenant=t-0815";
    let args = ["run", "run/experiment.yaml", "--set", header, "--out", "again"];
    let again = weir(folder.path(), &args);
    assert!(matches!(again.code, Some(0 | 1)), "{}\n{}", again.out, again.err);
    let hash = |run: &str| at(&format!("{run}/environment.json"))["plan_hash"].clone();
    assert_eq!(hash("again"), hash("run"));
    for (user, run) in [("c1", "run"), ("c2", "again")] {
        let cell = format!("{run}/cells/m/endpoint/as-deployed/{user}/0/cell.json");
        assert_eq!(at(&cell)["figures"]["completed"], 3, "{cell}");
    }
    no_secret_in(folder.path().join("again").as_path(), "t-0815");
}

#[test]
fn what_an_experiment_holds_as_a_secret_is_in_no_file_and_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = gossip();
    let experiment = |headers: &str| {
        format!(
            "# mine\nname: kept\ntarget: {{endpoint: {{url: '{url}', model: m, headers: \
             {headers}}}}}\nmodels: [Qwen/Qwen3-0.6B]\nhardware: 1x-l40s\narms: [no-offload]\n\
             workload: {{shared-prefix: {{prefixes: 1, prefix_tokens: 16, prompt_tokens: 16, \
             output_tokens: 4}}}}\nload: {{users: [1], duration: 2s, max_requests: 2}}\n"
        )
    };
    let write = |headers: &str| fs::write(folder.path().join("e.yaml"), experiment(headers));
    write(&format!("{{api-key: {SECRET}}}")).unwrap();
    let set = format!("target.endpoint.headers.other={SECRET}");
    let args = ["run", "e.yaml", "--set", &set, "--out", "run"];
    let answer = weir(folder.path(), &args);
    assert!(!(answer.out.clone() + &answer.err).contains(SECRET), "{}\n{}", answer.out, answer.err);
    let run = folder.path().join("run");
    no_secret_in(&run, SECRET);
    // The kept file is an experiment that can be planned.
    let kept = weir(folder.path(), &["plan", "run/experiment.yaml", "--json"]).done();
    let plan: Value = serde_json::from_str(&kept.out).unwrap();
    assert_eq!(plan["target"]["endpoint"]["headers"]["api-key"], "(withheld)");

    // Its values are needed again, and may be others.
    let line = weir(folder.path(), &["run", "--resume", "run"]).refusal(2, folder.path());
    assert!(line.contains("target.endpoint.headers.api-key"), "{line}");
    write("{api-key: another}").unwrap();
    let args = ["run", "e.yaml", "--set", "target.endpoint.headers.other=x", "--resume", "run"];
    let answer = weir(folder.path(), &args);
    assert!(answer.code == Some(0) || answer.code == Some(1), "{}", answer.err);
    // A name of a variable is kept, and found again.
    write("{api-key: {from_env: HOME}}").unwrap();
    weir(folder.path(), &["run", "e.yaml", "--out", "named"]);
    let kept = fs::read_to_string(folder.path().join("named/experiment.yaml")).unwrap();
    assert!(kept.starts_with("# mine") && kept.contains("from_env: HOME"), "{kept}");
    let resumed = weir(folder.path(), &["run", "--resume", "named"]);
    assert!(resumed.code == Some(0) || resumed.code == Some(1), "{}", resumed.err);

    // Values kept elsewhere are refused at planning.
    for (key, text) in [
        ("url", format!("target.endpoint.url=http://me:{SECRET}@h")),
        ("metrics", format!("target.endpoint.metrics=http://h/metrics?key={SECRET}")),
    ] {
        write("{a: b}").unwrap();
        let args = ["run", "e.yaml", "--set", &text, "--out", "never"];
        let line = weir(folder.path(), &args).refusal(2, folder.path());
        assert!(line.contains(key) && !line.contains(SECRET), "{line}");
        assert!(!folder.path().join("never").exists());
    }
}

/// A server whose limit changes during the load was not the measured one.
#[test]
fn a_server_that_becomes_another_while_it_is_measured_does_not_count() {
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let url = serve(move |of| {
        if of.path.ends_with("/models") {
            let longest = if seen.load(Ordering::Acquire) { 2048 } else { 4096 };
            let model = json!({"id": "Qwen/Qwen3-0.6B", "max_model_len": longest});
            return plain("200 OK", &json!({"data": [model]}).to_string());
        }
        // Measured requests have a larger limit than the first ones.
        let tokens = of.body["max_tokens"].as_u64().unwrap();
        seen.fetch_or(tokens == 5, Ordering::AcqRel);
        stream(of, 1, "length")
    });
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "name: changes\ntarget: {{endpoint: {{url: '{url}'}}}}\nmodels: [Qwen/Qwen3-0.6B]\n\
         hardware: 1x-l40s\narms: [no-offload]\nworkload: {{shared-prefix: {{prefixes: 2, \
         prefix_tokens: 64, prompt_tokens: 16, output_tokens: 5}}}}\nload: {{users: [1], \
         duration: 2s, warmup: 0s, max_requests: 9}}\n"
    );
    fs::write(folder.path().join("changes.yaml"), text).unwrap();
    let answer = weir(folder.path(), &["run", "changes.yaml", "--out", "run"]);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let cell = "run/cells/Qwen--Qwen3-0.6B/1x-l40s/no-offload/c1/0/cell.json";
    let status = json(&folder.path().join(cell))["status"].clone();
    let change = &status["not-comparable"][0];
    assert_eq!(change["differs"]["fact"], "max-model-len", "{status:#}");
    assert_eq!((&change["was"], &change["is"]), (&json!(4096), &json!(2048)), "{status:#}");
    assert_eq!(change["than"], "earlier", "{status:#}");
}

#[test]
fn replicas_that_a_gateway_names_are_told_with_their_answers() {
    let folder = tempfile::tempdir().unwrap();
    let asked_before = AtomicUsize::new(0);
    let url = serve(move |asked| {
        if asked.path == "/v1/models" {
            return models();
        }
        let replica = 2 + asked_before.fetch_add(1, Ordering::SeqCst) % 2;
        let named = format!("\r\nX-Upstream: 10.0.0.{replica}:8000\r\nConnection: close\r\n\r\n");
        Some(stream(asked, 1, "length")?.replacen("\r\nConnection: close\r\n\r\n", &named, 1))
    });
    let answer = load(folder.path(), &url, &["--replica-header", "x-upstream"]);
    let cell = cell(folder.path(), &answer);
    let replicas = cell["figures"]["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 2, "{cell}");
    let completed: u64 =
        replicas.iter().map(|replica| replica["completed"].as_u64().unwrap()).sum();
    assert_eq!(completed, 3);
    assert!(answer.out.contains("Replicas: what each answered"), "{}", answer.out);
    let table = fs::read_to_string(folder.path().join("run/analysis/replicas.csv")).unwrap();
    for address in ["10.0.0.2:8000", "10.0.0.3:8000"] {
        assert!(answer.out.contains(address) && table.contains(address), "{table}");
    }
}

#[test]
fn a_gateway_that_takes_text_alone_is_answered_with_the_option_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(|asked| {
        if asked.path == "/v1/models" {
            return models();
        }
        plain("400 Bad Request", r#"{"error":"inference gateway: must have prompt field"}"#)
    });
    let answer = load(folder.path(), &url, &[]);
    let words = answer.err;
    assert_eq!(answer.code, Some(3), "{words}");
    assert!(words.contains("must have prompt field") && words.contains("--tokenizer"), "{words}");
}
