use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_model::Nanos;
use weir_workload::demand::Load;
use weir_workload::{
    Arrivals, Demand, Ramp, Salted, Schedule, Session, SessionSlot, SessionSource, Shard, Sharded,
};

use crate::{AGENTIC, LONG_CONTEXT, SHARED_PREFIX, source};

const SHARDS: u32 = 4;
/// Of an answer: not a divisor of any due time.
const ANSWER: Nanos = Nanos(37_000_001);

/// Due time, session, turn, prompt, output tokens and seen tokens of a request.
type Asked = (Nanos, u64, u32, u64, u32, u32);

fn played(load: Load, source: impl SessionSource, most: Option<u64>, until: Nanos) -> Vec<Asked> {
    let mut demand = Demand::new(load, source, most);
    let mut ends: BinaryHeap<Reverse<(Nanos, SessionSlot, u32)>> = BinaryHeap::new();
    let mut asked = Vec::new();
    loop {
        let end: Option<Nanos> = ends.peek().map(|Reverse((at, ..))| *at);
        let now = match (demand.next_at(), end) {
            (Some(due), Some(end)) => due.min(end),
            (Some(next), None) | (None, Some(next)) => next,
            (None, None) => break,
        };
        if now >= until {
            break;
        }
        if end == Some(now) {
            let Some(Reverse((at, slot, turn))) = ends.pop() else { break };
            demand.ended(slot, turn, at);
            continue;
        }
        while let Some(due) = demand.pop(now) {
            let request = &due.request;
            asked.push((
                due.at,
                request.session,
                request.turn,
                request.prompt.digest(),
                request.output_tokens.get(),
                request.seen_tokens.get(),
            ));
            ends.push(Reverse((now + ANSWER, due.slot, request.turn)));
        }
    }
    asked.sort_unstable();
    asked
}

fn shards() -> impl Iterator<Item = Shard> {
    (0..SHARDS).map(|index| Shard { index, of: SHARDS })
}

fn dealt(load: &Load, shard: Shard) -> Load {
    match load.clone() {
        Load::Users(ramp) => Load::Users(ramp.dealt(shard.index, shard.of)),
        Load::Open(schedule) => Load::Open(schedule.dealt(shard.index, shard.of)),
        Load::SessionTimes => Load::SessionTimes,
    }
}

/// The whole load against the union of its shards.
fn both<S: SessionSource>(
    load: &Load,
    open: impl Fn() -> S,
    most: Option<u64>,
    until: Nanos,
) -> [Vec<Asked>; 2] {
    let whole = played(load.clone(), open(), most, until);
    let mut union: Vec<Asked> = shards()
        .flat_map(|shard| {
            let own = most.map(|most| shard.share(most));
            played(dealt(load, shard), Sharded::new(open(), shard), own, until)
        })
        .collect();
    union.sort_unstable();
    [whole, union]
}

#[test]
fn shards_of_an_open_loop_ask_what_the_whole_asks_at_the_same_times() {
    for arrivals in [
        Arrivals::Constant { rate: 7.0 },
        Arrivals::Poisson { rate: 7.0 },
        Arrivals::Gamma { rate: 7.0, cv: 2.5 },
    ] {
        for yaml in [SHARED_PREFIX, LONG_CONTEXT, AGENTIC] {
            let load = Load::Open(Schedule::new(arrivals, 889).unwrap());
            let open = || Salted::new(source(yaml, 889), Some(5));
            let [whole, union] = both(&load, open, None, Nanos::from_secs(60));
            assert!(whole.len() > 400, "{}", whole.len());
            assert_eq!(whole, union, "{arrivals:?} {yaml}");
        }
    }
}

/// Sessions of one turn are taken in order, whoever takes them.
#[test]
fn shards_of_a_limited_load_ask_what_the_whole_asks() {
    let single = "shared-prefix: {prefixes: 12, draw: uniform, prefix_tokens: 1000, turns: 1, \
                  prompt_tokens: {uniform: {min: 1, max: 90}}, output_tokens: {fixed: 20}}";
    for most in [1, 3, 101, 400] {
        let open = || source(single, 7);
        let load = Load::Open(Schedule::new(Arrivals::Poisson { rate: 50.0 }, 7).unwrap());
        let [whole, union] = both(&load, open, Some(most), Nanos::MAX);
        assert_eq!((whole.len() as u64, &whole), (most, &union));
        let load = Load::Users(Ramp::new(10, Nanos::from_secs(2)));
        let [whole, union] = both(&load, open, Some(most), Nanos::MAX);
        // Due times of later sessions follow from the answers to earlier ones.
        let asked = |all: &[Asked]| {
            let mut asked: Vec<_> = all.iter().map(|a| (a.1, a.2, a.3, a.4, a.5)).collect();
            asked.sort_unstable();
            asked
        };
        assert_eq!(asked(&whole), asked(&union), "{most}");
    }
}

#[test]
fn users_start_at_the_times_of_the_whole() {
    let load = Load::Users(Ramp::new(10, Nanos::from_secs(2)));
    let until = ANSWER;
    let ramp = |all: Vec<Asked>| all.into_iter().map(|asked| asked.0).collect::<Vec<_>>();
    let [whole, union] = both(&load, || source(SHARED_PREFIX, 3), None, until).map(ramp);
    assert_eq!(whole, union);
    let starts = |users: u32| Ramp::new(users, Nanos::from_secs(2));
    let users: u32 = shards().map(|part| starts(10).dealt(part.index, part.of).users()).sum();
    assert_eq!(users, 10);
}

#[test]
fn shards_of_a_trace_keep_its_times() {
    let session = |id: u64| {
        let mut session = source(SHARED_PREFIX, id).next_session().unwrap();
        session.turns.truncate(1);
        Session { id, start: Some(Nanos(id * 300_000_007)), ..session }
    };
    let open = || Given((0..103).map(session).collect::<Vec<_>>().into_iter());
    let [whole, union] = both(&Load::SessionTimes, open, None, Nanos::MAX);
    assert_eq!((whole.len(), &whole), (103, &union));
}

struct Given(std::vec::IntoIter<Session>);

impl SessionSource for Given {
    fn next_session(&mut self) -> Option<Session> {
        self.0.next()
    }
}
