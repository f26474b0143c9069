//! First requests, not measured: they warm the code, and show in one answer what the server does
//! not take, instead of in a row per request.

use std::time::Duration;

use serde_json::{Map, Value};
use weir_deploy::{DeployError, Endpoint, FirstRequestError, Site, UNANSWERED};
use weir_load::{LimitField, LoadConfig, PromptForm, unmeasured_body};

use crate::error::TrialError;

/// Tokens of a first prompt: less than any block, so that it leaves nothing in a cache.
const SHORT: u32 = 8;
/// Tokens of a first answer.
const ANSWER: u32 = 2;
/// Token ids that every vocabulary has.
const EVERYWHERE: u32 = 1000;

/// Where the ids of prompts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// The user or the model says how many there are.
    Known,
    /// It was guessed: a server that refuses the highest id is asked lower ones.
    Guessed,
}

/// Asks every endpoint in the form of the measured requests; what is asked otherwise than planned,
/// one sentence each.
pub(crate) fn requests(
    config: &mut LoadConfig,
    site: &Site,
    vocabulary: Vocabulary,
    stopped: &dyn Fn() -> bool,
) -> Result<Vec<String>, TrialError> {
    let mut notes = Vec::new();
    for endpoint in site.endpoints() {
        notes.extend(ask(config, endpoint, vocabulary, stopped)?);
    }
    Ok(notes)
}

/// Asks once; again with the other field for the length of an answer, where the server names it,
/// and with lower ids, where it refuses those that were guessed.
fn ask(
    config: &mut LoadConfig,
    endpoint: &Endpoint,
    vocabulary: Vocabulary,
    stopped: &dyn Fn() -> bool,
) -> Result<Vec<String>, TrialError> {
    let timeout = Duration::from_nanos(config.request_timeout.0);
    let path = config.api.path();
    let mut notes = Vec::new();
    loop {
        let body = with_highest_id(config, unmeasured_body(config, SHORT, ANSWER)?);
        match endpoint.first_request(path, body.clone(), timeout, stopped) {
            Ok(()) => return Ok(notes),
            Err(FirstRequestError::Other(error)) => return Err(error.into()),
            Err(FirstRequestError::Refused { said, .. }) if wants_other(config, &said) => {
                config.limit_field = LimitField::MaxCompletionTokens;
                notes.push(format!(
                    "{} refuses max_tokens: max_completion_tokens is sent instead",
                    endpoint.url()
                ));
            }
            Err(FirstRequestError::Refused { url, status, said }) => {
                let most = guessed_ids(config).filter(|_| vocabulary == Vocabulary::Guessed);
                let Some(most) = most else {
                    return Err(DeployError::Answer {
                        url,
                        problem: format!("HTTP {status} to a first request: {said}"),
                        remedy: remedy(&said, &body),
                    }
                    .into());
                };
                config.prompts = PromptForm::TokenIds { vocabulary: EVERYWHERE };
                notes.push(format!(
                    "{} refuses token id {}: ids below {EVERYWHERE} are sent (--vocabulary says \
                     how many it has)",
                    endpoint.url(),
                    most - 1
                ));
            }
        }
    }
}

/// How many ids prompts are drawn from, where they can be fewer.
fn guessed_ids(config: &LoadConfig) -> Option<u32> {
    match config.prompts {
        PromptForm::TokenIds { vocabulary } if vocabulary > EVERYWHERE => Some(vocabulary),
        _ => None,
    }
}

/// A body whose prompt ends with the highest id that the load may send: a server that does not have
/// it says so here, and not in some of the measured requests.
fn with_highest_id(config: &LoadConfig, body: Vec<u8>) -> Vec<u8> {
    let PromptForm::TokenIds { vocabulary } = config.prompts else { return body };
    let Ok(mut sent) = serde_json::from_slice::<Value>(&body) else { return body };
    if let Some(last) = sent["prompt"].as_array_mut().and_then(|ids| ids.last_mut()) {
        *last = Value::from(vocabulary - 1);
    }
    sent.to_string().into_bytes()
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
        if said.to_ascii_lowercase().contains("vocabulary") {
            return "lower --vocabulary (client.vocabulary) to that of the served model".to_owned();
        }
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
        let ids = remedy("Token id 31999 is out of vocabulary", body);
        assert!(ids.contains("--vocabulary"), "{ids}");
    }
}
