//! What a verdict rests on, as values: claims, reasons, remedies and failures with their figures.
//!
//! The decision table (`weir-spec`) makes them, `weir-record` keeps them, `weir-report` words them.

mod claim;
mod failure;
mod note;
mod reason;
mod remedy;
mod shard;
mod unfit;

pub use claim::{Claim, Claimed};
pub use failure::{CellFailure, FailureCause, FailureReason, RowContradiction};
pub use note::{CacheNote, LoadNote, Note, RoutingNote, TierNote};
pub use reason::{
    FarthestTier, Inaction, OffloadReason, Reason, RoutingReason, TokenShare, Unseen,
};
pub use remedy::{CheckSetup, MakeAlike, Remedy};
pub use shard::{ShardCause, ShardFailure};
pub use unfit::{CountedTokens, LostKeys, STALLED_SHARE, ServedTokens, Silence, Stalled, Unfit};
