//! The server behind a tier, and its counters before and after a measurement.

use serde::Serialize;
use weir_model::{Bytes, Nanos};
use weir_store::resp::RocksDbFigures;

/// Bytes of a command and its answer besides the block: key, lengths, checksum.
const AROUND_BLOCK: u64 = 512;
/// Most commands per block: a lookup, and its bytes.
const COMMANDS_OF_BLOCK: u64 = 2;
/// Most traffic of querying a server's counters, per lap.
const QUESTIONS: Traffic = Traffic { bytes: 256 << 10, commands: 64 };

#[derive(Debug, Clone, Default)]
pub struct ServerWords {
    pub cpu: Option<Nanos>,
    /// Bytes received and sent, and commands answered, so far and for all clients.
    pub traffic: Option<Traffic>,
    pub rocksdb: Option<RocksDbFigures>,
}

/// Both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    pub bytes: u64,
    pub commands: u64,
}

impl Traffic {
    /// The growth; None if the server was restarted and counts anew.
    fn since(self, before: Self) -> Option<Self> {
        Some(Self {
            bytes: self.bytes.checked_sub(before.bytes)?,
            commands: self.commands.checked_sub(before.commands)?,
        })
    }

    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, commands: self.commands + other.commands }
    }
}

/// A server's traffic during a measurement, and an upper limit of the measurement's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shared {
    pub server: Traffic,
    /// Blocks with their overhead, lookups, and queries of the server's counters.
    pub own: Traffic,
}

impl Shared {
    pub(crate) const fn of(server: Traffic, asked: u64, block: Bytes, laps: u64) -> Self {
        let own = Traffic {
            bytes: asked * (block.0 + AROUND_BLOCK) + laps * QUESTIONS.bytes,
            commands: asked * COMMANDS_OF_BLOCK + laps * QUESTIONS.commands,
        };
        Self { server, own }
    }

    /// Whether other clients must have used the server: at least a tenth more bytes or commands.
    pub fn has_others(&self) -> bool {
        let beyond = |all: u64, own: u64| all > own + own / 10;
        beyond(self.server.bytes, self.own.bytes) || beyond(self.server.commands, self.own.commands)
    }
}

pub struct TierServer {
    /// Queries it; all unknown if it does not answer.
    pub ask: Box<dyn Fn() -> ServerWords + Send + Sync>,
    pub at: ServerAt,
}

/// Where a server runs decides whose CPUs it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAt {
    Process,
    Machine,
    Elsewhere,
}

impl std::fmt::Debug for TierServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("at", &self.at).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Growth {
    rocksdb: Option<RocksDbFigures>,
    /// None if one interval is unknown.
    traffic: Option<Traffic>,
    stretches: u64,
}

impl Growth {
    pub(crate) fn add(&mut self, before: &ServerWords, after: &ServerWords) {
        let moved = after.traffic.zip(before.traffic).and_then(|(to, from)| to.since(from));
        let sum = if self.stretches == 0 { Some(Traffic::default()) } else { self.traffic };
        self.traffic = sum.zip(moved).map(|(sum, moved)| sum.plus(moved));
        self.stretches += 1;
        let (Some(before), Some(after)) = (&before.rocksdb, &after.rocksdb) else { return };
        let grown = after.since(before);
        let sum = self.rocksdb.take();
        self.rocksdb = Some(sum.map_or_else(|| grown.clone(), |sum| sum.plus(&grown)));
    }

    pub(crate) fn counters(&self) -> Option<RocksDbFigures> {
        self.rocksdb.clone()
    }

    /// Over all intervals; None if one is unknown.
    pub(crate) const fn traffic(&self) -> Option<Traffic> {
        self.traffic
    }
}

#[cfg(test)]
mod tests {
    use weir_store::resp::RocksDbFigure::{Flushes, MemtableBytes};

    use super::*;

    #[test]
    fn others_are_seen_where_the_server_moved_a_tenth_more_than_the_probe_did() {
        let said = |bytes, commands| Traffic { bytes, commands };
        assert_eq!(said(5, 9).since(said(2, 8)), Some(said(3, 1)));
        assert_eq!(said(5, 9).since(said(6, 8)), None);
        // 1000 blocks of 1 MB in 2 laps.
        let shared = |bytes, commands| {
            Shared::of(said(bytes, commands), 1000, Bytes(1_000_000), 2).has_others()
        };
        assert!(!shared(1_000_400_000, 1100));
        assert!(shared(1_110_000_000, 1100));
        assert!(shared(1_000_400_000, 2400));
        // Traffic of counter queries is not another client's.
        assert!(!Shared::of(said(60_000, 30), 0, Bytes(1), 1).has_others());
    }

    #[test]
    fn growth_is_summed_over_stretches_and_silence_adds_nothing() {
        let said = |flushes, level| ServerWords {
            cpu: None,
            traffic: None,
            rocksdb: Some([(Flushes, flushes), (MemtableBytes, level)].into_iter().collect()),
        };
        let mut growth = Growth::default();
        assert_eq!(growth.counters(), None);
        growth.add(&said(3, 10), &said(5, 20));
        growth.add(&said(9, 20), &ServerWords::default());
        growth.add(&said(9, 20), &said(10, 0));
        assert_eq!(growth.counters(), Some([(Flushes, 3)].into_iter().collect()));
    }
}
