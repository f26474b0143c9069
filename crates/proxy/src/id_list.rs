//! Prompts of token ids, which are long: found and read in one pass over a body.
//!
//! Everything else in a body is passed over unread, and what is not the plain form is left to a
//! parser.

use memchr::memchr2;

/// Of a body whose prompt is one list of token ids. Of equal names the last counts.
#[derive(Debug, PartialEq)]
pub(crate) struct IdPrompt<'a> {
    pub(crate) model: Option<&'a str>,
    pub(crate) salt: Option<&'a str>,
    pub(crate) ids: Vec<u32>,
}

impl<'a> IdPrompt<'a> {
    /// None for other prompts, for names and values with escapes, and for what is no object.
    pub(crate) fn find(body: &'a [u8]) -> Option<Self> {
        let mut at = Cursor { bytes: body, at: 0 };
        let (mut model, mut salt, mut ids) = (None, None, None);
        at.expect(b'{')?;
        loop {
            let name = at.text()?;
            at.expect(b':')?;
            match name {
                b"model" => model = Some(std::str::from_utf8(at.text()?).ok()?),
                b"cache_salt" => salt = Some(std::str::from_utf8(at.text()?).ok()?),
                b"prompt" => ids = Some(at.ids()?),
                _ => at.pass_value()?,
            }
            match at.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        Some(Self { model, salt, ids: ids? })
    }
}

/// Every method stands behind what it read.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next byte that is no blank, not taken.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Without escapes.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = &self.bytes[self.at..];
        let length = memchr2(b'"', b'\\', rest).filter(|end| rest[*end] == b'"')?;
        self.at += length + 1;
        Some(&rest[..length])
    }

    /// At least one.
    fn ids(&mut self) -> Option<Vec<u32>> {
        self.expect(b'[')?;
        let mut ids = Vec::with_capacity(1024);
        loop {
            self.peek()?;
            let (begin, mut id) = (self.at, 0u64);
            while let Some(digit) = self.bytes.get(self.at).map(|byte| byte.wrapping_sub(b'0'))
                && digit < 10
            {
                id = id.wrapping_mul(10).wrapping_add(u64::from(digit));
                self.at += 1;
            }
            // Ten digits are enough for all ids.
            if !(1..=10).contains(&(self.at - begin)) {
                return None;
            }
            ids.push(u32::try_from(id).ok()?);
            match self.next()? {
                b',' => {}
                b']' => return Some(ids),
                _ => return None,
            }
        }
    }

    fn pass_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => self.pass_text()?,
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b']' | b'}' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                _ => self.pass_word()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn pass_text(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let end = memchr2(b'"', b'\\', rest)?;
            if rest[end] == b'"' {
                self.at += end + 1;
                return Some(());
            }
            // With what it escapes.
            self.at += end + 2;
        }
    }

    /// A number, or one of `true`, `false` and `null`.
    fn pass_word(&mut self) -> Option<()> {
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = self.bytes[self.at..].iter().take_while(is_part).count();
        self.at += length;
        (length > 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn ids_are_found_among_other_members() {
        let body = json!({
            "model": "m", "prompt": [1, 22, 4_294_967_295u32, 0], "stream": true, "seed": -3,
            "temperature": 1.5e-3, "stop": ["]", "\"}"], "cache_salt": "s",
            "metadata": {"prompt": [7], "model": "other", "deep": [[{}], []]},
        });
        let expected =
            IdPrompt { model: Some("m"), salt: Some("s"), ids: vec![1, 22, 4_294_967_295, 0] };
        assert_eq!(IdPrompt::find(body.to_string().as_bytes()), Some(expected));
        let spaced = serde_json::to_string_pretty(&body).unwrap();
        assert!(IdPrompt::find(spaced.as_bytes()).is_some());
        let body = br#" { "prompt" : [ 5 ] , "stream" : null } "#;
        let expected = IdPrompt { model: None, salt: None, ids: vec![5] };
        assert_eq!(IdPrompt::find(body), Some(expected));
    }

    #[test]
    fn other_forms_are_left_to_the_parser() {
        for body in [
            r#"{"prompt":"a"}"#,
            r#"{"prompt":[]}"#,
            r#"{"prompt":[[1]]}"#,
            r#"{"prompt":[1.0]}"#,
            r#"{"prompt":[-1]}"#,
            r#"{"prompt":[4294967296]}"#,
            r#"{"prompt":[18446744073709551617]}"#,
            r#"{"prompt":[1,]}"#,
            r#"{"prompt":[1 2]}"#,
            r#"{"prompt":[1]"#,
            r#"{"prompt":[1"#,
            r#"{"prompt":[1],"x":"\"#,
            r#"{"prompt":[1],"x":]}"#,
            r#"{"prompt":[1],"model":null}"#,
            r#"{"prompt":[1],"model":"\u0061"}"#,
            r#"{"pr\u006fmpt":[1]}"#,
            r#"{"messages":[1]}"#,
            "[1]",
            "{}",
            "",
        ] {
            assert_eq!(IdPrompt::find(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn every_cut_of_a_body_is_left_to_the_parser() {
        let body = r#"{"a":{"b":["\\\"",1e5,null]},"prompt":[10,20],"model":"m","z":[{},"x"]}"#;
        assert!(serde_json::from_str::<Value>(body).is_ok());
        assert!(IdPrompt::find(body.as_bytes()).is_some());
        for end in 0..body.len() {
            assert_eq!(IdPrompt::find(&body.as_bytes()[..end]), None, "{end}");
        }
    }
}
