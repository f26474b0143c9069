//! A modelled remote store, shared by the replicas of a cell: its own bandwidth, capacity and
//! eviction, with one client link per replica.

use weir_model::{Bytes, Nanos, Piece};

use crate::chunk_cache::{ChunkCache, Fit};
use crate::config::{LinkConfig, StoreConfig};
use crate::link::{Direction, Link};

#[derive(Debug, Clone)]
pub struct ModelledStore {
    config: StoreConfig,
    cache: ChunkCache,
    chunk_bytes: Bytes,
    /// The store's own limits.
    server: Link,
    /// Each replica's link.
    clients: Vec<Link>,
    refused: u64,
}

impl ModelledStore {
    pub fn new(config: StoreConfig, chunk_tokens: u32, chunk_bytes: Bytes, replicas: u16) -> Self {
        let capacity = u32::try_from(config.capacity.0 / chunk_bytes.0.max(1)).unwrap_or(u32::MAX);
        let client = Link::new(LinkConfig {
            base_latency: Nanos::ZERO,
            per_copy: Nanos::ZERO,
            read_bytes_per_s: config.client_bytes_per_s,
            write_bytes_per_s: config.client_bytes_per_s,
            lanes: 1,
        });
        Self {
            cache: ChunkCache::new(capacity, chunk_tokens, config.policy),
            chunk_bytes,
            server: Link::new(config.link.clone()),
            clients: vec![client; usize::from(replicas)],
            refused: 0,
            config,
        }
    }

    /// Looks up the chunks `from..limit`: the number of consecutive present ones, and the time of
    /// the answer.
    pub fn lookup(
        &mut self,
        now: Nanos,
        sequence: &[Piece],
        from: u32,
        limit: u32,
    ) -> (u32, Nanos) {
        let found = self.cache.lookup(sequence, from, limit).chunks;
        if found > 0 {
            self.cache.touch(sequence, 0, from + found, &[]);
        }
        // The client queries key by key and stops at the first missing one.
        let asked = u64::from((found + 1).min(limit - from));
        (found, now + self.config.lookup_latency + self.config.lookup_per_key * asked)
    }

    /// Leading present chunks of `from..to`, which a writer does not send.
    pub fn present(&self, sequence: &[Piece], from: u32, to: u32) -> u32 {
        self.cache.lookup(sequence, from, to).chunks
    }

    /// Starts a transfer of `chunks` chunks between a replica and the store; returns its end.
    pub fn transfer(
        &mut self,
        now: Nanos,
        replica: u16,
        direction: Direction,
        chunks: u32,
    ) -> Nanos {
        let bytes = Bytes(self.chunk_bytes.0 * u64::from(chunks));
        let client = self.clients[usize::from(replica)].transfer(now, direction, 0, bytes);
        let server = self.server.transfer(now, direction, u64::from(chunks), bytes);
        client.max(server)
    }

    /// Marks the chunks `from..to` as arrived.
    pub fn stored(&mut self, sequence: &[Piece], from: u32, to: u32) {
        let reserved = self.cache.reserve(sequence, from, to, Fit::Front);
        self.refused += u64::from(reserved.refused);
        for span in &reserved.spans {
            self.cache.commit(sequence, span.from, span.to);
        }
        self.cache.touch(sequence, from, to, &reserved.spans);
    }

    pub fn clear(&mut self) {
        self.cache.clear();
    }

    pub const fn cache(&self) -> &ChunkCache {
        &self.cache
    }

    /// Chunks without room.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    pub const fn chunk_bytes(&self) -> Bytes {
        self.chunk_bytes
    }
}
