//! `hardware`: a catalogue name such as `2x-l40s`, or an accelerator with figures of one's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Accelerators of one replica, written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardwareSection {
    /// The accelerator's catalogue name: `l40s`.
    pub accelerator: String,
    /// How many a replica has.
    #[serde(default = "one")]
    pub count: u32,
    /// Name in paths and tables; `<count>x-<accelerator>` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Usable memory of one accelerator, GiB, where it is not the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<f64>,
    /// Memory bandwidth, GB/s, where it is not the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gb_per_s: Option<f64>,
    /// Bandwidth of the host link, GB/s in one direction, where it is not the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_link_gb_per_s: Option<f64>,
}

const fn one() -> u32 {
    1
}
