//! Tiers around tiers: they pass the suite, and fulfil their purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use weir_model::TierKind;
use weir_store::suite::{FaultOptions, Faulty, Subject, key, keys};
use weir_store::{
    Checked, ChunkHash, Get, Loaded, MemoryOptions, MemoryTier, Put, SharingOptions, SingleFlight,
    Stored, Tier, TierCounters, TierError, TierFault, TierUsage, tier_suite,
};
use weir_tier::EvictionPolicy;

use crate::blocks::{get, later, put};

fn memory() -> MemoryTier {
    let eviction = EvictionPolicy::Lru;
    MemoryTier::new(MemoryOptions { capacity: 24, block_bytes: 4096, eviction }).unwrap()
}

fn sharing(inner: impl Tier) -> SingleFlight<impl Tier> {
    SingleFlight::new(inner, SharingOptions { flights: 8, copies: 2 }).unwrap()
}

tier_suite!(faulty, || Subject::new(Faulty::new(memory(), FaultOptions::default())));
tier_suite!(checked, || Subject::new(Checked::new(memory(), 24)));
tier_suite!(single_flight, || Subject::new(sharing(memory())));
tier_suite!(stack, || {
    let bottom: Arc<dyn Tier> = Arc::new(Faulty::new(memory(), FaultOptions::default()));
    Subject::new(Box::new(sharing(Checked::new(bottom, 10))))
});

mod faults {
    use super::*;

    fn outcomes(seed: u64) -> (Vec<Stored>, Vec<Loaded>) {
        let tier = Faulty::new(
            memory(),
            FaultOptions { seed, put_failure: 0.3, get_failure: 0.3, ..FaultOptions::default() },
        );
        (put(&tier, &keys(0..20)), get(&tier, &keys(0..20)))
    }

    #[test]
    fn a_seed_names_them() {
        assert_eq!(outcomes(7), outcomes(7));
        assert_ne!(outcomes(7), outcomes(8));
    }

    #[test]
    fn they_come_as_often_as_asked() {
        let options =
            FaultOptions { put_failure: 0.25, fault: TierFault::Busy, ..Default::default() };
        let tier = Faulty::new(memory(), options);
        for round in 0..200 {
            put(&tier, &keys(round * 10..round * 10 + 10));
        }
        let counters = tier.counters();
        let failed = counters.faults[TierFault::Busy as usize];
        // 2000 draws: a standard deviation is 19.
        assert!((400..600).contains(&failed), "{failed}");
        assert_eq!(counters.stored + failed, 2000);
    }

    #[test]
    fn a_delay_ends_at_the_deadline() {
        let options = FaultOptions { delay: Duration::from_mins(1), ..Default::default() };
        let tier = Faulty::new(memory(), options);
        let began = Instant::now();
        let until = began + Duration::from_millis(30);
        let mut outcome = [Stored::Full];
        let bytes = vec![0; 4096];
        tier.put(&[Put { key: key(0), bytes: &bytes }], until, &mut outcome);
        assert_eq!(outcome, [Stored::Failed(TierFault::Timeout)]);
        assert_eq!(tier.usage(until).unwrap_err().fault, TierFault::Timeout);
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!(tier.inner().usage(later()).unwrap().chunks, 0);
    }

    #[test]
    fn failed_calls_say_that_it_was_on_purpose() {
        let tier = Faulty::new(memory(), FaultOptions { call_failure: 1.0, ..Default::default() });
        let error = tier.clear(later()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "host memory: clear: io on purpose: lower call_failure or delay"
        );
        assert_eq!(tier.counters().faults[TierFault::Io as usize], 1);
    }
}

mod checksums {
    use super::*;

    /// However the bytes below are damaged, the result is right or no hit.
    #[test]
    fn they_turn_wrong_bytes_into_counted_misses() {
        let spoils =
            FaultOptions { bit_flip: 0.1, torn: 0.1, mixed_up: 0.1, ..FaultOptions::default() };
        let tier = Checked::new(Faulty::new(memory(), spoils), 64);
        let mut corrupt = 0;
        for round in 0..100_u64 {
            let batch = keys(round % 7..round % 7 + 9);
            put(&tier, &batch);
            // `get` panics at a wrong byte.
            corrupt += get(&tier, &batch).iter().filter(|o| **o == Loaded::Corrupt).count() as u64;
        }
        let changed = tier.inner().injected().changed_blocks;
        assert!(changed > 100, "{changed}");
        // A torn block is whole if it already ends in zeros.
        assert!(corrupt <= changed && corrupt > changed * 9 / 10, "{corrupt} of {changed}");
        assert_eq!(tier.counters().corrupt, corrupt);
        assert_eq!(tier.unverified(), 0);
    }

    #[test]
    fn a_corrupt_block_is_gone_and_can_be_stored_again() {
        let spoils = FaultOptions { bit_flip: 1.0, ..FaultOptions::default() };
        let bottom = Arc::new(memory());
        let spoiled = Checked::new(Faulty::new(Arc::clone(&bottom), spoils), 24);
        put(&spoiled, &keys(0..2));
        // Twice in one batch: removing the first must not make the second a hit.
        let twice = [key(0), key(0)];
        assert_eq!(get(&spoiled, &twice), [Loaded::Corrupt; 2]);
        assert_eq!(get(&*bottom, &keys(0..2)), [Loaded::Miss, Loaded::Hit]);
        assert_eq!(put(&spoiled, &[key(0)]), [Stored::Stored]);
    }

    #[test]
    fn what_is_forgotten_or_foreign_is_passed_on_and_counted() {
        let bottom = Arc::new(memory());
        let tier = Checked::new(Arc::clone(&bottom), 4);
        put(&*bottom, &keys(20..21));
        put(&tier, &keys(0..6));
        assert_eq!(put(&tier, &keys(20..21)), [Stored::Present], "its bytes are another's");
        assert_eq!(get(&tier, &keys(20..21)), [Loaded::Hit]);
        assert_eq!(tier.unverified(), 1);
        assert_eq!(get(&tier, &keys(0..6)), [Loaded::Hit; 6]);
        assert_eq!(tier.unverified(), 3, "the table has room for four");
    }

    /// A recomputed chunk may have other bytes; the tier keeps the first ones.
    #[test]
    fn present_blocks_keep_their_checksum() {
        let tier = Checked::new(memory(), 24);
        put(&tier, &[key(1)]);
        let other = vec![9; 4096];
        let mut outcome = [Stored::Full];
        tier.put(&[Put { key: key(1), bytes: &other }], later(), &mut outcome);
        assert_eq!(outcome, [Stored::Present]);
        assert_eq!(get(&tier, &[key(1)]), [Loaded::Hit]);
        tier.remove(&[key(1)], later()).unwrap();
        tier.put(&[Put { key: key(1), bytes: &other }], later(), &mut outcome);
        let mut into = vec![0; 4096];
        let mut loaded = [Loaded::Miss];
        tier.get(&mut [Get { key: key(1), into: &mut into }], later(), &mut loaded);
        assert_eq!((loaded, into), ([Loaded::Hit], other));
    }
}

/// A tier whose loads wait for a signal, and end as configured.
#[derive(Debug)]
struct Gate {
    inner: MemoryTier,
    state: Mutex<State>,
    changed: Condvar,
    loads: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: u32,
    open: bool,
    /// How the first load ends; None: as the tier says.
    first: Option<First>,
}

#[derive(Debug, Clone, Copy)]
enum First {
    Fails(TierFault),
    Panics,
}

impl Gate {
    fn new(first: Option<First>) -> Arc<Self> {
        let state = Mutex::new(State { first, ..State::default() });
        let (inner, loads) = (memory(), AtomicU64::new(0));
        Arc::new(Self { inner, state, changed: Condvar::new(), loads })
    }

    fn until_waiting(&self, callers: u32) {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| state.waiting < callers);
    }

    fn open(&self) {
        self.state.lock().open = true;
        self.changed.notify_all();
    }
}

impl Tier for Gate {
    fn kind(&self) -> TierKind {
        self.inner.kind()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn block_bytes(&self) -> usize {
        self.inner.block_bytes()
    }

    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
        self.inner.put(puts, deadline, outcomes);
    }

    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        self.loads.fetch_add(gets.len() as u64, Ordering::Relaxed);
        self.inner.get(gets, deadline, outcomes);
        let mut state = self.state.lock();
        state.waiting += 1;
        let first = state.first.take();
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| !state.open);
        match first {
            Some(First::Fails(fault)) => outcomes.fill(Loaded::Failed(fault)),
            Some(First::Panics) => panic!("on purpose"),
            None => {}
        }
    }

    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        self.inner.contains(keys, deadline, present)
    }

    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        self.inner.remove(keys, deadline)
    }

    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        self.inner.clear(deadline)
    }

    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        self.inner.usage(deadline)
    }

    fn counters(&self) -> TierCounters {
        self.inner.counters()
    }
}

mod flights {
    use super::*;

    const FOLLOWERS: u32 = 5;

    fn until_following(tier: &SingleFlight<impl Tier>, blocks: u32) {
        let patience = later();
        while tier.following() < blocks {
            assert!(Instant::now() < patience, "{} of {blocks} follow", tier.following());
            std::thread::yield_now();
        }
    }

    /// A leader and its followers on one block; returns the leader's outcome, the followers', the
    /// number of loads and that of shared ones.
    fn fly(first: Option<First>, stored: bool) -> (Option<Loaded>, Vec<Loaded>, u64, u64) {
        let gate = Gate::new(first);
        if stored {
            put(&gate.inner, &[key(3)]);
        }
        let tier = sharing(Arc::clone(&gate));
        let one = || get(&tier, &[key(3)])[0];
        let (leader, followers) = std::thread::scope(|scope| {
            let leader = scope.spawn(one);
            gate.until_waiting(1);
            let followers: Vec<_> = (0..FOLLOWERS).map(|_| scope.spawn(one)).collect();
            until_following(&tier, FOLLOWERS);
            gate.open();
            let followers = followers.into_iter().map(|thread| thread.join().unwrap()).collect();
            (leader.join().ok(), followers)
        });
        assert_eq!(tier.following(), 0);
        (leader, followers, gate.loads.load(Ordering::Relaxed), tier.shared())
    }

    #[test]
    fn one_load_serves_all() {
        let (leader, followers, loads, shared) = fly(None, true);
        assert_eq!((leader, followers), (Some(Loaded::Hit), vec![Loaded::Hit; 5]));
        assert_eq!((loads, shared), (1, 5));
    }

    #[test]
    fn one_miss_is_all_misses() {
        let (leader, followers, loads, shared) = fly(None, false);
        assert_eq!((leader, followers), (Some(Loaded::Miss), vec![Loaded::Miss; 5]));
        assert_eq!((loads, shared), (1, 0));
    }

    #[test]
    fn a_failure_of_the_store_is_shared_and_no_hang() {
        let fault = Loaded::Failed(TierFault::Disconnected);
        let (leader, followers, loads, _) = fly(Some(First::Fails(TierFault::Disconnected)), true);
        assert_eq!((leader, followers, loads), (Some(fault), vec![fault; 5], 1));
    }

    #[test]
    fn who_follows_an_impatient_leader_loads_for_himself() {
        let (leader, followers, loads, _) = fly(Some(First::Fails(TierFault::Timeout)), true);
        assert_eq!(leader, Some(Loaded::Failed(TierFault::Timeout)));
        assert_eq!((followers, loads), (vec![Loaded::Hit; 5], 6));
    }

    #[test]
    fn a_leader_that_panics_takes_nobody_along() {
        let (leader, followers, loads, _) = fly(Some(First::Panics), true);
        assert_eq!((leader, followers, loads), (None, vec![Loaded::Hit; 5], 6));
    }

    #[test]
    fn a_follower_keeps_its_own_deadline() {
        let gate = Gate::new(None);
        put(&gate.inner, &[key(3)]);
        let tier = sharing(Arc::clone(&gate));
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| get(&tier, &[key(3)]));
            gate.until_waiting(1);
            let mut into = vec![0; 4096];
            let mut outcome = [Loaded::Miss];
            let until = Instant::now() + Duration::from_millis(20);
            tier.get(&mut [Get { key: key(3), into: &mut into }], until, &mut outcome);
            assert_eq!(outcome, [Loaded::Failed(TierFault::Timeout)]);
            gate.open();
            assert_eq!(leader.join().unwrap(), [Loaded::Hit]);
        });
        // Its flight and its copy are free again.
        assert_eq!((tier.following(), get(&tier, &[key(3)])), (0, vec![Loaded::Hit]));
    }

    /// A load that began before a store must not report a miss to the storing caller.
    #[test]
    fn nobody_joins_a_load_older_than_what_he_did() {
        let gate = Gate::new(None);
        let tier = sharing(Arc::clone(&gate));
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| get(&tier, &[key(3)]));
            gate.until_waiting(1);
            put(&tier, &[key(3)]);
            let after = scope.spawn(|| get(&tier, &[key(3)]));
            gate.until_waiting(2);
            gate.open();
            assert_eq!(leader.join().unwrap(), [Loaded::Miss]);
            assert_eq!(after.join().unwrap(), [Loaded::Hit]);
        });
    }

    /// More loads than rows in the table, and more followers than copies.
    #[test]
    fn a_full_table_costs_loads_and_no_bytes() {
        let tier = SingleFlight::new(memory(), SharingOptions { flights: 1, copies: 1 }).unwrap();
        put(&tier, &keys(0..20));
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let tier = &tier;
                scope.spawn(move || {
                    for round in 0..200 {
                        let first = (thread + round) % 12;
                        let batch = [keys(first..first + 8), keys(first..first + 2)].concat();
                        assert_eq!(get(tier, &batch), [Loaded::Hit; 10]);
                    }
                });
            }
        });
        assert_eq!(tier.following(), 0);
        assert_eq!(get(&tier, &keys(0..20)), [Loaded::Hit; 20]);
    }
}
