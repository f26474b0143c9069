//! Quotations of received bytes for error messages: short, on one line, printable.

use std::fmt;

const SHOWN_BYTES: usize = 48;
/// Escapes make four characters of one byte.
const SHOWN_CHARS: usize = 56;

/// The start of `bytes` in double quotes, escaped outside printable ASCII, with an ellipsis if cut.
#[derive(Clone, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(SHOWN_CHARS + 8);
        let mut shown = 0;
        text.push('"');
        for byte in bytes.iter().take(SHOWN_BYTES) {
            let escaped = byte.escape_ascii();
            if text.len() + escaped.len() > SHOWN_CHARS {
                break;
            }
            text.extend(escaped.map(char::from));
            shown += 1;
        }
        text.push('"');
        if shown < bytes.len() {
            text.push('…');
        }
        Self(text)
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Quoted;

    #[test]
    fn is_short_printable_and_marks_what_it_left_out() {
        assert_eq!(Quoted::new(b"ab\r\n\"\xff").to_string(), r#""ab\r\n\"\xff""#);
        assert_eq!(Quoted::new(b"").to_string(), "\"\"");
        for bytes in [vec![b'a'; 1000], vec![0; 1000]] {
            let quoted = Quoted::new(&bytes).to_string();
            assert!(quoted.chars().count() <= 60, "{quoted}");
            assert!(quoted.ends_with("\"…"), "{quoted}");
        }
    }
}
