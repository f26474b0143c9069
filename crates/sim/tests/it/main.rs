//! Integration tests of the simulated world.

mod fixture;
mod invariants;
mod live;
