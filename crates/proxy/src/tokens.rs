//! Token ids of a prompt: given, by a `tokenizer.json`, or asked of a replica.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;

use crate::known::SharedState;
use crate::prompt::{Asked, Content};
use crate::upstream::Upstream;

/// Takes the request's own body, with a prompt or with messages. Every vLLM serves it; the render
/// routes need `--enable-scale-out` in 0.32.
const PATH: &str = "/tokenize";
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("--tokenizer {}: {problem}; give the model's own tokenizer.json", path.display())]
pub struct TokenError {
    path: PathBuf,
    problem: String,
}

#[cfg(feature = "tokenizer")]
type TokenizerFile = std::sync::Arc<tokenizers::Tokenizer>;
#[cfg(not(feature = "tokenizer"))]
type TokenizerFile = std::convert::Infallible;

pub(crate) struct Tokens {
    tokenizer: Option<TokenizerFile>,
    /// Which replica is asked next.
    next: Cell<usize>,
}

#[derive(Deserialize)]
struct TokenizeAnswer {
    tokens: Vec<u32>,
}

impl Tokens {
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, TokenError> {
        Ok(Self { tokenizer: path.map(open).transpose()?, next: Cell::new(0) })
    }

    /// None if nobody gave them.
    pub(crate) async fn of(
        &self,
        asked: &mut Asked<'_>,
        body: &Bytes,
        (shared, upstreams): (&SharedState, &[Rc<Upstream>]),
    ) -> Option<Vec<u32>> {
        match (&mut asked.content, &self.tokenizer) {
            (Content::Ids(ids), _) => Some(std::mem::take(ids)),
            (Content::Text(text), Some(tokenizer)) => encode(tokenizer, text).await,
            (Content::Text(_) | Content::Messages(_), _) => {
                let up = |at: &usize| shared.replicas[*at].is_up();
                let count = upstreams.len();
                let first = self.next.replace(self.next.get() + 1) % count;
                let at = (0..count).map(|step| (first + step) % count).find(up)?;
                let fetch = upstreams[at].fetch(Method::POST, PATH, body.clone(), TIMEOUT).await;
                let answer = serde_json::from_slice::<TokenizeAnswer>(&fetch.ok()?.body).ok()?;
                Some(answer.tokens)
            }
        }
    }
}

#[cfg(feature = "tokenizer")]
fn open(path: &Path) -> Result<TokenizerFile, TokenError> {
    let refuse = |problem: String| TokenError { path: path.to_path_buf(), problem };
    let mut tokenizer = tokenizers::Tokenizer::from_file(path)
        .map_err(|error| refuse(format!("no tokenizer: {error}")))?;
    // Padding and truncation in the file do not concern the text.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| refuse(error.to_string()))?;
    Ok(std::sync::Arc::new(tokenizer))
}

#[cfg(not(feature = "tokenizer"))]
fn open(path: &Path) -> Result<TokenizerFile, TokenError> {
    let problem = "this build of Weir has no tokenizers".to_owned();
    Err(TokenError { path: path.to_path_buf(), problem })
}

/// On another thread: long texts take milliseconds, and streams must not wait for them.
#[cfg(feature = "tokenizer")]
async fn encode(tokenizer: &TokenizerFile, text: &str) -> Option<Vec<u32>> {
    let (tokenizer, text) = (TokenizerFile::clone(tokenizer), text.to_owned());
    // As vLLM does for completions, with the tokens that the tokenizer adds.
    let encode = move || Some(tokenizer.encode_fast(text, true).ok()?.get_ids().to_vec());
    tokio::task::spawn_blocking(encode).await.ok().flatten()
}

#[cfg(not(feature = "tokenizer"))]
#[expect(clippy::unused_async, reason = "as the one with tokenizers")]
async fn encode(tokenizer: &TokenizerFile, _text: &str) -> Option<Vec<u32>> {
    match *tokenizer {}
}
