//! The bytes of an answer, all made when its request arrives: a token costs one write of ready
//! bytes.

use std::io::Write as _;

/// The text of every token: one token of the benchmark's own tokenizer.
const TOKEN: &str = " flow";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Completions,
    Chat,
}

#[derive(Debug)]
pub(crate) struct Frames {
    /// `opening` bytes of the role chunk (chat), then `burst` equal token chunks.
    pub(crate) bytes: Vec<u8>,
    pub(crate) opening: usize,
    pub(crate) token: usize,
    pub(crate) tail: Vec<u8>,
}

/// Variable parts of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    pub(crate) form: Form,
    pub(crate) number: u64,
    pub(crate) created: u64,
    pub(crate) model: &'a str,
    pub(crate) prompt_tokens: u32,
    pub(crate) tokens: u32,
    pub(crate) usage: bool,
}

/// The head of a streamed answer; written at once, as vLLM does.
pub(crate) fn stream_head(keep_alive: bool) -> &'static [u8] {
    if keep_alive {
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
          transfer-encoding: chunked\r\n\r\n"
    } else {
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
          connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    }
}

impl Frames {
    /// With room for `burst` tokens in one write.
    pub(crate) fn new(words: Words<'_>, burst: u32) -> Self {
        let mut bytes = Vec::with_capacity(256 * (burst as usize + 1));
        if words.form == Form::Chat {
            chunk(&mut bytes, &words.event(Event::Role));
        }
        let opening = bytes.len();
        let event = words.event(Event::Token);
        chunk(&mut bytes, &event);
        let token = bytes.len() - opening;
        for _ in 1..burst.min(words.tokens) {
            bytes.extend_from_within(opening..opening + token);
        }
        let mut tail = Vec::with_capacity(640);
        chunk(&mut tail, &words.event(Event::Finish));
        if words.usage {
            chunk(&mut tail, &words.event(Event::Usage));
        }
        chunk(&mut tail, "[DONE]");
        tail.extend_from_slice(b"0\r\n\r\n");
        Self { bytes, opening, token, tail }
    }

    /// The bytes of `tokens` tokens, after the role chunk when they are the first.
    pub(crate) fn write(&self, tokens: u32, first: bool) -> &[u8] {
        let start = if first { 0 } else { self.opening };
        &self.bytes[start..self.opening + self.token * tokens as usize]
    }
}

#[derive(Clone, Copy)]
enum Event {
    Role,
    Token,
    Finish,
    Usage,
}

impl Words<'_> {
    fn event(&self, event: Event) -> String {
        let (prefix, object) = match self.form {
            Form::Completions => ("cmpl", "text_completion"),
            Form::Chat => ("chatcmpl", "chat.completion.chunk"),
        };
        let head = self.head(prefix, object);
        let finish = if matches!(event, Event::Finish) { r#""length""# } else { "null" };
        let content = match (self.form, event) {
            (Form::Completions, Event::Token) => format!(r#""text":"{TOKEN}""#),
            (Form::Completions, _) => r#""text":"""#.to_owned(),
            (Form::Chat, Event::Token) => format!(r#""delta":{{"content":"{TOKEN}"}}"#),
            (Form::Chat, Event::Role) => r#""delta":{"role":"assistant","content":""}"#.to_owned(),
            (Form::Chat, _) => r#""delta":{"content":""}"#.to_owned(),
        };
        let stop = if self.form == Form::Completions { r#","stop_reason":null"# } else { "" };
        let choice = match event {
            Event::Usage => String::new(),
            _ => {
                format!(r#"{{"index":0,{content},"logprobs":null,"finish_reason":{finish}{stop}}}"#)
            }
        };
        let usage = match event {
            Event::Usage => format!(r#","usage":{}"#, self.usage()),
            _ => String::new(),
        };
        format!(r#"{head}"choices":[{choice}]{usage}}}"#)
    }

    fn head(&self, prefix: &str, object: &str) -> String {
        let Self { number, created, model, .. } = self;
        let id = format!("{prefix}-{number:032}");
        format!(r#"{{"id":"{id}","object":"{object}","created":{created},"model":"{model}","#)
    }

    fn usage(&self) -> String {
        format!(
            r#"{{"prompt_tokens":{},"total_tokens":{},"completion_tokens":{}}}"#,
            self.prompt_tokens,
            self.prompt_tokens + self.tokens,
            self.tokens
        )
    }

    /// Without streaming.
    pub(crate) fn whole(&self, keep_alive: bool) -> Vec<u8> {
        let text = TOKEN.repeat(self.tokens as usize);
        let (prefix, object, content) = match self.form {
            Form::Completions => ("cmpl", "text_completion", format!(r#""text":"{text}""#)),
            Form::Chat => (
                "chatcmpl",
                "chat.completion",
                format!(r#""message":{{"role":"assistant","content":"{text}"}}"#),
            ),
        };
        let (head, usage) = (self.head(prefix, object), self.usage());
        let end = r#""logprobs":null,"finish_reason":"length""#;
        let body = format!(r#"{head}"choices":[{{"index":0,{content},{end}}}],"usage":{usage}}}"#);
        plain(200, "application/json", body.as_bytes(), keep_alive)
    }
}

pub(crate) fn plain(status: u16, content_type: &str, body: &[u8], keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut bytes = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\nconnection: {connection}\r\n\
         content-length: {}\r\n\r\n",
        if status == 200 { "OK" } else { "Error" },
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One event as one HTTP chunk.
fn chunk(bytes: &mut Vec<u8>, data: &str) {
    let length = data.len() + "data: \n\n".len();
    // Writing to a vector cannot fail.
    let _ = write!(bytes, "{length:x}\r\ndata: {data}\n\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::{Form, Frames, Words};

    fn words(form: Form) -> Words<'static> {
        Words {
            form,
            number: 5,
            created: 1_763_654_321,
            model: "mock",
            prompt_tokens: 64,
            tokens: 3,
            usage: true,
        }
    }

    /// Undoes the chunked encoding and returns the data of each event.
    fn events(mut bytes: &[u8]) -> Vec<String> {
        let mut body = String::new();
        loop {
            let text = std::str::from_utf8(bytes).expect("text");
            let (size, rest) = text.split_once("\r\n").expect("a size");
            let size = usize::from_str_radix(size, 16).expect("hexadecimal");
            body.push_str(&rest[..size]);
            bytes = rest[size..].strip_prefix("\r\n").expect("an end").as_bytes();
            if size == 0 {
                break;
            }
        }
        body.split_terminator("\n\n").map(|event| event["data: ".len()..].to_owned()).collect()
    }

    #[test]
    fn a_stream_is_valid_and_counts_its_tokens() {
        for (form, extra) in [(Form::Completions, 0), (Form::Chat, 1)] {
            let frames = Frames::new(words(form), 2);
            let mut bytes = frames.write(2, true).to_vec();
            bytes.extend_from_slice(frames.write(1, false));
            bytes.extend_from_slice(&frames.tail);
            let events = events(&bytes);
            assert_eq!(events.len(), 3 + 3 + extra);
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
            for event in &events[..events.len() - 1] {
                let value: serde_json::Value = serde_json::from_str(event).expect("JSON");
                assert_eq!(value["model"], "mock");
            }
            let usage: serde_json::Value =
                serde_json::from_str(&events[events.len() - 2]).expect("JSON");
            assert_eq!(usage["usage"]["completion_tokens"], 3);
            assert!((190..=215).contains(&events[extra].len()), "{}", events[extra].len());
        }
    }

    #[test]
    fn a_whole_answer_has_its_length() {
        let bytes = words(Form::Chat).whole(true);
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}", body.len())));
        let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(value["choices"][0]["message"]["content"], " flow flow flow");
    }
}
