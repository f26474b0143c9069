//! Integration tests of the router.

#[macro_use]
mod suite;
mod indexes;
mod policies;
mod reference;
