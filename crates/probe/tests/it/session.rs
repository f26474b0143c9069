//! Whole sessions on tiers that need no server.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use weir_http::TlsConfig;
use weir_model::Product;
use weir_model::{Attributed, ErrorCause};
use weir_model::{Bytes, LoadedFrom};
use weir_probe::config::ProbeConfig;
use weir_probe::differential::{Bounds, Layers};
use weir_probe::session::{ProbeSession, ProbeStep};
use weir_probe::{
    BlockSize, ConfigLines, PointLimits, ProbeMeasurements, ProbeTarget, SubjectOptions, Trace,
    Verify, Work, WorkingSet, fit, subject,
};
use weir_store::resp::{KeyLayout, RespOptions, RespTier, Secret};
use weir_store::server::{StoreServer, StoreSettings};
use weir_store::suite::{Release, ScriptedKvrocks};
use weir_store::{ChunkHash, Put, Stored, Tier};
use weir_tier::EvictionPolicy;
use weir_workload::config::{Draw, TimeUnit};
use weir_workload::trace::reading::{Basis, TraceReading};

fn config(blocks: &[u64], works: Vec<Work>) -> ProbeConfig {
    ProbeConfig {
        blocks: blocks
            .iter()
            .map(|bytes| BlockSize { bytes: Bytes(*bytes), tokens: Some(512) })
            .collect(),
        threads: vec![1, 2],
        depths: vec![1, 8],
        works,
        working_set: WorkingSet::Bytes(Bytes(16 << 20)),
        draw: Draw::Uniform,
        limits: PointLimits {
            duration: Duration::from_millis(60),
            warmup: Duration::from_millis(5),
            operations: None,
        },
        repeats: 2,
        deadline: Duration::from_secs(10),
        verify: Verify::Full,
        pin: None,
        seed: 3,
    }
}

fn options(config: &ProbeConfig) -> SubjectOptions {
    SubjectOptions {
        capacity: Bytes(64 << 20),
        stored: SubjectOptions::default_capacity(config),
        eviction: EvictionPolicy::Lru,
        deadline: config.deadline,
        connections: None,
        checksums: false,
        tls: TlsConfig::default(),
        lines: ConfigLines::default(),
        page_cache: false,
        cold: false,
    }
}

/// Whether no lower bound exceeds its upper one.
fn are_in_order(bounds: &Bounds) -> bool {
    bounds.parts.iter().filter_map(|part| part.time).all(|time| time.low <= time.high)
}

fn measure(
    target: &ProbeTarget,
    config: &ProbeConfig,
    traces: &[(BlockSize, Trace)],
) -> ProbeMeasurements {
    measure_with(target, config, traces, &options(config))
}

fn measure_with(
    target: &ProbeTarget,
    config: &ProbeConfig,
    traces: &[(BlockSize, Trace)],
    options: &SubjectOptions,
) -> ProbeMeasurements {
    let mut subject = subject(target, options).unwrap();
    let mut steps = 0;
    let total = ProbeSession::steps(config, true);
    let mut step = |step: ProbeStep<'_>| {
        assert_eq!((step.done, step.total), (steps, total));
        // The expected time is reported once, before anything is measured; not for a trace.
        assert_eq!(step.expected.is_some(), steps == 0 && traces.is_empty());
        steps += 1;
    };
    let stop = || false;
    let measured =
        ProbeSession::new(config, &mut *subject, traces, true, &stop, &mut step).run().unwrap();
    assert_eq!(steps, total, "as many steps as were announced");
    assert!(!measured.interrupted && measured.failed.is_none());
    measured
}

fn check(measured: &ProbeMeasurements, config: &ProbeConfig) {
    assert_eq!(measured.points.len(), config.points().len());
    for result in &measured.points {
        assert_eq!(result.repeats.len(), 2);
        assert_eq!(result.outcomes.trouble(), "", "{:?}", result.point);
        assert!(result.main().unwrap().gb_per_s.low > 0.0);
    }
    assert_eq!(measured.breakdowns.len(), 2 * config.blocks.len());
    for found in &measured.breakdowns {
        assert!(are_in_order(&found.bounds), "{:?}", found.bounds);
        assert!(found.bounds.total.median > 0.0 && !found.bounds.sentence.is_empty());
    }
    assert_eq!(measured.lookups.iter().map(|time| time.keys).collect::<Vec<_>>(), [1, 16, 64]);
    let (figures, quality) =
        fit::fit(&fit::observations(&measured.points), &measured.lookups).unwrap();
    assert!(figures.read_gb_per_s > 0.0 && figures.write_gb_per_s > 0.0 && figures.lanes > 0);
    assert_eq!(quality.points as usize, config.points().len());
}

#[test]
fn memory_is_measured_and_becomes_a_link() {
    let config = config(&[64 << 10, 256 << 10], vec![Work::Write, Work::Read]);
    check(&measure(&ProbeTarget::Memory, &config, &[]), &config);
}

#[test]
fn a_disk_is_measured_becomes_a_link_and_is_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&[256 << 10], vec![Work::Write, Work::Read]);
    for path in [folder.path().to_owned(), folder.path().join("made")] {
        check(&measure(&ProbeTarget::Disk(path), &config, &[]), &config);
    }
    let left = |path: &Path| std::fs::read_dir(path).unwrap().count();
    // The probe removes the folder that it created.
    assert_eq!(left(folder.path()), 0);
}

#[test]
fn a_trace_is_played_with_its_own_reuse() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Two conversations of growing prompts, one after the other: 1 + 2 + ... + 20 blocks each.
    let mut text = String::new();
    for conversation in [1000_u64, 2000] {
        for turns in 1..=20_u64 {
            let ids: Vec<u64> = (0..turns).map(|turn| conversation + turn).collect();
            let _ = writeln!(
                text,
                "{{\"timestamp\": 0, \"input_length\": {}, \"output_length\": 1, \"hash_ids\": \
                 {ids:?}}}",
                512 * turns
            );
        }
    }
    std::fs::write(file.path(), text).unwrap();
    let mut config = config(&[64 << 10], vec![Work::Engine]);
    config.threads = vec![1];
    config.limits.duration = Duration::from_secs(30);
    let block = config.blocks[0];
    let reading = TraceReading {
        path: file.path().display().to_string(),
        requests: 40,
        block_tokens: 512,
        block_basis: Basis::Given,
        time_unit: TimeUnit::Ms,
        unit_basis: Basis::Unused,
        span: None,
    };
    let traces = [(block, Trace::read(&reading, 512, None).unwrap())];
    assert_eq!((traces[0].1.asked(), traces[0].1.distinct().len()), (420, 40));
    let measured = measure(&ProbeTarget::Memory, &config, &traces);
    for result in &measured.points {
        // All but the first use of each of 40 blocks, in both repeats: the tier begins empty.
        let share = result.hit_share.unwrap();
        assert!((share.low - 380.0 / 420.0).abs() < 1e-9 && share.low == share.high, "{share:?}");
        assert_eq!(result.outcomes.stored, 2 * 40);
    }
}

/// Whether a program is installed. Without it a test prints that and is skipped, except on a
/// machine that must run all tests.
fn has(test: &str, product: weir_model::Product) -> bool {
    if weir_store::server::program(product).is_some() {
        return true;
    }
    let install = product.traits().install;
    assert!(std::env::var_os("CI").is_none(), "{test}: {install}");
    println!("SKIPPED {test}: {install}");
    false
}

fn is_measured(product: Product) {
    let config = config(&[256 << 10], vec![Work::Write, Work::Read]);
    let measured = measure(&ProbeTarget::Started(product), &config, &[]);
    check(&measured, &config);
    for result in &measured.points {
        // By the store's own CPU clock.
        assert!(result.server_cpu_s_per_gb.unwrap().median > 0.0, "{:?}", result.point);
        // It keeps values in memory, and its process reads nothing from a device.
        let from = result.read.as_ref().map(|_| LoadedFrom::Memory);
        assert_eq!(result.loaded_from, from, "{:?}", result.point);
        assert_eq!(result.device_bytes_per_loaded_byte.is_some(), from.is_some());
    }
    for found in &measured.breakdowns {
        let Layers::Store { raw: Some(raw), null: Some(null), tier, .. } = &found.layers else {
            panic!("a local store has all layers: {:?}", found.layers)
        };
        for layer in [raw, null, tier] {
            assert!(layer.s_per_gb.low > 0.0 && layer.server_cpu.is_some(), "{layer:?}");
        }
        let names: Vec<&str> = found.bounds.parts.iter().map(|part| part.name).collect();
        assert_eq!(names, ["client copy", "network and sockets", "wire protocol", "server"]);
    }
}

#[test]
fn redis_is_measured_with_what_its_time_is_made_of() {
    if has("redis_is_measured", weir_model::Product::Redis) {
        is_measured(Product::Redis);
    }
}

#[test]
fn valkey_is_measured_too() {
    if has("valkey_is_measured", weir_model::Product::Valkey) {
        is_measured(Product::Valkey);
    }
}

#[test]
fn a_kvrocks_tells_what_its_rocksdb_did() {
    // A memtable is a quarter of this, and the working set twice that.
    let limited = StoreSettings { capacity: Some(Bytes(64 << 20)), ..StoreSettings::default() };
    let server = ScriptedKvrocks::start(Release::V2_10, limited).unwrap();
    let mut config = config(&[256 << 10], vec![Work::Write, Work::Read]);
    config.working_set = WorkingSet::Bytes(Bytes(32 << 20));
    (config.threads, config.depths) = (vec![1], vec![4]);
    let measured = measure(&ProbeTarget::Store(server.address().to_string()), &config, &[]);
    let [write, read] = &measured.points[..] else { panic!("{:?}", measured.points) };
    let (write, read) = (write.engine.as_ref().unwrap(), read.engine.as_ref().unwrap());
    // All blocks go to the log, and some of them are not flushed yet.
    assert!((0.99..1.1).contains(&write.log_per_byte.unwrap()), "{write:?}");
    assert!(write.write_s_per_gb.unwrap() > 0.0 && write.stalls == Some(0), "{write:?}");
    assert!((0.99..1.01).contains(&read.read_per_byte.unwrap()), "{read:?}");
    let memtable = read.memtable_percent.unwrap();
    assert!((0.0..100.0).contains(&memtable), "{read:?}");
    assert!(read.get_s_per_gb.unwrap() > read.file_read_s_per_gb.unwrap(), "{read:?}");
    assert_eq!((read.block_cache_percent, read.log_per_byte), (Some(0.0), Some(0.0)));
    // A lookup reads values.
    for time in &measured.lookups {
        let engine = time.engine.as_ref().unwrap();
        assert!((0.99..1.01).contains(&engine.read_per_byte.unwrap()), "{engine:?}");
    }
    for found in &measured.breakdowns {
        let names: Vec<&str> = found.bounds.parts.iter().map(|part| part.name).collect();
        let expected = ["client copy", "network and sockets", "wire protocol"];
        assert_eq!(names[..3], expected);
        assert_eq!(names[3..5], ["server without RocksDB", "RocksDB"]);
        // Its files are unknown, because it has none. It runs in this process, whose other tests
        // may read from a device meanwhile.
        let may_be: &[&str] = match names[5..] {
            ["device"] => &["device"],
            _ => &["device and page cache"],
        };
        assert_eq!(&names[5..], if found.point.work.reads() { may_be } else { &[] });
        assert!(are_in_order(&found.bounds), "{:?}", found.bounds);
    }
}

#[test]
fn a_store_that_runs_already_keeps_what_is_not_ours() {
    if !has("a_store_that_runs_already", weir_model::Product::Redis) {
        return;
    }
    let settings = StoreSettings { password: Some(Secret::new("right")), ..Default::default() };
    let server = StoreServer::start(weir_model::Product::Redis, settings).unwrap();
    let place = server.endpoint().to_string();
    let mut config = config(&[64 << 10], vec![Work::Write, Work::Read]);
    config.threads = vec![2];
    config.depths = vec![8];
    config.repeats = 1;
    let probe = |password: &str| {
        let target = ProbeTarget::Store(format!("redis://:{password}@{place}"));
        let options = options(&config);
        let mut subject = subject(&target, &options).unwrap();
        ProbeSession::new(&config, &mut *subject, &[], false, &|| false, &mut |_| ()).run()
    };
    // Another user's block, of the same size.
    let layout = KeyLayout::Weir { namespace: "theirs".to_owned(), checksums: true };
    let theirs = RespTier::new(RespOptions::new(server.address(), layout, 64 << 10)).unwrap();
    let (key, bytes) = (ChunkHash([7; 32]), vec![7; 64 << 10]);
    let deadline = || Instant::now() + Duration::from_secs(5);
    let mut stored = [Stored::Full];
    theirs.put(&[Put { key, bytes: &bytes }], deadline(), &mut stored);
    assert_eq!(stored, [Stored::Stored]);
    let measured = probe("right").unwrap();
    assert!(measured.points.iter().all(|result| result.outcomes.trouble().is_empty()));
    let mut present = [false];
    theirs.contains(&[key], deadline(), &mut present).unwrap();
    assert_eq!(present, [true]);
    let keys: Option<u64> =
        theirs.servers(deadline()).unwrap().iter().map(|server| server.keys).sum();
    assert_eq!(keys, Some(1), "the probe left keys behind");
    let wrong = probe("wrong").unwrap_err();
    assert!(wrong.fault() == ErrorCause::User && !wrong.to_string().contains("wrong@"), "{wrong}");
}
