//! Tests with real vLLM, each of which waits for boots of it. `scripts/test` runs them one after
//! the other, beside all other tests.
//!
//! A boot is an arm of a local target, or a server of a test's own. The gate has seven in all:
//! five arms in `local.rs`, a killed Weir in `deaths.rs`, and the endpoint in `vllm.rs`. The rest
//! are long tests, see [`crate::long`].

mod deaths;
mod local;
mod vllm;
