//! The client section with its defaults.

use std::path::Path;

use weir_model::Nanos;

use super::{HOUR, check_span};
use crate::document::client::{Answers, Api, ClientSection};
use crate::document::quantity::Tolerance;
use crate::error::SpecError;
use crate::plan::Client;

/// Most worker threads; a larger number is a slip.
const MOST_WORKERS: u32 = 1024;
/// Keys of a request's body that the load decides. How long an answer may be can be said in the
/// words of a server that has others for it.
const OWN_KEYS: [&str; 4] = ["model", "prompt", "messages", "stream"];

pub(super) fn resolve(section: &ClientSection, base: &Path) -> Result<Client, SpecError> {
    let defaults = Client::default();
    let span = |key: &str, given: Option<crate::document::quantity::Span>, default: Nanos| {
        let Some(span) = given.map(|span| span.0) else { return Ok(default) };
        check_span(&format!("client.{key}"), span, HOUR)?;
        if span == Nanos::ZERO && key != "drain" {
            let problem = "no time at all";
            return Err(SpecError::value(format!("client.{key}"), problem, "write e.g. `10s`"));
        }
        Ok(span)
    };
    let client = Client {
        api: section.api.unwrap_or(defaults.api),
        stream: section.stream.unwrap_or(defaults.stream),
        tokenizer: section.tokenizer.as_ref().map(|path| base.join(path).display().to_string()),
        vocabulary: section.vocabulary,
        answers: section.answers.unwrap_or(defaults.answers),
        ignore_eos: section.ignore_eos.unwrap_or(defaults.ignore_eos),
        same_prompts: section.same_prompts.unwrap_or(defaults.same_prompts),
        reuse_connections: section.reuse_connections.unwrap_or(defaults.reuse_connections),
        connect_timeout: span(
            "connect_timeout",
            section.connect_timeout,
            defaults.connect_timeout,
        )?,
        request_timeout: span(
            "request_timeout",
            section.request_timeout,
            defaults.request_timeout,
        )?,
        drain: span("drain", section.drain, defaults.drain)?,
        max_failures: section.max_failures.unwrap_or(defaults.max_failures),
        workers: section.workers.unwrap_or(defaults.workers),
        pin: section.pin,
        max_error: section.max_error,
        body: section.body.clone(),
    };
    check(&client)?;
    Ok(client)
}

fn check(client: &Client) -> Result<(), SpecError> {
    if !(1..=MOST_WORKERS).contains(&client.workers) {
        return Err(SpecError::value(
            "client.workers",
            format!("{} workers", client.workers),
            format!("write a number from 1 to {MOST_WORKERS}"),
        ));
    }
    if !(0.0..=1.0).contains(&client.max_failures) {
        return Err(SpecError::value(
            "client.max_failures",
            format!("{} is not a share", client.max_failures),
            "write a number from 0 to 1, such as 0.01",
        ));
    }
    if client.vocabulary.is_some_and(|ids| ids < 2) {
        let remedy = "write the size of the model's vocabulary";
        return Err(SpecError::value("client.vocabulary", "it needs at least 2 ids", remedy));
    }
    if client.api == Api::Chat && client.tokenizer.is_none() {
        return Err(SpecError::value(
            "client.api",
            "chat takes text, and there is no tokenizer to make text of exact length with",
            "write `client.tokenizer: path/to/tokenizer.json`, or `api: completions`",
        ));
    }
    if client.answers == Answers::Own && (client.tokenizer.is_some() || !client.stream) {
        return Err(SpecError::value(
            "client.answers",
            "`own` quotes the server's answers as token ids, in streamed completions",
            "remove `tokenizer` and `stream: false`, or write `answers: canned`",
        ));
    }
    if client.max_error == Some(Tolerance::Time(Nanos::ZERO)) {
        return Err(SpecError::value(
            "client.max_error",
            "no client is without any error",
            "write a time above 0, such as `5ms`, or a share, such as `5%`",
        ));
    }
    match OWN_KEYS.iter().find(|key| client.body.contains_key(**key)) {
        Some(key) => Err(SpecError::value(
            format!("client.body.{key}"),
            "the load itself decides it",
            "remove it",
        )),
        None => Ok(()),
    }
}
