//! Waiting for sockets, for a due time and for another thread, in one call.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use weir_model::Nanos;

use crate::clock::Clock;

/// Key of the timer among the events.
const TIMER: u64 = u64::MAX;
/// Key of the call from other threads.
const CALL: u64 = u64::MAX - 1;

/// Wakes a worker from another thread.
#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Makes the worker's wait return. Fails only when a call is already waiting.
    pub(crate) fn wake(&self) {
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// A socket that has something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// One worker's epoll. Due times go through a timer descriptor, because a time-out of the wait
/// itself is rounded up to milliseconds on kernels before 5.11.
pub(crate) struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    call: Waker,
    events: Vec<epoll::Event>,
    /// Sockets registered; the list of events is always longer, so that a socket it does not name
    /// had nothing.
    sockets: usize,
    armed: Option<Nanos>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let call = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        for (fd, key) in [(timer.as_fd(), TIMER), (call.as_fd(), CALL)] {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?;
        }
        let call = Waker(Arc::new(call));
        Ok(Self { epoll, timer, call, events: Vec::new(), sockets: 0, armed: None })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.call.clone()
    }

    fn flags(writable: bool) -> epoll::EventFlags {
        let flags = epoll::EventFlags::IN;
        if writable { flags | epoll::EventFlags::OUT } else { flags }
    }

    pub(crate) fn add(&mut self, socket: impl AsFd, key: u64, writable: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        epoll::add(&self.epoll, socket, data, Self::flags(writable))?;
        self.sockets += 1;
        Ok(())
    }

    pub(crate) fn change(&self, socket: impl AsFd, key: u64, writable: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::modify(&self.epoll, socket, data, Self::flags(writable))?)
    }

    pub(crate) fn remove(&mut self, socket: impl AsFd) -> io::Result<()> {
        self.sockets -= 1;
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits until something is there or `until` has come. `at_once` only looks.
    pub(crate) fn wait(
        &mut self,
        clock: Clock,
        until: Option<Nanos>,
        at_once: bool,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        ready.clear();
        if !at_once {
            self.arm(clock, until)?;
        }
        self.events.clear();
        self.events.reserve(self.sockets + 3);
        let look = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = at_once.then_some(&look);
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, buffer, timeout) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in self.events.drain(..) {
            // The structure is packed: its fields are copied, not borrowed.
            let (flags, data) = (event.flags, event.data);
            match data.u64() {
                TIMER => self.armed = None,
                CALL => {
                    let mut count = [0u8; 8];
                    // Nothing to read means that somebody else's wake was read with the last one.
                    let _ = rustix::io::read(&*self.call.0, &mut count);
                }
                key => {
                    let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
                    ready.push(Ready {
                        key,
                        readable: broken || flags.contains(epoll::EventFlags::IN),
                        writable: broken || flags.contains(epoll::EventFlags::OUT),
                    });
                }
            }
        }
        Ok(())
    }

    /// Sets the timer if the armed time is not early enough. One that fires too early costs a turn.
    fn arm(&mut self, clock: Clock, until: Option<Nanos>) -> io::Result<()> {
        let Some(until) = until else { return Ok(()) };
        if self.armed.is_some_and(|armed| armed <= until) {
            return Ok(());
        }
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec { it_interval: once, it_value: clock.absolute(until) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &value)?;
        self.armed = Some(until);
        Ok(())
    }
}
