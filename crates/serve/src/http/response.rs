//! Response bodies, field by field as vLLM writes them: a stream of frames, or one whole answer.
//!
//! A plain frame is a constant head, the escaped text and a constant tail, so none is formatted per
//! token. First and last frames, token ids and continuous usage cost more. Frames are made when
//! hyper requests them, for all tokens due by then.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Frame;
use hyper::body::Bytes;

use super::error::json_bytes;
use super::exchange::{Exchange, PromptInfo, Usage};
use super::request::{Api, Options, UsageFrames};
use crate::tokenizer::Tokenizer;

/// Distinguishes answers from vLLM's.
const FINGERPRINT: &str = concat!("weir-", env!("CARGO_PKG_VERSION"));
const END: &[u8] = b"\n\n";
const LAST: &[u8] = b"data: [DONE]\n\n";

#[derive(Debug)]
struct Frames {
    options: Options,
    start: Vec<u8>,
    /// Up to the text, for the first choice.
    head: Vec<u8>,
    /// After the text; not for first and last frames.
    tail: Vec<u8>,
}

impl Frames {
    fn new(options: Options, id: &str, created: u64, model: &str) -> Self {
        let object = match options.api {
            Api::Completions => "text_completion",
            Api::Chat => "chat.completion.chunk",
        };
        let mut start = b"data: {\"id\":".to_vec();
        start.extend(json_bytes(&id));
        start.extend_from_slice(b",\"object\":\"");
        start.extend_from_slice(object.as_bytes());
        start.extend_from_slice(b"\",\"created\":");
        append_number(created, &mut start);
        start.extend_from_slice(b",\"model\":");
        start.extend(json_bytes(&model));
        start.extend_from_slice(b",\"choices\":[");
        let mut frames = Self { options, start, head: Vec::new(), tail: Vec::new() };
        frames.head = frames.head_of(0);
        let mut tail = frames.finish_fields(false).to_vec();
        if options.api == Api::Completions {
            tail.extend_from_slice(b",\"prompt_token_ids\":null");
        }
        tail.extend_from_slice(b",\"token_ids\":null}]}\n\n");
        frames.tail = tail;
        frames
    }

    /// Of a plain frame with one word; sizes buffers.
    fn frame_bytes(&self) -> usize {
        self.head.len() + self.tail.len() + 16
    }

    fn head_of(&self, choice: u32) -> Vec<u8> {
        let mut head = self.start.clone();
        head.extend_from_slice(b"{\"index\":");
        append_number(u64::from(choice), &mut head);
        head.extend_from_slice(match self.options.api {
            Api::Completions => b",\"text\":\"".as_slice(),
            Api::Chat => b",\"delta\":{\"content\":\"".as_slice(),
        });
        head
    }

    fn finish_fields(&self, last: bool) -> &'static [u8] {
        match (self.options.api, last) {
            (Api::Completions, false) => {
                b"\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null"
            }
            (Api::Completions, true) => {
                b"\",\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null"
            }
            (Api::Chat, false) => b"\"},\"logprobs\":null,\"finish_reason\":null",
            (Api::Chat, true) => {
                b"\"},\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null"
            }
        }
    }

    fn role(&self, prompt: &PromptInfo, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start);
        out.extend_from_slice(
            b"{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\
              \"logprobs\":null,\"finish_reason\":null}]",
        );
        if self.options.usage == UsageFrames::Always {
            self.append_running_usage(prompt.tokens, 0, out);
        }
        out.extend_from_slice(b",\"prompt_token_ids\":");
        self.append_prompt_ids(Some(prompt), out);
        out.extend_from_slice(b",\"prompt_text\":null}");
        out.extend_from_slice(END);
    }

    /// `number` counts the choice's tokens from 1.
    fn token(&self, it: &Token<'_>, tokenizer: &Tokenizer, out: &mut Vec<u8>) {
        if it.choice == 0 {
            out.extend_from_slice(&self.head);
        } else {
            out.extend_from_slice(&self.head_of(it.choice));
        }
        tokenizer.append_answer_text(it.id, out);
        let options = self.options;
        if !it.last && !options.return_token_ids && options.usage != UsageFrames::Always {
            out.extend_from_slice(&self.tail);
            return;
        }
        out.extend_from_slice(self.finish_fields(it.last));
        if options.api == Api::Completions {
            out.extend_from_slice(b",\"prompt_token_ids\":");
            self.append_prompt_ids((it.number == 1).then_some(it.prompt), out);
        }
        out.extend_from_slice(b",\"token_ids\":");
        if options.return_token_ids {
            append_ids(&[it.id], out);
        } else {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b"}]");
        match options.usage {
            UsageFrames::Always => self.append_running_usage(it.prompt.tokens, it.number, out),
            UsageFrames::Never if it.last => append_fingerprint(out),
            UsageFrames::Never | UsageFrames::AtEnd => {}
        }
        out.push(b'}');
        out.extend_from_slice(END);
    }

    fn end(&self, usage: Usage, out: &mut Vec<u8>) {
        if self.options.usage != UsageFrames::Never {
            out.extend_from_slice(&self.start);
            out.push(b']');
            append_usage_start(usage, out);
            if let Some(cached) = usage.cached {
                out.extend_from_slice(b",\"prompt_tokens_details\":{\"cached_tokens\":");
                append_number(u64::from(cached), out);
                if let Some(created) = usage.created {
                    out.extend_from_slice(b",\"created_cache_tokens\":");
                    append_number(u64::from(created), out);
                }
                out.push(b'}');
            }
            out.push(b'}');
            append_fingerprint(out);
            out.push(b'}');
            out.extend_from_slice(END);
        }
        out.extend_from_slice(LAST);
    }

    /// Also ends the stream.
    fn error(json: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(json);
        out.extend_from_slice(END);
        out.extend_from_slice(LAST);
    }

    fn append_running_usage(&self, prompt: u32, output: u32, out: &mut Vec<u8>) {
        let (prompt, output) = (u64::from(prompt), u64::from(output));
        let usage = Usage { prompt, output, cached: None, created: None };
        append_usage_start(usage, out);
        if self.options.api == Api::Chat {
            out.extend_from_slice(b",\"completion_tokens_details\":null");
        }
        out.push(b'}');
    }

    fn append_prompt_ids(&self, prompt: Option<&PromptInfo>, out: &mut Vec<u8>) {
        match prompt {
            Some(prompt) if self.options.return_token_ids => append_ids(&prompt.ids, out),
            _ => out.extend_from_slice(b"null"),
        }
    }
}

#[derive(Debug)]
struct Token<'a> {
    choice: u32,
    id: u32,
    number: u32,
    last: bool,
    prompt: &'a PromptInfo,
}

fn append_fingerprint(out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"system_fingerprint\":\"");
    out.extend_from_slice(FINGERPRINT.as_bytes());
    out.push(b'"');
}

/// `,"usage":{...` without the closing brace.
fn append_usage_start(usage: Usage, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"usage\":{\"prompt_tokens\":");
    append_number(usage.prompt, out);
    out.extend_from_slice(b",\"total_tokens\":");
    append_number(usage.prompt + usage.output, out);
    out.extend_from_slice(b",\"completion_tokens\":");
    append_number(usage.output, out);
}

fn append_ids(ids: &[u32], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_number(u64::from(*id), out);
    }
    out.push(b']');
}

fn append_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Most bytes of frames per call of hyper; a slow client gets the rest once these are sent.
const MOST_BYTES: usize = 32 * 1024;

pub(crate) struct TokenStream {
    exchange: Exchange,
    frames: Frames,
    sent: Vec<u32>,
    started: bool,
    ended: bool,
}

impl TokenStream {
    pub(super) fn new(exchange: Exchange) -> Self {
        let frames = Frames::new(exchange.options, &exchange.id, exchange.created, &exchange.model);
        let sent = vec![0; exchange.choices.len()];
        Self { exchange, frames, sent, started: false, ended: false }
    }

    fn next_frames(&mut self) -> Vec<u8> {
        let waiting: usize = self
            .exchange
            .choices
            .iter()
            .zip(&self.sent)
            .map(|(choice, sent)| (choice.output.due() - sent) as usize)
            .sum();
        if waiting == 0 && self.exchange.refusal().is_none() {
            return Vec::new();
        }
        // Room for the last frames too.
        let bytes = (waiting * self.frames.frame_bytes() + 512).min(MOST_BYTES + 1024);
        let mut out = Vec::with_capacity(bytes);
        if let Some(refusal) = self.exchange.refusal() {
            Frames::error(&refusal.json(), &mut out);
            self.ended = true;
            return out;
        }
        self.append_tokens(&mut out);
        let choices = self.exchange.choices.iter();
        if choices.zip(&self.sent).all(|(choice, sent)| *sent == choice.output_tokens) {
            self.frames.end(self.exchange.usage(&self.exchange.choices[0]), &mut out);
            self.ended = true;
        }
        out
    }

    fn append_tokens(&mut self, out: &mut Vec<u8>) {
        let exchange = &self.exchange;
        if !self.started && exchange.options.api == Api::Chat {
            self.frames.role(&exchange.choices[0].prompt, out);
        }
        self.started = true;
        for (index, choice) in exchange.choices.iter().enumerate() {
            while self.sent[index] < choice.output.due() && out.len() < MOST_BYTES {
                let number = self.sent[index] + 1;
                let token = Token {
                    choice: index as u32,
                    id: exchange.token(index, self.sent[index]),
                    number,
                    last: number == choice.output_tokens,
                    prompt: &choice.prompt,
                };
                self.frames.token(&token, &exchange.state.info.tokenizer, out);
                self.sent[index] = number;
            }
        }
    }
}

impl http_body::Body for TokenStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frames = self.next_frames();
        if frames.is_empty() {
            self.exchange.register(context);
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(frames)))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

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
        exchange.state.info.tokenizer.append_answer_text(*id, out);
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
