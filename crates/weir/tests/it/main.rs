//! Tests of the binary as its users call it.
