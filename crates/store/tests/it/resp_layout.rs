//! Keys and values to the byte, against a real store: Weir counts `LMCache`'s chunks, and reads and
//! writes the format of its server.

use weir_http::TlsConfig;
use weir_model::block::{BlockHasher, ServerHasher};
use weir_store::resp::StoreClient;
use weir_store::resp::layout::KeyPart;
use weir_store::resp::value::Value;
use weir_store::suite::{content, key};
use weir_store::{ChunkHash, KeyLayout, Loaded, RespOptions, RespTier, Stored, Tier};

use crate::resp_fixture::{Kind, get, later, on_every_store, put, running};

/// 64 tokens of 4 layers with 4 heads of 32 elements, K and V, two bytes each: as a run of vLLM and
/// `LMCache` left in Redis, by `STRLEN`.
const BLOCK: usize = 131_072;

fn tokens() -> Vec<u32> {
    (0..64).map(|index| 7 * index % 4000 + 10).collect()
}

/// The chunk that verified the hashes in `weir-model`.
fn server_hash() -> ChunkHash {
    let mut hasher = ServerHasher::new();
    let root = hasher.root();
    ChunkHash(hasher.hash_blocks_after(&root, &tokens(), 64)[0])
}

/// The first eight bytes, as in the keys of in-engine `LMCache`.
fn worker_hash() -> ChunkHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&0xc72a_df29_3d87_887c_u64.to_be_bytes());
    ChunkHash(hash)
}

fn workers() -> KeyLayout {
    KeyLayout::LmcacheWorkers { model: MODEL.to_owned(), world_size: 2 }
}

fn server(salt: Option<&str>) -> KeyLayout {
    KeyLayout::LmcacheServer {
        model: "Qwen/Qwen3-0.6B".to_owned(),
        kv_rank: 0x0100_0100,
        object_group: 0,
        salt: salt.map(str::to_owned),
    }
}

fn weir(checksums: bool) -> KeyLayout {
    KeyLayout::Weir { namespace: "ns-1".to_owned(), checksums }
}

const SERVER: &str = "Qwen/Qwen3-0.6B@01000100@0@\
                      f0bfd9eae00cd17757c0978da70646d5791644a7b2df711d58f3bb68e9bca215";
const MODEL: &str = "meta-llama/Llama-3.1-8B";
const WORKER: &str = "meta-llama/Llama-3.1-8B@2@0@c72adf293d87887c@bfloat16";

#[test]
fn names_to_the_byte() {
    let hash = server_hash();
    let plain = "weir:ns-1:f0bfd9eae00cd17757c0978da70646d5791644a7b2df711d58f3bb68e9bca215";
    let value = KeyPart::Value;
    let salted = format!("{SERVER}@tenant");
    for (layout, hash, part, wanted) in [
        (weir(true), hash, value, plain),
        (server(None), hash, value, SERVER),
        (server(Some("tenant")), hash, value, &salted),
        (workers(), worker_hash(), value, &format!("{WORKER}kv_bytes")),
        (workers(), worker_hash(), KeyPart::Metadata, &format!("{WORKER}metadata")),
    ] {
        let mut name = Vec::new();
        layout.key(&hash, part, &mut name);
        assert_eq!(String::from_utf8_lossy(&name), wanted);
        assert_eq!(layout.parse(&name), Some((hash, part)), "{wanted}");
        // Other layouts do not accept it.
        for other in [weir(true), server(None), server(Some("x")), workers()] {
            if other != layout && other.name() != layout.name() {
                assert_eq!(other.parse(&name), None, "{other:?} and {wanted}");
            }
        }
    }
    assert_eq!(server(None).parse(salted.as_bytes()), None);
    assert_eq!(server(Some("tenant")).parse(SERVER.as_bytes()), None);
}

/// Emptying a store needs the keys of all ranks, and only of engines of that size.
#[test]
fn keys_of_all_ranks_are_told_from_those_of_other_engines() {
    let of = |world, salt: Option<&str>| KeyLayout::LmcacheServerRanks {
        model: "Qwen/Qwen3-0.6B".to_owned(),
        world,
        salt: salt.map(str::to_owned),
    };
    let hash = &SERVER[SERVER.len() - 64..];
    let key = |place: &str, salt: &str| format!("Qwen/Qwen3-0.6B@{place}@{hash}{salt}");
    let has = |layout: &KeyLayout, key: &str| {
        layout.parse(key.as_bytes()) == Some((server_hash(), KeyPart::Value))
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
    of(None, None).key(&server_hash(), KeyPart::Value, &mut name);
    assert_eq!(String::from_utf8_lossy(&name), SERVER);
}

#[test]
fn keys_of_all_workers_are_told_from_those_of_other_engines() {
    let layout = workers();
    for (part, suffix) in [(KeyPart::Value, "kv_bytes"), (KeyPart::Metadata, "metadata")] {
        let name = format!("{MODEL}@2@1@c72adf293d87887c@fp8_e5m2{suffix}");
        assert_eq!(layout.parse(name.as_bytes()), Some((worker_hash(), part)));
    }
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
        let name = format!("{MODEL}@{other}");
        assert_eq!(layout.parse(name.as_bytes()), None, "{name}");
    }
    assert_eq!(layout.parse(SERVER.as_bytes()), None);
}

/// Small hashes have no leading zeros in in-engine `LMCache` keys (Python's `:x`).
#[test]
fn short_hashes_as_python_writes_them() {
    let layout = workers();
    for (number, digits) in [(0_u64, "0"), (15, "f"), (0x10, "10"), (u64::MAX, "ffffffffffffffff")]
    {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        let mut name = Vec::new();
        layout.key(&ChunkHash(hash), KeyPart::Value, &mut name);
        let wanted = format!("{MODEL}@2@0@{digits}@bfloat16kv_bytes");
        assert_eq!(String::from_utf8_lossy(&name), wanted);
        assert_eq!(layout.parse(&name), Some((ChunkHash(hash), KeyPart::Value)));
    }
    for strange in ["", "0f", "00", "g", "F", "11111111111111111", "1@bfloat16@x%1"] {
        let name = format!("{MODEL}@2@0@{strange}@bfloat16kv_bytes");
        assert_eq!(layout.parse(name.as_bytes()), None, "{name}");
    }
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

on_every_store!(
    reads_and_counts_what_the_server_wrote,
    counts_what_workers_wrote,
    writes_what_the_server_reads,
    patterns_are_literal,
);

fn reads_and_counts_what_the_server_wrote(kind: Kind) {
    let Some(store) = running(kind, "reads_and_counts_what_the_server_wrote") else { return };
    let client = StoreClient::new(&store.address(), &TlsConfig::default()).unwrap();
    let (hash, block) = (server_hash(), filled(server_hash()));
    client.call(&[b"SET", SERVER.as_bytes(), &block], later()).unwrap();
    let tier = RespTier::new(RespOptions::new(store.address(), server(None), BLOCK)).unwrap();
    assert_eq!(get(&tier, &[hash, key(1)], later()), [Loaded::Hit, Loaded::Miss]);
    let mut present = [false, true];
    tier.contains(&[hash, key(1)], later(), &mut present).unwrap();
    assert_eq!(present, [true, false]);
    assert_eq!(tier.usage(later()).unwrap().chunks, 1);
    tier.clear(later()).unwrap();
    assert_eq!(all_keys(&client), 0);
}

fn counts_what_workers_wrote(kind: Kind) {
    let Some(store) = running(kind, "counts_what_workers_wrote") else { return };
    let client = StoreClient::new(&store.address(), &TlsConfig::default()).unwrap();
    let set = |name: &str| client.call(&[b"SET", name.as_bytes(), b"x"], later()).unwrap();
    let tier = RespTier::new(RespOptions::new(store.address(), workers(), BLOCK)).unwrap();
    set(&format!("{WORKER}kv_bytes"));
    // The bytes exist, but `LMCache` writes the metadata last.
    assert_eq!(tier.usage(later()).unwrap().chunks, 0);
    set(&format!("{WORKER}metadata"));
    set(SERVER);
    assert_eq!(tier.usage(later()).unwrap().chunks, 1);
    tier.clear(later()).unwrap();
    assert_eq!(all_keys(&client), 1, "clear left nothing of either key, and the other's alone");
}

/// Counted by keys: some servers do not maintain the number.
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

fn writes_what_the_server_reads(kind: Kind) {
    let Some(store) = running(kind, "writes_what_the_server_reads") else { return };
    let client = StoreClient::new(&store.address(), &TlsConfig::default()).unwrap();
    let tier = RespTier::new(RespOptions::new(store.address(), server(None), BLOCK)).unwrap();
    assert_eq!(put(&tier, &[server_hash()], later()), [Stored::Stored]);
    let value = client.call(&[b"GET", SERVER.as_bytes()], later()).unwrap();
    assert!(value == Value::Text(filled(server_hash())));
    assert_eq!(all_keys(&client), 1);
}

fn patterns_are_literal(kind: Kind) {
    let Some(store) = running(kind, "patterns_are_literal") else { return };
    let tier = |model: &str| {
        let layout = KeyLayout::LmcacheServer {
            model: model.to_owned(),
            kv_rank: 0,
            object_group: 0,
            salt: None,
        };
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
            let wanted = if number <= cleared { Loaded::Miss } else { Loaded::Hit };
            assert_eq!(get(&tier(other), &[key(1), key(2)], later()), [wanted; 2], "{other}");
        }
    }
}
