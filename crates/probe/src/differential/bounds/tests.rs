use super::*;

fn layer(s_per_gb: f64, client: f64, server: f64) -> Layer {
    let of = |value: f64| Repeated { median: value, low: value * 0.98, high: value * 1.02 };
    Layer { s_per_gb: of(s_per_gb), client_cpu: Some(of(client)), server_cpu: Some(of(server)) }
}

fn found(bounds: &Bounds, name: &str) -> PartTime {
    bounds.parts.iter().find(|part| part.name == name).unwrap().time.unwrap()
}

#[test]
fn a_slow_server_is_found() {
    let bounds = bounds(&Layers::Store {
        copy: layer(0.1, 0.1, 0.0),
        raw: Some(layer(0.3, 0.15, 0.15)),
        null: Some(layer(0.32, 0.17, 0.16)),
        tier: layer(2.0, 0.2, 1.9),
        in_memory: true,
        inside: None,
    });
    // 2.0 * 0.98 - 0.32 * 1.02 = 1.6336; 1.9 * 1.02 - 0.16 * 0.98 = 1.7812.
    let server = found(&bounds, "server");
    assert!((server.low - 1.6336).abs() < 1e-9 && (server.high - 1.7812).abs() < 1e-9);
    let network = found(&bounds, "network and sockets");
    // 0.3 * 0.98 - 0.1 * 1.02 = 0.192; 0.3 * 1.02 = 0.306.
    assert!((network.low - 0.192).abs() < 1e-9 && (network.high - 0.306).abs() < 1e-9);
    assert!(bounds.sentence.starts_with("server dominates: 82 to 89 %"), "{}", bounds.sentence);
}

#[test]
fn runs_that_differ_from_their_row_say_nothing_of_it() {
    let of = |low, median, high| Repeated { median, low, high };
    let found = |row| {
        let (copy, tier) = (layer(0.1, 0.1, 0.0), layer(0.3, 0.11, 0.0));
        bounds(&Layers::Memory { copy, tier }).beside(row)
    };
    let apart = found(of(1.4, 1.479, 1.5));
    let clash = Clash::Row { runs_s_per_gb: 0.3, row_s_per_gb: 1.479 };
    assert_eq!(apart.clashes, [clash]);
    assert!(apart.sentence.starts_with("The runs do not say"), "{}", apart.sentence);
    assert_eq!(found(of(0.1, 0.15, 0.2)).clashes.len(), 1);
    // Within a quarter, and within the spread.
    for row in [of(0.35, 0.36, 0.37), of(0.25, 0.6, 0.9)] {
        let near = found(row);
        assert!(near.clashes.is_empty() && near.sentence.contains("dominates"), "{near:?}");
    }
}

#[test]
fn equal_runs_prove_nothing_of_the_last_part_and_say_so() {
    let bounds = bounds(&Layers::Store {
        copy: layer(0.2, 0.2, 0.0),
        raw: Some(layer(0.3, 0.3, 0.3)),
        null: Some(layer(0.3, 0.3, 0.3)),
        tier: layer(0.52, 0.3, 0.5),
        in_memory: true,
        inside: None,
    });
    assert_eq!(found(&bounds, "wire protocol").low, 0.0);
    // 0.52 * 0.98 - 0.3 * 1.02 = 0.2036; 0.5 * 1.02 - 0.3 * 0.98 = 0.216: less than the 0.306
    // that the network can have.
    let server = found(&bounds, "server");
    assert!((server.low - 0.2036).abs() < 1e-9 && (server.high - 0.216).abs() < 1e-9);
    assert!(bounds.sentence.starts_with("The runs do not say"), "{}", bounds.sentence);
}

#[test]
fn a_disk_that_waits_is_the_device_and_one_that_computes_the_software() {
    let waits = bounds(&Layers::Disk {
        copy: layer(0.1, 0.1, 0.0),
        device: Some(layer(0.95, 0.05, 0.0)),
        tier: layer(1.0, 0.12, 0.0),
        behind: Behind::Device,
    });
    assert!(waits.sentence.starts_with("device dominates"), "{}", waits.sentence);
    let computes = bounds(&Layers::Disk {
        copy: layer(0.1, 0.1, 0.0),
        device: Some(layer(0.2, 0.05, 0.0)),
        tier: layer(1.0, 0.9, 0.0),
        behind: Behind::Device,
    });
    assert!(computes.sentence.starts_with("client software dominates"), "{computes:?}");
    let unknown = bounds(&Layers::Disk {
        copy: layer(0.1, 0.1, 0.0),
        device: None,
        tier: layer(1.0, 0.4, 0.0),
        behind: Behind::Device,
    });
    let device = found(&unknown, "device");
    assert!((device.low - 0.572).abs() < 1e-9 && (device.high - 1.02).abs() < 1e-9);
}

#[test]
fn a_store_elsewhere_leaves_network_and_server_together() {
    let bounds = bounds(&Layers::Store {
        copy: layer(0.1, 0.1, 0.0),
        raw: None,
        null: None,
        tier: layer(1.0, 0.3, 0.0),
        in_memory: true,
        inside: None,
    });
    assert_eq!(bounds.parts.len(), 3);
    assert!(bounds.sentence.starts_with("network and server dominates"), "{bounds:?}");
}

#[test]
fn bounds_are_in_order_and_within_the_run_whatever_the_noise() {
    for (copy, raw, null, tier) in [(1.0, 0.5, 0.4, 0.3), (0.0, 0.0, 0.0, 1.0)] {
        let bounds = bounds(&Layers::Store {
            copy: layer(copy, copy, 0.0),
            raw: Some(layer(raw, raw, raw)),
            null: Some(layer(null, null, null)),
            tier: layer(tier, tier, tier),
            in_memory: true,
            inside: None,
        });
        for time in bounds.parts.iter().filter_map(|part| part.time) {
            assert!(0.0 <= time.low && time.low <= time.high, "{time:?}");
            assert!(time.high <= bounds.total.high, "{time:?}");
        }
    }
}

fn unknown(bounds: &Bounds) -> Vec<&str> {
    let parts = bounds.parts.iter().filter(|part| part.time.is_none());
    parts.map(|part| part.name).collect()
}

#[test]
fn runs_that_contradict_each_other_give_no_figure_and_are_told() {
    // It waited 0.88 s for work that the device alone does in 0.07 s.
    let disk = bounds(&Layers::Disk {
        copy: layer(0.05, 0.05, 0.0),
        device: Some(layer(0.07, 0.01, 0.0)),
        tier: layer(1.0, 0.1, 0.0),
        behind: Behind::Device,
    });
    assert_eq!(unknown(&disk), ["client software", "device"]);
    let of_device = disk.clashes.iter().find_map(|clash| match clash {
        Clash::Bounds { part: "device", low, high } => Some((*low, *high)),
        _ => None,
    });
    let (low, high) = of_device.unwrap();
    assert!((low - 0.878).abs() < 1e-9 && (high - 0.0714).abs() < 1e-9, "{disk:?}");
    // A null server that takes twice as long as the store.
    let store = bounds(&Layers::Store {
        copy: layer(0.1, 0.1, 0.0),
        raw: Some(layer(0.3, 0.15, 0.15)),
        null: Some(layer(2.0, 0.17, 0.16)),
        tier: layer(1.0, 0.2, 0.9),
        in_memory: true,
        inside: None,
    });
    assert_eq!(unknown(&store), ["network and sockets", "wire protocol", "server"]);
    let Clash::Runs { less: RunKind::Null, more: RunKind::Tier, .. } = store.clashes[0] else {
        panic!("{store:?}")
    };
    assert!(store.sentence.starts_with("The runs do not say"), "{store:?}");
    // A copy slower than the tier says nothing about it.
    let memory = bounds(&Layers::Memory { copy: layer(0.3, 0.3, 0.0), tier: layer(0.1, 0.1, 0.0) });
    assert_eq!(unknown(&memory), ["client copy", "tier's own work"]);
    assert_eq!(memory.clashes.len(), 1);
}

#[test]
fn parts_of_a_server_that_do_not_add_up_are_unknown() {
    // It computed for 0.3 s and its engine took 0.5 of the 1.65 s that it added.
    let bounds = kvrocks(0.3, 0.5, Some((0.4, LoadedFrom::PageCache)));
    assert_eq!(unknown(&bounds), ["server without RocksDB", "RocksDB", "page cache"]);
    let [Clash::Unexplained { at_most, added }] = bounds.clashes[..] else { panic!("{bounds:?}") };
    // 0.3 * 1.02 - 0.1 * 0.98 of computing, 0.1 of the engine's own, and 0.4 of reads.
    assert!((at_most - 0.708).abs() < 1e-9 && (added - 1.654).abs() < 1e-9, "{bounds:?}");
}

/// A Kvrocks whose run takes 2 s per GB of which a null server takes 0.3.
fn kvrocks(server_cpu: f64, engine: f64, files: Option<(f64, LoadedFrom)>) -> Bounds {
    bounds(&Layers::Store {
        copy: layer(0.1, 0.1, 0.0),
        raw: Some(layer(0.25, 0.15, 0.1)),
        null: Some(layer(0.3, 0.15, 0.1)),
        tier: layer(2.0, 0.2, server_cpu),
        in_memory: false,
        inside: Some(Inside {
            engine: Repeated::once(engine),
            files: files.map(|(seconds, from)| FileReads {
                s_per_gb: Repeated::once(seconds),
                from,
                in_calls_alone: true,
            }),
        }),
    })
}

#[test]
fn an_engine_that_tells_its_time_splits_the_server() {
    // 2.0 * 0.98 - 0.3 * 1.02 = 1.654 is the server's. It waited for the device: its engine was
    // in reads of files for 1.5 s of 1.6, and all of it computed for 0.2 * 1.02 - 0.1 * 0.98.
    let device = LoadedFrom::Device { percent: 97.0 };
    let waits = kvrocks(0.2, 1.6, Some((1.5, device)));
    let part = found(&waits, "device");
    assert!((part.low - (1.654 - 0.106 - 0.1)).abs() < 1e-9, "{part:?}");
    assert_eq!(part.high, 1.5);
    let rocksdb = found(&waits, "RocksDB");
    assert!((rocksdb.low - (1.654_f64 - 0.106 - 1.5)).abs() < 1e-9, "{rocksdb:?}");
    assert!((rocksdb.high - 0.1).abs() < 1e-9, "{rocksdb:?}");
    assert!(waits.sentence.starts_with("device dominates: 72 to 75 %"), "{}", waits.sentence);
    // It copied for its sockets: the engine had 0.3 s.
    let copies = kvrocks(1.7, 0.3, Some((0.2, LoadedFrom::PageCache)));
    let rest = found(&copies, "server without RocksDB");
    assert!((rest.low - 1.354).abs() < 1e-9 && (rest.high - 1.636).abs() < 1e-9, "{rest:?}");
    assert_eq!((found(&copies, "page cache").low, found(&copies, "page cache").high), (0.0, 0.2));
    assert!(copies.sentence.starts_with("server without RocksDB dominates"), "{copies:?}");
    // Stores have no reads of files of their own.
    let stores = kvrocks(0.2, 1.9, None);
    assert_eq!(stores.parts.len(), 5);
    assert!(stores.sentence.starts_with("RocksDB dominates"), "{}", stores.sentence);
}

#[test]
fn memory_is_the_copy_and_the_rest() {
    let bounds =
        bounds(&Layers::Memory { copy: layer(0.1, 0.1, 0.0), tier: layer(0.11, 0.11, 0.0) });
    let own = found(&bounds, "tier's own work");
    assert!((own.low - 0.0058).abs() < 1e-9 && (own.high - 0.0142).abs() < 1e-9, "{own:?}");
    assert!(bounds.sentence.starts_with("client copy dominates"), "{}", bounds.sentence);
}
