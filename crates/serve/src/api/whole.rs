//! Answers that are not streamed, field by field as vLLM writes them.

use super::asked::Api;
use super::error::json_bytes;
use super::exchange::Exchange;
use super::facts::FINGERPRINT;
use super::frames::{Usage, append_ids, append_number, append_usage_start};

/// The body of a whole answer.
pub(super) fn answer(exchange: &Exchange) -> Vec<u8> {
    let api = exchange.options.api;
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"id\":");
    out.extend(json_bytes(&exchange.id));
    out.extend_from_slice(match api {
        Api::Completions => b",\"object\":\"text_completion\",\"created\":".as_slice(),
        Api::Chat => b",\"object\":\"chat.completion\",\"created\":",
    });
    append_number(exchange.created, &mut out);
    out.extend_from_slice(b",\"model\":");
    out.extend(json_bytes(&exchange.model));
    out.extend_from_slice(b",\"choices\":[");
    for index in 0..exchange.choices.len() {
        if index > 0 {
            out.push(b',');
        }
        append_choice(exchange, index, &mut out);
    }
    out.extend_from_slice(b"],\"service_tier\":null,\"system_fingerprint\":\"");
    out.extend_from_slice(FINGERPRINT.as_bytes());
    out.push(b'"');
    let last = exchange.choices.last().expect("a request has one prompt at least");
    append_usage(exchange.usage(last), &mut out);
    if api == Api::Chat {
        out.extend_from_slice(b",\"prompt_logprobs\":null,\"prompt_token_ids\":");
        append_optional_ids(exchange, &last.prompt.ids, &mut out);
        out.extend_from_slice(b",\"prompt_text\":null");
    }
    out.extend_from_slice(
        b",\"kv_transfer_params\":null,\"ec_transfer_params\":null,\"metrics\":null}",
    );
    out
}

fn append_choice(exchange: &Exchange, index: usize, out: &mut Vec<u8>) {
    let choice = &exchange.choices[index];
    let api = exchange.options.api;
    out.extend_from_slice(b"{\"index\":");
    append_number(index as u64, out);
    out.extend_from_slice(match api {
        Api::Completions => b",\"text\":\"".as_slice(),
        Api::Chat => b",\"message\":{\"role\":\"assistant\",\"content\":\"",
    });
    let ids: Vec<u32> = (0..choice.output_tokens).map(|at| exchange.token(index, at)).collect();
    for id in &ids {
        exchange.house.facts.tokenizer.append_answer_text(*id, out);
    }
    out.push(b'"');
    if api == Api::Chat {
        out.extend_from_slice(
            b",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,\
              \"reasoning\":null}",
        );
    }
    out.extend_from_slice(
        b",\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null,\"token_ids\":",
    );
    append_optional_ids(exchange, &ids, out);
    if api == Api::Completions {
        out.extend_from_slice(b",\"prompt_logprobs\":null,\"prompt_token_ids\":");
        append_optional_ids(exchange, &choice.prompt.ids, out);
    }
    out.extend_from_slice(b",\"routed_experts\":null}");
}

fn append_optional_ids(exchange: &Exchange, ids: &[u32], out: &mut Vec<u8>) {
    if exchange.options.return_token_ids {
        append_ids(ids, out);
    } else {
        out.extend_from_slice(b"null");
    }
}

fn append_usage(usage: Usage, out: &mut Vec<u8>) {
    append_usage_start(usage, out);
    out.extend_from_slice(b",\"prompt_tokens_details\":");
    if let Some(cached) = usage.cached {
        out.extend_from_slice(b"{\"cached_tokens\":");
        append_number(u64::from(cached), out);
        out.extend_from_slice(b",\"created_cache_tokens\":");
        match usage.created {
            Some(created) => append_number(u64::from(created), out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"multimodal_tokens\":null}");
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b",\"completion_tokens_details\":null}");
}
