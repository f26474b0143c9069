//! Engine limits that an experiment's endpoints report, before planning.

use std::time::Duration;

use weir_spec::EndpointLimits;
use weir_spec::plan::EndpointTarget;

use crate::endpoint::{Access, EngineEndpoint};
use crate::error::DeployError;

/// Per answer; nothing is generated.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The least limits over all URLs of a target: one plan is for all arms. The second part has a
/// sentence for each missing answer and each difference.
pub fn of_target(
    target: &EndpointTarget,
    model: Option<&str>,
) -> Result<(EndpointLimits, Vec<String>), DeployError> {
    let access = Access::of(target, TIMEOUT)?;
    let model = target.model.as_deref().or(model);
    let mut least: Option<EndpointLimits> = None;
    let mut notes = Vec::new();
    for url in target.all_urls() {
        // The plan refuses a wrong URL, and names its key.
        let Ok(endpoint) = EngineEndpoint::new(url, access.clone()) else { continue };
        let served = match endpoint.choose(model, &|| false) {
            Ok(served) => served,
            Err(error) => {
                notes.push(format!(
                    "{} is planned with the engine of the file: {error}",
                    endpoint.url()
                ));
                continue;
            }
        };
        let limits =
            EndpointLimits { max_model_len: served.max_model_len, ..endpoint.cache_limits() };
        if limits.kv_tokens.is_none() {
            notes.push(format!(
                "{} does not say how much its GPU cache holds (vllm:cache_config_info at \
                 /metrics): its regime is planned with the engine of the file",
                endpoint.url()
            ));
        }
        if least.is_some_and(|before| before != limits) {
            notes.push(format!(
                "{} has other limits than the URLs before it: the least of them are planned with",
                endpoint.url()
            ));
        }
        least = Some(least.map_or(limits, |before| before.least(limits)));
    }
    Ok((least.unwrap_or_default(), notes))
}
