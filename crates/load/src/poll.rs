//! One wait for sockets, due times and other threads.

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

const TIMER: u64 = u64::MAX;
const CALL: u64 = u64::MAX - 1;

#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Fails only when a wake is already pending.
    pub(crate) fn wake(&self) {
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Due times use a timer descriptor, because kernels before 5.11 round the wait's time-out up to
/// milliseconds.
pub(crate) struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    call: Waker,
    events: Vec<epoll::Event>,
    /// Registered sockets. The event list is longer, so an unreported socket was empty.
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

    /// Ends with an event or at `until`. `at_once` does not wait.
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
            // The struct is packed: fields are copied, not borrowed.
            let (flags, data) = (event.flags, event.data);
            match data.u64() {
                TIMER => self.armed = None,
                CALL => {
                    let mut count = [0u8; 8];
                    // Empty if the last read also took another thread's wake.
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

    /// A timer that fires too early costs one turn, so it is set only if the armed time is too
    /// late.
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
