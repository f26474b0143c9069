//! The frames of a stream, as vLLM writes them, without formatting per token.
//!
//! What stays the same for a stream is made once; a frame is the beginning, the escaped text and
//! the end. Only first and last frames, token ids and continuous usage cost more.

use super::asked::{Api, Options, UsageFrames};
use super::error::json_bytes;
use super::facts::FINGERPRINT;
use crate::tokenizer::Tokenizer;

const END: &[u8] = b"\n\n";
/// The end of every stream.
const LAST: &[u8] = b"data: [DONE]\n\n";

/// Token counts of one choice, or of all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    pub(super) output: u64,
    /// Prompt tokens from caches, where they are to be told.
    pub(super) cached: Option<u32>,
    /// Prompt tokens that this request added to the cache; only chat answers tell them.
    pub(super) created: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Frames {
    options: Options,
    start: Vec<u8>,
    /// The same up to the text, for the first choice.
    head: Vec<u8>,
    /// From the end of the text on, for frames that are neither first nor last.
    tail: Vec<u8>,
}

impl Frames {
    pub(super) fn new(options: Options, id: &str, created: u64, model: &str) -> Self {
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

    /// Bytes of a plain frame with a word in it, for sizing buffers.
    pub(super) fn frame_bytes(&self) -> usize {
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

    /// What a chat stream begins with: the role.
    pub(super) fn role(&self, prompt: &PromptFacts, out: &mut Vec<u8>) {
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

    /// The frame of one token. `number` counts the choice's tokens from 1.
    pub(super) fn token(&self, it: &Token<'_>, tokenizer: &Tokenizer, out: &mut Vec<u8>) {
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

    /// What a stream ends with: the usage, if it was asked for, and the end mark.
    pub(super) fn end(&self, usage: Usage, out: &mut Vec<u8>) {
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

    /// An error in the middle of a stream, and its end.
    pub(super) fn error(json: &[u8], out: &mut Vec<u8>) {
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

    fn append_prompt_ids(&self, prompt: Option<&PromptFacts>, out: &mut Vec<u8>) {
        match prompt {
            Some(prompt) if self.options.return_token_ids => append_ids(&prompt.ids, out),
            _ => out.extend_from_slice(b"null"),
        }
    }
}

/// What frames say of a prompt.
#[derive(Debug)]
pub(super) struct PromptFacts {
    pub(super) tokens: u32,
    /// Its ids, kept only where the client wants them back.
    pub(super) ids: Box<[u32]>,
}

#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) choice: u32,
    pub(super) id: u32,
    pub(super) number: u32,
    pub(super) last: bool,
    pub(super) prompt: &'a PromptFacts,
}

fn append_fingerprint(out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"system_fingerprint\":\"");
    out.extend_from_slice(FINGERPRINT.as_bytes());
    out.push(b'"');
}

/// `,"usage":{...` without the closing brace.
pub(super) fn append_usage_start(usage: Usage, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"usage\":{\"prompt_tokens\":");
    append_number(usage.prompt, out);
    out.extend_from_slice(b",\"total_tokens\":");
    append_number(usage.prompt + usage.output, out);
    out.extend_from_slice(b",\"completion_tokens\":");
    append_number(usage.output, out);
}

pub(super) fn append_ids(ids: &[u32], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_number(u64::from(*id), out);
    }
    out.push(b']');
}

pub(super) fn append_number(number: u64, out: &mut Vec<u8>) {
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
