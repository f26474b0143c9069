//! Demands small enough to follow by hand, and random ones against invariants.

use proptest::prelude::*;
use weir_model::{ContentId, Piece, Prompt};

use super::*;
use crate::arrival::{Arrivals, Ramp};
use crate::session::Turn;

struct Listed(std::vec::IntoIter<Session>);

impl SessionSource for Listed {
    fn next_session(&mut self) -> Option<Session> {
        self.0.next()
    }
    fn is_finite(&self) -> bool {
        true
    }
}

fn turn(after: &[u32], think_ms: u64) -> Turn {
    Turn {
        prompt: Prompt::new([Piece::new(ContentId(1), 10)]),
        output_tokens: Tokens(0),
        output: ContentId(2),
        seen_tokens: Tokens::ZERO,
        after: after.to_vec(),
        think: Nanos::from_millis(think_ms),
    }
}

fn session(id: u64, start_ms: Option<u64>, turns: Vec<Turn>) -> Session {
    Session { id, start: start_ms.map(Nanos::from_millis), turns }
}

fn listed(sessions: Vec<Session>) -> Listed {
    Listed(sessions.into_iter())
}

fn users(users: u32, ramp_ms: u64) -> Load {
    Load::Users(Ramp::new(users, Nanos::from_millis(ramp_ms)))
}

fn ms(at: u64) -> Nanos {
    Nanos::from_millis(at)
}

fn due(demand: &mut Demand<Listed>, now: Nanos) -> Vec<(Nanos, u64, u32)> {
    std::iter::from_fn(|| demand.pop(now))
        .map(|due| (due.at, due.request.session, due.request.turn))
        .collect()
}

#[test]
fn a_user_takes_the_next_session_when_one_is_over() {
    let sessions = (0..3).map(|id| session(id, None, vec![turn(&[], 0), turn(&[0], 5)])).collect();
    let mut demand = Demand::new(users(1, 0), listed(sessions), None);
    let first = demand.pop(Nanos::ZERO).expect("the user starts at once");
    assert_eq!((first.request.id, first.request.output_tokens), (0, Tokens(1)));
    assert_eq!((demand.pop(ms(100)), demand.next_at()), (None, None));
    assert!(!demand.is_over());
    demand.ended(first.slot, 0, ms(10));
    assert_eq!(demand.next_at(), Some(ms(15)));
    assert_eq!(demand.pop(ms(14)), None);
    let second = demand.pop(ms(15)).expect("it has thought");
    assert_eq!((second.request.id, second.request.turn), (1, 1));
    demand.ended(second.slot, 1, ms(20));
    assert_eq!(due(&mut demand, ms(20)), [(ms(20), 1, 0)]);
    assert_eq!((demand.issued(), demand.in_flight()), (3, 1));
}

#[test]
fn users_start_over_the_ramp_and_end_with_the_source() {
    let sessions = (0..3).map(|id| session(id, None, vec![turn(&[], 0)])).collect();
    let mut demand = Demand::new(users(4, 40), listed(sessions), None);
    assert_eq!(due(&mut demand, ms(19)), [(ms(0), 0, 0), (ms(10), 1, 0)]);
    assert!(!demand.is_served());
    assert_eq!(due(&mut demand, ms(99)), [(ms(20), 2, 0)]);
    for slot in 0..3 {
        assert!(!demand.is_over());
        let slot = SessionSlot::from_bits(slot);
        demand.ended(slot, 0, ms(100));
    }
    assert!(demand.is_over() && demand.is_served());
    assert_eq!(demand.next_at(), None);
}

#[test]
fn an_open_loop_asks_however_late_the_answers_are() {
    let sessions = (0..5).map(|id| session(id, None, vec![turn(&[], 0)])).collect();
    let schedule = Schedule::new(Arrivals::Constant { rate: 100.0 }, 1).expect("a valid rate");
    let mut demand = Demand::new(Load::Open(schedule), listed(sessions), Some(4));
    assert_eq!(due(&mut demand, ms(20)), [(ms(0), 0, 0), (ms(10), 1, 0), (ms(20), 2, 0)]);
    assert_eq!(due(&mut demand, ms(1000)), [(ms(30), 3, 0)]);
    for slot in 0..4 {
        demand.ended(SessionSlot::from_bits(slot), 0, ms(2000));
    }
    // The limit holds though the source has more.
    assert!(demand.is_over());
    assert_eq!(demand.pop(ms(3000)), None);
    assert_eq!(demand.issued(), 4);
}

#[test]
fn sessions_come_at_their_own_times_and_turns_wait_for_all_before_them() {
    let fork = vec![turn(&[], 0), turn(&[0], 1), turn(&[0], 2), turn(&[1, 2], 3)];
    let sessions = vec![session(0, Some(5), fork), session(1, Some(7), vec![turn(&[], 4)])];
    let mut demand = Demand::new(Load::SessionTimes, listed(sessions), None);
    assert_eq!(demand.next_at(), Some(ms(5)));
    let first = demand.pop(ms(5)).expect("the first session has come");
    assert_eq!(demand.session(first.slot).turns.len(), 4);
    demand.ended(first.slot, 0, ms(6));
    let due_then = due(&mut demand, ms(50));
    assert_eq!(due_then, [(ms(7), 0, 1), (ms(8), 0, 2), (ms(11), 1, 0)]);
    demand.ended(first.slot, 2, ms(60));
    assert_eq!(demand.next_at(), None);
    demand.ended(first.slot, 1, ms(61));
    assert_eq!(due(&mut demand, ms(70)), [(ms(64), 0, 3)]);
    assert!(!demand.is_served());
}

#[test]
fn what_the_limit_cut_off_is_over_and_not_served() {
    let sessions = vec![session(0, None, vec![turn(&[], 0), turn(&[0], 30)])];
    let mut demand = Demand::new(users(1, 0), listed(sessions), Some(1));
    assert!(demand.is_finite());
    let first = demand.pop(Nanos::ZERO).expect("the user starts at once");
    demand.ended(first.slot, 0, ms(1));
    assert!(demand.is_over() && !demand.is_served());
    assert_eq!(demand.pop(ms(31)), None);
    assert_eq!(demand.next_at(), None);
}

#[test]
fn nobody_asks_nothing() {
    let mut demand = Demand::new(users(0, 0), listed(Vec::new()), None);
    assert!(demand.is_over());
    assert_eq!(demand.pop(ms(1)), None);
}

proptest! {
    /// Each turn once, in its order, no earlier than it is due.
    #[test]
    fn each_turn_is_issued_once_and_never_early(
        shapes in prop::collection::vec(
            prop::collection::vec((0u64..20, any::<bool>()), 1..5), 1..20,
        ),
        kind in 0..3,
        count in 1u32..6,
        pauses in prop::collection::vec(0u64..30, 200),
    ) {
        let sessions: Vec<Session> = shapes.iter().enumerate().map(|(id, turns)| {
            let turns = turns.iter().enumerate().map(|(index, (think, waits))| {
                let after = if *waits && index > 0 { vec![index as u32 - 1] } else { Vec::new() };
                turn(&after, *think)
            });
            session(id as u64, Some(id as u64 * 3), turns.collect())
        }).collect();
        let asked: usize = shapes.iter().map(Vec::len).sum();
        let load = match kind {
            0 => users(count, 20),
            1 => Load::Open(Schedule::new(Arrivals::Constant { rate: 300.0 }, 1).expect("valid")),
            _ => Load::SessionTimes,
        };
        let mut demand = Demand::new(load, listed(sessions), None);
        let (mut now, mut seen, mut flying) = (Nanos::ZERO, Vec::new(), Vec::new());
        for pause in pauses {
            now += ms(pause);
            while let Some(due) = demand.pop(now) {
                prop_assert!(due.at <= now);
                prop_assert_eq!(due.request.id, seen.len() as u64);
                seen.push((due.request.session, due.request.turn));
                flying.push(due);
            }
            prop_assert!(demand.next_at().is_none_or(|at| at > now));
            prop_assert_eq!(demand.in_flight() as usize, flying.len());
            // The request that was issued last is answered first.
            if let Some(due) = flying.pop() {
                demand.ended(due.slot, due.request.turn, now);
            }
        }
        prop_assert!(demand.is_over());
        prop_assert_eq!(demand.source().0.len(), 0);
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), asked);
    }
}
