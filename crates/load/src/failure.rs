//! Why one request failed, in one line.

use std::fmt;

use weir_model::Nanos;

/// Longest text of a server that an error repeats, in characters.
const QUOTE_CHARACTERS_MAX: usize = 200;

/// Why one request failed. Rows keep its text; the word before the first colon is the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection came about.
    Connect(String),
    /// Something took longer than allowed.
    Timeout(String, Nanos),
    /// The server answered with another status than 200; its message, cut.
    Status(u16, String),
    /// The answer ended too early.
    Truncated(String),
    /// An event is not what the interface promises.
    Malformed(String),
    /// Tokens are missing or too many.
    Tokens(String),
    /// Not HTTP as it should be.
    Protocol(String),
    Tls(String),
    /// A later turn of a session whose earlier answer is missing.
    Session(String),
}

impl Failure {
    /// The same without secrets, which servers repeat in refusals.
    pub(crate) fn without(mut self, secrets: &[String]) -> Self {
        let (Self::Connect(text)
        | Self::Timeout(text, _)
        | Self::Status(_, text)
        | Self::Truncated(text)
        | Self::Malformed(text)
        | Self::Tokens(text)
        | Self::Protocol(text)
        | Self::Tls(text)
        | Self::Session(text)) = &mut self;
        for secret in secrets {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), "***");
            }
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(what) => write!(f, "connect: {what}"),
            Self::Timeout(what, limit) => write!(f, "timeout: {what} after {limit}"),
            Self::Status(code, message) if message.is_empty() => write!(f, "status: {code}"),
            Self::Status(code, message) => write!(f, "status: {code}: {message}"),
            Self::Truncated(what) => write!(f, "truncated stream: {what}"),
            Self::Malformed(what) => write!(f, "malformed event: {what}"),
            Self::Tokens(what) => write!(f, "wrong token count: {what}"),
            Self::Protocol(what) => write!(f, "protocol: {what}"),
            Self::Tls(what) => write!(f, "tls: {what}"),
            Self::Session(what) => write!(f, "session: {what}"),
        }
    }
}

/// What a server said, on one line and cut: control characters become spaces, spaces run together.
pub(crate) fn quote(bytes: &[u8]) -> String {
    // Four bytes per character at most; twice that leaves room for runs of spaces.
    let cut = &bytes[..bytes.len().min(QUOTE_CHARACTERS_MAX * 8)];
    let text = String::from_utf8_lossy(cut);
    let mut line = String::new();
    let mut written = 0;
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        if written > 0 {
            line.push(' ');
        }
        for character in word.chars() {
            if written == QUOTE_CHARACTERS_MAX {
                line.push_str("...");
                return line;
            }
            line.push(character);
            written += 1;
        }
    }
    line
}

/// The message in the body of an error: `error.message`, `message`, `detail`, else all of it.
pub(crate) fn message(body: &[u8]) -> String {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else {
        return quote(body);
    };
    let candidates = [&json["error"]["message"], &json["message"], &json["detail"], &json["error"]];
    for candidate in candidates {
        if let Some(text) = candidate.as_str() {
            return quote(text.as_bytes());
        }
    }
    quote(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_stays_on_one_line_and_short() {
        assert_eq!(quote(b"a\r\n\tb  c\0d"), "a b c d");
        let long = "x".repeat(5000);
        assert_eq!(quote(long.as_bytes()).len(), QUOTE_CHARACTERS_MAX + 3);
        assert_eq!(quote("\u{e9}".repeat(900).as_bytes()).chars().count(), 203);
        assert_eq!(quote(&[0xff, b'a']), "\u{fffd}a");
    }

    #[test]
    fn messages_are_found_where_servers_put_them() {
        assert_eq!(message(br#"{"error":{"message":"too\nlong","type":"x"}}"#), "too long");
        assert_eq!(message(br#"{"object":"error","message":"no"}"#), "no");
        assert_eq!(message(br#"{"detail":"Not Found"}"#), "Not Found");
        assert_eq!(message(br#"{"error":"busy"}"#), "busy");
        assert_eq!(message(b"<html>\n502</html>"), "<html> 502</html>");
        assert_eq!(message(b""), "");
    }
}
