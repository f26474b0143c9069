//! One HTTP request in the engine loop: its outputs, its answer's tokens, and its abort.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use weir_model::ContentId;

use super::error::ApiError;
use super::request::{Api, CheckedRequest, Options};
use crate::clock::unix_seconds;
use crate::engine_loop::NewRequest;
use crate::interner::AnswerVocabulary;
use crate::requests::{RequestOutput, Status};
use crate::state::ServerState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    pub(super) output: u64,
    /// Prompt tokens from caches. None: not reported.
    pub(super) cached: Option<u32>,
    /// Prompt tokens added to the cache. Only in chat answers.
    pub(super) created: Option<u32>,
}

#[derive(Debug)]
pub(super) struct PromptInfo {
    pub(super) tokens: u32,
    /// Empty unless requested.
    pub(super) ids: Box<[u32]>,
}

#[derive(Debug)]
pub(super) struct Choice {
    pub(super) output: Rc<RequestOutput>,
    pub(super) answer: ContentId,
    pub(super) prompt: PromptInfo,
    pub(super) output_tokens: u32,
}

/// Dropping it before its end aborts the unfinished choices.
pub(super) struct Exchange {
    pub(super) state: Rc<ServerState>,
    pub(super) options: Options,
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) choices: Vec<Choice>,
    answers: AnswerVocabulary,
}

impl Exchange {
    /// Fails if the engine refuses any prompt at once.
    pub(super) fn start(
        state: &Rc<ServerState>,
        checked: CheckedRequest,
        header_id: Option<&str>,
    ) -> Result<Self, ApiError> {
        let unique = state.unique_id();
        let prefix = match checked.options.api {
            Api::Completions => "cmpl-",
            Api::Chat => "chatcmpl-",
        };
        let id = match header_id.or(checked.request_id.as_deref()) {
            Some(id) => format!("{prefix}{id}"),
            None => format!("{prefix}{unique:016x}"),
        };
        let info = &state.info;
        let mut exchange = Self {
            state: Rc::clone(state),
            options: checked.options,
            id,
            created: unix_seconds() as u64,
            model: checked.model.filter(|it| !it.is_empty()).unwrap_or_else(|| info.model().into()),
            choices: Vec::with_capacity(checked.prompts.len()),
            answers: info.tokenizer.answers(),
        };
        for prompt in checked.prompts {
            let new = NewRequest {
                ids: prompt.ids,
                salt: checked.salt.clone(),
                seed: checked.seed,
                output_tokens: prompt.output_tokens,
                session: checked.session.unwrap_or(unique),
                streams: checked.options.stream,
            };
            let submitted = state.submit(&new);
            let tokens = new.ids.len() as u32;
            let ids = if checked.options.return_token_ids { new.ids } else { Vec::new() };
            exchange.choices.push(Choice {
                output: submitted.output,
                answer: submitted.answer,
                prompt: PromptInfo { tokens, ids: ids.into() },
                output_tokens: prompt.output_tokens,
            });
        }
        match exchange.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(exchange),
        }
    }

    pub(super) fn token(&self, choice: usize, index: u32) -> u32 {
        self.answers.token(self.choices[choice].answer, index)
    }

    pub(super) fn refusal(&self) -> Option<ApiError> {
        let refused = self.choices.iter().find(|it| it.output.status() == Status::Refused)?;
        Some(ApiError::bad_request(refused.output.refusal(), None))
    }

    /// Waits for the last token of the last choice, or for the first refusal.
    pub(super) async fn ended(&self) -> Result<(), ApiError> {
        poll_fn(|context| {
            if let Some(refusal) = self.refusal() {
                return Poll::Ready(Err(refusal));
            }
            let running = |it: &&Choice| it.output.status() == Status::Running;
            match self.choices.iter().find(running) {
                Some(choice) => {
                    choice.output.register(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    pub(super) fn register(&self, context: &Context<'_>) {
        for choice in &self.choices {
            choice.output.register(context.waker());
        }
    }

    /// Sums over all choices. As in vLLM, `cached` is that of one choice, `cached_of`.
    pub(super) fn usage(&self, cached_of: &Choice) -> Usage {
        let cached = cached_of.output.cached();
        let report_cached = self.state.info.prompt_tokens_details;
        let whole = cached_of.prompt.tokens / self.state.info.block_tokens;
        let created = (whole * self.state.info.block_tokens).saturating_sub(cached);
        Usage {
            prompt: self.choices.iter().map(|it| u64::from(it.prompt.tokens)).sum(),
            output: self.choices.iter().map(|it| u64::from(it.output_tokens)).sum(),
            cached: report_cached.then_some(cached),
            created: (report_cached && self.options.api == Api::Chat).then_some(created),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        for choice in &self.choices {
            if choice.output.status() == Status::Running {
                self.state.abort(choice.output.tag.get());
            }
        }
    }
}
