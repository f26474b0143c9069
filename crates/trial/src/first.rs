//! First requests, not measured: they warm the code, and show in one answer what the server does
//! not take, instead of in a row per request.

use std::time::Duration;

use serde_json::{Map, Value};
use weir_deploy::{DeployError, Endpoint, FirstRequestError, Site, UNANSWERED};
use weir_load::{LimitField, LoadConfig, unmeasured_body};

use crate::error::TrialError;

/// Tokens of a first prompt: less than any block, so that it leaves nothing in a cache.
const SHORT: u32 = 8;
/// Tokens of a first answer.
const ANSWER: u32 = 2;

/// Asks every endpoint in the form of the measured requests; what is asked otherwise than planned,
/// one sentence each.
pub(crate) fn requests(
    config: &mut LoadConfig,
    site: &Site,
    stopped: &dyn Fn() -> bool,
) -> Result<Vec<String>, TrialError> {
    let mut notes = Vec::new();
    for endpoint in site.endpoints() {
        notes.extend(ask(config, endpoint, stopped)?);
    }
    Ok(notes)
}

/// Asks once; again with the other field for the length of an answer, where the server names it.
fn ask(
    config: &mut LoadConfig,
    endpoint: &Endpoint,
    stopped: &dyn Fn() -> bool,
) -> Result<Option<String>, TrialError> {
    let timeout = Duration::from_nanos(config.request_timeout.0);
    let path = config.api.path();
    let mut note = None;
    loop {
        let body = unmeasured_body(config, SHORT, ANSWER)?;
        match endpoint.first_request(path, body.clone(), timeout, stopped) {
            Ok(()) => return Ok(note),
            Err(FirstRequestError::Other(error)) => return Err(error.into()),
            Err(FirstRequestError::Refused { said, .. }) if wants_other(config, &said) => {
                config.limit_field = LimitField::MaxCompletionTokens;
                note = Some(format!(
                    "{} refuses max_tokens: max_completion_tokens is sent instead",
                    endpoint.url()
                ));
            }
            Err(FirstRequestError::Refused { url, status, said }) => {
                return Err(DeployError::Answer {
                    url,
                    problem: format!("HTTP {status} to a first request: {said}"),
                    remedy: remedy(&said, &body),
                }
                .into());
            }
        }
    }
}

/// Whether a refusal asks for `max_completion_tokens` in place of the `max_tokens` that was sent.
fn wants_other(config: &LoadConfig, said: &str) -> bool {
    config.limit_field == LimitField::MaxTokens
        && LimitField::ALL.iter().all(|field| !config.body.contains_key(field.name()))
        && said.contains(LimitField::MaxCompletionTokens.name())
}

/// How the fields that a refusal names are left out.
fn remedy(said: &str, body: &[u8]) -> String {
    let sent: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let needed = ["model", "prompt", "messages", "stream", "max_tokens"];
    let (mut ends_early, mut others) = (false, Map::new());
    for field in sent.keys().filter(|field| !needed.contains(&field.as_str())) {
        match field.as_str() {
            _ if !names(said, field) => {}
            "ignore_eos" | "min_tokens" => ends_early = true,
            _ => drop(others.insert(field.clone(), Value::Null)),
        }
    }
    let mut flags = Vec::new();
    if ends_early {
        flags.push("--allow-eos (client.ignore_eos: false)".to_owned());
    }
    if !others.is_empty() {
        flags.push(format!("--body '{}' (client.body)", Value::Object(others)));
    }
    if flags.is_empty() {
        return UNANSWERED.to_owned();
    }
    format!("leave out what it refuses: {}", flags.join(" and "))
}

/// Whether a text has a field's name as a word of its own.
fn names(text: &str, field: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == field)
}

#[cfg(test)]
mod tests {
    use super::remedy;

    #[test]
    fn refused_fields_are_left_out_by_name() {
        let body = br#"{"model":"m","prompt":[1],"max_tokens":2,"min_tokens":2,"ignore_eos":true,
            "stream":true,"stream_options":{"include_usage":true},"temperature":0}"#;
        let said = "Unrecognized request argument supplied: stream_options, ignore_eos, min_tokens";
        let both = remedy(said, body);
        assert!(both.contains("--allow-eos"), "{both}");
        assert!(both.contains(r#"--body '{"stream_options":null}'"#), "{both}");
        let one = remedy("`temperature` must be 1", body);
        assert!(one.contains(r#"--body '{"temperature":null}'"#), "{one}");
        assert!(!one.contains("--allow-eos"), "{one}");
        assert!(!remedy("the model is not ready", body).contains("leave out"));
    }
}
