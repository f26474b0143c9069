//! One load from several processes.
//!
//! An *agent* generates one shard of a level with the measured client. The *field* gives every
//! agent its order, agrees on a common start by their measured clocks, watches them, and merges
//! their rows and reports as one process would have made them. A level of which one shard failed
//! has no result.

mod agent;
mod channel;
mod collect;
mod desk;
mod dial;
mod error;
mod fetch_run;
mod field;
mod group;
mod level;
mod lobby;
mod local;
mod merge;
mod message;
mod offset;
mod order;
mod shard_run;
mod token;
mod wire;

pub use agent::{Agent, AgentEnd, AgentOptions};
pub use desk::{Desk, RunPhase, RunState};
pub use error::{AgentError, FieldError, OfferError};
pub use fetch_run::RunFetch;
pub use field::{Field, Offered, ShardRecord};
pub use group::GroupUse;
pub use level::{Division, FieldLevel, SourceOrder};
pub use order::{PromptMaker, PromptOrder};
pub use token::Token;
