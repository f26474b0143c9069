//! Checks before the start: installed software, and whether it can run every arm.

use weir_spec::plan::{Arm, Deployment, LocalTarget, Plan, RouterKind};
use weir_store::server::program;

use super::mechanism;
use super::stack::{Platform, Stack};
use crate::endpoint::CACHE_SALT;
use crate::error::DeployError;
use crate::front;

/// vLLM's attention on the CPU, tokens.
const CPU_BLOCK: u32 = 32;

/// An error for an arm that the software cannot run. None for other targets.
pub fn preflight(plan: &Plan) -> Result<Option<Stack>, DeployError> {
    let Some(target) = plan.target.local() else { return Ok(None) };
    let stack = Stack::find(target)?;
    for deployment in &plan.deployments {
        let block = deployment.engine.block_size;
        if stack.platform == Platform::Cpu && !block.is_multiple_of(CPU_BLOCK) {
            return Err(DeployError::Setting {
                key: "engine.block_size".to_owned(),
                problem: format!(
                    "vLLM for the CPU needs blocks of a multiple of {CPU_BLOCK} tokens, not \
                     {block}; write `block_size: {CPU_BLOCK}`"
                ),
            });
        }
        if mechanism::is_salted(deployment, &stack) && plan.client.body.contains_key(CACHE_SALT) {
            return Err(DeployError::Setting {
                key: format!("client.body.{CACHE_SALT}"),
                problem:
                    "Weir sends one of its own, by which it knows its keys in a store; remove \
                          it"
                    .to_owned(),
            });
        }
        if mechanism::is_salted(deployment, &stack) {
            refuse_blind_pickers(target, deployment)?;
        }
        for arm in &deployment.arms {
            mechanism::connector(arm, deployment, &stack, Some("disk"))?;
            let Some(store) = arm.offload.as_ref().and_then(|offload| offload.store.as_ref())
            else {
                continue;
            };
            let product = store.product;
            if arm.store_access.is_none() && program(product).is_none() {
                return Err(DeployError::Unsupported {
                    arm: arm.name.clone(),
                    problem: format!("{product} is not installed on this machine"),
                    remedy: format!(
                        "{}, or write where one listens: `store: {{address: \
                         redis://host:6379}}`",
                        product.traits().install
                    ),
                });
            }
        }
    }
    Ok(Some(stack))
}

/// A salt is part of the first block's key in the events. Pickers with a precise index look prompts
/// up without it, and would find none of them.
fn refuse_blind_pickers(target: &LocalTarget, deployment: &Deployment) -> Result<(), DeployError> {
    let router = &target.router;
    let is_blind = |arm: &&Arm| {
        router.kind == RouterKind::LlmD
            && front::is_needed(router, arm, deployment.replicas)
            && arm.routing.policy.hears_events()
    };
    let Some(arm) = deployment.arms.iter().find(is_blind) else { return Ok(()) };
    let shared = deployment.arms.iter().find(|arm| arm.store_access.is_some());
    let shared = shared.map_or("another arm", |arm| arm.name.as_str());
    Err(DeployError::Unsupported {
        arm: arm.name.clone(),
        problem: format!(
            "all prompts carry a `cache_salt`, because `{shared}` has the address of a store, and \
             llm-d's precise index finds no prompt with one"
        ),
        remedy: format!(
            "leave out `store.address` of `{shared}`, so that Weir starts a store of its own, or \
             write `target.local.router: {{kind: weir}}`"
        ),
    })
}

impl Stack {
    pub fn words(&self) -> String {
        let lmcache = self
            .lmcache
            .map_or_else(|| "no LMCache".to_owned(), |version| format!("LMCache {version}"));
        format!("vLLM {} and {lmcache} of {}", self.vllm_text, self.python.display())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_spec::Experiment;

    use super::*;

    fn refused(router: &str, arms: &str) -> Option<String> {
        let text = format!(
            "name: salted\ntarget: {{local: {{weights: generated, router: {{kind: {router}}}}}}}\n\
             models: [weir/tiny-qwen3]\nhardware: 1x-cpu\nreplicas: 2\nengine: {{kv_tokens: \
             4096, block_size: 32, max_model_len: 2048}}\narms: {arms}\nworkload: \
             {{shared-prefix: {{prefixes: 1, prefix_tokens: 100, prompt_tokens: 10, \
             output_tokens: 4}}}}\nload: {{users: [1], duration: 5s}}\n"
        );
        let experiment = Experiment::parse(&text, "salted.yaml", Path::new(""), &[]).unwrap();
        let plan = Plan::resolve(&experiment).unwrap();
        let target = plan.target.local().unwrap();
        refuse_blind_pickers(target, &plan.deployments[0]).err().map(|error| error.to_string())
    }

    #[test]
    fn a_precise_index_of_llm_ds_does_not_meet_salted_prompts() {
        let shared = "{preset: lmcache-redis, store: {address: 'redis://127.0.0.1:6379'}}";
        let words = refused("llm-d", &format!("[llm-d-random, llm-d-redis, {shared}]")).unwrap();
        for part in ["arm `llm-d-redis`", "`cache_salt`", "`lmcache-redis` has the address"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert_eq!(refused("llm-d", &format!("[llm-d-random, llm-d-approx, {shared}]")), None);
        assert_eq!(refused("weir", &format!("[llm-d-inmemory, {shared}]")), None);
    }
}
