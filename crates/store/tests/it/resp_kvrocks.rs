//! Kvrocks' differences from Redis, and that no figure of Weir is wrong because of them.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use weir_http::TlsConfig;
use weir_model::{Bytes, Product};
use weir_store::resp::value::Value;
use weir_store::resp::{Secret, StoreClient};
use weir_store::server::StoreSettings;
use weir_store::suite::{Release, ScriptedKvrocks, keys};
use weir_store::{Address, KeyLayout, Loaded, RespOptions, RespTier, Stored, Tier, TierFault};

use crate::resp_fixture::{BLOCK, get, later, layout, on_every_store, options, put, tier};
use crate::resp_fixture::{Kind, running, running_with, store};

on_every_store!(
    names_of_models_are_found,
    keys_of_the_database_are_no_false_zero,
    a_database_is_its_own_or_refused,
    a_named_user_is_refused_with_a_remedy,
    used_bytes_are_all_bytes,
    nothing_is_left_of_a_proof,
    more_than_memtables_hold_is_there_and_counted,
);

/// Names with glob characters, as most on Hugging Face have.
fn names_of_models_are_found(kind: Kind) {
    let Some(server) = running(kind, "names_of_models_are_found") else { return };
    for model in ["Qwen/Qwen3-0.6B", "weir-emulated/m", "a[b]-^c", "m*", "back\\slash", "?"] {
        let layout = KeyLayout::LmcacheServer {
            model: model.to_owned(),
            kv_rank: 1,
            object_group: 0,
            salt: None,
        };
        let tier = RespTier::new(RespOptions::new(server.address(), layout, BLOCK)).unwrap();
        assert_eq!(tier.usage(later()).unwrap().chunks, 0, "{model}");
        assert_eq!(put(&tier, &keys(0..3), later()), [Stored::Stored; 3]);
        assert_eq!(tier.usage(later()).unwrap().chunks, 3, "{model}");
        tier.clear(later()).unwrap();
        assert_eq!(tier.usage(later()).unwrap().chunks, 0, "{model}");
    }
}

fn keys_of_the_database_are_no_false_zero(kind: Kind) {
    let Some(server) = running(kind, "keys_of_the_database") else { return };
    let tier = tier(&server.address());
    let said = || tier.servers(later()).unwrap()[0].keys;
    let wanted = |keys| if kind.is_kvrocks() { None } else { Some(keys) };
    assert_eq!(said(), wanted(0));
    assert_eq!(put(&tier, &keys(0..5), later()), [Stored::Stored; 5]);
    assert_eq!(said(), wanted(5));
    if let Kind::Scripted(_) = kind {
        // A scan's count is that of its moment.
        let client = StoreClient::new(&server.address(), &TlsConfig::default()).unwrap();
        client.call(&[b"DBSIZE", b"SCAN"], later()).unwrap();
        put(&tier, &keys(5..9), later());
        assert_eq!(client.call(&[b"DBSIZE"], later()).unwrap(), Value::Integer(5));
        assert_eq!(said(), None);
    }
}

fn a_database_is_its_own_or_refused(kind: Kind) {
    let Some(server) = running(kind, "a_database_is_its_own_or_refused") else { return };
    let third = tier(&Address { database: 3, ..server.address() });
    let outcome = third.contains(&keys(0..1), later(), &mut [false]);
    if !kind.is_kvrocks() {
        outcome.unwrap();
        return;
    }
    let error = outcome.unwrap_err();
    assert_eq!(error.fault, TierFault::Refused);
    for words in ["any database number", "leave the number out", "namespace"] {
        assert!(error.problem.contains(words), "{words}: {error}");
    }
    assert!(matches!(put(&third, &keys(0..1), later())[..], [Stored::Failed(_)]));
}

fn a_named_user_is_refused_with_a_remedy(kind: Kind) {
    let password = Some(Secret::new("token"));
    for without in [vec![], vec!["rename-command HELLO \"\"".to_owned()]] {
        let settings = StoreSettings {
            password: password.clone(),
            lines: without,
            ..StoreSettings::default()
        };
        let Some(server) = running_with(kind, "a_named_user", settings) else { return };
        let user = Some("weir".to_owned());
        let named = tier(&Address { user, ..server.address() });
        let error = named.contains(&keys(0..1), later(), &mut [false]).unwrap_err();
        assert_eq!(error.fault, TierFault::Refused);
        let leaves_out = error.problem.contains("leave the user out");
        assert_eq!(leaves_out, kind.is_kvrocks(), "{error}");
        assert!(!format!("{error:?}").contains("token\""), "{error:?}");
        // Without a user the same password is right.
        tier(&server.address()).contains(&keys(0..1), later(), &mut [false]).unwrap();
    }
}

fn used_bytes_are_all_bytes(kind: Kind) {
    let Some(server) = running(kind, "used_bytes_are_all_bytes") else { return };
    let options = RespOptions::new(server.address(), layout("used", true), 1 << 20);
    let tier = RespTier::new(options).unwrap();
    let used = || tier.report(later()).unwrap().used().unwrap();
    let before = used();
    assert_eq!(put(&tier, &keys(0..10), later()), [Stored::Stored; 10]);
    let grown = used().0 - before.0;
    assert!((10 << 20..16 << 20).contains(&grown), "{grown}");
    let fields = tier.report(later()).unwrap().servers[0].used_fields;
    let wanted: &[&str] =
        if kind.is_kvrocks() { &["used_db_size", "all_mem_tables"] } else { &["used_memory"] };
    assert_eq!(fields, wanted);
}

/// Data beyond memory: in files, if there are any.
fn more_than_memtables_hold_is_there_and_counted(kind: Kind) {
    const BLOCKS: u64 = 160;
    let lines = match kind {
        Kind::Real(Product::Kvrocks) => vec!["rocksdb.write_buffer_size 16".to_owned()],
        // Memtables of 64 MiB.
        Kind::Real(_) | Kind::Scripted(_) => Vec::new(),
    };
    let settings = StoreSettings { lines, ..StoreSettings::default() };
    let Some(server) = running_with(kind, "more_than_memtables_hold", settings) else { return };
    let options = RespOptions::new(server.address(), layout("large", true), 1 << 20);
    let tier = RespTier::new(options).unwrap();
    let all: Vec<_> = keys(0..BLOCKS);
    for part in all.chunks(16) {
        assert_eq!(put(&tier, part, later()), [Stored::Stored; 16]);
    }
    let used = tier.report(later()).unwrap().used().unwrap();
    assert!(used >= Bytes(BLOCKS << 20), "{used}");
    for part in all.chunks(16) {
        assert_eq!(get(&tier, part, later()), [Loaded::Hit; 16]);
    }
    assert_eq!(tier.usage(later()).unwrap().chunks, BLOCKS);
    tier.clear(later()).unwrap();
    assert_eq!(tier.usage(later()).unwrap().chunks, 0);
    assert_eq!(get(&tier, &all[..1], later()), [Loaded::Miss]);
}

fn nothing_is_left_of_a_proof(kind: Kind) {
    let Some(server) = running(kind, "nothing_is_left_of_a_proof") else { return };
    let client = StoreClient::new(&server.address(), &TlsConfig::default()).unwrap();
    for layout in
        [layout("one", true), KeyLayout::LmcacheWorkers { model: "m".into(), world_size: 1 }]
    {
        let tier = RespTier::new(RespOptions::new(server.address(), layout, BLOCK)).unwrap();
        assert_eq!(tier.usage(later()).unwrap().chunks, 0);
        let page = client.call(&[b"SCAN", b"0", b"COUNT", b"100"], later()).unwrap();
        assert!(page.elements()[1].elements().is_empty(), "{page:?}");
    }
}

/// A replica refuses the proof key: its emptiness is not reported.
#[test]
fn a_zero_that_cannot_be_proven_is_unknown() {
    let Some(server) = store(Product::Redis, "a_zero_that_cannot_be_proven") else { return };
    let (proven, later_asked) = (tier(&server.address()), tier(&server.address()));
    assert_eq!(proven.report(later()).unwrap().layout_chunks, Some(0));
    let client = StoreClient::new(&server.address(), &TlsConfig::default()).unwrap();
    client.call(&[b"REPLICAOF", b"127.0.0.1", b"1"], later()).unwrap();
    assert_eq!(later_asked.report(later()).unwrap().layout_chunks, None);
    assert!(later_asked.usage(later()).unwrap_err().problem.contains("SCAN"));
    // It found such keys before.
    assert_eq!(proven.report(later()).unwrap().layout_chunks, Some(0));
}

/// Whole seconds of `INFO` give no figure; the kernel has fractions.
#[test]
fn processor_time_has_parts_of_a_second() {
    for release in [Release::V2_10, Release::V2_12] {
        let server = ScriptedKvrocks::start(release, StoreSettings::default()).unwrap();
        let tier = tier(&server.address());
        let spent = || tier.servers(later()).unwrap()[0].cpu_ns.unwrap();
        let kernel = || {
            let now = clock_gettime(ClockId::ProcessCPUTime);
            Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
        };
        let (before, began) = (spent(), kernel());
        while kernel().saturating_sub(began) < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let grown = spent() - before;
        assert!(grown > 150_000_000, "{release:?}: {grown}");
        // One reading can be a whole second by chance; a difference of 0.2 s cannot.
        assert_ne!(grown % 1_000_000_000, 0, "{release:?}");
    }
}

#[test]
fn threads_and_persistence_are_told() {
    let server = ScriptedKvrocks::start(Release::V2_10, StoreSettings::default()).unwrap();
    let report = &tier(&server.address()).servers(later()).unwrap()[0];
    assert_eq!((report.io_threads, report.persistence), (Some(8), Some(true)));
    assert_eq!((report.product, report.limit), (Some(Product::Kvrocks), None));
    let limited = StoreSettings { capacity: Some(Bytes(3 << 30)), ..StoreSettings::default() };
    let server = ScriptedKvrocks::start(Release::V2_10, limited).unwrap();
    let tier = RespTier::new(options(&server.address())).unwrap();
    assert_eq!(tier.usage(later()).unwrap().capacity, Some(Bytes(3 << 30)));
}
