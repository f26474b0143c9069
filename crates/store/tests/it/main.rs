//! Integration tests of the tiers.

// Clippy exempts only `#[test]` functions by itself, not their helpers.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod allocations;
mod blocks;
mod broken;
mod damage;
mod disk;
mod memory;
mod resp;
mod resp_allocations;
mod resp_cluster;
mod resp_faults;
mod resp_fixture;
mod resp_kvrocks;
mod resp_layout;
mod resp_protocol;
mod resp_proxy;
mod resp_rocksdb;
mod resp_secure;
mod resp_session;
mod server;
mod wrappers;
