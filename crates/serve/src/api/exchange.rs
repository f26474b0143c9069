//! One request on its way through the driver: its flows, its text, and what its peer's leaving
//! means.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use weir_model::ContentId;

use super::asked::{Api, Asked, Options};
use super::error::ApiError;
use super::frames::{PromptFacts, Usage};
use crate::clock::unix_seconds;
use crate::driver::{Ask, Flow, Progress};
use crate::house::House;
use crate::interner::AnswerVocabulary;

/// One prompt with its answer under way.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) flow: Rc<Flow>,
    pub(super) answer: ContentId,
    pub(super) prompt: PromptFacts,
    pub(super) output_tokens: u32,
}

/// All prompts of a request. Dropped before its end, it aborts what is left of it.
pub(super) struct Exchange {
    pub(super) house: Rc<House>,
    pub(super) options: Options,
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) choices: Vec<Choice>,
    answers: AnswerVocabulary,
}

impl Exchange {
    /// Hands a request to the driver; refused if the engine refuses any part of it at once.
    pub(super) fn start(
        house: &Rc<House>,
        asked: Asked,
        header_id: Option<&str>,
    ) -> Result<Self, ApiError> {
        let unique = house.unique();
        let prefix = match asked.options.api {
            Api::Completions => "cmpl-",
            Api::Chat => "chatcmpl-",
        };
        let id = match header_id.or(asked.request_id.as_deref()) {
            Some(id) => format!("{prefix}{id}"),
            None => format!("{prefix}{unique:016x}"),
        };
        let facts = &house.facts;
        let mut exchange = Self {
            house: Rc::clone(house),
            options: asked.options,
            id,
            created: unix_seconds() as u64,
            model: asked.model.filter(|it| !it.is_empty()).unwrap_or_else(|| facts.model().into()),
            choices: Vec::with_capacity(asked.questions.len()),
            answers: facts.tokenizer.answers(),
        };
        for question in asked.questions {
            let ask = Ask {
                ids: question.ids,
                salt: asked.salt.clone(),
                seed: asked.seed,
                output_tokens: question.output_tokens,
                session: asked.session.unwrap_or(unique),
                streams: asked.options.stream,
            };
            let taken = house.submit(&ask);
            let tokens = ask.ids.len() as u32;
            let ids = if asked.options.return_token_ids { ask.ids } else { Vec::new() };
            exchange.choices.push(Choice {
                flow: taken.flow,
                answer: taken.answer,
                prompt: PromptFacts { tokens, ids: ids.into() },
                output_tokens: question.output_tokens,
            });
        }
        match exchange.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(exchange),
        }
    }

    /// The id of a token of a choice's answer.
    pub(super) fn token(&self, choice: usize, index: u32) -> u32 {
        self.answers.token(self.choices[choice].answer, index)
    }

    /// What the engine has against it.
    pub(super) fn refusal(&self) -> Option<ApiError> {
        let refused = self.choices.iter().find(|it| it.flow.progress() == Progress::Refused)?;
        Some(ApiError::bad_request(refused.flow.refusal(), None))
    }

    /// Waits for the last token of the last choice, or for the first refusal.
    pub(super) async fn ended(&self) -> Result<(), ApiError> {
        poll_fn(|context| {
            if let Some(refusal) = self.refusal() {
                return Poll::Ready(Err(refusal));
            }
            let running = |it: &&Choice| it.flow.progress() == Progress::Running;
            match self.choices.iter().find(running) {
                Some(choice) => {
                    choice.flow.register(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    /// Asks to be polled when any choice goes on.
    pub(super) fn register(&self, context: &Context<'_>) {
        for choice in &self.choices {
            choice.flow.register(context.waker());
        }
    }

    /// Prompts and answers added up; what caches served is that of `cached_of`, as in vLLM.
    pub(super) fn usage(&self, cached_of: &Choice) -> Usage {
        let cached = cached_of.flow.cached();
        let tell = self.house.facts.prompt_tokens_details;
        let whole = cached_of.prompt.tokens / self.house.facts.block_tokens;
        let created = (whole * self.house.facts.block_tokens).saturating_sub(cached);
        Usage {
            prompt: self.choices.iter().map(|it| u64::from(it.prompt.tokens)).sum(),
            output: self.choices.iter().map(|it| u64::from(it.output_tokens)).sum(),
            cached: tell.then_some(cached),
            created: (tell && self.options.api == Api::Chat).then_some(created),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        for choice in &self.choices {
            if choice.flow.progress() == Progress::Running {
                self.house.give_up(choice.flow.tag.get());
            }
        }
    }
}
