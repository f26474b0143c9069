//! Integration tests of the tiers.

mod memory;
