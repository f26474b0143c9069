//! The body of a streamed answer: frames are made when hyper asks for them, of all tokens that
//! are due by then.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Frame;
use hyper::body::Bytes;

use super::asked::Api;
use super::exchange::Exchange;
use super::frames::{Frames, Token};

/// Frames handed to hyper at once. A reader that fell behind gets the rest when these are sent.
const MOST_BYTES: usize = 32 * 1024;

pub(crate) struct TokenStream {
    exchange: Exchange,
    frames: Frames,
    sent: Vec<u32>,
    began: bool,
    over: bool,
}

impl TokenStream {
    pub(super) fn new(exchange: Exchange) -> Self {
        let frames = Frames::new(exchange.options, &exchange.id, exchange.created, &exchange.model);
        let sent = vec![0; exchange.choices.len()];
        Self { exchange, frames, sent, began: false, over: false }
    }

    /// Makes the frames of what is due.
    fn make(&mut self) -> Vec<u8> {
        let waiting: usize = self
            .exchange
            .choices
            .iter()
            .zip(&self.sent)
            .map(|(choice, sent)| (choice.flow.due() - sent) as usize)
            .sum();
        if waiting == 0 && self.exchange.refusal().is_none() {
            return Vec::new();
        }
        // Room for the last frames too.
        let bytes = (waiting * self.frames.frame_bytes() + 512).min(MOST_BYTES + 1024);
        let mut out = Vec::with_capacity(bytes);
        if let Some(refusal) = self.exchange.refusal() {
            Frames::error(&refusal.json(), &mut out);
            self.over = true;
            return out;
        }
        self.make_tokens(&mut out);
        let choices = self.exchange.choices.iter();
        if choices.zip(&self.sent).all(|(choice, sent)| *sent == choice.output_tokens) {
            self.frames.end(self.exchange.usage(&self.exchange.choices[0]), &mut out);
            self.over = true;
        }
        out
    }

    fn make_tokens(&mut self, out: &mut Vec<u8>) {
        let exchange = &self.exchange;
        if !self.began && exchange.options.api == Api::Chat {
            self.frames.role(&exchange.choices[0].prompt, out);
        }
        self.began = true;
        for (index, choice) in exchange.choices.iter().enumerate() {
            while self.sent[index] < choice.flow.due() && out.len() < MOST_BYTES {
                let number = self.sent[index] + 1;
                let token = Token {
                    choice: index as u32,
                    id: exchange.token(index, self.sent[index]),
                    number,
                    last: number == choice.output_tokens,
                    prompt: &choice.prompt,
                };
                self.frames.token(&token, &exchange.house.facts.tokenizer, out);
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
        if self.over {
            return Poll::Ready(None);
        }
        let made = self.make();
        if made.is_empty() {
            self.exchange.register(context);
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(made)))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}
