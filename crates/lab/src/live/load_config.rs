//! From a plan's cell to the load generator's configuration.

use std::sync::Arc;

use serde_json::{Map, Value};
use weir_deploy::{Access, CACHE_SALT, Site};
use weir_field::PromptOrder;
use weir_load::{LimitField, LoadConfig, LoadShape, PromptForm, TokenizerText};
use weir_spec::plan::{ArmRole, Cell, Deployment, LevelLoad, Plan};
use weir_workload::Shard;
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
    let prompts = order(plan, deployment, site);
    Ok(LoadConfig {
        endpoints: site.doors().iter().map(|endpoint| endpoint.url().clone()).collect(),
        replicas: site.replicas().to_vec(),
        model: site.model().to_owned(),
        prompts: form(&prompts)?,
        client: ClientOptions {
            body: body(client, access),
            replica_header: site.replica_header(client).to_owned(),
            ..client.clone()
        },
        min_tokens: client.ignore_eos,
        limit_field: LimitField::default(),
        // Compared arms must give the same answers: the digest shows a wrong cached block.
        digest_output: deployment.arms[cell.arm].role != ArmRole::AsDeployed,
        bearer: access.bearer.clone(),
        headers: access.headers.clone(),
        tls: access.tls.clone(),
        load: shape(&level.load, level.ramp),
        shard: Shard::WHOLE,
        seed: cell.seed,
        duration: level.duration,
        warmup: level.warmup,
        max_requests: level.max_requests,
    })
}

/// How the prompts of a cell are sent, whoever sends them.
pub(super) fn order(plan: &Plan, deployment: &Deployment, site: &Site) -> PromptOrder {
    let client = &plan.client;
    let vocabulary = client.vocabulary.unwrap_or(deployment.model.vocabulary);
    let file = match (&client.tokenizer, site.tokenizer_file()) {
        (Some(path), _) => path.clone(),
        (None, _) if site.takes_token_ids() => return PromptOrder::TokenIds { vocabulary },
        (None, Some(path)) => path,
        (None, None) => return PromptOrder::BuiltIn { vocabulary },
    };
    PromptOrder::Tokenizer { file, special_tokens: client.api == Api::Completions }
}

fn form(prompts: &PromptOrder) -> Result<PromptForm, LiveError> {
    Ok(match prompts {
        PromptOrder::TokenIds { vocabulary } => PromptForm::TokenIds { vocabulary: *vocabulary },
        PromptOrder::BuiltIn { vocabulary } => {
            PromptForm::Text(Arc::new(EmulatedText::new(*vocabulary)?))
        }
        PromptOrder::Tokenizer { file, special_tokens } => {
            let text = TokenizerText::open(file.as_ref(), *special_tokens).map_err(|error| {
                LiveError::Tokenizer { path: file.clone(), problem: error.to_string() }
            })?;
            PromptForm::Text(Arc::new(text))
        }
    })
}

/// For agents, which get the order over the network.
pub fn make_prompts(prompts: &PromptOrder) -> Result<PromptForm, String> {
    form(prompts).map_err(|error| error.to_string())
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
