//! The server behind a tier, and what it says of itself before and after a measurement.

use weir_model::Nanos;
use weir_store::resp::RocksDbFigures;

/// What a server says of itself at one moment.
#[derive(Debug, Clone, Default)]
pub struct ServerWords {
    /// Processor time that it has used so far.
    pub cpu: Option<Nanos>,
    /// What its `RocksDB` has counted so far.
    pub rocksdb: Option<RocksDbFigures>,
}

/// The server behind a tier.
pub struct Server {
    /// Asks it; nothing is known of one that does not answer.
    pub ask: Box<dyn Fn() -> ServerWords + Send + Sync>,
    /// Where it runs.
    pub at: ServerAt,
}

/// Where a server runs, and so whose processors it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAt {
    /// In threads of this process.
    Process,
    /// On this machine.
    Machine,
    /// Elsewhere.
    Elsewhere,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("at", &self.at).finish_non_exhaustive()
    }
}

/// The growth of counters over several stretches of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Growth(Option<RocksDbFigures>);

impl Growth {
    /// Adds what was counted between two moments.
    pub(crate) fn add(&mut self, before: &ServerWords, after: &ServerWords) {
        let (Some(before), Some(after)) = (&before.rocksdb, &after.rocksdb) else { return };
        let grown = after.since(before);
        self.0 = Some(self.0.take().map_or_else(|| grown.clone(), |sum| sum.plus(&grown)));
    }

    /// Of all stretches; nothing where no counters were given.
    pub(crate) fn counters(&self) -> Option<RocksDbFigures> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use weir_store::resp::RocksDbFigure::{Flushes, MemtableBytes};

    use super::*;

    #[test]
    fn growth_is_summed_over_stretches_and_silence_adds_nothing() {
        let said = |flushes, level| ServerWords {
            cpu: None,
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
