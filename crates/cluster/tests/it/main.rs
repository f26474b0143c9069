//! Integration tests of the cluster.

mod behaviour;
mod fixture;
mod invariants;
