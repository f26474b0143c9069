//! Where loads came from: a device, or memory before it.
//!
//! The kernel counts the bytes that each process fetched from devices. Per byte loaded, 0 is the
//! page cache's (or the store's own memory's), 1 the device's, and above 1 more was read than
//! requested.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Share of the loaded bytes that a device must have served for a cold figure.
pub const COLD_SHARE: f64 = 0.9;
/// Less than this rounds to 0.
const NOTHING: f64 = 0.005;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldIn {
    /// No read of it reaches a device.
    Memory,
    /// The kernel counts the reads of each process.
    Device,
    /// The kernel does not count its reads.
    Uncounted,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum LoadedFrom {
    /// The tier's own, or that of a file system in memory.
    Memory,
    /// The page cache, or a store's own cache in front of a device.
    PageCache,
    Device {
        /// Of the loaded bytes, at most 100.
        percent: f64,
    },
    Unknown,
}

impl LoadedFrom {
    /// `per_byte` is bytes read from a device per byte loaded.
    pub fn of(held: HeldIn, per_byte: Option<f64>) -> Self {
        match (held, per_byte) {
            (_, Some(share)) if share >= NOTHING => {
                Self::Device { percent: 100.0 * share.min(1.0) }
            }
            (HeldIn::Memory, _) => Self::Memory,
            (HeldIn::Device, Some(_)) => Self::PageCache,
            // Uncounted is not zero.
            (HeldIn::Device, None) | (HeldIn::Uncounted, _) => Self::Unknown,
        }
    }

    /// None where it is unknown.
    pub const fn device_percent(self) -> Option<f64> {
        match self {
            Self::Memory | Self::PageCache => Some(0.0),
            Self::Device { percent } => Some(percent),
            Self::Unknown => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::PageCache => "page-cache",
            Self::Device { .. } => "device",
            Self::Unknown => "unknown",
        }
    }

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
            // Whole pages around the requested bytes.
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
