//! Real stores for tests, or a visible word why there is none.

use std::time::{Duration, Instant};

use weir_store::resp::RespTier;
use weir_store::server::{StoreServer, StoreSettings, how_to_install, program};
use weir_store::suite::{check, content};
use weir_store::{
    Address, ChunkHash, Fetched, Get, Layout, Product, Put, RespOptions, Stored, Tier,
};

/// Bytes of a block where nothing else is said: no multiple of anything.
pub(crate) const BLOCK: usize = 5000;

/// A store with the usual settings.
pub(crate) fn store(product: Product, test: &str) -> Option<StoreServer> {
    store_with(product, test, StoreSettings::default())
}

/// A store, or nothing after saying why.
pub(crate) fn store_with(
    product: Product,
    test: &str,
    settings: StoreSettings,
) -> Option<StoreServer> {
    if program(product).is_none() {
        // Kvrocks is in no registry: its absence fails nothing.
        let fails = std::env::var("CI").as_deref() == Ok("true") && product != Product::Kvrocks;
        assert!(!fails, "{test}: {product} is absent: {}", how_to_install(product));
        println!("SKIPPED {test}: {product} is absent: {}", how_to_install(product));
        return None;
    }
    Some(StoreServer::start(product, settings).unwrap())
}

pub(crate) fn layout(namespace: &str, checksums: bool) -> Layout {
    Layout::Weir { namespace: namespace.to_owned(), checksums }
}

/// A tier on an address with Weir's layout and checksums.
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

/// Stores blocks with the contents of their keys.
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

/// Loads blocks and checks the bytes of every hit.
pub(crate) fn get(tier: &dyn Tier, keys: &[ChunkHash], deadline: Instant) -> Vec<Fetched> {
    let mut blocks = vec![vec![0xa5; tier.block_bytes()]; keys.len()];
    let mut gets: Vec<Get<'_>> =
        keys.iter().zip(&mut blocks).map(|(key, into)| Get { key: *key, into }).collect();
    let mut outcomes = vec![Fetched::Corrupt; keys.len()];
    tier.get(&mut gets, deadline, &mut outcomes);
    for (get, outcome) in gets.iter().zip(&outcomes) {
        if *outcome == Fetched::Hit {
            check(get.key, get.into, "a hit");
        }
    }
    outcomes
}
