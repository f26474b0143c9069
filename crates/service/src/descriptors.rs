//! Enough file descriptors for the sockets of a process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[derive(Debug, thiserror::Error)]
#[error("{needed} file descriptors are needed, and the limit is {limit}; raise it (ulimit -n)")]
pub struct DescriptorError {
    pub needed: u64,
    pub limit: u64,
}

/// Raises the soft limit of open files to what is needed. None: as far as possible, which never
/// fails; beyond the limit, sockets fail one by one.
pub fn raise_descriptor_limit(needed: Option<u64>) -> Result<(), DescriptorError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (Some(soft), target) = (current, needed.or(maximum).unwrap_or(u64::MAX)) else {
        return Ok(());
    };
    if soft >= target {
        return Ok(());
    }
    if let (Some(limit), Some(needed)) = (maximum, needed)
        && limit < needed
    {
        return Err(DescriptorError { needed, limit });
    }
    let raised = Rlimit { current: Some(target), maximum };
    match setrlimit(Resource::Nofile, raised) {
        Err(_) if needed.is_some() => Err(DescriptorError { needed: target, limit: soft }),
        _ => Ok(()),
    }
}
