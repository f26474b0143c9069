//! `RocksDB` counters of a Kvrocks, by a scripted server with memtables and flushes but no disk.

use weir_model::{Bytes, Product};
use weir_store::resp::RocksDbFigure;
use weir_store::server::StoreSettings;
use weir_store::suite::{Release, ScriptedKvrocks, keys};
use weir_store::{RespOptions, RespTier, Tier};

use crate::resp_fixture::{later, layout, put, store, tier};

/// Flushed blocks are read from files, others from the memtable.
#[test]
fn rocksdb_says_what_it_did() {
    let small = StoreSettings { capacity: Some(Bytes(64 << 20)), ..StoreSettings::default() };
    for release in [Release::V2_10, Release::V2_12] {
        let server = ScriptedKvrocks::start(release, small.clone()).unwrap();
        let options = RespOptions::new(server.address(), layout("rocksdb", true), 1 << 20);
        let tier = RespTier::new(options).unwrap();
        let said = || tier.servers(later()).unwrap()[0].rocksdb.clone().unwrap();
        let began = said();
        // A memtable is a quarter of the limit: the first 16 of 20 are flushed.
        put(&tier, &keys(0..20), later());
        let written = said();
        let of = written.since(&began);
        assert_eq!(of.get(RocksDbFigure::Flushes), Some(1));
        let flushed = of.get(RocksDbFigure::FlushedBytes).unwrap();
        assert!((16 << 20..17 << 20).contains(&flushed), "{flushed}");
        assert!(of.get(RocksDbFigure::LogBytes).unwrap() > 20 << 20);
        assert_eq!(
            (of.get(RocksDbFigure::Stops), of.get(RocksDbFigure::StallMicros)),
            (Some(0), Some(0))
        );
        let level = written.get(RocksDbFigure::MemtableBytes).unwrap();
        assert!((3 << 20..6 << 20).contains(&level), "{level}");
        // A lookup reads the value.
        tier.contains(&keys(0..20), later(), &mut [false; 20]).unwrap();
        let of = said().since(&written);
        assert_eq!(of.get(RocksDbFigure::MemtableHits), Some(4));
        assert_eq!(of.get(RocksDbFigure::MemtableMisses), Some(16));
        assert_eq!(of.get(RocksDbFigure::BlockCacheMisses), Some(16));
        assert!(of.get(RocksDbFigure::ReadBytes).unwrap() >= 20 << 20);
        assert!(of.get(RocksDbFigure::GetMicros) >= of.get(RocksDbFigure::FileReadMicros));
        assert_eq!(
            written.get(RocksDbFigure::PendingCompactionBytes).is_some(),
            release == Release::V2_12
        );
    }
    // Without the command, only INFO's figures.
    let settings = StoreSettings { lines: vec!["rename-command STATS \"\"".to_owned()], ..small };
    let server = ScriptedKvrocks::start(Release::V2_10, settings).unwrap();
    let said = tier(&server.address()).servers(later()).unwrap()[0].rocksdb.clone().unwrap();
    assert_eq!(said.get(RocksDbFigure::Flushes), Some(0));
    assert_eq!(
        (said.get(RocksDbFigure::MemtableHits), said.get(RocksDbFigure::LogBytes)),
        (None, None)
    );
    if let Some(redis) = store(Product::Redis, "rocksdb_says_what_it_did") {
        assert_eq!(tier(&redis.address()).servers(later()).unwrap()[0].rocksdb, None);
    }
}
