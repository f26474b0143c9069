//! Integration tests of the tier policies.

mod chunk_equivalence;
mod keyed_equivalence;
mod plain_cache;
