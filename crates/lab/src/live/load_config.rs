//! From a plan's cell to the load generator's configuration.

use std::sync::Arc;

use serde_json::{Map, Value};
use weir_deploy::{Access, CACHE_SALT, Site};
use weir_load::{LimitField, LoadConfig, LoadShape, PromptForm, TokenizerText};
use weir_spec::plan::{ArmRole, Cell, Deployment, LevelLoad, Plan};
use weir_workload::client::{Api, ClientOptions};

use crate::live::error::LiveError;
use crate::live::text::EmulatedText;

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
    Ok(LoadConfig {
        endpoints: site.doors().iter().map(|endpoint| endpoint.url().clone()).collect(),
        replicas: site.replicas().to_vec(),
        model: site.model().to_owned(),
        prompts: prompts(client, site, vocabulary)?,
        client: ClientOptions { body: body(client, access), ..client.clone() },
        min_tokens: client.ignore_eos,
        limit_field: LimitField::default(),
        // Compared arms must give the same answers: the digest shows a wrong cached block.
        digest_output: deployment.arms[cell.arm].role != ArmRole::AsDeployed,
        bearer: access.bearer.clone(),
        headers: access.headers.clone(),
        tls: access.tls.clone(),
        load: shape(&level.load, level.ramp),
        seed: cell.seed,
        duration: level.duration,
        warmup: level.warmup,
        max_requests: level.max_requests,
    })
}

fn prompts(client: &ClientOptions, site: &Site, vocabulary: u32) -> Result<PromptForm, LiveError> {
    let own = site.tokenizer_file();
    let path = match (&client.tokenizer, own) {
        (Some(path), _) => path.clone(),
        (None, _) if site.takes_token_ids() => return Ok(PromptForm::TokenIds { vocabulary }),
        (None, Some(path)) => path,
        (None, None) => return Ok(PromptForm::Text(Arc::new(EmulatedText::new(vocabulary)?))),
    };
    let text = TokenizerText::open(path.as_ref(), client.api == Api::Completions)
        .map_err(|error| LiveError::Tokenizer { path, problem: error.to_string() })?;
    Ok(PromptForm::Text(Arc::new(text)))
}

/// Additional fields of a body: the user's, and the run's salt.
fn body(client: &ClientOptions, access: &Access) -> Map<String, Value> {
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
