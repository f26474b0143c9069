//! Integration tests of the live server.

// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

/// A plain HTTP client, and servers to ask.
mod client;
/// Real clients, where they are installed.
mod clients;
mod fixture;
/// The interner against a naive one.
mod interner;
/// The driver against the simulator.
mod live_equals_simulated;
/// Offload mechanisms whose bytes really move.
mod mover;
/// What is refused, and in which words.
mod refusals;
/// Clients that leave, servers that stop.
mod vanishing;
/// Frames and bodies as a real vLLM 0.32 wrote them.
mod wire;
