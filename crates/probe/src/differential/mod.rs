//! Runs that differ by one part each, and the bounds that follow from their differences.

mod behind;
mod bounds;
mod clash;
mod copy;
mod device;
mod raw;

pub use behind::Behind;
pub use bounds::{Bounds, FileReads, Inside, Layer, Layers, PartTime, TimeShare, bounds};
pub use clash::{Clash, RunKind};
pub use copy::{CopySource, copy_run};
pub use device::{Device, DeviceWork};
pub use raw::{RawRun, raw_run};

use weir_model::Nanos;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlainRun {
    /// All threads together.
    pub s_per_gb: f64,
    /// CPU seconds of this process per GB.
    pub client_cpu_s_per_gb: f64,
}

#[derive(Debug, Clone, Copy)]
struct Moved {
    bytes: u64,
    seconds: f64,
    cpu: Nanos,
}

impl PlainRun {
    /// None when no byte was moved.
    fn of(threads: &[Moved]) -> Option<Self> {
        let moving = threads.iter().filter(|one| one.seconds > 0.0);
        let rate: f64 = moving.map(|one| one.bytes as f64 / one.seconds).sum();
        let bytes: u64 = threads.iter().map(|one| one.bytes).sum();
        let cpu: Nanos = threads.iter().map(|one| one.cpu).sum();
        (bytes > 0 && rate > 0.0).then(|| Self {
            s_per_gb: 1e9 / rate,
            client_cpu_s_per_gb: cpu.as_secs_f64() / (bytes as f64 / 1e9),
        })
    }
}
