//! The client section, checked, with times as numbers and absolute paths.

use std::path::Path;

use weir_model::Nanos;
use weir_model::quantity::{Span, Tolerance};
use weir_workload::client::{Answers, Api, ClientOptions};

use super::{HOUR, check_span};
use crate::error::SpecError;

/// A larger number is a mistake.
const MOST_WORKERS: u32 = 1024;
/// Keys of a request's body that the load decides. Limits of the answer are not among them, because
/// servers have other names for them.
const OWN_KEYS: [&str; 4] = ["model", "prompt", "messages", "stream"];

pub(super) fn resolve(
    section: &ClientOptions<Span>,
    base: &Path,
) -> Result<ClientOptions, SpecError> {
    let mut client = section.clone().with_times(|key, span| {
        check_span(&format!("client.{key}"), span.0, HOUR)?;
        if span.0 == Nanos::ZERO && key != "drain" {
            let problem = "no time at all";
            return Err(SpecError::value(format!("client.{key}"), problem, "write e.g. `10s`"));
        }
        Ok(span.0)
    })?;
    client.tokenizer = client.tokenizer.map(|path| base.join(path).display().to_string());
    check(&client)?;
    Ok(client)
}

fn check(client: &ClientOptions) -> Result<(), SpecError> {
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
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !client.replica_header.bytes().all(is_name) {
        return Err(SpecError::value(
            "client.replica_header",
            format!("`{}` is not the name of a header", client.replica_header),
            "write a name such as `x-weir-replica`, or `\"\"` to read none",
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
