//! Enough file descriptors for the sockets of a load.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (Some(soft), target) = (current, needed.or(maximum).unwrap_or(u64::MAX)) else {
        return Ok(());
    };
    if soft >= target {
        return Ok(());
    }
    if let (Some(hard), Some(needed)) = (maximum, needed)
        && hard < needed
    {
        return Err(LoadError::Descriptors { needed, hard });
    }
    let raised = Rlimit { current: Some(target), maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Ok(()),
        // An open loop continues; requests without a descriptor fail.
        Err(_) if needed.is_none() => Ok(()),
        Err(_) => Err(LoadError::Descriptors { needed: target, hard: soft }),
    }
}
