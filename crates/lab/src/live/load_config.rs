//! From a plan's cell to what the load generator is told.

use std::sync::Arc;

use serde_json::{Map, Value};
use weir_deploy::{Access, CACHE_SALT, Site};
use weir_load::{Answers, Api, LimitField, LoadConfig, LoadShape, PromptForm, TokenizerText};
use weir_spec::plan::{self, ArmRole, Cell, Client, Deployment, LevelLoad, Plan};

use crate::live::error::LiveError;

pub(crate) fn config(
    plan: &Plan,
    deployment: &Deployment,
    cell: &Cell,
    site: &Site,
) -> Result<LoadConfig, LiveError> {
    let level = &deployment.levels[cell.level];
    let client = &plan.client;
    let access = site.endpoints()[0].access();
    let vocabulary = client.vocabulary.unwrap_or(deployment.model.vocabulary);
    let first = client.pin.map(|core| core as usize);
    Ok(LoadConfig {
        endpoints: site.endpoints().iter().map(|endpoint| endpoint.url().clone()).collect(),
        api: match client.api {
            plan::Api::Completions => Api::Completions,
            plan::Api::Chat => Api::Chat,
        },
        model: site.model().to_owned(),
        stream: client.stream,
        prompts: match &client.tokenizer {
            None => PromptForm::TokenIds { vocabulary },
            Some(path) => {
                let failed = |error: weir_load::TextError| LiveError::Tokenizer {
                    path: path.clone(),
                    problem: error.to_string(),
                };
                let text = TokenizerText::open(path.as_ref(), client.api == plan::Api::Completions)
                    .map_err(failed)?;
                PromptForm::Text(Arc::new(text))
            }
        },
        answers: match client.answers {
            plan::Answers::Canned => Answers::Canned,
            plan::Answers::Own => Answers::Own,
        },
        ignore_eos: client.ignore_eos,
        min_tokens: client.ignore_eos,
        limit_field: LimitField::default(),
        // Answers tell whether a cache gave back what was put in, where arms are compared.
        digest_output: deployment.arms[cell.arm].role != ArmRole::AsDeployed,
        bearer: access.bearer.clone(),
        headers: access.headers.clone(),
        body: body(client, access),
        tls: access.tls.clone(),
        connect_timeout: client.connect_timeout,
        request_timeout: client.request_timeout,
        reuse_connections: client.reuse_connections,
        workers: (0..client.workers as usize).map(|at| first.map(|core| core + at)).collect(),
        load: shape(&level.load, level.ramp),
        seed: cell.seed,
        duration: level.duration,
        warmup: level.warmup,
        drain: client.drain,
        max_requests: level.max_requests,
    })
}

/// What bodies carry besides: what the user wants, and the run's salt.
fn body(client: &Client, access: &Access) -> Map<String, Value> {
    let mut body = client.body.clone();
    if let Some(salt) = &access.cache_salt {
        body.insert(CACHE_SALT.to_owned(), Value::from(salt.as_str()));
    }
    body
}

fn shape(load: &LevelLoad, ramp: weir_model::Nanos) -> LoadShape {
    match (load, load.arrivals()) {
        (_, Some(arrivals)) => LoadShape::Open(arrivals),
        (LevelLoad::Users(users), None) => LoadShape::Users { users: *users, ramp },
        (_, None) => LoadShape::SessionTimes,
    }
}
