//! What the plan expects of an arm's software.

use std::collections::BTreeMap;

use weir_model::{FactKind, FactValue, OTHER_PRODUCT, Software, TierKind};

use super::arguments;
use crate::plan::{Arm, Deployment, LiveTarget, PoolSize, Target};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    OneOf(Vec<FactValue>),
    /// A type of so many bytes.
    Bytes(u32),
    /// `LMCache`'s adapter to this tier, or none behind host memory.
    SecondLevel(Option<TierKind>),
    /// Only these connectors, or any of them where there are several.
    Connectors(&'static [&'static str]),
}

/// Of any release.
const NATIVE: &[&str] = &["OffloadingConnector", "SimpleCPUOffloadConnector"];
const LMCACHE: &[&str] = &["LMCacheMPConnector", "LMCacheConnectorV1", "LMCacheConnector"];

const STORE_ADAPTER: &str = "resp";
const DISK_ADAPTER: &str = "fs";

impl Expected {
    fn is(value: FactValue) -> Self {
        Self::OneOf(vec![value])
    }

    /// Unknown values are admitted.
    pub(super) fn admits(&self, value: &FactValue) -> bool {
        match (self, value) {
            (Self::OneOf(values), value) => values.contains(value),
            (Self::Bytes(bytes), FactValue::Text(dtype)) => {
                width(dtype).is_none_or(|width| width == *bytes)
            }
            (Self::SecondLevel(tier), FactValue::Words(names)) => {
                let is_store = names.iter().any(|name| name == STORE_ADAPTER);
                match tier {
                    Some(TierKind::Remote) => is_store,
                    Some(_) => !is_store,
                    None => names.is_empty(),
                }
            }
            (Self::Connectors([]), FactValue::Words(names)) => names.is_empty(),
            (Self::Connectors(known), FactValue::Words(names)) => {
                names.iter().any(|name| known.contains(&name.as_str()))
            }
            _ => true,
        }
    }

    pub(super) fn value(&self) -> FactValue {
        match self {
            Self::OneOf(values) => values.first().cloned().unwrap_or(FactValue::Words(Vec::new())),
            Self::Bytes(1) => FactValue::text("fp8"),
            Self::Bytes(2) => FactValue::text("bfloat16 or float16"),
            Self::Bytes(_) => FactValue::text("float32"),
            Self::SecondLevel(tier) => FactValue::Words(match tier {
                Some(TierKind::Remote) => vec![STORE_ADAPTER.to_owned()],
                Some(_) => vec![DISK_ADAPTER.to_owned()],
                None => Vec::new(),
            }),
            Self::Connectors(known) => {
                FactValue::Words(known.first().iter().map(|name| (**name).to_owned()).collect())
            }
        }
    }
}

/// None for types that Weir does not know.
fn width(dtype: &str) -> Option<u32> {
    match dtype {
        "float32" | "float" => Some(4),
        "float16" | "half" | "bfloat16" => Some(2),
        _ if dtype.starts_with("fp8") || dtype.starts_with("int8") => Some(1),
        _ => None,
    }
}

/// Facts that the file's arguments decide are those of the arguments; comparisons with other arms
/// show whether they fit.
pub(super) fn of(
    target: &Target,
    deployment: &Deployment,
    arm: &Arm,
) -> BTreeMap<FactKind, Expected> {
    let mut expected = BTreeMap::new();
    match target {
        Target::Live(LiveTarget::Local(local)) => {
            of_vllm((deployment, arm), &local.vllm_args, &mut expected);
            if local.dtype.is_some() {
                expected.remove(&FactKind::KvDtype);
            }
        }
        Target::Live(LiveTarget::Kubernetes(kubernetes)) if kubernetes.emulated.is_none() => {
            of_vllm((deployment, arm), &kubernetes.vllm_args, &mut expected);
        }
        Target::Live(LiveTarget::Endpoint(_)) => {
            let caching = FactValue::Flag(deployment.engine.prefix_caching);
            expected.insert(FactKind::PrefixCaching, Expected::is(caching));
            let bytes = deployment.model.kv_bytes_per_element;
            expected.insert(FactKind::KvDtype, Expected::Bytes(bytes));
            mechanism(arm, &mut expected);
        }
        Target::Live(LiveTarget::Emulated(_) | LiveTarget::Kubernetes(_)) | Target::Simulated => {}
    }
    store(arm, &mut expected);
    expected
}

/// `given` are the arguments of all arms.
fn of_vllm(
    (deployment, arm): (&Deployment, &Arm),
    given: &[String],
    expected: &mut BTreeMap<FactKind, Expected>,
) {
    engine(deployment, expected);
    mechanism(arm, expected);
    expected.extend(host_bytes(arm).map(|bytes| (FactKind::HostBytes, bytes)));
    let given = given.iter().chain(&arm.processes.vllm_args).cloned();
    let given = arguments::by_flag(&given.collect::<Vec<_>>());
    for flag in given.keys() {
        for kind in arguments::decides(flag) {
            expected.remove(kind);
        }
    }
    if arm.offload.is_some() && given.contains_key(arguments::CONNECTOR) {
        expected.remove(&FactKind::Connector);
    }
}

fn engine(deployment: &Deployment, expected: &mut BTreeMap<FactKind, Expected>) {
    let engine = &deployment.engine;
    let count = |count: u32| FactValue::Count(u64::from(count));
    let mut is = |kind, value| expected.insert(kind, Expected::is(value));
    is(FactKind::PrefixCaching, FactValue::Flag(engine.prefix_caching));
    is(FactKind::MaxSequences, count(engine.max_num_seqs));
    is(FactKind::MaxBatchedTokens, count(engine.max_num_batched_tokens));
    is(FactKind::MaxModelLen, count(engine.max_model_len));
    is(FactKind::TensorParallel, count(deployment.tensor_parallel));
    is(FactKind::ServedModel, FactValue::text(&deployment.model.name));
    if deployment.pool == PoolSize::Given {
        // vLLM never gives out its first block.
        is(FactKind::Blocks, count(engine.blocks + 1));
    }
    // Blocks that hold states are longer than the configured size.
    let sizes = [deployment.vllm_block_size, engine.block_size].map(count);
    expected.insert(FactKind::BlockSize, Expected::OneOf(sizes.into()));
    let bytes = Expected::Bytes(deployment.model.kv_bytes_per_element);
    expected.insert(FactKind::KvDtype, bytes);
}

fn mechanism(arm: &Arm, expected: &mut BTreeMap<FactKind, Expected>) {
    let Some(offload) = &arm.offload else {
        expected.insert(FactKind::Connector, Expected::Connectors(&[]));
        return;
    };
    let connectors = match offload.traits().software {
        Software::Vllm => NATIVE,
        Software::Lmcache => {
            let chunk = FactValue::Count(u64::from(offload.chunk_tokens));
            expected.insert(FactKind::ChunkTokens, Expected::is(chunk));
            let behind = offload.farthest().filter(|tier| *tier != TierKind::Host);
            expected.insert(FactKind::SecondLevel, Expected::SecondLevel(behind));
            LMCACHE
        }
    };
    expected.insert(FactKind::Connector, Expected::Connectors(connectors));
}

/// Host memory of vLLM's own connector, which gets the sum over its ranks. Arms that set it up
/// themselves are judged by their `bytes` too.
fn host_bytes(arm: &Arm) -> Option<Expected> {
    let offload = arm.offload.as_ref().filter(|of| of.traits().software == Software::Vllm)?;
    let host = offload.tiers.iter().find(|tier| tier.kind == TierKind::Host)?;
    Some(Expected::is(FactValue::Count(host.capacity.0)))
}

/// The product of the arm's store. Another known product contradicts it; an unknown one may be a
/// build of it under another name.
fn store(arm: &Arm, expected: &mut BTreeMap<FactKind, Expected>) {
    let Some(store) = arm.offload.as_ref().and_then(|offload| offload.store.as_ref()) else {
        return;
    };
    let values = [store.product.name(), OTHER_PRODUCT].map(FactValue::text);
    expected.insert(FactKind::StoreProduct, Expected::OneOf(values.into()));
}
