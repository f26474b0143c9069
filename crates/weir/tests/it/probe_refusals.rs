use std::fs;

use weir_model::Product;
use weir_store::resp::Secret;
use weir_store::server::{StoreServer, StoreSettings};

use crate::binary::weir;
use crate::tiers::has;

use crate::probe::probe;

#[test]
fn a_store_that_refuses_the_password_is_named_without_it() {
    if !has("a_store_that_refuses_the_password", Product::Redis) {
        return;
    }
    let settings = StoreSettings { password: Some(Secret::new("right")), ..Default::default() };
    let server = StoreServer::start(Product::Redis, settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let call = |password: &str| {
        let target = format!("redis://:{password}@{}", server.endpoint());
        probe(folder.path(), &[&target, "--no-differential", "--repeats", "1", "--json", "p.json"])
    };
    let refused = call("sesame").refusal(2, folder.path());
    assert!(refused.contains("refuses") && !refused.contains("sesame"), "{refused}");
    call("right").done();
    let text = fs::read_to_string(folder.path().join("p.json")).unwrap();
    assert!(!text.contains(":right@"), "a result holds no password");
}

/// A managed store's reading address, a frequent mistake.
#[test]
fn a_store_that_cannot_be_written_is_told_in_its_own_words() {
    if !has("a_store_that_cannot_be_written", Product::Redis) {
        return;
    }
    // A replica of a missing primary.
    let settings =
        StoreSettings { lines: vec!["replicaof 127.0.0.1 1".to_owned()], ..Default::default() };
    let server = StoreServer::start(Product::Redis, settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = format!("redis://{}", server.endpoint());
    let told = probe(folder.path(), &[&target, "--no-differential", "--repeats", "1"]);
    let said =
        "READONLY You can't write against a read only replica; give the address of its primary";
    assert!(told.code == Some(2) && told.err.contains(said), "{}\n{}", told.out, told.err);
}

#[test]
fn bad_input_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    // An input is never an output.
    let request =
        "{\"timestamp\": 0, \"input_length\": 1024, \"output_length\": 1, \"hash_ids\": [1, 2]}\n";
    fs::write(folder.path().join("t.jsonl"), request).unwrap();
    let call =
        |args: &[&str]| weir(folder.path(), &[&["probe"], args].concat()).refusal(2, folder.path());
    for (args, part) in [
        (&["nonsense"][..], "target `nonsense`: not known; write `memory`"),
        (&["http://host"][..], "unsupported store type `http://`"),
        (&["memory", "--block", "12"][..], "--block: `12` is not a size"),
        (&["memory", "--block", "1KiB"][..], "--block: 1024 bytes; take a multiple of 8"),
        (&["memory", "--threads", "0"][..], "--threads: 0; give a number from 1 to 256"),
        (&["memory", "--mix", "both"][..], "--mix both: write `write`"),
        (&["memory", "--sweep", "size=1"][..], "`size` is not swept"),
        (&["memory", "--sweep", "threads=1,x"][..], "unsupported value `x`"),
        (&["memory", "--threads", "1", "--sweep", "threads=2"][..], "given twice"),
        (&["memory", "--model", "nobody/none"][..], "--model nobody/none: not known"),
        (&["memory", "--sweep", "chunk-tokens=64"][..], "only with --model"),
        (&["memory", "--zipf=-1"][..], "--zipf -1"),
        (&["memory", "--working-set", "many"][..], "--working-set many"),
        (&["memory", "--model", "Qwen/Qwen3-8B", "--trace", "none"][..], "cannot open the trace"),
        (&["memory", "--mix", "read", "--profile", "p.yaml"][..], "--profile: a link is fitted to"),
        (
            &["memory", "--mix", "write,50", "--profile", "p.yaml"][..],
            "the points are write,50%-read",
        ),
        (&["memory", "--json", "p", "--csv", "./p"][..], "/p is the file of --json too"),
        (
            &["memory", "--model", "Qwen/Qwen3-0.6B", "--trace", "t.jsonl", "--csv", "t.jsonl"][..],
            "t.jsonl is the file of --trace too",
        ),
        (
            &["memory", "--plots", "charts", "--csv", "charts/probe_latency_by_depth.svg"][..],
            "probe_latency_by_depth.svg of --csv would be in the way of the charts",
        ),
        (
            &["memory", "--plots", "charts/", "--json", "charts"][..],
            "charts of --json would be in the way",
        ),
        (
            &["memory", "--capacity", "1MiB", "--block", "64KiB,2MiB"][..],
            "--capacity: 1 MiB is less than one block of 2 MiB",
        ),
        (&["memory", "--pin", "1000"][..], "may not use CPU 1000; give one of 0"),
        (&["memory", "--cold"][..], "--cold: memory keeps blocks in memory"),
        (&["redis", "--cold"][..], "--cold: redis keeps blocks in memory"),
        (&["redis", "--page-cache"][..], "--page-cache: only a tier in a folder"),
    ] {
        let message = call(args);
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

#[test]
fn bad_input_about_two_tiers_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let call =
        |args: &[&str]| weir(folder.path(), &[&["probe"], args].concat()).refusal(2, folder.path());
    for (args, part) in [
        (&["memory", "--against", "nonsense"][..], "target `nonsense`: not known"),
        (
            &["memory", "--against", "memory", "--set-a", "a b"][..],
            "--set-a: `a b` is for A, memory",
        ),
        (
            &["redis", "--against", "memory", "--set-b", "c d"][..],
            "--set-b: `c d` is for B, memory",
        ),
        (
            &["memory", "--against", "memory", "--mix", "read", "--claim", "write >= 1"][..],
            "--claim: `write >= 1`: write is not measured with --mix read; add `write` to --mix",
        ),
        (
            &["memory", "--against", "memory", "--mix", "write,70", "--claim", "lookup >= 1"][..],
            "lookup is not measured with --mix write,70%-read; add `read` to --mix",
        ),
        (
            &[
                "memory",
                "--against",
                "memory",
                "--mix",
                "read",
                "--claim",
                "write >= 1",
                "--dry-run",
            ][..],
            "write is not measured with --mix read",
        ),
        (&["memory", "--against", "memory", "--claim", "fast"][..], "`fast` must be `read`"),
        (
            &["memory", "--against", "memory", "--cold"][..],
            "--cold: memory as well as memory keeps",
        ),
        (
            &["memory", "--against", "memory", "--block", "1MiB", "--block-b", "1MiB,2MiB"][..],
            "--against: 1 sizes of blocks stand against 2",
        ),
        (
            &["redis://h:1", "--against", "redis://h:1"][..],
            "--against: both sides are the same store",
        ),
        (
            &["memory", "--against", "memory", "--price-a", "3 USD", "--price-b", "1 EUR"][..],
            "--price-b: `1 EUR` and `3 USD`; write both prices in one currency",
        ),
        (
            &["memory", "--against", "memory", "--price-a", "0 USD", "--price-b", "1 USD"][..],
            "--price-a: `0 USD` must be above 0",
        ),
    ] {
        let message = call(args);
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

#[test]
fn an_environment_that_refuses_is_told_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let call =
        |args: &[&str]| weir(folder.path(), &[&["probe"], args].concat()).refusal(3, folder.path());
    let folder_is_a_file = call(&["disk:file/kv"]);
    assert!(folder_is_a_file.contains("cannot write to file/kv"), "{folder_is_a_file}");
    if has("an_environment_that_refuses", Product::Redis) {
        let large = call(&["redis", "--working-set", "900TiB", "--block", "128MiB"]);
        assert!(large.contains("redis: 900.0 TiB would be stored, and there are"), "{large}");
    }
    let vast = ["--working-set", "900TiB", "--block", "128MiB"];
    for (args, said) in [
        (&["disk:file/kv", "--dry-run"][..], "cannot write to file/kv"),
        (&[&["memory", "--dry-run"][..], &vast].concat(), "of memory would be taken"),
    ] {
        let refused = call(args);
        assert!(refused.contains(said), "{refused}");
    }
    if weir_store::server::program(Product::Kvrocks).is_none() {
        let refused = call(&["kvrocks", "--dry-run"]);
        assert!(refused.contains("kvrocks is not on PATH"), "{refused}");
    }
    let nowhere = call(&["memory", "--json", "no/such/p.json"]);
    assert!(nowhere.contains("cannot write no/such/p.json; check the folder"), "{nowhere}");
    fs::write(folder.path().join("old"), "of before").unwrap();
    for flag in ["--json", "--csv", "--profile"] {
        let nobody = call(&["redis://127.0.0.1:1", "--deadline", "2s", flag, "old"]);
        assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
        assert_eq!(fs::read_to_string(folder.path().join("old")).unwrap(), "of before", "{flag}");
    }
    call(&["redis://127.0.0.1:1", "--deadline", "2s", "--json", "new", "--plots", "plots"]);
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "no file and no folder was made");
}

#[test]
fn no_more_than_the_last_folder_is_made_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let call = |target: &str| {
        let args = ["probe", target, "--block", "64KiB", "--threads", "1", "--depth", "1"];
        let short = ["--repeats", "1", "--duration", "50ms", "--working-set", "8MiB"];
        weir(folder.path(), &[&args[..], &short, &["--no-differential"]].concat())
    };
    let refused = call("disk:typo/kv").refusal(2, folder.path());
    assert!(refused.starts_with("weir: typo/kv: typo does not exist; check the path, mount"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    let answer = call("disk:kv").done();
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("kv did not exist: it was made for the probe"), "{}", answer.out);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "what was made is gone");
}
