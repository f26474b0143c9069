//! Integration tests of the cluster.

mod behaviour;
mod external_io;
mod fixture;
mod invariants;
