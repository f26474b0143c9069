//! `hardware`: a catalogue name such as `2x-l40s`, or an accelerator with figures of one's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

/// Accelerators of one replica, written out.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardwareSection {
    /// The accelerator's catalogue name: `l40s`.
    pub accelerator: String,
    /// How many a replica has.
    #[serde(default = "one")]
    pub count: u32,
    /// Name in paths and tables; `<count>x-<accelerator>` without it.
    pub name: Option<String>,
    /// Usable memory of one accelerator, GiB, where it is not the catalogue's.
    pub memory_gib: Option<f64>,
    /// Memory bandwidth, GB/s, where it is not the catalogue's.
    pub memory_gb_per_s: Option<f64>,
    /// Bandwidth of the host link, GB/s in one direction, where it is not the catalogue's.
    pub host_link_gb_per_s: Option<f64>,
}

const fn one() -> u32 {
    1
}
