//! Progress of a request, shared with its response. A token is a function of its answer and index,
//! so a slow client costs a counter, not a queue of text.

use std::cell::{Cell, RefCell};
use std::task::Waker;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Done,
    Refused,
}

#[derive(Debug)]
pub(crate) struct RequestOutput {
    pub(crate) tag: Cell<u64>,
    due: Cell<u32>,
    cached: Cell<u32>,
    status: Cell<Status>,
    refusal: RefCell<String>,
    streams: bool,
    waker: RefCell<Option<Waker>>,
}

impl RequestOutput {
    pub(crate) fn new(streams: bool) -> Self {
        Self {
            tag: Cell::new(u64::MAX),
            due: Cell::new(0),
            cached: Cell::new(0),
            status: Cell::new(Status::Running),
            refusal: RefCell::default(),
            streams,
            waker: RefCell::default(),
        }
    }

    pub(crate) fn due(&self) -> u32 {
        self.due.get()
    }

    /// Known with the first token.
    pub(crate) fn cached(&self) -> u32 {
        self.cached.get()
    }

    pub(crate) fn status(&self) -> Status {
        self.status.get()
    }

    pub(crate) fn refusal(&self) -> String {
        self.refusal.borrow().clone()
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let mut registered = self.waker.borrow_mut();
        match &*registered {
            Some(known) if known.will_wake(waker) => {}
            _ => *registered = Some(waker.clone()),
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
        self.status.set(Status::Done);
        self.wake();
    }

    pub(super) fn refuse(&self, why: String) {
        *self.refusal.borrow_mut() = why;
        self.status.set(Status::Refused);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
