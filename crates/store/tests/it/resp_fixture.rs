//! Stores for tests: real ones, or a printed reason for their absence, and always the scripted
//! Kvrocks.

use std::time::{Duration, Instant};

use weir_model::Product;
use weir_store::resp::RespTier;
use weir_store::server::{StoreServer, StoreSettings, program};
use weir_store::suite::{Release, ScriptedKvrocks, check, content};
use weir_store::{Address, ChunkHash, Get, KeyLayout, Loaded, Put, RespOptions, Stored, Tier};

/// Default bytes of a block: no multiple of anything.
pub(crate) const BLOCK: usize = 5000;

pub(crate) fn store(product: Product, test: &str) -> Option<StoreServer> {
    store_with(product, test, StoreSettings::default())
}

/// None after printing the reason.
pub(crate) fn store_with(
    product: Product,
    test: &str,
    settings: StoreSettings,
) -> Option<StoreServer> {
    if program(product).is_none() {
        // Kvrocks is in no package registry: its absence fails nothing.
        let fails = std::env::var("CI").as_deref() == Ok("true") && product != Product::Kvrocks;
        assert!(!fails, "{test}: {product} is absent: {}", product.traits().install);
        println!("SKIPPED {test}: {product} is absent: {}", product.traits().install);
        return None;
    }
    Some(StoreServer::start(product, settings).unwrap())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The program of this product, if it is on `PATH`.
    Real(Product),
    /// The scripted server of this release of Kvrocks.
    Scripted(Release),
}

impl Kind {
    pub(crate) fn is_kvrocks(self) -> bool {
        matches!(self, Self::Real(Product::Kvrocks) | Self::Scripted(_))
    }
}

#[derive(Debug)]
pub(crate) enum Running {
    Real(StoreServer),
    Scripted(ScriptedKvrocks),
}

impl Running {
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Real(server) => server.address(),
            Self::Scripted(server) => server.address(),
        }
    }

    pub(crate) fn pause(&self) {
        match self {
            Self::Real(server) => server.pause(),
            Self::Scripted(server) => server.pause(),
        }
    }

    pub(crate) fn resume(&self) {
        match self {
            Self::Real(server) => server.resume(),
            Self::Scripted(server) => server.resume(),
        }
    }

    pub(crate) fn restart(&mut self) {
        match self {
            Self::Real(server) => server.restart().unwrap(),
            Self::Scripted(server) => server.restart().unwrap(),
        }
    }
}

pub(crate) fn running(kind: Kind, test: &str) -> Option<Running> {
    running_with(kind, test, StoreSettings::default())
}

pub(crate) fn running_with(kind: Kind, test: &str, settings: StoreSettings) -> Option<Running> {
    match kind {
        Kind::Real(product) => store_with(product, test, settings).map(Running::Real),
        Kind::Scripted(release) => {
            Some(Running::Scripted(ScriptedKvrocks::start(release, settings).unwrap()))
        }
    }
}

macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {
        on_every_store! { @on redis, Real(weir_model::Product::Redis); $($test),* }
        on_every_store! { @on valkey, Real(weir_model::Product::Valkey); $($test),* }
        on_every_store! { @on kvrocks, Real(weir_model::Product::Kvrocks); $($test),* }
        on_every_store! {
            @on kvrocks_2_10, Scripted(weir_store::suite::Release::V2_10); $($test),*
        }
        on_every_store! {
            @on kvrocks_2_11, Scripted(weir_store::suite::Release::V2_11); $($test),*
        }
        on_every_store! {
            @on kvrocks_2_12, Scripted(weir_store::suite::Release::V2_12); $($test),*
        }
    };
    (@on $name:ident, $kind:ident($of:expr); $($test:ident),*) => {
        mod $name {
            $(#[test] fn $test() { super::$test(crate::resp_fixture::Kind::$kind($of)); })*
        }
    };
}
pub(crate) use on_every_store;

pub(crate) fn layout(namespace: &str, checksums: bool) -> KeyLayout {
    KeyLayout::Weir { namespace: namespace.to_owned(), checksums }
}

/// With Weir's layout and checksums.
pub(crate) fn tier(address: &Address) -> RespTier {
    RespTier::new(options(address)).unwrap()
}

pub(crate) fn options(address: &Address) -> RespOptions {
    RespOptions::new(address.clone(), layout("test", true), BLOCK)
}

pub(crate) fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) fn within(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

pub(crate) fn put(tier: &dyn Tier, keys: &[ChunkHash], deadline: Instant) -> Vec<Stored> {
    let blocks: Vec<Vec<u8>> = keys
        .iter()
        .map(|key| {
            let mut block = vec![0; tier.block_bytes()];
            content(*key, &mut block);
            block
        })
        .collect();
    let puts: Vec<Put<'_>> =
        keys.iter().zip(&blocks).map(|(key, bytes)| Put { key: *key, bytes }).collect();
    let mut outcomes = vec![Stored::Full; keys.len()];
    tier.put(&puts, deadline, &mut outcomes);
    outcomes
}

/// Checks the bytes of every hit.
pub(crate) fn get(tier: &dyn Tier, keys: &[ChunkHash], deadline: Instant) -> Vec<Loaded> {
    let mut blocks = vec![vec![0xa5; tier.block_bytes()]; keys.len()];
    let mut gets: Vec<Get<'_>> =
        keys.iter().zip(&mut blocks).map(|(key, into)| Get { key: *key, into }).collect();
    let mut outcomes = vec![Loaded::Corrupt; keys.len()];
    tier.get(&mut gets, deadline, &mut outcomes);
    for (get, outcome) in gets.iter().zip(&outcomes) {
        if *outcome == Loaded::Hit {
            check(get.key, get.into, "a hit");
        }
    }
    outcomes
}
