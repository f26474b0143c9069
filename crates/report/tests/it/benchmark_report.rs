//! The published rules of llm-d-benchmark's Benchmark Report 0.2.1 (its pydantic models
//! `schema_v0_2.py`, `schema_v0_2_1.py`, `schema_v0_2_components.py` and `base.py`), as far as Weir
//! writes it: unknown keys are forbidden, required ones have to be there, each quantity has units
//! of its own list.

use serde_json::Value;

use crate::exports::{written, written_under};
use weir_report::exports::{Export, OfferedLoad};

/// What a value has to be.
enum Rule {
    Text,
    /// ISO 8601 with a zone.
    Time,
    /// ISO 8601.
    Duration,
    Flag,
    Integer(i64),
    Positive,
    Number,
    OneOf(&'static [&'static str]),
    /// `Statistics` in one of these units.
    Statistics(&'static [&'static str]),
    List(Box<Rule>),
    /// Key, whether it is required, rule.
    Map(Vec<(&'static str, bool, Rule)>),
    Anything,
}

use Rule::{Anything, Duration, Flag, Integer, List, Map, Number, OneOf, Positive, Text, Time};

const QUANTITY: Rule = Rule::Statistics(&["count", "pixels"]);
const TIME: Rule = Rule::Statistics(&["ms", "s"]);
const PER_TOKEN: Rule = Rule::Statistics(&["ms/token", "s/token"]);
const TOKEN_RATE: Rule = Rule::Statistics(&["tokens/s"]);
const REQUEST_RATE: Rule = Rule::Statistics(&["queries/s"]);
const PORTION: Rule = Rule::Statistics(&["percent", "fraction"]);

const STATISTICS: [&str; 16] = [
    "mean", "mode", "stddev", "min", "p0p1", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95",
    "p99", "p99p9", "max",
];

fn length() -> Rule {
    Map(vec![
        ("distribution", true, OneOf(&["fixed", "gaussian", "uniform", "other"])),
        ("value", true, Number),
        ("std_dev", false, Number),
        ("min", false, Integer(0)),
        ("max", false, Integer(1)),
    ])
}

fn native() -> Rule {
    Map(vec![("args", false, Anything), ("envars", false, Anything), ("config", false, Anything)])
}

fn load() -> Rule {
    let standardized = Map(vec![
        ("tool", true, Text),
        ("tool_version", true, Text),
        ("parallelism", false, Integer(1)),
        ("source", true, OneOf(&["random", "sampled", "unknown"])),
        ("stage", false, Integer(0)),
        ("input_seq_len", true, length()),
        ("output_seq_len", false, length()),
        ("multi_turn", false, Map(vec![("enabled", false, Flag), ("max_turns", false, length())])),
        ("rate_qps", false, Positive),
        ("concurrency", false, Integer(1)),
    ]);
    let metadata = Map(vec![
        ("schema_version", false, Text),
        ("cfg_id", false, Text),
        ("description", false, Text),
    ]);
    Map(vec![
        ("metadata", true, metadata),
        ("standardized", true, standardized),
        ("native", true, native()),
    ])
}

fn component() -> Rule {
    let metadata = Map(vec![
        ("schema_version", false, Text),
        ("label", true, Text),
        ("cfg_id", true, Text),
        ("description", false, Text),
    ]);
    let standardized = Map(vec![
        ("kind", true, OneOf(&["generic"])),
        ("tool", true, Text),
        ("tool_version", true, Text),
    ]);
    Map(vec![
        ("metadata", true, metadata),
        ("standardized", true, standardized),
        ("native", true, native()),
    ])
}

fn aggregate() -> Rule {
    let requests = Map(vec![
        ("total", true, Integer(0)),
        ("failures", false, Integer(0)),
        ("incomplete", false, Integer(0)),
        ("input_length", false, QUANTITY),
        ("output_length", false, QUANTITY),
    ]);
    let latency = Map(vec![
        ("time_to_first_token", false, TIME),
        ("normalized_time_per_output_token", false, PER_TOKEN),
        ("time_per_output_token", false, PER_TOKEN),
        ("inter_token_latency", false, PER_TOKEN),
        ("request_latency", false, TIME),
    ]);
    let throughput = Map(vec![
        ("input_token_rate", false, TOKEN_RATE),
        ("output_token_rate", false, TOKEN_RATE),
        ("total_token_rate", false, TOKEN_RATE),
        ("request_rate", false, REQUEST_RATE),
    ]);
    Map(vec![
        ("requests", false, requests),
        ("latency", false, latency),
        ("throughput", false, throughput),
    ])
}

fn report() -> Rule {
    let time =
        Map(vec![("start", false, Time), ("end", false, Time), ("duration", false, Duration)]);
    let run = Map(vec![
        ("uid", true, Text),
        ("eid", false, Text),
        ("cid", false, Text),
        ("pid", false, Text),
        ("time", false, time),
        ("user", false, Text),
        ("description", false, Text),
        ("keywords", false, List(Box::new(Text))),
    ]);
    let scenario =
        Map(vec![("stack", false, List(Box::new(component()))), ("load", false, load())]);
    let observed = Map(vec![
        ("component_label", true, Text),
        ("aggregate", false, Map(vec![("cache_hit_rate", false, PORTION)])),
    ]);
    let results = Map(vec![
        ("request_performance", false, Map(vec![("aggregate", false, aggregate())])),
        ("observability", false, Map(vec![("components", false, List(Box::new(observed)))])),
    ]);
    Map(vec![
        ("version", true, OneOf(&["0.2.1"])),
        ("run", true, run),
        ("scenario", false, scenario),
        ("results", true, results),
    ])
}

/// Adds what breaks a rule.
fn check(path: &str, value: &Value, rule: &Rule, broken: &mut Vec<String>) {
    let number = value.as_f64();
    let holds = match rule {
        Anything => true,
        Text => value.is_string(),
        Time => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        Duration => value.as_str().is_some_and(|text| text.parse::<jiff::SignedDuration>().is_ok()),
        Flag => value.is_boolean(),
        Integer(least) => value.as_i64().is_some_and(|value| value >= *least),
        Positive => number.is_some_and(|value| value > 0.0),
        Number => number.is_some_and(|value| value >= 0.0),
        OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        Rule::Statistics(units) => {
            let mut keys = vec![("units", true, OneOf(units)), ("mean", true, Number)];
            keys.extend(STATISTICS.iter().skip(1).map(|&name| (name, false, Number)));
            check(path, value, &Map(keys), broken);
            return;
        }
        List(rule) => {
            for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                check(&format!("{path}[{at}]"), value, rule, broken);
            }
            value.is_array()
        }
        Map(keys) => {
            for (key, required, rule) in keys {
                match value.get(key) {
                    Some(value) => check(&format!("{path}.{key}"), value, rule, broken),
                    None if *required => broken.push(format!("{path}.{key} is missing")),
                    None => {}
                }
            }
            for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                if !keys.iter().any(|(known, _, _)| known == key) {
                    broken.push(format!("{path}.{key} is not allowed"));
                }
            }
            value.is_object()
        }
    };
    if !holds {
        broken.push(format!("{path} is {value}"));
    }
}

fn broken(text: &str) -> Vec<String> {
    let value: Value = serde_saphyr::from_str(text).unwrap();
    let mut broken = Vec::new();
    check("report", &value, &report(), &mut broken);
    broken
}

#[test]
fn the_report_keeps_the_published_rules() {
    for load in [
        OfferedLoad::Users { users: 4, ramp_s: 0.5 },
        OfferedLoad::Poisson { per_s: 2.5 },
        OfferedLoad::Trace { speed: 2.0 },
    ] {
        for rows in [crate::exports::rows(), Vec::new()] {
            let text = written_under(Export::BenchmarkReport, &rows, load);
            assert_eq!(broken(&text), Vec::<String>::new(), "{text}");
        }
    }
}

#[test]
fn the_rules_find_what_breaks_them() {
    let text = written(Export::BenchmarkReport);
    for (from, to) in [
        ("units: ms/token", "units: ms"),
        ("uid:", "uuid:"),
        ("source: random", "source: chance"),
        ("parallelism: 1", "parallelism: 0"),
        ("cfg_id:", "cfg_ID:"),
    ] {
        assert!(text.contains(from), "{from}\n{text}");
        assert!(!broken(&text.replacen(from, to, 1)).is_empty(), "{to}");
    }
}

#[test]
fn the_figures_are_those_of_the_requests() {
    let seen: Value = serde_saphyr::from_str(&written(Export::BenchmarkReport)).unwrap();
    let other: Value = serde_json::from_str(&written(Export::VllmBench)).unwrap();
    let aggregate = &seen["results"]["request_performance"]["aggregate"];
    let mean = |group: &str, metric: &str| aggregate[group][metric]["mean"].as_f64().unwrap();
    for (group, metric, key) in [
        ("latency", "time_to_first_token", "mean_ttft_ms"),
        ("latency", "inter_token_latency", "mean_itl_ms"),
        ("latency", "time_per_output_token", "mean_tpot_ms"),
    ] {
        let expected = other[key].as_f64().unwrap();
        assert!((mean(group, metric) / expected - 1.0).abs() < 1e-9, "{metric}");
    }
    let of_window = other["weir"]["output_tokens_per_s_of_window"].as_f64().unwrap();
    assert_eq!(mean("throughput", "output_token_rate"), of_window);
    assert_eq!(seen["run"]["time"]["start"], "2026-11-18T11:06:40.123456Z");
    assert_eq!(seen["scenario"]["load"]["standardized"]["concurrency"], 4);
}
