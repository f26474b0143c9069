//! Counting and removing the keys of a layout among a million: time and memory of this process, on
//! Redis, Valkey and the scripted Kvrocks (in this process, so its memory is included from the
//! start).
//!
//! `cargo bench -p weir-store --bench keys`

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use weir_model::Product;
use weir_store::server::{StoreServer, StoreSettings, program};
use weir_store::suite::{Release, ScriptedKvrocks, keys};
use weir_store::{Address, KeyLayout, Put, RespOptions, RespTier, Stored, Tier};

const BATCH: usize = 50_000;
const PATIENCE: Duration = Duration::from_mins(2);

/// `cargo test` only checks that this still runs.
fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn main() {
    let most = if is_measured() { 1_000_000 } else { 10_000 };
    println!("store           keys  count s    CPU s  clear s  memory MiB");
    for product in [Product::Redis, Product::Valkey] {
        if program(product).is_none() {
            println!("{product}: not installed");
            continue;
        }
        let server = StoreServer::start(product, StoreSettings::default()).unwrap();
        measure(product.name(), &server.address(), most);
    }
    for (name, release) in [("kvrocks 2.10", Release::V2_10), ("kvrocks 2.12", Release::V2_12)] {
        let server = ScriptedKvrocks::start(release, StoreSettings::default()).unwrap();
        measure(name, &server.address(), most);
    }
}

fn later() -> Instant {
    Instant::now() + PATIENCE
}

fn measure(name: &str, address: &Address, most: u64) {
    let layout = KeyLayout::LmcacheServer {
        model: "Qwen/Qwen3-0.6B".to_owned(),
        kv_rank: 0x0100_0100,
        object_group: 0,
        salt: Some("weir-bench".to_owned()),
    };
    let tier = RespTier::new(RespOptions::new(address.clone(), layout, 1)).unwrap();
    for (count, fresh) in [(most / 10, 0..most / 10), (most, most / 10..most)] {
        let all = keys(fresh);
        for batch in all.chunks(BATCH) {
            let puts: Vec<Put<'_>> =
                batch.iter().map(|key| Put { key: *key, bytes: b"x" }).collect();
            let mut outcomes = vec![Stored::Full; batch.len()];
            tier.put(&puts, later(), &mut outcomes);
            assert!(outcomes.iter().all(|outcome| *outcome == Stored::Stored));
        }
        drop(all);
        let before = memory(true);
        let (began, used) = (Instant::now(), cpu());
        assert_eq!(tier.report(later()).unwrap().layout_chunks, Some(count));
        let (counted, used) = (began.elapsed().as_secs_f64(), cpu() - used);
        let grown = memory(false).saturating_sub(before);
        let cleared = (count == most).then(|| {
            let began = Instant::now();
            tier.clear(later()).unwrap();
            let cleared = began.elapsed().as_secs_f64();
            assert_eq!(tier.report(later()).unwrap().layout_chunks, Some(0));
            format!("{cleared:.2}")
        });
        let cleared = cleared.unwrap_or_default();
        let grown = grown as f64 / 1024.0;
        println!("{name:<12} {count:>8} {counted:>8.2} {used:>8.2} {cleared:>8} {grown:>11.1}");
    }
}

/// Seconds of this thread, which sends the commands.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Peak resident memory of this process, KiB; `anew` resets the peak.
fn memory(anew: bool) -> u64 {
    if anew {
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
