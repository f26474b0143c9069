//! Checks before the start: installed software, and whether it can run every arm.

use weir_spec::plan::Plan;
use weir_store::server::program;

use super::mechanism;
use super::stack::{Platform, Stack};
use crate::endpoint::CACHE_SALT;
use crate::error::DeployError;

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

impl Stack {
    pub fn words(&self) -> String {
        let lmcache = self
            .lmcache
            .map_or_else(|| "no LMCache".to_owned(), |version| format!("LMCache {version}"));
        format!("vLLM {} and {lmcache} of {}", self.vllm_text, self.python.display())
    }
}
