//! Sessions under way: which turns are done, and which become due.

use weir_model::Nanos;

use crate::session::Session;

/// A session's place among those under way. Used again once the session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionSlot(u32);

#[cfg(test)]
impl SessionSlot {
    pub(super) const fn for_test(place: u32) -> Self {
        Self(place)
    }
}

#[derive(Debug)]
struct Active {
    session: Session,
    ended: Vec<bool>,
    left: u32,
}

/// The sessions under way.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    active: Vec<Option<Active>>,
    vacant: Vec<u32>,
    under_way: u32,
}

impl Sessions {
    /// Starts a session; `due` gets each turn that waits for no other, with its think time.
    pub(super) fn start(
        &mut self,
        session: Session,
        mut due: impl FnMut(SessionSlot, u32, Nanos),
    ) -> SessionSlot {
        let turns = session.turns.len();
        let slot = SessionSlot(self.vacant.pop().unwrap_or_else(|| {
            self.active.push(None);
            (self.active.len() - 1) as u32
        }));
        for (index, turn) in session.turns.iter().enumerate() {
            if turn.after.is_empty() {
                due(slot, index as u32, turn.think);
            }
        }
        self.under_way += 1;
        self.active[slot.0 as usize] =
            Some(Active { session, ended: vec![false; turns], left: turns as u32 });
        slot
    }

    pub(super) fn get(&self, slot: SessionSlot) -> &Session {
        let active = self.active[slot.0 as usize].as_ref();
        &active.expect("a slot is asked for while its session is under way").session
    }

    /// A turn has ended; `due` gets each turn that waited for it last. True when it was the
    /// session's last.
    pub(super) fn end_turn(
        &mut self,
        slot: SessionSlot,
        turn: u32,
        mut due: impl FnMut(u32, Nanos),
    ) -> bool {
        let place = &mut self.active[slot.0 as usize];
        let active = place.as_mut().expect("a turn ends while its session is under way");
        let ended = std::mem::replace(&mut active.ended[turn as usize], true);
        assert!(!ended, "a turn ends once");
        active.left -= 1;
        if active.left == 0 {
            *place = None;
            self.vacant.push(slot.0);
            self.under_way -= 1;
            return true;
        }
        for (index, later) in active.session.turns.iter().enumerate().skip(turn as usize + 1) {
            let waited = later.after.contains(&turn);
            if waited && later.after.iter().all(|before| active.ended[*before as usize]) {
                due(index as u32, later.think);
            }
        }
        false
    }

    pub(super) const fn under_way(&self) -> u32 {
        self.under_way
    }
}
