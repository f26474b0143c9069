//! Integration tests of the cluster.

mod behaviour;
mod carried;
mod fixture;
mod invariants;
