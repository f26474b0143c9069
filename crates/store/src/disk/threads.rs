//! `pread` and `pwrite` threads without `io_uring`: one per request, shared by all calls.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use super::flight::{Ended, Request};

/// Threads end when this value is dropped; its lanes must be idle by then.
#[derive(Debug)]
pub(super) struct ThreadPool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    lanes: usize,
    depth: usize,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    work: Condvar,
}

#[derive(Debug)]
struct Waiting {
    requests: VecDeque<(Request, Arc<Landing>)>,
    over: bool,
}

#[derive(Debug)]
struct Landing {
    landed: Mutex<VecDeque<(u16, Ended)>>,
    arrived: Condvar,
}

#[derive(Debug)]
pub(super) struct ThreadLane {
    queue: Arc<Queue>,
    landing: Arc<Landing>,
    depth: usize,
}

impl ThreadPool {
    pub(super) fn new(file: &Arc<File>, lanes: usize, depth: usize) -> std::io::Result<Self> {
        let requests = VecDeque::with_capacity(2 * lanes * depth);
        let waiting = Mutex::new(Waiting { requests, over: false });
        let queue = Arc::new(Queue { waiting, work: Condvar::new() });
        let mut pool = Self { queue, threads: Vec::with_capacity(depth), lanes, depth };
        for number in 0..depth {
            let (queue, file) = (Arc::clone(&pool.queue), Arc::clone(file));
            let thread = std::thread::Builder::new()
                .name(format!("disk-{number}"))
                .spawn(move || queue.serve(&file))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// One lane per concurrent call. A lane may queue as many requests as are in flight, so that a
    /// thread continues without waiting for the caller to collect its last result.
    pub(super) fn lanes(&self) -> impl Iterator<Item = ThreadLane> {
        (0..self.lanes).map(|_| ThreadLane {
            queue: Arc::clone(&self.queue),
            landing: Arc::new(Landing {
                landed: Mutex::new(VecDeque::with_capacity(2 * self.depth)),
                arrived: Condvar::new(),
            }),
            depth: 2 * self.depth,
        })
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.queue.waiting.lock().over = true;
        self.queue.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread's panic has no further use here.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn serve(&self, file: &File) {
        loop {
            let mut waiting = self.waiting.lock();
            let (request, landing) = loop {
                if let Some(next) = waiting.requests.pop_front() {
                    break next;
                }
                if waiting.over {
                    return;
                }
                self.work.wait(&mut waiting);
            };
            drop(waiting);
            let ended = perform(file, &request);
            landing.landed.lock().push_back((request.token, ended));
            landing.arrived.notify_one();
        }
    }
}

impl ThreadLane {
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    #[expect(unsafe_code, reason = "memory is lent to a thread")]
    #[expect(clippy::unnecessary_wraps, reason = "the twin of the ring's, which can fail")]
    pub(super) unsafe fn start(&mut self, request: Request) -> Result<(), Errno> {
        self.queue.waiting.lock().requests.push_back((request, Arc::clone(&self.landing)));
        self.queue.work.notify_one();
        Ok(())
    }

    pub(super) fn poll(&mut self) -> Option<(u16, Ended)> {
        self.landing.landed.lock().pop_front()
    }

    pub(super) fn wait(&mut self) -> (u16, Ended) {
        let mut landed = self.landing.landed.lock();
        loop {
            if let Some(next) = landed.pop_front() {
                return next;
            }
            self.landing.arrived.wait(&mut landed);
        }
    }
}

fn perform(file: &File, request: &Request) -> Ended {
    let Request { write, offset, address, len, .. } = *request;
    loop {
        #[expect(unsafe_code, reason = "memory is lent to a thread")]
        // SAFETY: whoever started the request keeps the memory valid and does not touch it (or only
        // reads bytes being written) until the result has arrived.
        let ended = unsafe {
            if write {
                rustix::io::pwrite(file, std::slice::from_raw_parts(address, len), offset)
            } else {
                rustix::io::pread(file, std::slice::from_raw_parts_mut(address, len), offset)
            }
        };
        if ended != Err(Errno::INTR) {
            return ended;
        }
    }
}
