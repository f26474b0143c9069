//! Tests of all outputs of results, over one small synthetic run.

// Functions beside the tests unwrap as the tests do; a failure there is the test's failure.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod benchmark_report;
mod comparison;
mod decision;
mod explanation;
mod exports;
mod figures;
mod fixture;
mod foreign;
mod likeness;
mod live;
mod oracle;
mod outputs;
mod precision;
mod prediction;
mod replicas;
mod runs;
mod streams;
