//! What a policy brings, in the engines' own count of hit tokens.

use std::net::SocketAddr;

use serde_json::{Value, json};
use weir_router::PolicyConfig;
use weir_service::suite::{Reply, eventually, get, metric, post};

use crate::fixture::{Replicas, approximate, config, precise, replica, start};

const REPLICAS: usize = 4;
const PREFIXES: u32 = 64;
const PREFIX_TOKENS: u32 = 512;
/// A quarter of the prefixes, and what their requests leave behind in two rounds.
const POOL_BLOCKS: u32 = 640;
const ROUNDS: u32 = 5;

fn prompt(prefix: u32, round: u32) -> Vec<u32> {
    let own = (0..16).map(|at| 90_000 + (prefix * ROUNDS + round) * 16 + at);
    (0..PREFIX_TOKENS).map(|at| 1000 + prefix * PREFIX_TOKENS + at).chain(own).collect()
}

fn ask(proxy: SocketAddr, prompt: &[u32]) -> Reply {
    let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 1});
    let reply = post(proxy, "/v1/completions", &body);
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply
}

/// The same; returns when the index has heard what the request changed.
fn ask_and_hear(proxy: SocketAddr, prompt: &[u32]) -> Reply {
    let heard = || metric(proxy, "weir_route_index_events_total");
    let before = heard();
    let reply = ask(proxy, prompt);
    eventually("its KV events", || heard() > before);
    reply
}

/// Share of the hit tokens that the best choice would have had, after a cold round.
fn share_of_best(
    replicas: &Replicas,
    proxy: SocketAddr,
    ask: fn(SocketAddr, &[u32]) -> Reply,
) -> f64 {
    (0..PREFIXES).for_each(|prefix| drop(ask(proxy, &prompt(prefix, 0))));
    let before = replicas.hit_tokens();
    for round in 1..ROUNDS {
        // Another order in each round; 27 and 64 have no common factor.
        for step in 0..PREFIXES {
            ask(proxy, &prompt((step * 27 + round * 11) % PREFIXES, round));
        }
    }
    let best = (ROUNDS - 1) * PREFIXES * PREFIX_TOKENS;
    (replicas.hit_tokens() - before) / f64::from(best)
}

#[test]
fn precise_routing_serves_what_the_best_choice_would() {
    let replicas = Replicas::start(REPLICAS, POOL_BLOCKS);
    let mut config = config(replicas.urls(), precise());
    config.kv_events.clone_from(&replicas.endpoints);
    let proxy = start(config);
    replicas.are_heard_by(proxy.addr);
    let share = share_of_best(&replicas, proxy.addr, ask_and_hear);
    assert!(share >= 0.95, "{share}");
    assert!(metric(proxy.addr, "weir_route_index_lookup_hits_total") >= 250.0);
    assert_eq!(metric(proxy.addr, "weir_route_lost_batches_total"), 0.0);
    assert_eq!(metric(proxy.addr, "weir_route_orphan_events_total"), 0.0);
    let held: f64 = replicas.servers.iter().map(|_| f64::from(POOL_BLOCKS)).sum();
    assert!(metric(proxy.addr, "weir_route_index_keys") <= held, "evicted blocks are forgotten");
    let totals = proxy.shutdown().expect("it ends cleanly");
    assert_eq!(totals.requests, u64::from(ROUNDS * PREFIXES));
    assert_eq!((totals.lost_batches, totals.untokenized, totals.unanswered), (0, 0, 0));
}

#[test]
fn random_routing_serves_a_quarter() {
    let replicas = Replicas::start(REPLICAS, POOL_BLOCKS);
    let proxy = start(config(replicas.urls(), PolicyConfig::Random));
    let share = share_of_best(&replicas, proxy.addr, ask);
    // A pool holds about 18 of 64 prefixes.
    assert!((0.18..0.38).contains(&share), "{share}");
    let sent = |at: usize| metric(replicas.servers[at].addr, "vllm:request_success_total");
    let counts: Vec<f64> = (0..REPLICAS).map(sent).collect();
    // 80 each on average, with a standard deviation of 7.7.
    assert!(counts.iter().all(|count| (40.0..120.0).contains(count)), "{counts:?}");
}

#[test]
fn approximate_routing_follows_its_own_decisions() {
    let replicas = Replicas::start(REPLICAS, POOL_BLOCKS);
    let proxy = start(config(replicas.urls(), approximate()));
    let share = share_of_best(&replicas, proxy.addr, ask);
    assert!(share >= 0.9, "{share}");
    assert!(metric(proxy.addr, "weir_route_index_keys") > 0.0);
}

#[test]
fn text_and_chats_are_matched_by_the_replicas_own_token_ids() {
    let replicas = Replicas::start(2, 2000);
    let folder = tempfile::tempdir().expect("a scratch folder");
    let log = folder.path().join("decisions.jsonl");
    let mut config = config(replicas.urls(), precise());
    config.kv_events.clone_from(&replicas.endpoints);
    config.log = Some(log.clone());
    let proxy = start(config);
    replicas.are_heard_by(proxy.addr);
    let words = |prefix: u32| {
        (0..200).map(|at| format!("w{prefix}x{at}")).collect::<Vec<String>>().join(" ")
    };
    let mut homes: Vec<Vec<String>> = vec![Vec::new(); 8];
    for _round in 0..3 {
        for prefix in 0..4 {
            let text = json!({"model": "tiny", "prompt": words(prefix), "max_tokens": 1});
            let reply = post(proxy.addr, "/v1/completions", &text);
            assert_eq!(reply.status, 200, "{}", reply.body);
            homes[prefix as usize].push(replica(&reply).to_owned());
            let messages = json!([{"role": "user", "content": words(10 + prefix)}]);
            let chat = json!({"model": "tiny", "messages": messages, "max_tokens": 1});
            let reply = post(proxy.addr, "/v1/chat/completions", &chat);
            homes[4 + prefix as usize].push(replica(&reply).to_owned());
        }
    }
    assert_eq!(metric(proxy.addr, "weir_route_untokenized_total"), 0.0);
    // A prompt of its own goes where it was before.
    assert!(homes[..4].iter().all(|home| home[1] == home[0] && home[2] == home[0]), "{homes:?}");
    let lines = std::fs::read_to_string(&log).expect("the log is there");
    let entries: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    assert_eq!(entries.len(), 24);
    // The last one is a chat that both or one of the replicas had.
    let last = entries.last().expect("24 entries");
    assert_eq!(last["policy"], "precise-prefix");
    let chosen = last["replicas"].as_array().expect("a list").iter();
    let chosen = chosen
        .max_by_key(|it| it["score"].as_f64().map(|score| (score * 1e6) as u64))
        .expect("two replicas");
    assert_eq!(chosen["replica"], last["replica"]);
    assert!(last["prompt_tokens"].as_u64().expect("a number") >= 200);
    assert!(chosen["matched_tokens"].as_u64() >= Some(160), "{last}");
}

#[test]
fn a_salt_keeps_prompts_apart() {
    let replicas = Replicas::start(2, 2000);
    let mut config = config(replicas.urls(), precise());
    config.kv_events.clone_from(&replicas.endpoints);
    let proxy = start(config);
    replicas.are_heard_by(proxy.addr);
    let prompt: Vec<u32> = (0..320).collect();
    let ask = |salt: &str| {
        let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 1, "cache_salt": salt});
        assert_eq!(post(proxy.addr, "/v1/completions", &body).status, 200);
        metric(proxy.addr, "weir_route_index_lookup_hits_total")
    };
    assert_eq!(ask("a"), 0.0);
    eventually("events", || metric(proxy.addr, "weir_route_index_keys") >= 22.0);
    assert_eq!(ask("b"), 0.0);
    assert_eq!(ask("a"), 1.0);
}

#[test]
fn a_reset_reaches_all_replicas_and_the_index() {
    let replicas = Replicas::start(2, 2000);
    let mut config = config(replicas.urls(), precise());
    config.kv_events.clone_from(&replicas.endpoints);
    let proxy = start(config);
    replicas.are_heard_by(proxy.addr);
    let reply = weir_service::suite::ask(proxy.addr, "POST", "/reset_prefix_cache", "", b"");
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"success":true}"#));
    // As vLLM does, engines announce it with their next pass.
    for server in &replicas.servers {
        post(server.addr, "/v1/completions", &json!({"prompt": [1, 2], "max_tokens": 1}));
    }
    eventually("an empty index", || metric(proxy.addr, "weir_route_index_keys") == 0.0);
    assert_eq!(get(proxy.addr, "/health").status, 200);
}
