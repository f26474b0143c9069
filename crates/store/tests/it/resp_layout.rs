//! Names and values to the byte, against a real store: Weir reads and counts what `LMCache` wrote,
//! and writes what `LMCache` reads.

use weir_http::TlsConfig;
use weir_model::block::BlockHasher;
use weir_model::block::lmcache::{InProcessHasher, ServerHasher};
use weir_store::resp::layout::Part;
use weir_store::resp::value::Value;
use weir_store::resp::{LmcacheDtype, LmcacheWorker, StoreClient};
use weir_store::suite::{content, key};
use weir_store::{ChunkHash, Fetched, Layout, RespOptions, RespTier, Stored, Tier};

use crate::resp_fixture::{Kind, get, later, on_every_store, put, running};

/// 64 tokens of 4 layers with 4 heads of 32 elements, K and V, two bytes each: what a run of vLLM
/// and `LMCache` left in Redis, by `STRLEN`.
const BLOCK: usize = 131_072;

fn tokens() -> Vec<u32> {
    (0..64).map(|index| 7 * index % 4000 + 10).collect()
}

/// The chunk that the hashes in `weir-model` were verified with.
fn server_hash() -> ChunkHash {
    ChunkHash(ServerHasher::new().hash_blocks(&tokens(), 64)[0])
}

fn worker_hash() -> ChunkHash {
    let hashes =
        InProcessHasher::new(weir_model::block::vllm::DEFAULT_SEED).hash_blocks(&tokens(), 32);
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&hashes[0].to_be_bytes());
    ChunkHash(hash)
}

fn worker() -> LmcacheWorker {
    LmcacheWorker {
        model: "meta-llama/Llama-3.1-8B".to_owned(),
        world_size: 2,
        worker: 1,
        dtype: LmcacheDtype::Bfloat16,
    }
}

fn server(salt: Option<&str>) -> Layout {
    Layout::LmcacheServer {
        model: "Qwen/Qwen3-0.6B".to_owned(),
        kv_rank: 0x0100_0100,
        object_group: 0,
        salt: salt.map(str::to_owned),
    }
}

fn pair() -> Layout {
    Layout::LmcachePair { worker: worker(), format: 1, shape: [2, 4, 64, 128] }
}

fn weir(checksums: bool) -> Layout {
    Layout::Weir { namespace: "ns-1".to_owned(), checksums }
}

const SERVER: &str = "Qwen/Qwen3-0.6B@01000100@0@\
                      f0bfd9eae00cd17757c0978da70646d5791644a7b2df711d58f3bb68e9bca215";
const WORKER: &str = "meta-llama/Llama-3.1-8B@2@1@c72adf293d87887c@bfloat16";

#[test]
fn names_to_the_byte() {
    let hash = server_hash();
    let plain = "weir:ns-1:f0bfd9eae00cd17757c0978da70646d5791644a7b2df711d58f3bb68e9bca215";
    let value = Part::Value;
    let salted = format!("{SERVER}@tenant");
    for (layout, hash, part, wanted) in [
        (weir(true), hash, value, plain),
        (server(None), hash, value, SERVER),
        (server(Some("tenant")), hash, value, &salted),
        (Layout::LmcacheSingle(worker()), worker_hash(), value, WORKER),
        (pair(), worker_hash(), value, &format!("{WORKER}kv_bytes")),
        (pair(), worker_hash(), Part::Metadata, &format!("{WORKER}metadata")),
    ] {
        let mut name = Vec::new();
        layout.key(&hash, part, &mut name);
        assert_eq!(String::from_utf8_lossy(&name), wanted);
        assert_eq!(layout.parse(&name), Some((hash, part)), "{wanted}");
        // Others do not take it for theirs.
        for other in [weir(true), server(None), server(Some("x")), pair()] {
            if other != layout && other.name() != layout.name() {
                assert_eq!(other.parse(&name), None, "{other:?} and {wanted}");
            }
        }
    }
    assert_eq!(server(None).parse(salted.as_bytes()), None);
    assert_eq!(server(Some("tenant")).parse(SERVER.as_bytes()), None);
}

/// Who empties a store wants the parts of all ranks, and of engines of that size alone.
#[test]
fn keys_of_all_ranks_are_told_from_those_of_other_engines() {
    let of = |world, salt: Option<&str>| Layout::LmcacheServerRanks {
        model: "Qwen/Qwen3-0.6B".to_owned(),
        world,
        salt: salt.map(str::to_owned),
    };
    let hash = &SERVER[SERVER.len() - 64..];
    let key = |place: &str, salt: &str| format!("Qwen/Qwen3-0.6B@{place}@{hash}{salt}");
    let has = |layout: &Layout, key: &str| {
        layout.parse(key.as_bytes()) == Some((server_hash(), Part::Value))
    };
    let two = of(Some(2), None);
    for place in ["02000200@0", "02010201@0", "02010201@1f"] {
        assert!(has(&two, &key(place, "")), "{place}");
        assert!(has(&of(None, Some("run")), &key(place, "@run")), "{place}");
    }
    for other in [
        key("01000100@0", ""),
        key("02000200@0", "@run"),
        key("02000200@0", "@"),
        key("2000200@0", ""),
        key("0200020g@0", ""),
        key("02000200@", ""),
        key("02000200@0@0", ""),
        "Qwen/Qwen3-0.6B@02000200".to_owned(),
        "Qwen/Qwen3-0.6B@".to_owned(),
    ] {
        assert_eq!(two.parse(other.as_bytes()), None, "{other}");
    }
    assert_eq!(of(None, Some("run")).parse(key("02000200@0", "@run2").as_bytes()), None);
    let mut name = Vec::new();
    of(None, None).key(&server_hash(), Part::Value, &mut name);
    assert_eq!(String::from_utf8_lossy(&name), SERVER);
}

#[test]
fn keys_of_all_workers_are_told_from_those_of_other_engines() {
    let layout = Layout::LmcacheWorkers { model: worker().model, world_size: 2 };
    for part in [Part::Value, Part::Metadata] {
        let mut name = Vec::new();
        pair().key(&worker_hash(), part, &mut name);
        assert_eq!(layout.parse(&name), Some((worker_hash(), part)));
        let mut name = Vec::new();
        layout.key(&worker_hash(), part, &mut name);
        assert_eq!(layout.parse(&name), Some((worker_hash(), part)));
    }
    let model = worker().model;
    let first = format!("{model}@2@0@1@floatmetadata");
    assert!(layout.parse(first.as_bytes()).is_some());
    for other in [
        "4@0@1@floatkv_bytes",
        "2@0@1@float",
        "2@x@1@floatkv_bytes",
        "2@@1@floatkv_bytes",
        "2@0@1@doublekv_bytes",
        "2@0@g@floatkv_bytes",
        "2@0@1@float@tag%1kv_bytes",
        "2@0kv_bytes",
    ] {
        let name = format!("{model}@{other}");
        assert_eq!(layout.parse(name.as_bytes()), None, "{name}");
    }
    assert_eq!(layout.parse(SERVER.as_bytes()), None);
}

/// Small hashes have no leading zeros in `LMCache`'s in-process keys, which are Python's `:x`.
#[test]
fn short_hashes_as_python_writes_them() {
    let layout = Layout::LmcacheSingle(worker());
    for (number, digits) in [(0_u64, "0"), (15, "f"), (0x10, "10"), (u64::MAX, "ffffffffffffffff")]
    {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        let mut name = Vec::new();
        layout.key(&ChunkHash(hash), Part::Value, &mut name);
        let wanted = format!("meta-llama/Llama-3.1-8B@2@1@{digits}@bfloat16");
        assert_eq!(String::from_utf8_lossy(&name), wanted);
        assert_eq!(layout.parse(&name), Some((ChunkHash(hash), Part::Value)));
    }
    for strange in ["", "0f", "00", "g", "F", "11111111111111111", "1@bfloat16@x%1"] {
        let name = format!("meta-llama/Llama-3.1-8B@2@1@{strange}@bfloat16");
        assert_eq!(layout.parse(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn metadata_to_the_byte() {
    let mut metadata = Vec::new();
    pair().metadata(BLOCK, &mut metadata);
    // length, KV_2LTD, bfloat16, then the shape: 32-bit integers of this machine's order.
    let wanted: Vec<u8> =
        [131_072_i32, 1, 3, 2, 4, 64, 128].iter().flat_map(|n| n.to_ne_bytes()).collect();
    assert_eq!(metadata, wanted);
}

#[test]
fn trailer_to_the_byte() {
    let mut block = vec![0; 100];
    content(key(3), &mut block);
    let mut trailer = Vec::new();
    weir(true).trailer(&key(3), &block, &mut trailer);
    let seed = u64::from_le_bytes(key(3).0[..8].try_into().unwrap());
    let sum = xxhash_rust::xxh3::xxh3_64_with_seed(&block, seed);
    assert_eq!(trailer, [b"weirkv1\n".as_slice(), &sum.to_le_bytes()].concat());
    assert!(weir(true).trailer_fits(&key(3), &block, &trailer));
    assert!(!weir(true).trailer_fits(&key(4), &block, &trailer), "of another chunk");
    assert!(!weir(true).trailer_fits(&key(3), &block, &[]));
    assert!(weir(false).trailer_fits(&key(3), &block, &[]));
}

on_every_store!(reads_and_counts_what_others_wrote, writes_what_others_read, patterns_are_literal);

fn reads_and_counts_what_others_wrote(kind: Kind) {
    let Some(store) = running(kind, "reads_and_counts_what_others_wrote") else { return };
    let address = store.address();
    let client = StoreClient::new(&address, &TlsConfig::default()).unwrap();
    let call = |arguments: &[&[u8]]| client.call(arguments, later()).unwrap();
    let (server_block, worker_block) = (filled(server_hash()), filled(worker_hash()));
    call(&[b"SET", SERVER.as_bytes(), &server_block]);
    call(&[b"SET", WORKER.as_bytes(), &worker_block]);
    call(&[b"SET", format!("{WORKER}kv_bytes").as_bytes(), &worker_block]);
    let tier =
        |layout: Layout| RespTier::new(RespOptions::new(address.clone(), layout, BLOCK)).unwrap();
    let two = tier(pair());
    // The bytes are there, but nobody says so yet: `LMCache` writes the metadata last.
    assert_eq!(get(&two, &[worker_hash()], later()), [Fetched::Miss]);
    assert_eq!(two.usage(later()).unwrap().chunks, 0);
    let numbers = [131_072_i32, 1, 3, 2, 4, 64, 128];
    let metadata: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
    call(&[b"SET", format!("{WORKER}metadata").as_bytes(), &metadata]);
    for (layout, hash) in [
        (server(None), server_hash()),
        (Layout::LmcacheSingle(worker()), worker_hash()),
        (pair(), worker_hash()),
    ] {
        let tier = tier(layout);
        assert_eq!(get(&tier, &[hash, key(1)], later()), [Fetched::Hit, Fetched::Miss]);
        let mut present = [false, true];
        tier.contains(&[hash, key(1)], later(), &mut present).unwrap();
        assert_eq!(present, [true, false]);
        assert_eq!(tier.usage(later()).unwrap().chunks, 1, "{:?}", tier.options().layout);
        tier.clear(later()).unwrap();
        assert_eq!(get(&tier, &[hash], later()), [Fetched::Miss]);
    }
    assert_eq!(all_keys(&client), 0, "clear left nothing of either key");
    // Metadata that speaks of another size.
    call(&[b"SET", format!("{WORKER}kv_bytes").as_bytes(), &worker_block]);
    call(&[b"SET", format!("{WORKER}metadata").as_bytes(), &[0; 28]]);
    assert_eq!(get(&two, &[worker_hash()], later()), [Fetched::Corrupt]);
}

/// Keys of a small store: not every one keeps their number.
fn all_keys(client: &StoreClient) -> usize {
    let page = client.call(&[b"SCAN", b"0", b"COUNT", b"1000"], later()).unwrap();
    let [Value::Text(cursor), Value::Array(keys)] = page.elements() else { panic!("{page:?}") };
    assert_eq!(cursor, b"0");
    keys.len()
}

fn filled(hash: ChunkHash) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    content(hash, &mut block);
    block
}

fn writes_what_others_read(kind: Kind) {
    let Some(store) = running(kind, "writes_what_others_read") else { return };
    let client = StoreClient::new(&store.address(), &TlsConfig::default()).unwrap();
    let call = |arguments: &[&[u8]]| client.call(arguments, later()).unwrap();
    let layouts = [server(None), Layout::LmcacheSingle(worker()), pair()];
    for (layout, hash) in layouts.into_iter().zip([server_hash(), worker_hash(), worker_hash()]) {
        let options = RespOptions::new(store.address(), layout, BLOCK);
        let tier = RespTier::new(options).unwrap();
        assert_eq!(put(&tier, &[hash], later()), [Stored::Stored]);
    }
    for (name, hash) in [
        (SERVER.to_owned(), server_hash()),
        (WORKER.to_owned(), worker_hash()),
        (format!("{WORKER}kv_bytes"), worker_hash()),
    ] {
        let value = call(&[b"GET", name.as_bytes()]);
        assert!(value == Value::Text(filled(hash)), "{name}");
    }
    let metadata = call(&[b"GET", format!("{WORKER}metadata").as_bytes()]);
    let mut wanted = Vec::new();
    pair().metadata(BLOCK, &mut wanted);
    assert_eq!(metadata, Value::Text(wanted));
    assert_eq!(all_keys(&client), 4);
}

/// A model whose name looks like a pattern does not touch another model's keys.
fn patterns_are_literal(kind: Kind) {
    let Some(store) = running(kind, "patterns_are_literal") else { return };
    let tier = |model: &str| {
        let layout = Layout::LmcacheSingle(LmcacheWorker { model: model.to_owned(), ..worker() });
        RespTier::new(RespOptions::new(store.address(), layout, 100)).unwrap()
    };
    let names = ["m*", "m?", "m[a-z]", "m\\x", "mx", "m", "m*@2", "m^"];
    for name in names {
        assert_eq!(put(&tier(name), &[key(1), key(2)], later()), [Stored::Stored; 2]);
    }
    for (cleared, name) in names.iter().enumerate() {
        assert_eq!(tier(name).usage(later()).unwrap().chunks, 2, "{name}");
        tier(name).clear(later()).unwrap();
        for (number, other) in names.iter().enumerate() {
            let wanted = if number <= cleared { Fetched::Miss } else { Fetched::Hit };
            assert_eq!(get(&tier(other), &[key(1), key(2)], later()), [wanted; 2], "{other}");
        }
    }
}
