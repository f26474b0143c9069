//! Checks a body and turns it into token ids, lengths and options, in vLLM's order and with its
//! messages.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::body::{Body, Field, PromptField, boolean, float, integer, list, missing, object, text};
use super::error::{ApiError, Fault};
use crate::state::ServerInfo;
use crate::tokenizer::Message;

/// vLLM's default of `VLLM_MAX_COMPLETION_PROMPTS`.
const MOST_PROMPTS: usize = 1024;
/// Limit of ids and salts; vLLM has it for salts.
const MOST_NAME_BYTES: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Completions,
    Chat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsageFrames {
    Never,
    AtEnd,
    /// In each frame, and in one more at the end.
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) api: Api,
    pub(crate) stream: bool,
    pub(crate) usage: UsageFrames,
    pub(crate) return_token_ids: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PromptRequest {
    pub(crate) ids: Vec<u32>,
    pub(crate) output_tokens: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CheckedRequest {
    pub(crate) prompts: Vec<PromptRequest>,
    pub(crate) options: Options,
    pub(crate) seed: u64,
    pub(crate) salt: String,
    pub(crate) session: Option<u64>,
    /// From the client.
    pub(crate) request_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) priority: i64,
}

pub(super) fn completion(mut body: Body, info: &ServerInfo) -> Result<CheckedRequest, ApiError> {
    check_stream_options(&body)?;
    let no_prompt = matches!(&body.prompt, PromptField::Absent)
        || matches!(&body.prompt, PromptField::Text(text) if text.is_empty());
    if no_prompt {
        let message = "Either prompt or prompt_embeds must be provided and non-empty. \
                       (parameter=prompt)";
        return Err(ApiError::bad_request(message, Some("prompt")));
    }
    let options = options(&body, Api::Completions)?;
    check_model(&body.model, info)?;
    check_unsupported(&body, Api::Completions)?;
    if boolean("echo", &body.echo)? {
        return Err(unsupported("echo", "true"));
    }
    let prompts = prompts(std::mem::take(&mut body.prompt), info)?;
    // vLLM's default for this endpoint.
    let max_tokens = integer("max_tokens", &body.max_tokens)?.unwrap_or(16);
    checked(&body, info, options, prompts, max_tokens)
}

pub(super) fn chat(body: &Body, info: &ServerInfo) -> Result<CheckedRequest, ApiError> {
    check_stream_options(body)?;
    let messages = messages(&body.messages, info)?.ok_or_else(|| missing("messages"))?;
    let options = options(body, Api::Chat)?;
    check_model(&body.model, info)?;
    check_unsupported(body, Api::Chat)?;
    if messages.is_empty() {
        let message = "Cannot apply chat template to an empty conversation. Provide at least one \
                       message.";
        return Err(ApiError::bad_request(message, None));
    }
    let ids = info.tokenizer.encode_chat(&messages, generation_prompt(body)?);
    let max_tokens = match integer("max_completion_tokens", &body.max_completion_tokens)? {
        Some(tokens) => Some(tokens),
        None => integer("max_tokens", &body.max_tokens)?,
    };
    // vLLM allows the rest of the context, where a model stops by itself; this engine does not.
    let room = info.max_model_len.saturating_sub(ids.len() as u32).max(1);
    let max_tokens = max_tokens.unwrap_or_else(|| i64::from(room.min(info.chat_default_tokens)));
    checked(body, info, options, vec![ids], max_tokens)
}

pub(super) fn generation_prompt(body: &Body) -> Result<bool, ApiError> {
    match &body.add_generation_prompt {
        None => Ok(true),
        given => boolean("add_generation_prompt", given),
    }
}

fn checked(
    body: &Body,
    info: &ServerInfo,
    options: Options,
    prompt_ids: Vec<Vec<u32>>,
    max_tokens: i64,
) -> Result<CheckedRequest, ApiError> {
    let truncate = integer("truncate_prompt_tokens", &body.truncate_prompt_tokens)?;
    let right = text("truncation_side", &body.truncation_side)? == Some("right");
    let mut prompts = Vec::with_capacity(prompt_ids.len());
    for ids in prompt_ids {
        let ids = truncated(ids, truncate, right, info.max_model_len);
        let output_tokens = answer_length(ids.len(), max_tokens, info.max_model_len)?;
        check_room(ids.len(), output_tokens, info)?;
        prompts.push(PromptRequest { ids, output_tokens });
    }
    check_sampling(body, max_tokens)?;
    let salt = text("cache_salt", &body.cache_salt)?.unwrap_or("");
    let request_id = text("request_id", &body.request_id)?;
    for (name, value) in [("cache_salt", Some(salt)), ("request_id", request_id)] {
        if value.is_some_and(|value| value.len() > MOST_NAME_BYTES) {
            let message = format!("{name} must have at most {MOST_NAME_BYTES} bytes.");
            return Err(ApiError::bad_request(message, Some(name)));
        }
    }
    Ok(CheckedRequest {
        prompts,
        options,
        seed: integer("seed", &body.seed)?.unwrap_or(0) as u64,
        salt: salt.to_owned(),
        session: text("session_id", &body.session_id)?.map(|name| xxh3_64(name.as_bytes())),
        request_id: request_id.map(str::to_owned),
        model: text("model", &body.model)?.map(str::to_owned),
        priority: integer("priority", &body.priority)?.unwrap_or(0),
    })
}

fn truncated(mut ids: Vec<u32>, to: Option<i64>, right: bool, context: u32) -> Vec<u32> {
    let Some(to) = to else { return ids };
    let most = usize::try_from(to).unwrap_or(context as usize);
    if ids.len() > most {
        if right {
            ids.truncate(most);
        } else {
            ids.drain(..ids.len() - most);
        }
    }
    ids
}

/// The requested number, clipped to the rest of the context.
fn answer_length(prompt: usize, max_tokens: i64, context: u32) -> Result<u32, ApiError> {
    if max_tokens > i64::from(context) {
        let message = format!(
            "max_tokens={max_tokens} cannot be greater than max_model_len={context}. Please \
             request fewer output tokens."
        );
        return Err(ApiError::value(message, "max_tokens", &max_tokens));
    }
    if prompt > context as usize {
        let message = format!(
            "This model's maximum context length is {context} tokens. However, your prompt \
             contains {prompt} input tokens, which exceeds this limit even without any output \
             tokens. Please reduce the length of the input prompt."
        );
        return Err(ApiError::value(message, "input_tokens", &prompt));
    }
    if prompt == 0 {
        return Err(ApiError::bad_request("The decoder prompt cannot be empty", None));
    }
    let room = i64::from(context - prompt as u32);
    match u32::try_from(max_tokens.min(room)) {
        Ok(tokens) if tokens > 0 => Ok(tokens),
        _ => {
            let got = max_tokens.min(room);
            let message = format!("max_tokens must be at least 1, got {got}.");
            Err(ApiError::value(message, "max_tokens", &got))
        }
    }
}

/// A sequence larger than the pool would wait for ever.
fn check_room(prompt: usize, output_tokens: u32, info: &ServerInfo) -> Result<(), ApiError> {
    let tokens = prompt as u64 + u64::from(output_tokens);
    let blocks = tokens.div_ceil(u64::from(info.block_tokens));
    if blocks <= u64::from(info.pool_blocks) {
        return Ok(());
    }
    let message = format!(
        "{tokens} tokens of prompt and answer need {blocks} KV blocks, and the engine has {}; \
         request fewer tokens, or give the engine more blocks.",
        info.pool_blocks
    );
    Err(ApiError::bad_request(message, Some("max_tokens")))
}

fn prompts(field: PromptField, info: &ServerInfo) -> Result<Vec<Vec<u32>>, ApiError> {
    let prompts: Vec<Vec<u32>> = match field {
        PromptField::Text(text) => vec![info.tokenizer.encode(&text)],
        PromptField::Texts(texts) => {
            check_count(texts.len())?;
            texts.iter().map(|text| info.tokenizer.encode(text)).collect()
        }
        PromptField::Ids(ids) => vec![ids],
        PromptField::IdLists(lists) => {
            check_count(lists.len())?;
            lists
        }
        PromptField::Wrong(fault) => return Err(ApiError::invalid(&fault)),
        PromptField::Absent | PromptField::Empty => {
            return Err(ApiError::bad_request("You must pass at least one prompt", None));
        }
    };
    let vocabulary = info.tokenizer.vocabulary();
    if prompts.iter().any(Vec::is_empty) {
        return Err(ApiError::bad_request("The decoder prompt cannot be empty", None));
    }
    match prompts.iter().flatten().find(|id| **id >= vocabulary) {
        Some(id) => {
            let message = format!("Token id {id} is out of vocabulary");
            Err(ApiError::bad_request(message, None))
        }
        None => Ok(prompts),
    }
}

fn check_count(count: usize) -> Result<(), ApiError> {
    if count <= MOST_PROMPTS {
        return Ok(());
    }
    let message = format!(
        "prompt list length {count} exceeds the maximum allowed count of {MOST_PROMPTS}. \
         (parameter=prompt)"
    );
    Err(ApiError::bad_request(message, Some("prompt")))
}

/// Text parts of a message are joined by newlines, as in vLLM.
pub(super) fn messages(field: &Field, info: &ServerInfo) -> Result<Option<Vec<Message>>, ApiError> {
    let Some(items) = list("messages", field)? else { return Ok(None) };
    let messages = items.iter().enumerate().map(|(index, item)| message(index, item, info));
    messages.collect::<Result<_, _>>().map(Some)
}

fn message(index: usize, item: &Value, info: &ServerInfo) -> Result<Message, ApiError> {
    let place = |field: &str| format!("body.messages.{index}{field}");
    let invalid = |kind, field: &str, text: &str, value: &Value| {
        Err(ApiError::invalid(&Fault::new(kind, place(field), text, value)))
    };
    let Value::Object(entries) = item else {
        return invalid("dict_type", "", "Input should be a valid dictionary", item);
    };
    let role = match entries.get("role") {
        Some(Value::String(role)) => role.clone(),
        None => return invalid("missing", ".role", "Field required", item),
        Some(other) => {
            return invalid("string_type", ".role", "Input should be a valid string", other);
        }
    };
    let content = match entries.get("content") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(content)) => content.clone(),
        Some(Value::Array(parts)) => {
            let mut content = String::new();
            for part in parts {
                let Some(text) = part_text(part) else {
                    let message = format!("{} is not a multimodal model", info.model());
                    return Err(ApiError::bad_request(message, None));
                };
                if !content.is_empty() {
                    content.push('\n');
                }
                content.push_str(text);
            }
            content
        }
        Some(other) => {
            return invalid("string_type", ".content", "Input should be a valid string", other);
        }
    };
    Ok(Message { role, content })
}

fn part_text(part: &Value) -> Option<&str> {
    match part {
        Value::String(text) => Some(text),
        Value::Object(entries) => match entries.get("text") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn options(body: &Body, api: Api) -> Result<Options, ApiError> {
    let stream = boolean("stream", &body.stream)?;
    let mut usage = UsageFrames::Never;
    if let Some(entries) = object("stream_options", &body.stream_options)? {
        let flag = |name: &str| {
            let field = entries.get(name).filter(|value| !value.is_null()).cloned();
            boolean(&format!("stream_options.{name}"), &field)
        };
        usage = match (flag("include_usage")?, flag("continuous_usage_stats")?) {
            (false, _) => UsageFrames::Never,
            (true, false) => UsageFrames::AtEnd,
            (true, true) => UsageFrames::Always,
        };
    }
    let return_token_ids = boolean("return_token_ids", &body.return_token_ids)?;
    Ok(Options { api, stream, usage, return_token_ids })
}

fn check_stream_options(body: &Body) -> Result<(), ApiError> {
    let given = object("stream_options", &body.stream_options)?.is_some_and(|it| !it.is_empty());
    if given && !boolean("stream", &body.stream)? {
        let message = "Stream options can only be defined when `stream=True`. \
                       (parameter=stream_options)";
        return Err(ApiError::bad_request(message, Some("stream_options")));
    }
    Ok(())
}

/// Without a name: the first model.
pub(super) fn check_model(field: &Field, info: &ServerInfo) -> Result<(), ApiError> {
    match text("model", field)? {
        None | Some("") => Ok(()),
        Some(model) if info.models.iter().any(|served| served == model) => Ok(()),
        Some(model) => Err(ApiError::no_such_model(model, &info.models)),
    }
}

fn unsupported(name: &str, value: &str) -> ApiError {
    let message = format!(
        "{name}={value} is not supported by this emulated engine, which computes no \
         probabilities and one answer per prompt; leave {name} out."
    );
    ApiError::bad_request(message, Some(name))
}

fn check_unsupported(body: &Body, api: Api) -> Result<(), ApiError> {
    match integer("n", &body.n)? {
        None | Some(1) => {}
        Some(n) if n < 1 => {
            return Err(ApiError::bad_request(format!("n must be at least 1, got {n}."), None));
        }
        Some(n) => return Err(unsupported("n", &n.to_string())),
    }
    let logprobs = match (&body.logprobs, api) {
        (None | Some(Value::Bool(false)), _) => false,
        (Some(_), Api::Chat) => boolean("logprobs", &body.logprobs)?,
        (Some(_), Api::Completions) => integer("logprobs", &body.logprobs)?.is_some(),
    };
    if logprobs {
        return Err(unsupported("logprobs", "true"));
    }
    if integer("prompt_logprobs", &body.prompt_logprobs)?.is_some_and(|count| count != 0) {
        return Err(unsupported("prompt_logprobs", "true"));
    }
    if boolean("use_beam_search", &body.use_beam_search)? {
        return Err(unsupported("use_beam_search", "true"));
    }
    if body.suffix.is_some() {
        return Err(unsupported("suffix", "text"));
    }
    let tools = list("tools", &body.tools)?.is_some_and(|tools| !tools.is_empty());
    if tools && matches!(&body.tool_choice, Some(Value::String(choice)) if choice == "auto") {
        let message = "\"auto\" tool choice requires --enable-auto-tool-choice and \
                       --tool-call-parser to be set";
        return Err(ApiError::bad_request(message, None));
    }
    Ok(())
}

/// Sampling parameters are checked but have no effect, because answers are synthetic.
fn check_sampling(body: &Body, max_tokens: i64) -> Result<(), ApiError> {
    let min_tokens = integer("min_tokens", &body.min_tokens)?.unwrap_or(0);
    if min_tokens < 0 {
        let message = format!("min_tokens must be greater than or equal to 0, got {min_tokens}.");
        return Err(ApiError::bad_request(message, None));
    }
    if min_tokens > max_tokens {
        let message = format!(
            "min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}."
        );
        return Err(ApiError::bad_request(message, None));
    }
    boolean("ignore_eos", &body.ignore_eos)?;
    if let Some(it) = float("temperature", &body.temperature)?.filter(|it| *it < 0.0) {
        let message = format!("temperature must be non-negative, got {it:?}.");
        return Err(ApiError::value(message, "temperature", &format!("{it:?}")));
    }
    if let Some(it) = float("top_p", &body.top_p)?.filter(|it| *it <= 0.0 || *it > 1.0) {
        let message = format!("top_p must be in (0, 1], got {it:?}.");
        return Err(ApiError::value(message, "top_p", &format!("{it:?}")));
    }
    if let Some(it) = integer("top_k", &body.top_k)?.filter(|it| *it < -1) {
        let message = format!("top_k must be 0 (disable), or at least 1, got {it}.");
        return Err(ApiError::bad_request(message, None));
    }
    let penalties = [
        ("presence_penalty", &body.presence_penalty),
        ("frequency_penalty", &body.frequency_penalty),
    ];
    for (name, field) in penalties {
        if let Some(it) = float(name, field)?.filter(|it| !(-2.0..=2.0).contains(it)) {
            let message = format!("{name} must be in [-2, 2], got {it:?}.");
            return Err(ApiError::bad_request(message, None));
        }
    }
    match &body.stop {
        None | Some(Value::String(_)) => {}
        stop => {
            list("stop", stop)?;
        }
    }
    for id in list("stop_token_ids", &body.stop_token_ids)?.unwrap_or_default() {
        integer("stop_token_ids", &Some(id.clone()))?;
    }
    check_transfer(body)
}

/// vLLM's limits per request on offload transfers. Checked, without effect.
fn check_transfer(body: &Body) -> Result<(), ApiError> {
    let Some(entries) = object("kv_transfer_params", &body.kv_transfer_params)? else {
        return Ok(());
    };
    for name in ["max_load_tokens", "max_offload_tokens"] {
        let field = entries.get(name).filter(|value| !value.is_null()).cloned();
        let path = format!("kv_transfer_params.{name}");
        if let Some(it) = integer(&path, &field)?.filter(|it| *it < 0) {
            let message = format!("{path} must not be negative, got {it}.");
            return Err(ApiError::bad_request(message, Some("kv_transfer_params")));
        }
    }
    Ok(())
}
