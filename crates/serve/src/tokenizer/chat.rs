//! A fixed chat template like `ChatML`.
//!
//! Each message is `<start>` role newline content `<end>` newline; a generation prompt adds
//! `<start>assistant` newline. Parts are encoded one by one, so a conversation's tokens begin with
//! those of the turn before.

/// Its parts are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: String,
    pub content: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    Start,
    End,
    Text(&'a str),
}

pub(super) fn walk<'a>(
    messages: &'a [Message],
    generation_prompt: bool,
    part: &mut impl FnMut(Part<'a>),
) {
    for message in messages {
        part(Part::Start);
        part(Part::Text(&message.role));
        part(Part::Text("\n"));
        part(Part::Text(&message.content));
        part(Part::End);
        part(Part::Text("\n"));
    }
    if generation_prompt {
        part(Part::Start);
        part(Part::Text("assistant\n"));
    }
}
