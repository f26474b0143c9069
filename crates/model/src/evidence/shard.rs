//! Why a level that several processes generated has no result: the shard, and what it did.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::Nanos;

/// One failed shard fails the level: the others are another load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(deny_unknown_fields)]
#[error("shard {shard} of {of}, {agent}: {cause}")]
pub struct ShardFailure {
    /// From 0.
    pub shard: u32,
    pub of: u32,
    /// Address of the agent.
    pub agent: String,
    pub cause: ShardCause,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ShardCause {
    #[error("no answer for {silent} ({problem}); see whether the agent still runs")]
    Lost { silent: Nanos, problem: String },
    #[error("it was not ready {waited} after the order; give it more CPU time")]
    NotReady { waited: Nanos },
    #[error(
        "it confirmed the common start {late} too late; \
         look at the network between field and agent"
    )]
    ConfirmedLate { late: Nanos },
    #[error("it began {late} after the common start (at most {most} is allowed); free its CPUs")]
    BegunLate { late: Nanos, most: Nanos },
    /// Of its control group, during the load.
    #[error("its CPU quota throttled it in {periods} periods; raise or remove the limit")]
    Throttled { periods: u64 },
    /// In its control group, during the load.
    #[error("the kernel killed {kills} processes beside it for memory; raise the memory limit")]
    OutOfMemory { kills: u64 },
    #[error("it is version {there}, and this is {here}; use one version")]
    OtherVersion { here: String, there: String },
    #[error("it read another order than was sent; use one build of Weir")]
    OtherOrder,
    /// In the agent's own words.
    #[error("{0}")]
    Refused(String),
    #[error(
        "request {request} is not of this shard, or asked another prompt than planned; \
         use one build of Weir"
    )]
    OtherRows { request: u64 },
    #[error("its rows came with another checksum; check the network and run the level again")]
    Damaged,
}
