//! Where loads came from: a device, or memory before it.
//!
//! The kernel counts for each process the bytes that it fetched from devices for it. Per byte
//! loaded they say whether a figure is one of a disk: 0 is the page cache's (or the store's own
//! memory's), 1 the device's, and above 1 more was read than was asked for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Share of the loaded bytes that a device must have given for a figure to be called cold.
pub const COLD_SHARE: f64 = 0.9;
/// Less than this rounds to nothing.
const NOTHING: f64 = 0.005;

/// What holds the bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldIn {
    /// Memory: no read of it reaches a device.
    Memory,
    /// A device, and the kernel counts who reads of it.
    Device,
    /// Something whose reads the kernel does not count.
    Uncounted,
}

/// Where the loads of a tier came from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum LoadedFrom {
    /// Memory: the tier's own, or a file system's that is in memory.
    Memory,
    /// Memory in front of a device: the page cache, or what a store caches itself.
    PageCache,
    Device {
        /// Percent of the loaded bytes, at most 100.
        percent: f64,
    },
    Unknown,
}

impl LoadedFrom {
    /// From what holds a tier's bytes, and the bytes read from a device per byte loaded.
    pub fn of(held: HeldIn, per_byte: Option<f64>) -> Self {
        match (held, per_byte) {
            (_, Some(share)) if share >= NOTHING => {
                Self::Device { percent: 100.0 * share.min(1.0) }
            }
            (HeldIn::Memory, _) => Self::Memory,
            (HeldIn::Device, Some(_)) => Self::PageCache,
            // What is not counted is not nothing.
            (HeldIn::Device, None) | (HeldIn::Uncounted, _) => Self::Unknown,
        }
    }

    /// Percent that a device gave; nothing where it is unknown.
    pub const fn device_percent(self) -> Option<f64> {
        match self {
            Self::Memory | Self::PageCache => Some(0.0),
            Self::Device { percent } => Some(percent),
            Self::Unknown => None,
        }
    }

    /// The word in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::PageCache => "page-cache",
            Self::Device { .. } => "device",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it may be called cold.
    pub fn is_cold(self) -> bool {
        self.device_percent().is_some_and(|percent| percent >= 100.0 * COLD_SHARE)
    }
}

impl fmt::Display for LoadedFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.pad("memory"),
            Self::PageCache => f.pad("page cache 100 %"),
            Self::Device { percent } => f.pad(&format!("device {percent:.0} %")),
            Self::Unknown => f.pad("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_counts_is_unknown_and_never_nothing() {
        let from = LoadedFrom::of;
        for (held, per_byte, words, cold) in [
            (HeldIn::Device, Some(0.0), "page cache 100 %", false),
            (HeldIn::Device, Some(0.031), "device 3 %", false),
            (HeldIn::Device, Some(0.95), "device 95 %", true),
            // Whole pages around what was asked for.
            (HeldIn::Device, Some(1.3), "device 100 %", true),
            (HeldIn::Device, None, "-", false),
            (HeldIn::Uncounted, Some(0.0), "-", false),
            (HeldIn::Uncounted, Some(0.5), "device 50 %", false),
            (HeldIn::Memory, None, "memory", false),
            (HeldIn::Memory, Some(0.0), "memory", false),
            // A store whose memory was swapped out.
            (HeldIn::Memory, Some(0.5), "device 50 %", false),
        ] {
            let found = from(held, per_byte);
            assert_eq!((found.to_string().as_str(), found.is_cold()), (words, cold));
        }
        assert_eq!(LoadedFrom::Unknown.device_percent(), None);
    }
}
