//! Which cores a thread runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

#[derive(Debug, thiserror::Error)]
#[error("cannot pin a thread to core {core}: {source}; choose a core of this machine")]
pub struct PinError {
    pub core: usize,
    pub source: io::Error,
}

/// Cores that the calling thread may use; empty if unknown.
pub fn allowed_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Keeps the calling thread, and those that it starts, on all of these cores.
pub fn pin_thread(cores: &[usize]) -> Result<(), PinError> {
    let refused = |core: usize, source: io::Error| PinError { core, source };
    let mut set = CpuSet::new();
    for core in cores {
        if *core >= CpuSet::MAX_CPU {
            return Err(refused(*core, io::ErrorKind::InvalidInput.into()));
        }
        set.set(*core);
    }
    let first = cores.first().copied().unwrap_or_default();
    sched_setaffinity(None, &set).map_err(|error| refused(first, error.into()))?;
    // The system silently drops cores that are not there.
    let got = sched_getaffinity(None).map_err(|error| refused(first, error.into()))?;
    let absent = cores.iter().find(|core| !got.is_set(**core));
    absent.map_or(Ok(()), |core| Err(refused(*core, io::ErrorKind::InvalidInput.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_pinned() {
        let all = allowed_cores();
        let pinned = std::thread::spawn(move || {
            pin_thread(&all[..1]).unwrap();
            (allowed_cores(), all[0])
        });
        let (now, first) = pinned.join().unwrap();
        assert_eq!(now, [first]);
    }

    #[test]
    fn cores_that_are_not_there_are_refused() {
        let absent = [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX];
        for core in absent.into_iter().filter(|core| !allowed_cores().contains(core)) {
            let refused = std::thread::spawn(move || pin_thread(&[core])).join().unwrap();
            assert_eq!(refused.unwrap_err().core, core);
        }
    }
}
