//! Unmeasured first requests: they warm the code, and one answer shows what the server refuses.

use std::time::Duration;

use serde_json::{Map, Value};
use weir_deploy::{DeployError, EngineEndpoint, FirstRequestError, Site, UNANSWERED};
use weir_load::{LimitField, LoadConfig, PromptForm, unmeasured_body};
use weir_model::{LoadNote, Note};

use crate::live::error::LiveError;

/// Less than any block, so nothing stays in a cache.
pub(crate) const SHORT: u32 = 8;
const ANSWER: u32 = 2;
/// Ids below this are in every vocabulary.
const EVERYWHERE: u32 = 1000;

/// Source of the number of token ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// From the user or the model.
    Known,
    /// A server that refuses the highest id gets lower ones.
    Guessed,
}

/// Form of the answer to a first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Measured,
    /// Not streamed; the usage has the cached tokens.
    Whole,
}

/// Sends unmeasured requests in the form of the measured ones.
pub(crate) struct FirstRequests<'a> {
    pub(crate) site: &'a Site,
    /// True ends a wait.
    pub(crate) stopped: &'a dyn Fn() -> bool,
    config: LoadConfig,
    vocabulary: Vocabulary,
    notes: Vec<Note>,
}

impl<'a> FirstRequests<'a> {
    pub(crate) const fn new(
        config: LoadConfig,
        vocabulary: Vocabulary,
        site: &'a Site,
        stopped: &'a dyn Fn() -> bool,
    ) -> Self {
        Self { site, stopped, config, vocabulary, notes: Vec::new() }
    }

    /// How the measured requests are to be made, and a sentence for each change to the plan.
    pub(crate) fn into_config(self) -> (LoadConfig, Vec<Note>) {
        (self.config, self.notes)
    }

    pub(crate) fn ask_all(&mut self) -> Result<(), LiveError> {
        for endpoint in self.site.endpoints() {
            self.ask(endpoint, SHORT, Form::Measured)?;
        }
        Ok(())
    }

    /// Repeats a refused request: with the other field for the answer's length where the server
    /// names it, with lower ids where they were guessed. Returns the cached prompt tokens where
    /// the answer has them.
    pub(crate) fn ask(
        &mut self,
        endpoint: &EngineEndpoint,
        prompt_tokens: u32,
        form: Form,
    ) -> Result<Option<u64>, LiveError> {
        let timeout = Duration::from_nanos(self.config.client.request_timeout.0);
        let path = self.config.client.api.path();
        loop {
            let body = self.body(prompt_tokens, form)?;
            match endpoint.first_request(path, body.clone(), timeout, self.stopped) {
                Ok(cached) => return Ok(cached),
                Err(FirstRequestError::Other(error)) => return Err(error.into()),
                Err(FirstRequestError::Refused { said, .. }) if self.wants_other(&said) => {
                    self.config.limit_field = LimitField::MaxCompletionTokens;
                    let url = endpoint.url().to_string();
                    self.notes.push(LoadNote::OtherLimitField { url }.into());
                }
                Err(FirstRequestError::Refused { url, status, said }) => {
                    let Some(most) = self.guessed_ids() else {
                        return Err(DeployError::Answer {
                            url,
                            problem: format!("HTTP {status} to a first request: {said}"),
                            remedy: remedy(&said, &body),
                        }
                        .into());
                    };
                    self.config.prompts = PromptForm::TokenIds { vocabulary: EVERYWHERE };
                    let note = LoadNote::SmallerVocabulary {
                        url: endpoint.url().to_string(),
                        refused: most - 1,
                        sent_below: EVERYWHERE,
                    };
                    self.notes.push(note.into());
                }
            }
        }
    }

    /// None where the number is known or cannot be lowered.
    fn guessed_ids(&self) -> Option<u32> {
        match self.config.prompts {
            PromptForm::TokenIds { vocabulary }
                if vocabulary > EVERYWHERE && self.vocabulary == Vocabulary::Guessed =>
            {
                Some(vocabulary)
            }
            _ => None,
        }
    }

    fn body(&self, prompt_tokens: u32, form: Form) -> Result<Vec<u8>, LiveError> {
        let body = match form {
            Form::Measured => {
                let body = unmeasured_body(&self.config, prompt_tokens, ANSWER)?;
                with_highest_id(&self.config, body)
            }
            Form::Whole => unmeasured_body(&whole(&self.config), prompt_tokens, ANSWER)?,
        };
        Ok(body)
    }

    /// Whether a refusal names `max_completion_tokens` in place of the sent `max_tokens`.
    fn wants_other(&self, said: &str) -> bool {
        let config = &self.config;
        config.limit_field == LimitField::MaxTokens
            && LimitField::ALL.iter().all(|field| !config.client.body.contains_key(field.name()))
            && said.contains(LimitField::MaxCompletionTokens.name())
    }
}

/// The prompt ends with the highest id of the load: a server without it refuses here, and not some
/// measured requests.
fn with_highest_id(config: &LoadConfig, body: Vec<u8>) -> Vec<u8> {
    let PromptForm::TokenIds { vocabulary } = config.prompts else { return body };
    let Ok(mut sent) = serde_json::from_slice::<Value>(&body) else { return body };
    if let Some(last) = sent["prompt"].as_array_mut().and_then(|ids| ids.last_mut()) {
        *last = Value::from(vocabulary - 1);
    }
    sent.to_string().into_bytes()
}

/// The same without streaming, where servers refuse options of streams.
fn whole(config: &LoadConfig) -> LoadConfig {
    let mut whole = config.clone();
    whole.client.stream = false;
    whole.client.body.remove("stream_options");
    whole
}

fn remedy(said: &str, body: &[u8]) -> String {
    let sent: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    if sent.get("prompt").is_some_and(Value::is_array) && wants_text(said) {
        return "it takes no token ids as prompt: send text with --tokenizer FILE (client.tokenizer)"
            .to_owned();
    }
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

/// Go's decoders miss a prompt that is no string ("must have prompt field"); others ask for one.
fn wants_text(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    names(&said, "prompt") && (said.contains("must have") || said.contains("string"))
}

/// As a word of its own.
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
        let text = remedy("inference gateway: must have prompt field", body);
        assert!(text.contains("send text with --tokenizer"), "{text}");
        let text = remedy("body.prompt: Input should be a valid string", body);
        assert!(text.contains("send text with --tokenizer"), "{text}");
        assert!(!remedy("the prompt is too long", body).contains("--tokenizer"));
        let with_text = br#"{"model":"m","prompt":"a b","max_tokens":2}"#;
        assert!(!remedy("must have prompt field", with_text).contains("--tokenizer"));
        let ids = remedy("Token id 31999 is out of vocabulary", body);
        assert!(ids.contains("--vocabulary"), "{ids}");
    }
}
