//! A run told in words.

use std::collections::BTreeMap;

use weir_engine::{LoadMode, Mechanism, OffloadConfig};
use weir_model::{Bytes, Claim, OverheadReason, SignalKind, Verdict};
use weir_report::comparison::Comparison;
use weir_report::explanation::{Scope, Told, explain};
use weir_report::oracle::{AnswerCount, judge};
use weir_report::results::Results;
use weir_spec::plan::{Plan, Target};

use crate::fixture;

const ENGINE: &str = "vLLM's /metrics (vllm:prompt_tokens_by_source_total)";

fn plan() -> Plan {
    let mut deployment = fixture::deployment();
    let offload = OffloadConfig {
        mechanism: Mechanism::Lmcache,
        chunk_tokens: 256,
        prompt_only: false,
        load: LoadMode::BeforeScheduling,
        store_cost_per_chunk: weir_model::Nanos::ZERO,
        copies_per_chunk: 36,
        tiers: vec![weir_engine::TierConfig {
            kind: weir_model::TierKind::Host,
            capacity: Bytes::from_gib(64),
            ..weir_engine::TierConfig::default()
        }],
        store: None,
    };
    for arm in [2, 3] {
        deployment.arms[arm].offload = Some(offload.clone());
    }
    Plan { target: Target::Local(Box::default()), ..fixture::plan_of(deployment, 2) }
}
