//! The command line of vLLM in a pod: that of the local target, with a pod's places.

use std::collections::BTreeMap;

use weir_model::quantity::Version;
use weir_spec::plan::{Arm, LmcacheMode, LocalTarget};
use weir_store::Address;

use super::arm::PodArm;
use super::engine::{DISK_FOLDER, EVENTS_PORT, MODELS_FOLDER, PORT};
use crate::address::Listening;
use crate::error::DeployError;
use crate::local::{Connector, Places, Platform, Stack, VllmReplica, connector, vllm_command};
use crate::remote::StorePlace;

/// The kubelet replaces `$(POD_IP)`. llm-d knows a publisher by its topic.
pub(super) fn events_topic(model: &str) -> String {
    format!("kv@$(POD_IP):{PORT}@{model}")
}

pub(super) fn events_bind() -> String {
    format!("tcp://*:{EVENTS_PORT}")
}

/// Arguments behind `vllm serve`, and the environment.
pub(super) fn vllm(
    of: &PodArm<'_>,
) -> Result<(Vec<String>, BTreeMap<String, String>), DeployError> {
    let stack = stack(of)?;
    let arm = in_the_engine(of.arm)?;
    let connector = connector(&arm, of.deployment, &stack, Some(DISK_FOLDER))?;
    let places = Places {
        scratch: "/tmp".into(),
        logs: "/tmp".into(),
        weights: weights(of),
        disk: DISK_FOLDER.into(),
        store: store_place(of)?,
        shared_memory: String::new(),
        lmcache: (0, 0),
    };
    let target = LocalTarget {
        vllm_args: of.target.vllm_args.clone(),
        env: of.target.env.clone(),
        ..LocalTarget::default()
    };
    let replica = VllmReplica {
        // Each pod sees its own accelerators, from number 0 on.
        index: 0,
        at: Listening {
            host: "0.0.0.0".to_owned(),
            port: PORT,
            events_bind: events_bind(),
            events_topic: events_topic(&of.deployment.model.name),
        },
        connector: connector.as_deref().map(|connector| connector as &dyn Connector),
        cores: None,
        threads: of.target.cpu as usize,
    };
    let (args, mut env) = vllm_command(&arm, of.deployment, &target, &stack, &places, &replica);
    // An arbitrary user has no home, and weights are kept on the volume.
    for (name, value) in [("HOME", "/tmp"), ("HF_HOME", MODELS_FOLDER)] {
        env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Ok((args, env))
}

fn stack(of: &PodArm<'_>) -> Result<Stack, DeployError> {
    let text = &of.deployment.vllm;
    let vllm = text.parse::<Version>().map_err(|problem| DeployError::Setting {
        key: "engine.vllm".to_owned(),
        problem: format!("{problem}; write the version of vLLM in the image"),
    })?;
    Ok(Stack {
        python: "python3".into(),
        vllm,
        vllm_text: text.clone(),
        lmcache: of.target.lmcache,
        platform: Platform::Gpu,
    })
}

/// LMCache's server is another pod, which shares memory with the engine.
fn in_the_engine(arm: &Arm) -> Result<Arm, DeployError> {
    if arm.processes.lmcache_mode == Some(LmcacheMode::Server) {
        return Err(DeployError::Unsupported {
            arm: arm.name.clone(),
            problem: "the kubernetes target runs LMCache inside vLLM only".to_owned(),
            remedy: "write `lmcache_mode: in-process`".to_owned(),
        });
    }
    let mut arm = arm.clone();
    arm.processes.lmcache_mode = Some(LmcacheMode::InProcess);
    Ok(arm)
}

fn weights(of: &PodArm<'_>) -> String {
    let volume = of.target.model_volume.as_ref();
    let path = volume.and_then(|volume| volume.path.as_deref());
    path.map_or_else(|| of.deployment.model.name.clone(), |path| format!("{MODELS_FOLDER}/{path}"))
}

fn store_place(of: &PodArm<'_>) -> Result<Option<StorePlace>, DeployError> {
    let Some(text) = of.store_address() else { return Ok(None) };
    let wrong = |problem: String| DeployError::Setting {
        key: format!("arms.{}.store.address", of.arm.name),
        problem,
    };
    let address: Address = text.parse().map_err(|error| wrong(format!("{error}")))?;
    let place = crate::remote::place_of(&address);
    let place = place.ok_or_else(|| wrong("LMCache needs redis://HOST:PORT".to_owned()))?;
    Ok(Some(place))
}
