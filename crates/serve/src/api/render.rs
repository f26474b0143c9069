//! What vLLM's render endpoints answer: a request as the engine would see it. Routers take the
//! token ids from here.

use serde_json::{Value, json};

use super::asked::Asked;

/// One `GenerateRequest` per prompt.
pub(super) fn questions(asked: &Asked, prefix: &str) -> Vec<Value> {
    let several = asked.questions.len() > 1;
    let base = asked.request_id.as_deref().unwrap_or("render");
    let render = |(index, question): (usize, &super::asked::Question)| {
        let id =
            if several { format!("{prefix}-{base}-{index}") } else { format!("{prefix}-{base}") };
        json!({
            "request_id": id,
            "token_ids": question.ids,
            "token_offsets": null,
            "features": null,
            "content_parts": null,
            "sampling_params": {
                "n": 1, "max_tokens": question.output_tokens, "seed": asked.seed,
                "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
                "ignore_eos": true
            },
            "model": asked.model,
            "reasoning_ended": null,
            "reasoning_parser_kwargs": null,
            "return_token_ids": null,
            "output_mode": "tokens",
            "stream": asked.options.stream,
            "stream_options": null,
            "cache_salt": (!asked.salt.is_empty()).then_some(&asked.salt),
            "priority": asked.priority,
            "kv_transfer_params": null,
            "ec_transfer_params": null
        })
    };
    asked.questions.iter().enumerate().map(render).collect()
}
