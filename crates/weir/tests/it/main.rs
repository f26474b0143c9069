//! Tests of the binary: arguments in, exit code, output and files out.

// Clippy exempts tests by itself only inside `#[test]` functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod agents;
mod binary;
mod calibrate;
mod cases;
mod commands;
mod disk;
mod documents;
mod evidence;
mod examples;
mod explain;
mod failing;
mod faults;
mod folder;
mod image;
mod imports;
mod interruption;
mod kubernetes;
mod likeness;
mod live;
mod long;
mod probe;
mod probe_against;
mod probe_ended;
mod probe_origin;
mod probe_refusals;
mod probe_shared;
mod real;
mod refusals;
mod routing;
mod runs;
mod servers;
mod stalls;
mod tiers;
