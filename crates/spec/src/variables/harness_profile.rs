//! Load profiles of llm-d-benchmark's harnesses: `LMBenchmark` (which fmperf starts) and
//! inference-perf.

use std::path::Path;

use serde_json::Value;
use weir_model::Nanos;
use weir_model::quantity::Span;
use weir_workload::WorkloadConfig;
use weir_workload::config::{Count, Draw, Length, SharedPrefix};

use super::error::VariableError;
use crate::document::load::LoadSection;
use crate::document::read_yaml;
use crate::document::written::OneOrMany;
use crate::error::SpecError;

/// Tokens of `LMBenchmark`'s question, one fixed sentence. An assumption.
const QUESTION_TOKENS: u32 = 16;
/// A day, which keeps nanoseconds in range.
const MOST_SECONDS: f64 = 86_400.0;

/// A load with the workload that it asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HarnessProfile {
    pub(super) workload: WorkloadConfig,
    pub(super) load: LoadSection,
    /// What of the profile Weir's load does not have.
    pub(super) remarks: Vec<&'static str>,
}

/// `LMBenchmark`'s `synthetic-multi-round-qa`: users that ask in turn, with a history each.
struct Rounds {
    users: u32,
    system_tokens: u32,
    history_tokens: u32,
    answer_tokens: u32,
    seconds: f64,
}

/// `short_input_short_output_run.sh`.
const SHORT_INPUT: Rounds =
    Rounds { users: 320, system_tokens: 0, history_tokens: 256, answer_tokens: 20, seconds: 100.0 };
/// `long_input_short_output_run.sh`.
const LONG_INPUT: Rounds = Rounds {
    users: 15,
    system_tokens: 1000,
    history_tokens: 20_000,
    answer_tokens: 100,
    seconds: 100.0,
};

impl HarnessProfile {
    /// Of a profile that a variable names, without its file.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.trim_end_matches(".in").trim_end_matches(".yaml") {
            "sanity_short-input" | "sanity_short_input" => {
                Some(Self::of_rounds(&SHORT_INPUT, &[0.5]))
            }
            "sanity_random" => {
                let length = Length::Normal { mean: 50.0, stddev: 10.0, min: 10, max: 100 };
                Some(Self::of_stages(
                    shared_prefix(1, Draw::Uniform, 0, length, length),
                    LoadSection {
                        constant: Some(OneOrMany(vec![1.0])),
                        duration: Some(span(30.0)),
                        ..LoadSection::default()
                    },
                ))
            }
            _ => None,
        }
    }

    pub(super) fn read(file: &Path) -> Result<Self, VariableError> {
        let text = std::fs::read_to_string(file).map_err(|source| VariableError::Read {
            what: "profile",
            path: file.to_owned(),
            source,
        })?;
        Self::parse(&text, &file.display().to_string()).map_err(|error| {
            VariableError::Profile(match error {
                syntax @ SpecError::Syntax { .. } => syntax,
                other => SpecError::InFile { path: file.to_owned(), source: Box::new(other) },
            })
        })
    }

    fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        let keys = Keys(read_yaml(text, file)?);
        if keys.at("/load/stages").is_some() {
            return keys.stages();
        }
        keys.rounds()
    }

    fn of_rounds(rounds: &Rounds, rates: &[f64]) -> Self {
        let prefix = rounds.system_tokens.saturating_add(rounds.history_tokens);
        let fixed = Length::Fixed;
        Self {
            // The next request is the next user's, so each returns after users / rate seconds.
            workload: shared_prefix(
                rounds.users,
                Draw::RoundRobin,
                prefix,
                fixed(QUESTION_TOKENS),
                fixed(rounds.answer_tokens),
            ),
            load: LoadSection {
                constant: Some(OneOrMany(rates.to_vec())),
                duration: Some(span(rounds.seconds)),
                ..LoadSection::default()
            },
            remarks: vec![
                "A user's rounds are requests with its prefix, users / rate seconds apart, without \
                 what earlier rounds add to it",
                "LMBenchmark's warm-up asked other users",
            ],
        }
    }

    fn of_stages(workload: WorkloadConfig, load: LoadSection) -> Self {
        Self { workload, load, remarks: Vec::new() }
    }
}

fn shared_prefix(
    prefixes: u32,
    draw: Draw,
    prefix_tokens: u32,
    prompt_tokens: Length,
    output_tokens: Length,
) -> WorkloadConfig {
    WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(prefixes.into()),
        draw,
        prefix_tokens,
        turns: 1,
        prompt_tokens,
        output_tokens,
        think: Nanos::ZERO,
    })
}

fn span(seconds: f64) -> Span {
    Span(Nanos((seconds.clamp(0.0, MOST_SECONDS) * 1e9) as u64))
}

fn wrong(key: &str, problem: &str, remedy: &str) -> SpecError {
    SpecError::value(key.trim_start_matches('/').replace('/', "."), problem, remedy)
}

/// By path, as `/load/stages`.
struct Keys(Value);

impl Keys {
    fn at(&self, key: &str) -> Option<&Value> {
        self.0.pointer(key)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, SpecError> {
        let Some(value) = self.at(key) else { return Ok(None) };
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
        let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
        number.map(Some).ok_or_else(|| wrong(key, "expected a number", "write the number"))
    }

    fn need(&self, key: &str) -> Result<f64, SpecError> {
        self.number(key)?.ok_or_else(|| wrong(key, "it is missing", "write the number"))
    }

    fn count(&self, key: &str, default: u32) -> Result<u32, SpecError> {
        Ok(self.number(key)?.map_or(default, |number| number as u32))
    }

    fn rounds(&self) -> Result<HarnessProfile, SpecError> {
        let of = match self.at("/scenarios").and_then(Value::as_str) {
            Some("short-input") => SHORT_INPUT,
            Some("long-input") => LONG_INPUT,
            _ => {
                return Err(wrong(
                    "scenarios",
                    "unsupported workload",
                    "write `short-input` or `long-input`, or a profile of inference-perf",
                ));
            }
        };
        let rounds = Rounds {
            users: self.count("/num_users", of.users)?,
            system_tokens: self.count("/system_prompt", of.system_tokens)?,
            history_tokens: self.count("/chat_history", of.history_tokens)?,
            answer_tokens: self.count("/answer_len", of.answer_tokens)?,
            seconds: self.number("/test_duration")?.unwrap_or(of.seconds),
        };
        Ok(HarnessProfile::of_rounds(&rounds, &self.rates("/qps_values")?))
    }

    /// A number, or text with several.
    fn rates(&self, key: &str) -> Result<Vec<f64>, SpecError> {
        let fault = || wrong(key, "expected rates per second", "write for example `\"0.5 1 2\"`");
        let rates: Option<Vec<f64>> = match self.at(key) {
            Some(Value::String(text)) => text
                .split([' ', ','])
                .filter(|of| !of.is_empty())
                .map(|of| of.parse().ok())
                .collect(),
            Some(Value::Array(list)) => list.iter().map(Value::as_f64).collect(),
            Some(value) => value.as_f64().map(|rate| vec![rate]),
            None => None,
        };
        rates.filter(|rates| !rates.is_empty()).ok_or_else(fault)
    }

    fn stages(&self) -> Result<HarnessProfile, SpecError> {
        let count = self.at("/load/stages").and_then(Value::as_array).map_or(0, Vec::len);
        let mut rates = Vec::new();
        let mut durations = Vec::new();
        for stage in 0..count {
            rates.push(self.need(&format!("/load/stages/{stage}/rate"))?);
            durations.push(self.need(&format!("/load/stages/{stage}/duration"))?);
        }
        let Some(longest) = durations.iter().copied().reduce(f64::max) else {
            return Err(wrong(
                "load.stages",
                "there are none",
                "write `- {rate: 1, duration: 60}`",
            ));
        };
        let rates = Some(OneOrMany(rates));
        let mut load = LoadSection { duration: Some(span(longest)), ..LoadSection::default() };
        match self.at("/load/type").and_then(Value::as_str) {
            Some("constant") => load.constant = rates,
            Some("poisson") => load.poisson = rates,
            _ => {
                let remedy = "write `constant` or `poisson`";
                return Err(wrong("load.type", "unsupported kind of load", remedy));
            }
        }
        let mut profile = HarnessProfile::of_stages(self.data()?, load);
        if durations.iter().any(|duration| *duration < longest) {
            profile.remarks.push("All levels last as long as the longest stage");
        }
        Ok(profile)
    }

    fn data(&self) -> Result<WorkloadConfig, SpecError> {
        match self.at("/data/type").and_then(Value::as_str) {
            Some("random") => {
                let prompt = self.length("/data/input_distribution")?;
                let output = self.length("/data/output_distribution")?;
                Ok(shared_prefix(1, Draw::Uniform, 0, prompt, output))
            }
            Some("shared_prefix") => {
                let tokens = |key: &str| {
                    self.need(&format!("/data/shared_prefix/{key}")).map(|tokens| tokens as u32)
                };
                Ok(shared_prefix(
                    tokens("num_groups")?,
                    Draw::Uniform,
                    tokens("system_prompt_len")?,
                    Length::Fixed(tokens("question_len")?),
                    Length::Fixed(tokens("output_len")?),
                ))
            }
            _ => Err(wrong("data.type", "unsupported data", "write `random` or `shared_prefix`")),
        }
    }

    fn length(&self, key: &str) -> Result<Length, SpecError> {
        let part = |name: &str| self.need(&format!("{key}/{name}"));
        let (mean, stddev) = (part("mean")?, part("std")?);
        if stddev == 0.0 {
            return Ok(Length::Fixed(mean as u32));
        }
        Ok(Length::Normal { mean, stddev, min: part("min")? as u32, max: part("max")? as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(profile: &HarnessProfile) -> SharedPrefix {
        match &profile.workload {
            WorkloadConfig::SharedPrefix(asked) => asked.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rounds_become_requests_that_return_to_their_users_prefix() {
        let text = "scenarios: long-input\nqps_values: \"0.1 0.5\"\nnum_users: 10\n\
                    system_prompt: 500\ntest_duration: 60\nmodel_name: REPLACE_ENV_X\n";
        let profile = HarnessProfile::parse(text, "p.yaml").unwrap();
        assert_eq!(profile.load.constant, Some(OneOrMany(vec![0.1, 0.5])));
        assert_eq!(profile.load.duration, Some(span(60.0)));
        let asked = asked(&profile);
        assert_eq!((asked.prefixes, asked.draw), (Count::Absolute(10), Draw::RoundRobin));
        assert_eq!((asked.prefix_tokens, asked.turns), (20_500, 1));
        assert_eq!(asked.output_tokens, Length::Fixed(100));
    }

    #[test]
    fn stages_become_levels() {
        let text = "load: {type: constant, stages: [{rate: 1, duration: 30}, {rate: 4, duration: \
                    60}]}\ndata:\n  type: random\n  input_distribution: {min: 10, max: 100, mean: \
                    50, std: 10}\n  output_distribution: {min: 8, max: 8, mean: 8, std: 0}\n";
        let profile = HarnessProfile::parse(text, "p.yaml").unwrap();
        assert_eq!(profile.load.constant, Some(OneOrMany(vec![1.0, 4.0])));
        assert_eq!(profile.load.duration, Some(span(60.0)));
        assert_eq!(profile.remarks.len(), 1);
        let asked = asked(&profile);
        let prompt = Length::Normal { mean: 50.0, stddev: 10.0, min: 10, max: 100 };
        assert_eq!((asked.prefix_tokens, asked.prompt_tokens), (0, prompt));
        assert_eq!(asked.output_tokens, Length::Fixed(8));
    }

    #[test]
    fn what_is_no_profile_is_refused_with_its_key() {
        for (text, message) in [
            ("scenarios: sharegpt", "scenarios: unsupported workload; write `short-input`"),
            ("scenarios: short-input", "qps_values: expected rates per second; write"),
            ("scenarios: short-input\nqps_values: x", "qps_values: expected rates per second"),
            (
                "scenarios: short-input\nqps_values: 1\nnum_users: x",
                "num_users: expected a number; write the number",
            ),
            ("load: {stages: []}", "load.stages: there are none; write"),
            ("load: {stages: [{rate: 1}]}", "load.stages.0.duration: it is missing"),
            ("load: {type: x, stages: [{rate: 1, duration: 1}]}", "load.type: unsupported"),
            (
                "load: {type: constant, stages: [{rate: 1, duration: 1}]}\ndata: {type: shareGPT}",
                "data.type: unsupported data; write `random` or `shared_prefix`",
            ),
            ("a: [", "p.yaml:"),
        ] {
            let seen = HarnessProfile::parse(text, "p.yaml").unwrap_err().to_string();
            assert!(seen.starts_with(message), "{text}: {seen}");
        }
    }
}
