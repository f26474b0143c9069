//! Active sessions: which turns are done, and which become due.

use weir_model::{Nanos, SlotKey, Slots};

use crate::session::Session;

pub type SessionSlot = SlotKey;

#[derive(Debug)]
struct Active {
    session: Session,
    ended: Vec<bool>,
    left: u32,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    active: Slots<Active>,
}

impl Sessions {
    /// `due` gets each turn that waits for no other, with its think time.
    pub(super) fn start(
        &mut self,
        session: Session,
        mut due: impl FnMut(SessionSlot, u32, Nanos),
    ) -> SessionSlot {
        let turns = session.turns.len();
        let slot = self.active.next_key();
        for (index, turn) in session.turns.iter().enumerate() {
            if turn.after.is_empty() {
                due(slot, index as u32, turn.think);
            }
        }
        self.active.insert(Active { session, ended: vec![false; turns], left: turns as u32 })
    }

    pub(super) fn get(&self, slot: SessionSlot) -> &Session {
        let active = self.active.get(slot);
        &active.expect("a slot is asked for while its session is under way").session
    }

    /// `due` gets each turn that waited only for this one. True when it was the session's last
    /// turn.
    pub(super) fn end_turn(
        &mut self,
        slot: SessionSlot,
        turn: u32,
        mut due: impl FnMut(u32, Nanos),
    ) -> bool {
        let active = self.active.get_mut(slot);
        let active = active.expect("a turn ends while its session is under way");
        let ended = std::mem::replace(&mut active.ended[turn as usize], true);
        assert!(!ended, "a turn ends once");
        active.left -= 1;
        if active.left == 0 {
            self.active.remove(slot);
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
        self.active.len() as u32
    }
}
