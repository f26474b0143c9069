//! A worker's connections by key, and the idle ones.

use weir_model::{SlotKey, Slots};

use crate::connection::{Connection, State};
use crate::exchange::Exchange;

#[derive(Debug)]
pub(super) struct Pool {
    connections: Slots<Box<Connection>>,
    /// Keys per endpoint. The last used is last and taken first, as it is warm.
    idle: Vec<Vec<u64>>,
    pub(super) events: u64,
}

impl Pool {
    pub(super) fn new(endpoints: usize) -> Self {
        Self { connections: Slots::default(), idle: vec![Vec::new(); endpoints], events: 0 }
    }

    pub(super) fn next_key(&self) -> u64 {
        self.connections.next_key().to_bits()
    }

    /// Must have the key of [`Pool::next_key`].
    pub(super) fn put(&mut self, connection: Box<Connection>) {
        self.connections.insert(connection);
    }

    /// None if it was closed.
    pub(super) fn get(&mut self, key: u64) -> Option<&mut Connection> {
        self.connections.get_mut(SlotKey::from_bits(key)).map(|connection| &mut **connection)
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<Box<Connection>> {
        self.connections.remove(SlotKey::from_bits(key))
    }

    pub(super) fn set_idle(&mut self, key: u64) {
        if let Some(connection) = self.get(key) {
            connection.state = State::Idle;
            let endpoint = connection.endpoint;
            self.idle[endpoint].push(key);
        }
    }

    /// Skips connections that were closed meanwhile.
    pub(super) fn take_idle(&mut self, endpoint: usize) -> Option<u64> {
        while let Some(key) = self.idle[endpoint].pop() {
            if self.get(key).is_some_and(|connection| connection.state == State::Idle) {
                return Some(key);
            }
        }
        None
    }

    /// Returns the exchanges in progress.
    pub(super) fn close_all(&mut self) -> impl Iterator<Item = Box<Exchange>> + use<> {
        let connections = std::mem::take(&mut self.connections);
        connections.into_values().filter_map(|connection| connection.exchange)
    }
}
