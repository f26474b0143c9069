//! Agents in this process against fields of this process, over sockets.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, but not the functions that they call"
)]

mod bed;
mod faults;
mod levels;
