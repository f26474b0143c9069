//! Generators: endless sources of sessions, drawn from a seed.
//!
//! A session is a pure function of (configuration, seed, index). Only `seen_tokens` depends on
//! which shared content earlier sessions requested.

pub mod agentic;
pub mod long_context;
pub mod shared_prefix;

mod context;
