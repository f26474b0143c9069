use std::path::Path;
use std::process::{Command, Stdio};

use weir_http::TlsConfig;
use weir_model::{Attributed, ErrorCause};
use weir_observe::{SampleSource, UtcClock};
use weir_spec::{Experiment, Plan};
use weir_store::StoreClient;
use weir_store::resp::value::Value;
use weir_store::server::program;
use weir_store::suite::{Release, ScriptedKvrocks};

use super::*;

/// None without its program: a visible skip, and a failure in CI.
fn store(product: Product, settings: StoreSettings) -> Option<StoreServer> {
    if program(product).is_none() {
        assert!(std::env::var_os("CI").is_none(), "{}", product.traits().install);
        println!("SKIPPED: {}", product.traits().install);
        return None;
    }
    Some(StoreServer::start(product, settings).unwrap())
}

fn redis() -> Option<StoreServer> {
    store(Product::Redis, StoreSettings::default())
}

fn kvrocks(release: Release) -> (ScriptedKvrocks, Arm) {
    let server = ScriptedKvrocks::start(release, StoreSettings::default()).unwrap();
    let arm = arm("lmcache-kvrocks", &format!("{{address: '{}'}}", server.address()));
    (server, arm)
}

struct Client(StoreClient);

impl Client {
    fn of(server: &StoreServer) -> Self {
        Self::at(&server.address())
    }

    fn at(address: &Address) -> Self {
        Self(StoreClient::new(address, &TlsConfig::default()).unwrap())
    }

    fn call(&self, words: &[&str]) -> Value {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.0.call(&words, soon()).unwrap()
    }

    fn set_all(&self, keys: &[String]) {
        for key in keys {
            self.call(&["SET", key, "somebody's"]);
        }
    }

    fn has(&self, key: &str) -> bool {
        self.call(&["EXISTS", key]) == Value::Integer(1)
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// The second arm of a plan with this store.
fn arm(preset: &str, store: &str) -> Arm {
    let text = format!(
        "name: store\ntarget: local\nmodels: [weir/tiny-qwen3]\nhardware: 1x-cpu\nengine: \
         {{kv_tokens: 4096, block_size: 32, max_model_len: 2048}}\narms: [no-offload, {{preset: \
         {preset}, store: {store}}}]\nworkload: {{shared-prefix: {{prefixes: 1, prefix_tokens: \
         100, prompt_tokens: 10, output_tokens: 4}}}}\nload: {{users: [1], duration: 5s}}\n"
    );
    let experiment = Experiment::parse(&text, "store.yaml", Path::new(""), &[]).unwrap();
    Plan::resolve(&experiment).unwrap().deployments.remove(0).arms.remove(1)
}

fn at(server: &StoreServer) -> Arm {
    arm("lmcache-redis", &format!("{{address: 'redis://{}'}}", server.endpoint()))
}

fn asked(server: &StoreServer) -> Arm {
    let store = format!("{{address: 'redis://{}', empty: true}}", server.endpoint());
    arm("lmcache-redis", &store)
}

fn owner(run: &str) -> Owner {
    Owner::this_process(run).unwrap()
}

const CHUNK: u64 = 1 << 20;

fn open(arm: &Arm, salt: Option<String>, keys: Keys<'_>) -> Result<RemoteStore, String> {
    let store = arm.offload.as_ref().unwrap().store.as_ref().unwrap();
    let layout = server_layout("./m", 1, salt);
    RemoteStore::beside_lmcache(arm, store, &layout, CHUNK, None, keys)
        .map_err(|error| error.to_string())
}

fn hash(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// Keys of a shared store: other names, LMCache with another model and with the same model, other
/// runs.
fn others() -> Vec<String> {
    vec![
        "somebody:else".to_owned(),
        "./m".to_owned(),
        format!("./m2@01000100@0@{}", hash(1)),
        format!("./m@02000200@0@{}", hash(2)),
        format!("./m@01000100@0@{}", hash(3)),
        format!("./m@01000100@0@{}@tenant", hash(4)),
        format!("./m@01000100@0@{}@weir-another", hash(5)),
        format!("weir-emulated/./m@01000100@0@{}@weir-another", hash(6)),
        "weir:probe-17:00".to_owned(),
    ]
}

#[test]
fn a_run_removes_only_keys_with_its_own_name() {
    let Some(server) = redis() else { return };
    let client = Client::of(&server);
    client.set_all(&others());
    let run = owner("mine");
    // Two ranks, and layers with a sliding window.
    let own = ["01000100@0", "02010201@0", "01000100@1"]
        .map(|place| format!("./m@{place}@{}@{}", hash(7), run.cache_salt()));
    client.set_all(&own);
    let store = open(&at(&server), Some(run.cache_salt()), Keys::Run(&run)).unwrap();
    assert!(client.has(MARK_KEY));
    let is_counted =
        |note: &Note| matches!(note, Note::Tier(TierNote::OtherKeys { keys: Some(9), .. }));
    assert!(store.notes().iter().any(is_counted), "{:?}", store.notes());
    assert_eq!(store.counts(soon()).unwrap().keys, Some(3));
    store.empty(soon()).unwrap();
    assert!(own.iter().all(|key| !client.has(key)));
    drop(store);
    // Without the mark, too.
    assert_eq!(client.call(&["DBSIZE"]), Value::Integer(9));
    assert!(others().iter().all(|key| client.has(key)));
}

#[test]
fn keys_that_anybody_may_have_written_are_removed_only_where_that_is_asked_for() {
    let Some(server) = redis() else { return };
    let client = Client::of(&server);
    client.set_all(&others());
    let (run, unasked) = (owner("mine"), at(&server));
    let refused = open(&unasked, None, Keys::of(&unasked, &run, false)).unwrap_err();
    let place = server.endpoint().to_string();
    let example = format!("./m@01000100@0@{}", hash(3));
    for words in [place.as_str(), "holds 1 keys", example.as_str(), "empty: true"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert_eq!(client.call(&["DBSIZE"]), Value::Integer(9));
    let asked = asked(&server);
    let store = open(&asked, None, Keys::of(&asked, &run, false)).unwrap();
    store.empty(soon()).unwrap();
    drop(store);
    let (theirs, rest): (Vec<_>, Vec<_>) = others().into_iter().partition(|key| *key == example);
    assert!(!client.has(&theirs[0]));
    assert!(rest.iter().all(|key| client.has(key)));
    // No key is left that this run could take for its own.
    drop(open(&unasked, None, Keys::of(&unasked, &run, false)).unwrap());
}

#[test]
fn a_deployments_store_is_only_looked_at() {
    let Some(server) = redis() else { return };
    let client = Client::of(&server);
    client.set_all(&others());
    let written = |client: &Client| {
        let stats = client.call(&["INFO", "commandstats"]);
        let stats = stats.text().unwrap().to_owned();
        ["cmdstat_scan:", "cmdstat_del:", "cmdstat_unlink:", "cmdstat_keys:"]
            .into_iter()
            .any(|command| stats.contains(command))
    };
    let arm = at(&server);
    let config = arm.offload.as_ref().unwrap().store.as_ref().unwrap();
    let store = RemoteStore::of_endpoint(&arm, config, CHUNK).unwrap();
    assert_eq!(store.counts(soon()).unwrap().keys, Some(9));
    assert_eq!(client.call(&["DBSIZE"]), Value::Integer(9));
    assert!(!written(&client), "a store of others is not gone through");
    // Another run there is reported.
    let run = owner("there");
    let mark = StoreMark::set(&store.resp, &run);
    assert!(matches!(mark, Marking::Set(_)));
    let second = RemoteStore::of_endpoint(&arm, config, CHUNK).unwrap();
    let shared = |note: &Note| match note {
        Note::Tier(TierNote::StoreShared { by, .. }) => by.contains("run there, process"),
        _ => false,
    };
    assert!(second.notes().iter().any(shared), "{:?}", second.notes());
}

#[test]
fn a_second_run_is_told_who_is_there() {
    let Some(server) = redis() else { return };
    let (first, second) = (owner("first"), owner("second"));
    let arm = at(&server);
    let open = |run: &Owner| open(&arm, Some(run.cache_salt()), Keys::Run(run));
    let store = open(&first).unwrap();
    let refused = open(&second).unwrap_err();
    let pid = format!("run first, process {} on", std::process::id());
    assert!(refused.contains(&pid) && refused.contains("another store"), "{refused}");
    let again = open(&first).unwrap();
    assert_eq!(again.taken(), None);
    drop((store, again));
    drop(open(&second).unwrap());
}

#[test]
fn the_mark_of_a_run_that_is_gone_keeps_nobody_away() {
    let Some(server) = redis() else { return };
    let client = Client::of(&server);
    let mut ended =
        Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep is there");
    let started = crate::process::table::ProcessEntry::of(ended.id()).unwrap().started;
    let mark = |host: &str| {
        format!(r#"{{"run":"x","host":"{host}","pid":{},"started":{started}}}"#, ended.id())
    };
    let uname = rustix::system::uname();
    let (here, elsewhere) = (mark(uname.nodename().to_str().unwrap()), mark("elsewhere"));
    let (run, arm) = (owner("mine"), at(&server));
    let open = || open(&arm, Some(run.cache_salt()), Keys::Run(&run));
    client.call(&["SET", MARK_KEY, &here]);
    assert!(open().unwrap_err().contains("run x, process"), "it lives");
    ended.kill().unwrap();
    ended.wait().unwrap();
    drop(open().unwrap());
    // Of another machine: its life is not known, and the mark expires.
    client.call(&["SET", MARK_KEY, &elsewhere]);
    assert!(open().unwrap_err().contains("on elsewhere"));
    assert!(client.has(MARK_KEY), "somebody else's is not removed");
}

#[test]
fn another_product_than_the_arm_says_ends_its_cells_whatever_the_target() {
    let Some(server) = redis() else { return };
    let arm = arm("lmcache-valkey", &format!("{{address: 'redis://{}'}}", server.endpoint()));
    let run = owner("mine");
    let local = open(&arm, Some(run.cache_salt()), Keys::Run(&run)).unwrap_err();
    let config = arm.offload.as_ref().unwrap().store.as_ref().unwrap();
    let endpoint = RemoteStore::of_endpoint(&arm, config, CHUNK).unwrap_err().to_string();
    for said in [local, endpoint] {
        assert!(said.contains("is redis ") && said.contains("the arm says valkey"), "{said}");
        assert!(said.contains("preset lmcache-redis"), "{said}");
    }
    assert!(!Client::of(&server).has(MARK_KEY));
}

#[test]
fn a_store_with_too_little_room_is_noted_and_one_without_any_refused() {
    let limited = |mib: u64, policy: &str| StoreSettings {
        capacity: Some(Bytes(mib << 20)),
        policy: policy.to_owned(),
        ..StoreSettings::default()
    };
    let Some(small) = store(Product::Redis, limited(16, "noeviction")) else { return };
    let run = owner("mine");
    let open = |server: &StoreServer| {
        let store = format!("{{address: 'redis://{}', bytes: 64MiB}}", server.endpoint());
        open(&arm("lmcache-redis", &store), Some(run.cache_salt()), Keys::Run(&run))
    };
    let opened = open(&small).unwrap();
    let (notes, wanted) = (opened.notes(), Bytes(64 << 20));
    let room = |note: &Note| match note {
        Note::Tier(TierNote::StoreRoom { wanted: of, .. }) => *of == wanted,
        _ => false,
    };
    let evicts = |note: &Note| match note {
        Note::Tier(TierNote::Warning(text)) => text.contains("it evicts nothing"),
        _ => false,
    };
    assert!(notes.iter().any(room) && notes.iter().any(evicts), "{notes:?}");
    let tiny = store(Product::Redis, limited(1, "noeviction")).unwrap();
    let refused = open(&tiny).unwrap_err();
    assert!(refused.contains("one block has 1 MiB") && refused.contains("raise it"), "{refused}");
}

#[test]
fn a_replica_takes_no_mark_and_says_so() {
    let Some(primary) = redis() else { return };
    let Some(replica) = redis() else { return };
    let StoreEndpoint::Tcp { host, port } = primary.endpoint() else { panic!("over TCP") };
    Client::of(&replica).call(&["REPLICAOF", host, &port.to_string()]);
    let run = owner("mine");
    let store = open(&at(&replica), Some(run.cache_salt()), Keys::Run(&run)).unwrap();
    let unmarked = |note: &Note| match note {
        Note::Tier(TierNote::StoreUnmarked { error, .. }) => error.contains("READONLY"),
        _ => false,
    };
    assert!(store.notes().iter().any(unmarked), "{:?}", store.notes());
}

#[test]
fn a_user_with_a_password_file_is_let_in() {
    let Some(server) = redis() else { return };
    let client = Client::of(&server);
    client.call(&["ACL", "SETUSER", "lm", "on", ">pass word", "~*", "+@all"]);
    client.call(&["ACL", "SETUSER", "mute", "on", ">pass word", "~*", "+@all", "-info"]);
    client.call(&["ACL", "SETUSER", "default", "off"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "pass word\n").unwrap();
    let store = |user: &str, file: &Path| {
        let StoreEndpoint::Tcp { host, port } = server.endpoint() else { panic!("over TCP") };
        arm(
            "lmcache-redis",
            &format!(
                "{{address: 'redis://{user}{host}:{port}', password_file: '{}'}}",
                file.display()
            ),
        )
    };
    let run = owner("mine");
    let open = |arm: &Arm| open(arm, Some(run.cache_salt()), Keys::Run(&run));
    let opened = open(&store("lm@", &file)).unwrap();
    let place = opened.place().unwrap();
    assert_eq!(place.user.as_deref(), Some("lm"));
    assert_eq!(place.password.unwrap().reveal(), "pass word");
    drop(opened);
    let refused = open(&store("mute@", &file)).unwrap_err();
    assert!(refused.contains("allows INFO and SCAN") && refused.contains("NOPERM"), "{refused}");
    assert!(open(&store("", &file)).unwrap_err().contains("WRONGPASS"));
}

#[test]
fn addresses_are_checked_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let with =
        |file: &Path| format!("{{address: 'redis://u@h', password_file: '{}'}}", file.display());
    for (store, words) in [
        (
            "{address: 'redis://u@h'}".to_owned(),
            "arms.lmcache-redis.store.address: it names a user",
        ),
        ("{address: 'http://h'}".to_owned(), "arms.lmcache-redis.store.address: store address"),
        (with(&folder.path().join("absent")), "absent"),
        (with(&empty), "arms.lmcache-redis.store.password_file"),
    ] {
        let error = check_address(&arm("lmcache-redis", &store)).unwrap_err();
        assert!(
            error.fault() == ErrorCause::User && error.to_string().contains(words),
            "{words}: {error}"
        );
    }
    check_address(&arm("lmcache-redis", "{bytes: 1GiB}")).unwrap();
}

/// With special characters of globs, under a cursor that skips what is removed.
#[test]
fn keys_of_a_kvrocks_are_counted_and_removed() {
    for release in [Release::V2_10, Release::V2_11, Release::V2_12] {
        let (server, arm) = kvrocks(release);
        let client = Client::at(&server.address());
        let run = owner("mi-ne");
        let key = |number: u32| format!("./m@01000100@0@{number:064x}@{}", run.cache_salt());
        let own: Vec<String> = (0..3000).map(key).collect();
        client.set_all(&own);
        client.set_all(&others());
        let store = open(&arm, Some(run.cache_salt()), Keys::Run(&run)).unwrap();
        assert_eq!(store.counts(soon()).unwrap().keys, Some(3000), "{release:?}");
        store.empty(soon()).unwrap();
        assert!(own.iter().all(|key| !client.has(key)), "{release:?}");
        assert!(others().iter().all(|key| client.has(key)), "{release:?}");
        assert_eq!(store.counts(soon()).unwrap().keys, Some(0), "{release:?}");
        // Another user's store, whose other keys are not counted.
        let notes = store.notes();
        let uncounted =
            |note: &Note| matches!(note, Note::Tier(TierNote::OtherKeys { keys: None, .. }));
        let expires = |note: &Note| match note {
            Note::Tier(TierNote::Warning(text)) => text.contains("TTL"),
            _ => false,
        };
        assert!(notes.iter().any(uncounted) && notes.iter().any(expires), "{notes:?}");
        let used = store.counts(soon()).unwrap();
        assert_eq!(used.used_fields, ["used_db_size", "all_mem_tables"]);
        assert!(used.used_bytes.unwrap() > 3000, "{used:?}");
    }
}

/// Every second; of a Kvrocks also its `RocksDB` figures.
#[test]
fn what_a_store_counts_is_sampled_without_its_password() {
    let password = Some(Secret::new("sesame"));
    let settings = StoreSettings { password, ..StoreSettings::default() };
    let server = ScriptedKvrocks::start(Release::V2_10, settings).unwrap();
    let arm = arm("lmcache-kvrocks", &format!("{{address: '{}'}}", server.address()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "sesame").unwrap();
    let file = Some(file.display().to_string());
    let access = arm.store_access.clone().map(|a| StoreAccess { password_file: file, ..a });
    let arm = Arm { store_access: access, ..arm };
    let store = open(&arm, None, Keys::of(&arm, &owner("mine"), false)).unwrap();
    Client::at(&server.address()).set_all(&others());
    let (clock, budget) = (UtcClock::anchored(), Duration::from_secs(5));
    let start = clock.now();
    let sample = store.probe().unwrap().sample(&clock, budget).unwrap();
    let rows = sample.rows(start);
    let value = |metric: &str| {
        let row = rows.iter().find(|row| row.metric == metric)?;
        assert_eq!(row.source, "kvrocks INFO");
        Some(row.value)
    };
    assert!(value("store_input_bytes_total").unwrap() > 0.0);
    assert!(value("store_rocksdb_memtable_bytes").unwrap() > 0.0);
    assert!(value("store_rocksdb_written_bytes_total").unwrap() > 0.0);
    assert_eq!(value("store_rocksdb_stall_micros_total"), Some(0.0));
    // A missing figure has no row, nor has a limit of none.
    assert_eq!(value("store_rocksdb_pending_compaction_bytes"), None);
    assert_eq!(value("store_limit_bytes"), None);
    assert!(rows.iter().all(|row| !format!("{row:?}").contains("sesame")), "{rows:?}");
}

/// A DBSIZE of 0 without a requested scan is no count.
#[test]
fn a_deployments_kvrocks_is_not_said_to_be_empty() {
    let (server, arm) = kvrocks(Release::V2_10);
    Client::at(&server.address()).set_all(&others());
    let config = arm.offload.as_ref().unwrap().store.as_ref().unwrap();
    let store = RemoteStore::of_endpoint(&arm, config, CHUNK).unwrap();
    assert_eq!(store.counts(soon()).unwrap().keys, None);
}

#[test]
fn a_store_whose_keys_cannot_be_counted_is_not_said_to_be_empty() {
    let Some(primary) = redis() else { return };
    let Some(replica) = redis() else { return };
    let StoreEndpoint::Tcp { host, port } = primary.endpoint() else { panic!("over TCP") };
    Client::of(&replica).call(&["REPLICAOF", host, &port.to_string()]);
    let (run, arm) = (owner("mine"), at(&replica));
    let store = open(&arm, Some(run.cache_salt()), Keys::Run(&run)).unwrap();
    assert_eq!(store.counts(soon()).unwrap().keys, None);
    let refused = store.empty(soon()).unwrap_err().to_string();
    assert!(refused.contains("cannot be counted"), "{refused}");
    let refused = open(&arm, None, Keys::of(&arm, &run, false)).unwrap_err();
    assert!(refused.contains("cannot be counted"), "{refused}");
}

#[test]
fn a_kvrocks_has_no_databases() {
    let server = ScriptedKvrocks::start(Release::V2_10, StoreSettings::default()).unwrap();
    let arm = arm("lmcache-kvrocks", &format!("{{address: '{}/3'}}", server.address()));
    let run = owner("mine");
    let refused = open(&arm, Some(run.cache_salt()), Keys::Run(&run)).unwrap_err();
    assert!(refused.contains("leave the number out of the address"), "{refused}");
}
