//! Integration tests of the engine.

mod plain_pool;
mod pool_equivalence;
mod scheduling;
