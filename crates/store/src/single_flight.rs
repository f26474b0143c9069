//! One load for concurrent requests of the same block: replicas that share a store load a popular
//! prefix once.
//!
//! The first caller leads and loads into its own buffer. Callers that come meanwhile follow: the
//! leader leaves a copy in a block of a bounded slab, and followers copy from it. If the table or
//! the slab is full, a caller loads for itself.
//!
//! A call first finishes the loads that it leads and only then waits for others, so two calls
//! cannot deadlock. No caller joins a load that began before it stored or removed the block. If a
//! leader runs out of time or unwinds, its followers load for themselves.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use weir_model::TierKind;

use crate::slab::{Block, Slab, SlabError};
use crate::tally::TierTally;
use crate::tier::{
    ChunkHash, Get, Loaded, Put, Stored, Tier, TierCounters, TierError, TierFault, TierUsage,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharingOptions {
    /// Concurrent loads that others can join.
    pub flights: u32,
    /// Copies waiting for their followers, in blocks of memory.
    pub copies: u32,
}

impl Default for SharingOptions {
    fn default() -> Self {
        Self { flights: 1024, copies: 64 }
    }
}

/// A tier in which concurrent loads of one block are one load.
pub struct SingleFlight<T> {
    inner: T,
    flights: Mutex<Flights>,
    landed: Condvar,
    copies: Box<[RwLock<Block>]>,
    shared: AtomicU64,
    tally: TierTally,
}

impl<T: fmt::Debug> fmt::Debug for SingleFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Flights {
    index: HashMap<ChunkHash, u32>,
    rows: Vec<Flight>,
    free: Vec<u32>,
    free_copies: Vec<u32>,
}

#[derive(Debug, Default)]
struct Flight {
    followers: u32,
    /// None while loading.
    landed: Option<Landed>,
}

#[derive(Debug, Clone, Copy)]
enum Landed {
    Ended(Loaded),
    /// The bytes are in this copy until the last follower has left.
    Copied(u32),
    Alone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Lead(u32),
    Follow(u32),
    Alone,
}

impl Flights {
    fn join(&mut self, key: ChunkHash) -> Role {
        if let Some(flight) = self.index.get(&key) {
            self.rows[*flight as usize].followers += 1;
            return Role::Follow(*flight);
        }
        let Some(flight) = self.free.pop() else { return Role::Alone };
        self.index.insert(key, flight);
        Role::Lead(flight)
    }

    fn has_followers(&self, flight: u32) -> bool {
        self.rows[flight as usize].followers > 0
    }

    /// An earlier load's result may be outdated for later callers.
    fn detach(&mut self, key: &ChunkHash) {
        self.index.remove(key);
    }

    fn land(&mut self, flight: u32, key: &ChunkHash, landed: Landed) {
        if self.index.get(key) == Some(&flight) {
            self.index.remove(key);
        }
        let row = &mut self.rows[flight as usize];
        if row.followers > 0 {
            row.landed = Some(landed);
            return;
        }
        self.free.push(flight);
        if let Landed::Copied(copy) = landed {
            self.free_copies.push(copy);
        }
    }

    fn leave(&mut self, flight: u32) {
        let row = &mut self.rows[flight as usize];
        row.followers -= 1;
        // During the load, its leader handles the missing followers.
        if row.followers == 0
            && let Some(landed) = row.landed.take()
        {
            self.free.push(flight);
            if let Landed::Copied(copy) = landed {
                self.free_copies.push(copy);
            }
        }
    }
}

impl<T: Tier> SingleFlight<T> {
    pub fn new(inner: T, options: SharingOptions) -> Result<Self, SlabError> {
        let flights = options.flights;
        let slab = Slab::new(options.copies, inner.block_bytes())?;
        let copies = std::iter::from_fn(|| slab.take()).map(RwLock::new).collect();
        let flights = Mutex::new(Flights {
            // Twice the capacity, so that the table cleans up in place.
            index: HashMap::with_capacity(flights as usize * 2 + 2),
            rows: std::iter::repeat_with(Flight::default).take(flights as usize).collect(),
            free: (0..flights).rev().collect(),
            free_copies: (0..options.copies).rev().collect(),
        });
        let (landed, shared, tally) = (Condvar::new(), AtomicU64::new(0), TierTally::default());
        Ok(Self { inner, flights, landed, copies, shared, tally })
    }

    pub const fn inner(&self) -> &T {
        &self.inner
    }

    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    pub fn following(&self) -> u32 {
        self.flights().rows.iter().map(|row| row.followers).sum()
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock()
    }

    fn load(
        &self,
        gets: &mut [Get<'_>],
        mine: impl Fn(usize) -> bool,
        deadline: Instant,
        outcomes: &mut [Loaded],
    ) {
        let (places, mut chosen): (Vec<usize>, Vec<Get<'_>>) = gets
            .iter_mut()
            .enumerate()
            .filter(|(place, _)| mine(*place))
            .map(|(place, get)| (place, Get { key: get.key, into: &mut *get.into }))
            .unzip();
        if chosen.is_empty() {
            return;
        }
        let mut results = vec![Loaded::Failed(TierFault::Io); chosen.len()];
        self.inner.get(&mut chosen, deadline, &mut results);
        for (place, result) in places.into_iter().zip(results) {
            outcomes[place] = result;
        }
    }

    fn publish(&self, flight: u32, key: &ChunkHash, outcome: Loaded, bytes: &[u8]) {
        let mut flights = self.flights();
        let landed = match outcome {
            Loaded::Hit if flights.has_followers(flight) => match flights.free_copies.pop() {
                Some(copy) => {
                    drop(flights);
                    let place = &self.copies[copy as usize];
                    let mut place = place.write();
                    // A hit has the tier's length, as the copy has.
                    place.copy_from_slice(bytes);
                    drop(place);
                    flights = self.flights();
                    Landed::Copied(copy)
                }
                None => Landed::Alone,
            },
            // The leader's deadline and buffer are its own.
            Loaded::Hit | Loaded::Failed(TierFault::Timeout | TierFault::Refused) => Landed::Alone,
            ended => Landed::Ended(ended),
        };
        flights.land(flight, key, landed);
        drop(flights);
        self.landed.notify_all();
    }

    /// Waits for another caller's load. None if the block must be loaded here after all.
    fn follow(&self, flight: u32, into: &mut [u8], deadline: Instant) -> Option<Loaded> {
        let mut flights = self.flights();
        loop {
            match flights.rows[flight as usize].landed {
                Some(Landed::Ended(outcome)) => {
                    flights.leave(flight);
                    return Some(outcome);
                }
                Some(Landed::Alone) => {
                    flights.leave(flight);
                    return None;
                }
                Some(Landed::Copied(copy)) => {
                    drop(flights);
                    let copy = self.copies[copy as usize].read();
                    into.copy_from_slice(&copy);
                    self.flights().leave(flight);
                    self.shared.fetch_add(1, Ordering::Relaxed);
                    return Some(Loaded::Hit);
                }
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                flights.leave(flight);
                return Some(Loaded::Failed(TierFault::Timeout));
            }
            self.landed.wait_for(&mut flights, left);
        }
    }

    fn count<R>(&self, result: Result<R, TierError>) -> Result<R, TierError> {
        if let Err(error) = &result {
            self.tally.fault(error.fault);
        }
        result
    }
}

/// Ends the loads that a call leads and leaves those it follows, also if the tier below panics.
struct Roles<'f, T: Tier> {
    tier: &'f SingleFlight<T>,
    roles: Vec<(ChunkHash, Role)>,
}

impl<T: Tier> Drop for Roles<'_, T> {
    fn drop(&mut self) {
        let mut flights = self.tier.flights();
        for (key, role) in &self.roles {
            match role {
                Role::Lead(flight) => flights.land(*flight, key, Landed::Alone),
                Role::Follow(flight) => flights.leave(*flight),
                Role::Alone => {}
            }
        }
        drop(flights);
        self.tier.landed.notify_all();
    }
}

impl<T: Tier> Tier for SingleFlight<T> {
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
        let mut flights = self.flights();
        for put in puts {
            flights.detach(&put.key);
        }
        drop(flights);
        self.tally.puts(outcomes);
    }

    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
        let mut roles = Roles { tier: self, roles: Vec::with_capacity(gets.len()) };
        let mut flights = self.flights();
        roles.roles.extend(gets.iter().map(|get| {
            // The tier refuses a buffer of another length.
            let joins = get.into.len() == self.inner.block_bytes();
            (get.key, if joins { flights.join(get.key) } else { Role::Alone })
        }));
        drop(flights);
        let followed =
            |roles: &Roles<'_, T>, place: usize| matches!(roles.roles[place].1, Role::Follow(_));
        self.load(gets, |place| !followed(&roles, place), deadline, outcomes);
        for (place, get) in gets.iter().enumerate() {
            if let (key, Role::Lead(flight)) = roles.roles[place] {
                roles.roles[place].1 = Role::Alone;
                self.publish(flight, &key, outcomes[place], get.into);
            }
        }
        let mut left = vec![false; gets.len()];
        for (place, get) in gets.iter_mut().enumerate() {
            if let Role::Follow(flight) = roles.roles[place].1 {
                roles.roles[place].1 = Role::Alone;
                match self.follow(flight, get.into, deadline) {
                    Some(outcome) => outcomes[place] = outcome,
                    None => left[place] = true,
                }
            }
        }
        self.load(gets, |place| left[place], deadline, outcomes);
        self.tally.gets(outcomes);
    }

    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError> {
        self.count(self.inner.contains(keys, deadline, present))
    }

    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
        let removed = self.inner.remove(keys, deadline);
        let mut flights = self.flights();
        for key in keys {
            flights.detach(key);
        }
        drop(flights);
        self.count(removed)
    }

    fn clear(&self, deadline: Instant) -> Result<(), TierError> {
        let cleared = self.inner.clear(deadline);
        self.flights().index.clear();
        self.count(cleared)
    }

    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
        self.count(self.inner.usage(deadline))
    }

    fn counters(&self) -> TierCounters {
        self.tally.read()
    }

    fn problem(&self) -> Option<String> {
        self.inner.problem()
    }
}
