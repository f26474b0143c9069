//! Enough file descriptors for the sockets of a load.

use weir_service::{DescriptorError, raise_descriptor_limit};

use crate::config::{LoadConfig, LoadShape};
use crate::error::LoadError;

/// For files, polls, timers and the caller.
const OTHERS: u64 = 64;

/// Raises the soft limit of open files to the load's need. Open loops, whose need is unknown, raise
/// it as far as possible.
pub(crate) fn make_room(config: &LoadConfig) -> Result<(), LoadError> {
    let needed = match config.load {
        LoadShape::Users { users, .. } => Some(u64::from(users) + OTHERS),
        LoadShape::Open(_) | LoadShape::SessionTimes => None,
    };
    raise_descriptor_limit(needed)
        .map_err(|DescriptorError { needed, limit }| LoadError::Descriptors { needed, hard: limit })
}
