//! The chat template: fixed, in the manner of `ChatML`.
//!
//! Each message is `<start>` role newline content `<end>` newline; a generation prompt adds
//! `<start>assistant` newline. The parts are encoded one by one, so the tokens of a conversation
//! begin with the tokens of the same conversation one turn before.

/// One message of a conversation, its parts joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// What a template is made of: text, and the marks around messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    Start,
    End,
    Text(&'a str),
}

/// Walks over the parts of a conversation.
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
