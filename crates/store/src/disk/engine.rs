//! The engine of a disk tier, probed once when the tier is opened, and recorded.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use crate::slab::{ALIGNMENT, Slab};
use crate::tier::TierFault;

use super::error::DiskError;
use super::flight::{Flights, Lane, Table, Tag};
use super::ring::RingLane;
use super::threads::ThreadPool;
use super::{DiskOptions, EngineChoice};

/// Unless one block is larger: bounce buffers should not exceed the tier's own memory.
const BOUNCE_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    IoUring,
    Threads,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEngine {
    pub kind: EngineKind,
    pub why: String,
    pub direct: bool,
    /// Whether the slab's memory is registered with the kernel; otherwise the reason.
    pub fixed_buffers: Result<(), String>,
    pub depth: u16,
}

impl fmt::Display for DiskEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            EngineKind::IoUring => "io_uring",
            EngineKind::Threads => "threads",
        };
        let direct = if self.direct { "O_DIRECT" } else { "page cache" };
        write!(f, "{kind} ({}), {direct}, depth {}, ", self.why, self.depth)?;
        match &self.fixed_buffers {
            Ok(()) => f.write_str("fixed buffers"),
            Err(why) => write!(f, "no fixed buffers ({why})"),
        }
    }
}

#[derive(Debug)]
pub(super) struct IoContext {
    pub(super) lane: Lane,
    pub(super) table: Table,
    pub(super) bounce: Option<Arc<Slab>>,
}

impl IoContext {
    fn new(lane: Lane) -> Self {
        let table = Table::new(lane.depth());
        Self { lane, table, bounce: None }
    }
}

/// As many calls run at once as there are contexts; the others wait.
#[derive(Debug)]
pub(super) struct IoContexts {
    free: Mutex<Free>,
    returned: Condvar,
    waiting_max: usize,
    /// Dropped with the contexts, which ends the threads.
    _threads: Option<ThreadPool>,
}

#[derive(Debug)]
struct Free {
    contexts: Vec<IoContext>,
    waiting: usize,
}

impl IoContexts {
    pub(super) fn open(
        options: &DiskOptions,
        file: &Arc<File>,
        direct: bool,
    ) -> Result<(Self, DiskEngine), DiskError> {
        let ring = match options.engine {
            EngineChoice::Threads => Err("threads were asked for".to_owned()),
            EngineChoice::Auto | EngineChoice::IoUring => rings(options, file),
        };
        let (depth, lanes) = (usize::from(options.depth), usize::from(options.lanes));
        match ring {
            Ok(rings) => {
                let fixed_buffers = fixed(options, &rings);
                let why = "the kernel has it".to_owned();
                let contexts = rings
                    .into_iter()
                    .map(|ring| IoContext::new(Lane::Ring(Box::new(ring))))
                    .collect();
                let kind = EngineKind::IoUring;
                let engine = DiskEngine { kind, why, direct, fixed_buffers, depth: options.depth };
                Ok((Self::new(contexts, options, None), engine))
            }
            Err(problem) if options.engine == EngineChoice::IoUring => {
                Err(DiskError::NoRing { path: options.folder.clone(), problem })
            }
            Err(why) => {
                let pool = ThreadPool::new(file, lanes, depth)
                    .map_err(|source| DiskError::Thread { path: options.folder.clone(), source })?;
                let contexts =
                    pool.lanes().map(|lane| IoContext::new(Lane::Threads(lane))).collect();
                let fixed_buffers = Err("only io_uring has them".to_owned());
                let kind = EngineKind::Threads;
                let engine = DiskEngine { kind, why, direct, fixed_buffers, depth: options.depth };
                Ok((Self::new(contexts, options, Some(pool)), engine))
            }
        }
    }

    fn new(contexts: Vec<IoContext>, options: &DiskOptions, threads: Option<ThreadPool>) -> Self {
        let free = Mutex::new(Free { contexts, waiting: 0 });
        let waiting_max = usize::from(options.waiting_max);
        Self { free, returned: Condvar::new(), waiting_max, _threads: threads }
    }

    /// Waits for a free context until the deadline.
    pub(super) fn with<R>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&mut IoContext) -> R,
    ) -> Result<R, TierFault> {
        let mut guard = Return { contexts: self, context: Some(self.take(deadline)?) };
        let context = guard.context.as_mut().expect("it is there until the guard is dropped");
        Ok(work(context))
    }

    fn take(&self, deadline: Instant) -> Result<IoContext, TierFault> {
        let mut free = self.free.lock();
        if let Some(context) = free.contexts.pop() {
            return Ok(context);
        }
        if free.waiting >= self.waiting_max {
            return Err(TierFault::Busy);
        }
        free.waiting += 1;
        loop {
            if let Some(context) = free.contexts.pop() {
                free.waiting -= 1;
                return Ok(context);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                free.waiting -= 1;
                return Err(TierFault::Timeout);
            }
            self.returned.wait_for(&mut free, left);
        }
    }
}

/// Returns a context, also when its call panics.
struct Return<'b> {
    contexts: &'b IoContexts,
    context: Option<IoContext>,
}

impl Drop for Return<'_> {
    fn drop(&mut self) {
        if let Some(context) = self.context.take() {
            self.contexts.free.lock().contexts.push(context);
            self.contexts.returned.notify_one();
        }
    }
}

fn rings(options: &DiskOptions, file: &Arc<File>) -> Result<Vec<RingLane>, String> {
    let refused = |errno: Errno| match errno {
        Errno::PERM | Errno::ACCESS => format!(
            "{errno}: io_uring is denied here (a container's seccomp profile, or the sysctl \
             kernel.io_uring_disabled)"
        ),
        Errno::NOSYS => format!("{errno}: the kernel has no io_uring"),
        Errno::NOMEM => format!("{errno}: raise the limit on locked memory (ulimit -l)"),
        errno => format!("io_uring refused: {errno}"),
    };
    let depth = usize::from(options.depth);
    let ring = || RingLane::new(file, options.slab.as_ref(), depth).map_err(refused);
    let mut rings = vec![try_out(ring()?).map_err(refused)?];
    for _ in 1..options.lanes {
        rings.push(ring()?);
    }
    Ok(rings)
}

/// Reads one page: an old kernel or a filter may support rings but not this request.
fn try_out(ring: RingLane) -> Result<RingLane, Errno> {
    let block = Slab::new(1, ALIGNMENT).ok().and_then(|slab| slab.take()).ok_or(Errno::NOMEM)?;
    let mut context = IoContext::new(Lane::Ring(Box::new(ring)));
    let mut flights = Flights::new(&mut context.lane, &mut context.table);
    flights.read_bounce(block, None, 0, Tag::default())?;
    let ended = flights.wait().map_or(Err(Errno::IO), |landed| landed.ended);
    drop(flights);
    match (ended, context.lane) {
        (Ok(_), Lane::Ring(ring)) => Ok(*ring),
        (Err(errno), _) => Err(errno),
        (Ok(_), Lane::Threads(_)) => Err(Errno::NOSYS),
    }
}

fn fixed(options: &DiskOptions, rings: &[RingLane]) -> Result<(), String> {
    if options.slab.is_none() {
        return Err("no slab was given".to_owned());
    }
    match rings.iter().find(|ring| !ring.has_fixed_buffers()) {
        None => Ok(()),
        Some(ring) => {
            let errno = ring.refused_buffers().unwrap_or(Errno::IO);
            Err(format!("{errno}: raise the limit on locked memory (ulimit -l)"))
        }
    }
}

pub(super) fn bounce_slab(depth: usize, stride: usize) -> Option<Arc<Slab>> {
    let blocks = (BOUNCE_BYTES_MAX / stride).clamp(1, depth);
    Slab::new(blocks as u32, stride).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn contexts(options: &DiskOptions) -> IoContexts {
        let file = Arc::new(tempfile::tempfile().expect("a scratch file"));
        IoContexts::open(options, &file, false).expect("threads can always be had").0
    }

    #[test]
    fn who_finds_no_berth_waits_until_the_deadline_or_is_turned_away() {
        let mut options = DiskOptions::new("unused", 1, 4096);
        (options.engine, options.lanes, options.depth) = (EngineChoice::Threads, 1, 1);
        let soon = || Instant::now() + Duration::from_millis(10);
        let patient = contexts(&options);
        let inner = patient.with(soon(), |_| patient.with(soon(), |_| ()).unwrap_err());
        assert_eq!(inner, Ok(TierFault::Timeout));
        options.waiting_max = 0;
        let busy = contexts(&options);
        let far = Instant::now() + Duration::from_mins(1);
        assert_eq!(busy.with(far, |_| busy.with(far, |_| ()).unwrap_err()), Ok(TierFault::Busy));
        assert_eq!(busy.with(far, |_| ()), Ok(()), "the context came back");
    }

    #[test]
    fn a_berth_comes_back_from_a_call_that_panics() {
        let mut options = DiskOptions::new("unused", 1, 4096);
        (options.engine, options.lanes, options.depth) = (EngineChoice::Threads, 1, 1);
        let contexts = contexts(&options);
        let far = Instant::now() + Duration::from_mins(1);
        let call = std::panic::AssertUnwindSafe(|| contexts.with(far, |_| panic!("on purpose")));
        assert!(std::panic::catch_unwind(call).is_err());
        assert_eq!(contexts.with(far, |_| ()), Ok(()));
    }
}
