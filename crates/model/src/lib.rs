//! The vocabulary of Weir: units, model shapes, accelerators, symbolic prompts, block hashes,
//! requests, KV events, stores, offload mechanisms, signals, verdicts and their evidence.
//!
//! It has no I/O, clock, async or global state; every other crate may use it.

pub mod accelerator;
pub mod answers;
pub mod block;
pub mod certificate;
pub mod error_cause;
pub mod evidence;
pub mod fact;
pub mod kv_event;
pub mod kv_layers;
pub mod loaded_from;
pub mod mechanism;
pub mod prefix_tree;
pub mod product;
pub mod prompt;
pub mod quantity;
pub mod request;
pub mod shape;
pub mod signal;
pub mod slots;
pub mod step;
pub mod tier_kind;
pub mod units;
pub mod verdict;
pub mod window;
mod words;

pub use accelerator::{Accelerator, KernelFit};
pub use answers::AnswerFacts;
pub use certificate::{Certificate, Lateness, Refusal, Spread};
pub use error_cause::{Attributed, ErrorCause};
pub use evidence::{
    CacheNote, CellFailure, CheckSetup, Claim, Claimed, CountedTokens, FailureCause, FailureReason,
    FarthestTier, Inaction, LoadNote, LostKeys, MakeAlike, Note, OffloadReason, Reason, Remedy,
    RoutingNote, RoutingReason, RowContradiction, STALLED_SHARE, ServedTokens, ShardCause,
    ShardFailure, Silence, Stalled, TierNote, TokenShare, Unfit, Unseen,
};
pub use fact::{
    ArmArgument, ComparedWith, Differing, FactDifference, FactKind, FactSource, FactValue,
    RunningFact, RunningFacts,
};
pub use kv_event::{KvChange, KvEvent};
pub use kv_layers::{KvKind, KvLayers};
pub use loaded_from::{COLD_SHARE, HeldIn, LoadedFrom};
pub use mechanism::{Mechanism, MechanismTraits, Software};
pub use product::{OTHER_PRODUCT, Product, ProductTraits};
pub use prompt::{ContentId, Piece, Prompt};
pub use request::{ChoiceHits, Outcome, Request, RequestRow};
pub use shape::ModelShape;
pub use signal::{Signal, SignalKind, SignalSource, Signals};
pub use slots::{SlotKey, Slots};
pub use step::StepRow;
pub use tier_kind::TierKind;
pub use units::{Bytes, Nanos, Tokens};
pub use verdict::{OverheadReason, Verdict, VoidReason};
pub use window::Window;
