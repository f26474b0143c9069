//! Replies of control commands as values, with limits. The data path does not use them.

use super::reply::{Aggregate, DEPTH_MAX, ProtocolError, ReplyEvent};

/// Bytes of one reply: a `SCAN` of a thousand long keys is below 1 MiB.
const REPLY_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Boolean(bool),
    /// A status, a string or a number's text.
    Text(Vec<u8>),
    Error(String),
    /// Elements; of a map, alternating keys and values, as in RESP2.
    Array(Vec<Value>),
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub const fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) => elements,
            _ => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Self> {
        let mut pairs = self.elements().chunks_exact(2);
        pairs.find(|pair| pair[0].text() == Some(key)).map(|pair| &pair[1])
    }
}

#[derive(Debug, Default)]
pub struct Builder {
    open: Vec<(Vec<Value>, u64)>,
    body: Option<(Vec<u8>, bool)>,
    bytes: usize,
}

impl Builder {
    /// Returns the value when it is whole.
    pub fn push(&mut self, event: ReplyEvent<'_>) -> Result<Option<Value>, ProtocolError> {
        let value = match event {
            ReplyEvent::Simple(text) | ReplyEvent::Number(text) => {
                self.account(text.len())?;
                Value::Text(text.to_vec())
            }
            ReplyEvent::Error(text) => {
                self.account(text.len())?;
                Value::Error(String::from_utf8_lossy(text).into_owned())
            }
            ReplyEvent::Integer(value) => Value::Integer(value),
            ReplyEvent::Null => Value::Null,
            ReplyEvent::Boolean(value) => Value::Boolean(value),
            ReplyEvent::Body { is_error, .. } => {
                self.body = Some((Vec::new(), is_error));
                return Ok(None);
            }
            ReplyEvent::Part(part) => {
                self.account(part.len())?;
                if let Some((body, _)) = &mut self.body {
                    body.extend_from_slice(part);
                }
                return Ok(None);
            }
            ReplyEvent::End => match self.body.take() {
                Some((body, true)) => Value::Error(String::from_utf8_lossy(&body).into_owned()),
                Some((body, false)) => Value::Text(body),
                None => return Err(ProtocolError::Unexpected("the end of no body")),
            },
            ReplyEvent::Aggregate { elements: 0, .. } => Value::Array(Vec::new()),
            ReplyEvent::Aggregate {
                kind: Aggregate::Array | Aggregate::Map | Aggregate::Set,
                elements,
            } => {
                if self.open.len() == DEPTH_MAX {
                    return Err(ProtocolError::TooDeep);
                }
                self.open.push((Vec::new(), elements));
                return Ok(None);
            }
        };
        self.close(value)
    }

    fn close(&mut self, mut value: Value) -> Result<Option<Value>, ProtocolError> {
        self.account(size_of::<Value>())?;
        while let Some((elements, missing)) = self.open.last_mut() {
            elements.push(value);
            *missing -= 1;
            if *missing > 0 {
                return Ok(None);
            }
            let (elements, _) = self.open.pop().expect("it is the one just filled");
            value = Value::Array(elements);
        }
        self.bytes = 0;
        Ok(Some(value))
    }

    fn account(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        self.bytes += bytes;
        if self.bytes > REPLY_BYTES_MAX {
            return Err(ProtocolError::TooLong(self.bytes as u64));
        }
        Ok(())
    }
}
