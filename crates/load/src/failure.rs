use std::fmt;

use weir_model::Nanos;

/// Characters of a server's text in an error.
const QUOTE_CHARACTERS_MAX: usize = 200;

/// Rows keep its text; the word before the first colon is the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    Connect(String),
    Timeout(String, Nanos),
    /// A status other than 200, and the server's message, cut.
    Status(u16, String),
    /// The answer ended too early.
    Truncated(String),
    /// An event violates the interface.
    Malformed(String),
    /// Missing or surplus tokens.
    Tokens(String),
    /// Invalid HTTP.
    Protocol(String),
    Tls(String),
    /// A later turn whose earlier answer is missing.
    Session(String),
}

impl Failure {
    /// Removes secrets, which servers repeat in refusals.
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

/// On one line and cut; control characters become spaces, and spaces are joined.
pub(crate) fn quote(bytes: &[u8]) -> String {
    // At most four bytes per character, and as many again for runs of spaces.
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

/// `error.message`, `message` or `detail` of an error body, else all of it.
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
