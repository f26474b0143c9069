//! What the driver tells a response: how many tokens are due, and how it ended.
//!
//! No text goes through here. A token is a function of its answer and its number, so a response
//! makes its frames itself when its peer is ready to take them: a slow reader costs one counter,
//! not a queue, and gets what it missed in one piece.

use std::cell::{Cell, RefCell};
use std::task::Waker;

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    /// All its tokens are due.
    Done,
    Refused,
}

/// One request, seen from its response. Shared between driver and response on one thread.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Names the request in the driver.
    pub(crate) tag: Cell<u64>,
    due: Cell<u32>,
    cached: Cell<u32>,
    progress: Cell<Progress>,
    refusal: RefCell<String>,
    /// Whether the response wants to hear of each token, or of the end alone.
    streams: bool,
    waker: RefCell<Option<Waker>>,
}

impl Flow {
    pub(super) fn new(streams: bool) -> Self {
        Self {
            tag: Cell::new(u64::MAX),
            due: Cell::new(0),
            cached: Cell::new(0),
            progress: Cell::new(Progress::Running),
            refusal: RefCell::default(),
            streams,
            waker: RefCell::default(),
        }
    }

    /// Tokens that may be sent.
    pub(crate) fn due(&self) -> u32 {
        self.due.get()
    }

    /// Prompt tokens that came from caches, known with the first token.
    pub(crate) fn cached(&self) -> u32 {
        self.cached.get()
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.get()
    }

    /// Why the engine refused it.
    pub(crate) fn refusal(&self) -> String {
        self.refusal.borrow().clone()
    }

    /// Asks to be woken at the next token or at the end.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        match &*own {
            Some(known) if known.will_wake(waker) => {}
            _ => *own = Some(waker.clone()),
        }
    }

    pub(super) fn first_token(&self, cached: u32) {
        self.cached.set(cached);
    }

    pub(super) fn token(&self) {
        self.due.set(self.due.get() + 1);
        if self.streams {
            self.wake();
        }
    }

    pub(super) fn finish(&self) {
        self.progress.set(Progress::Done);
        self.wake();
    }

    pub(super) fn refuse(&self, why: String) {
        *self.refusal.borrow_mut() = why;
        self.progress.set(Progress::Refused);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
