//! The secret that field and agents share. An agent sends any load to anybody for who has it.

use std::fmt;
use std::path::Path;

use crate::error::AgentError;

/// In the environment.
pub(crate) const TOKEN_VARIABLE: &str = "WEIR_AGENT_TOKEN";

#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Of one line of text without spaces.
    pub fn new(text: &str) -> Result<Self, AgentError> {
        let text = text.trim();
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain { Ok(Self(text.to_owned())) } else { Err(AgentError::TokenForm) }
    }

    /// From the file, else from the environment.
    pub fn given(file: Option<&Path>) -> Result<Option<Self>, AgentError> {
        match (file, std::env::var(TOKEN_VARIABLE)) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    AgentError::TokenFile { path: path.to_owned(), problem: error.to_string() }
                })?;
                Self::new(&text).map(Some)
            }
            (None, Ok(text)) => Self::new(&text).map(Some),
            (None, Err(_)) => Ok(None),
        }
    }

    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// For a child's environment.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// Takes the same time wherever they differ.
    pub(crate) fn is(&self, header: Option<&str>) -> bool {
        let (own, given) = (self.header(), header.unwrap_or_default());
        let differing = own.bytes().zip(given.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        own.len() == given.len() && differing == 0
    }
}
