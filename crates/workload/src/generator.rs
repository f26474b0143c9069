//! Generators: endless sources of sessions, drawn from a seed.
//!
//! A session is a pure function of (configuration, seed, index); only `seen_tokens` needs to know
//! which shared content earlier sessions asked for.

pub mod agentic;
pub mod long_context;
pub mod shared_prefix;

mod context;
