//! Tests of everything that is written from results, over one small synthetic run.

mod comparison;
mod figures;
mod fixture;
mod outputs;
mod runs;
