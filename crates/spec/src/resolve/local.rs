use std::collections::BTreeMap;
use std::path::Path;

use weir_engine::OffloadConfig;
use weir_model::{Nanos, Software};
use weir_workload::ClientOptions;

use super::{HOUR, check_span, live_router};
use crate::catalogue::presets::Preset;
use crate::document::arm::ArmSection;
use crate::document::local::{GENERATED, LocalTarget, flag};
use crate::error::SpecError;
use crate::plan::{Deployment, Processes, RouterKind};

/// Words in names of variables whose values are mostly secrets.
const SECRET: [&str; 6] = ["TOKEN", "PASSWORD", "SECRET", "KEY", "CREDENTIAL", "CREDENTIALS"];
/// Arguments that decide the engine's address, which Weir has to know.
const OWN_ARGUMENTS: [&str; 5] =
    ["--host", "--port", "--served-model-name", "--model", "--api-key"];

/// What to do with a secret.
const HANDED_DOWN: &str = "set it in the environment that Weir is started in: it is handed down";

/// Paths become relative to the experiment file's folder.
pub(super) fn resolve(
    local: &LocalTarget,
    base: &Path,
    client: &ClientOptions,
    deployments: &[Deployment],
) -> Result<LocalTarget, SpecError> {
    let key = |name: &str| format!("target.local.{name}");
    check_span(&key("start_timeout"), local.start_timeout.0, HOUR * 24)?;
    if local.start_timeout.0 == Nanos::ZERO {
        let remedy = "write for example 15m";
        return Err(SpecError::value(key("start_timeout"), "no time at all", remedy));
    }
    local
        .core_list()
        .map_err(|problem| SpecError::value(key("cores"), problem, "write CPUs such as `0-5,8`"))?;
    check_arguments(&key("vllm_args"), &local.vllm_args)?;
    check_env(&key("env"), &local.env, HANDED_DOWN)?;
    let random = local.weights.as_deref() == Some(GENERATED);
    if random && client.tokenizer.is_some() {
        return Err(SpecError::value(
            "client.tokenizer",
            "a model with random weights is asked in token ids",
            "remove it",
        ));
    }
    if local.router.kind == RouterKind::Engine {
        return Err(SpecError::value(
            key("router.kind"),
            "vLLM has no router of its own",
            "write `llm-d` or `weir`",
        ));
    }
    live_router::check(&key("router"), &local.router, deployments)?;
    let path = |text: &String| {
        let folder = base.join(text);
        if text.contains('/') && folder.exists() {
            folder.display().to_string()
        } else {
            text.clone()
        }
    };
    Ok(LocalTarget {
        python: local.python.as_ref().map(path),
        weights: local.weights.as_ref().map(path),
        disk: local.disk.as_ref().map(|text| base.join(text).display().to_string()),
        router: live_router::located(&local.router, base),
        ..local.clone()
    })
}

pub(super) fn processes(
    name: &str,
    preset: &Preset,
    section: &ArmSection,
    offload: Option<&OffloadConfig>,
    base: &Path,
) -> Result<Processes, SpecError> {
    let lmcache = preset.offload.is_some_and(|of| of.software == Software::Lmcache);
    if section.lmcache_mode.is_some() && !(lmcache && offload.is_some()) {
        return Err(SpecError::value(
            format!("arms.{name}.lmcache_mode"),
            format!("the preset `{}` has no LMCache", preset.name),
            "remove it, or use `lmcache-local`",
        ));
    }
    check_arguments(&format!("arms.{name}.vllm_args"), &section.vllm_args)?;
    check_env(&format!("arms.{name}.env"), &section.env, HANDED_DOWN)?;
    Ok(Processes {
        lmcache_mode: section.lmcache_mode,
        vllm_args: section.vllm_args.clone(),
        env: section.env.clone(),
        picker_config: section
            .picker_config
            .as_ref()
            .map(|file| base.join(file).display().to_string()),
    })
}

pub(super) fn check_arguments(key: &str, arguments: &[String]) -> Result<(), SpecError> {
    for argument in arguments {
        if OWN_ARGUMENTS.contains(&flag(argument).as_str()) {
            return Err(SpecError::value(
                key,
                format!("`{argument}` decides where the engine is asked, which Weir has to know"),
                "remove it",
            ));
        }
    }
    Ok(())
}

/// True for a variable or an argument whose value is mostly a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    name.to_ascii_uppercase().split(['_', '-']).any(|word| SECRET.contains(&word))
}

pub(super) fn check_env(
    key: &str,
    env: &BTreeMap<String, String>,
    for_secrets: &str,
) -> Result<(), SpecError> {
    for (name, value) in env {
        let wrong = name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
        if wrong {
            let problem = format!("`{name}` cannot be set in an environment");
            return Err(SpecError::value(key, problem, "write `NAME: value`"));
        }
        if is_secret_name(name) {
            return Err(SpecError::value(
                format!("{key}.{name}"),
                "it looks like a secret, which logs in the run folder may repeat",
                for_secrets,
            ));
        }
    }
    Ok(())
}
