//! Shared by the benchmark's binaries: clocks, the machine, and the form of the mock's log.

pub mod clock;
pub mod machine;
pub mod truth;
