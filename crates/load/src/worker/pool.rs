//! The connections of a worker, by key, and which of them wait for a request.

use crate::connection::{Connection, State};
use crate::exchange::Exchange;

#[derive(Debug, Default)]
struct Place {
    /// Counts connections that had this place, so that an event of an earlier one is known.
    generation: u32,
    connection: Option<Box<Connection>>,
}

#[derive(Debug)]
pub(super) struct Pool {
    places: Vec<Place>,
    vacant: Vec<u32>,
    /// Keys per endpoint, the last used last: a warm connection is taken first.
    idle: Vec<Vec<u64>>,
    pub(super) events: u64,
}

impl Pool {
    pub(super) fn new(endpoints: usize) -> Self {
        Self {
            places: Vec::new(),
            vacant: Vec::new(),
            idle: vec![Vec::new(); endpoints],
            events: 0,
        }
    }

    /// The key that the next connection will have.
    pub(super) fn next_key(&mut self) -> u64 {
        if self.vacant.is_empty() {
            self.vacant.push(self.places.len() as u32);
            self.places.push(Place::default());
        }
        let index = self.vacant.last().copied().unwrap_or_default();
        u64::from(self.places[index as usize].generation) << 32 | u64::from(index)
    }

    /// Puts a connection in the place of [`Pool::next_key`].
    pub(super) fn put(&mut self, connection: Box<Connection>) {
        let index = self.vacant.pop().expect("a key was asked for before");
        self.places[index as usize].connection = Some(connection);
    }

    /// The connection of a key, unless it is gone.
    pub(super) fn get(&mut self, key: u64) -> Option<&mut Connection> {
        let place = self.places.get_mut(key as u32 as usize)?;
        if place.generation != (key >> 32) as u32 {
            return None;
        }
        place.connection.as_deref_mut()
    }

    /// Takes a connection out for good.
    pub(super) fn remove(&mut self, key: u64) -> Option<Box<Connection>> {
        self.get(key)?;
        let place = &mut self.places[key as u32 as usize];
        place.generation = place.generation.wrapping_add(1);
        self.vacant.push(key as u32);
        place.connection.take()
    }

    pub(super) fn set_idle(&mut self, key: u64) {
        if let Some(connection) = self.get(key) {
            connection.state = State::Idle;
            let endpoint = connection.endpoint;
            self.idle[endpoint].push(key);
        }
    }

    /// An idle connection to an endpoint, no longer idle. Those that were closed meanwhile are
    /// passed over.
    pub(super) fn take_idle(&mut self, endpoint: usize) -> Option<u64> {
        while let Some(key) = self.idle[endpoint].pop() {
            if self.get(key).is_some_and(|connection| connection.state == State::Idle) {
                return Some(key);
            }
        }
        None
    }

    /// Closes all connections; what was under way on them.
    pub(super) fn close_all(&mut self) -> impl Iterator<Item = Box<Exchange>> + use<> {
        let places = std::mem::take(&mut self.places);
        places.into_iter().filter_map(|place| place.connection?.exchange)
    }
}
