//! Integration tests of the engine.

mod abort;
mod fixture;
mod mechanisms;
mod plain_pool;
mod pool_equivalence;
mod scheduling;
