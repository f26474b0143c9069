//! Integration tests of the router.

#[macro_use]
mod suite;
mod indexes;
mod keyed;
mod policies;
mod reference;
