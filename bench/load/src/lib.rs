//! What the benchmark's binaries share: clocks, the machine, and the form of the mock's log.

pub mod clock;
pub mod machine;
pub mod truth;
