//! What a tier with files waits for when it does not compute.

use serde::Serialize;
use weir_model::{HeldIn, LoadedFrom};

use crate::origin::TierOrigin;

/// Source or destination of file accesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behind {
    Device,
    PageCache,
    /// Both: partly, or a page cache that writes back later.
    DeviceAndPageCache,
    Memory,
    /// Accesses are not counted.
    Uncounted,
}

impl Behind {
    pub fn of_loads(from: LoadedFrom) -> Self {
        match from {
            LoadedFrom::Memory => Self::Memory,
            LoadedFrom::PageCache => Self::PageCache,
            LoadedFrom::Device { .. } if from.is_cold() => Self::Device,
            LoadedFrom::Device { .. } | LoadedFrom::Unknown => Self::DeviceAndPageCache,
        }
    }

    pub(crate) fn of_folder(origin: TierOrigin, loads: Option<LoadedFrom>) -> Self {
        match (origin.held, loads) {
            (HeldIn::Memory, _) => Self::Memory,
            (HeldIn::Uncounted, _) => Self::Uncounted,
            (HeldIn::Device, _) if origin.direct => Self::Device,
            (HeldIn::Device, Some(from)) => Self::of_loads(from),
            (HeldIn::Device, None) => Self::DeviceAndPageCache,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::PageCache => "page cache",
            Self::DeviceAndPageCache => "device and page cache",
            Self::Memory => "file system in memory",
            Self::Uncounted => "file system",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::BlockReader;

    #[test]
    fn a_device_is_named_only_where_it_was_reached() {
        let cold = LoadedFrom::Device { percent: 97.0 };
        let warm = LoadedFrom::Device { percent: 3.0 };
        for (held, direct, loads, behind) in [
            (HeldIn::Device, true, Some(cold), Behind::Device),
            (HeldIn::Device, true, None, Behind::Device),
            (HeldIn::Device, false, Some(cold), Behind::Device),
            (HeldIn::Device, false, Some(warm), Behind::DeviceAndPageCache),
            (HeldIn::Device, false, Some(LoadedFrom::PageCache), Behind::PageCache),
            (HeldIn::Device, false, None, Behind::DeviceAndPageCache),
            // A file system in memory may accept `O_DIRECT`.
            (HeldIn::Memory, true, Some(LoadedFrom::Memory), Behind::Memory),
            (HeldIn::Uncounted, true, Some(LoadedFrom::Unknown), Behind::Uncounted),
        ] {
            let origin = TierOrigin { held, reader: BlockReader::Own, direct };
            assert_eq!(Behind::of_folder(origin, loads), behind);
        }
        assert_eq!(Behind::of_loads(LoadedFrom::Unknown).name(), "device and page cache");
    }
}
