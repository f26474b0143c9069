//! An endpoint's caches (counted, answered or unknown), and impossible hits. Servers are Weir's
//! own, some behind a faulty gateway.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::binary::weir;
use crate::folder::json;
use crate::live::Served;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// Empties only the GPU's cache, and reports all as emptied.
    KeepsTiers,
    /// Knows no request to empty caches.
    NoReset,
    /// Refuses prompts of token ids.
    NoTokenIds,
}

impl Flaw {
    /// Part of a request for the server, or an immediate answer.
    fn passes(self, bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        let text = String::from_utf8_lossy(bytes);
        match self {
            // Of the same length, with an unknown parameter.
            Self::KeepsTiers => {
                Ok(text.replace("reset_external=true", "reset_external=f&&&").into_bytes())
            }
            Self::NoReset if text.contains("/reset_prefix_cache") => Err("404 Not Found"),
            Self::NoTokenIds if text.contains("\"prompt\":[") => Err("400 Bad Request"),
            Self::NoReset | Self::NoTokenIds => Ok(bytes.to_vec()),
        }
    }
}

/// Its threads end with their connections.
fn gateway(before: &Served, flaw: Flaw) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server: SocketAddr = before.url.trim_start_matches("http://").parse().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || pass(client, server, flaw));
        }
    });
    url
}

fn pass(mut client: TcpStream, server: SocketAddr, flaw: Flaw) -> Option<()> {
    let mut to = TcpStream::connect(server).ok()?;
    client.set_nodelay(true).ok()?;
    to.set_nodelay(true).ok()?;
    let (mut from, mut back) = (to.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        match flaw.passes(&buffer[..count]) {
            Ok(bytes) => to.write_all(&bytes).ok()?,
            Err(status) => {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                client.write_all(answer.as_bytes()).ok()?;
            }
        }
    }
}

/// A small GPU cache and a tier that holds everything.
fn offloading() -> Served {
    let tier = [
        "--set",
        "arms=[{preset: native-offload, bytes: 64GiB}]",
        "--set",
        "engine.kv_tokens=8192",
    ];
    let more =
        ["--set", "engine.max_model_len=4096", "--bytes", "modelled", "--arm", "native-offload"];
    Served::start(&[&tier[..], &more].concat())
}

/// One arm at a URL, with hardly any repeated prefix.
fn experiment(folder: &Path, url: &str, same_prompts: bool) {
    let text = format!(
        "name: evidence
target: {{endpoint: {{url: '{url}'}}}}
models: [Qwen/Qwen3-0.6B]
hardware: 1x-l40s
engine: {{kv_tokens: 8192, max_model_len: 4096}}
arms: [{{preset: native-offload, bytes: 64GiB}}]
workload:
  shared-prefix: {{prefixes: 100000, prefix_tokens: 512, prompt_tokens: 16, output_tokens: 2}}
load: {{users: [2], duration: 4s, warmup: 1s}}
client: {{same_prompts: {same_prompts}}}
"
    );
    fs::write(folder.join("e.yaml"), text).unwrap();
}

/// The cell's record, evidence and journal.
fn run(folder: &Path, out: &str) -> [Value; 3] {
    let answer = weir(folder, &["run", "e.yaml", "--out", out]);
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    let cell = format!("{out}/cells/Qwen--Qwen3-0.6B/1x-l40s/native-offload/c2/0");
    ["cell.json", "evidence.json", "trial.json"].map(|file| json(&folder.join(&cell).join(file)))
}

/// Impossible hits, where they failed the cell.
fn beyond(record: &Value) -> &Value {
    &record["status"]["failed"]["unfit"]["hits-beyond-asked"]
}

#[test]
fn hits_that_an_earlier_run_left_fail_the_cell_and_new_prompts_have_none() {
    let served = offloading();
    let folder = tempfile::tempdir().unwrap();
    let keeps = gateway(&served, Flaw::KeepsTiers);
    experiment(folder.path(), &keeps, true);
    let [first, _, journal] = run(folder.path(), "first");
    assert!(beyond(&first).is_null(), "{first}");
    // The server reported its caches as emptied; the tier served old blocks.
    let counted = &journal["caches"][0]["known"]["counted"]["served"];
    assert!(counted["served"].as_u64().unwrap() > 0, "{journal}");
    let told = weir(folder.path(), &["explain", "first"]).done().out;
    assert!(told.contains("counted, and not empty: http://127.0.0.1"), "{told}");

    let [again, _, _] = run(folder.path(), "again");
    let tokens = |of: &str| beyond(&again)[of].as_u64().unwrap_or_else(|| panic!("{again}"));
    assert!(tokens("served") > 2 * tokens("allowed"), "{again}");

    // Other prompts find none of it.
    experiment(folder.path(), &keeps, false);
    for out in ["new", "newer"] {
        let [record, evidence, _] = run(folder.path(), out);
        assert!(beyond(&record).is_null(), "{record}");
        let signal = |kind: &str| evidence["signals"][kind][0]["value"].as_f64().unwrap();
        let share = signal("external-hit-tokens") / signal("prompt-tokens");
        assert!(share < 0.05, "{share} of the prompts came from an earlier run");
    }
}

#[test]
fn an_endpoint_that_is_emptied_is_counted_and_one_that_cannot_be_is_unknown() {
    let served = offloading();
    let folder = tempfile::tempdir().unwrap();
    experiment(folder.path(), &served.url, true);
    run(folder.path(), "first");
    // The same prompts again: a correct server has none of them.
    let [record, _, journal] = run(folder.path(), "again");
    assert!(beyond(&record).is_null(), "{record}");
    let counted = &journal["caches"][0]["known"]["counted"]["served"];
    assert_eq!((&counted["asked"], &counted["served"]), (&json!(1060), &json!(0)), "{journal}");
    let told = weir(folder.path(), &["explain", "again"]).done().out;
    assert!(told.contains("counted, and empty: http://127.0.0.1"), "{told}");
    assert!(!told.contains("emptied and counted"), "{told}");

    let none = gateway(&served, Flaw::NoReset);
    experiment(folder.path(), &none, false);
    let [_, evidence, journal] = run(folder.path(), "none");
    assert_eq!(journal["caches"][0]["known"], "unknown", "{journal}");
    let cannot = |note: &Value| note["cache"]["cannot-be-emptied"].is_object();
    assert!(evidence["notes"].as_array().unwrap().iter().any(cannot), "{evidence}");
    let told = weir(folder.path(), &["explain", "none"]).done().out;
    assert!(told.contains("not known to be empty: http://127.0.0.1"), "{told}");
}

#[test]
fn a_resumed_run_asks_what_it_asked_before() {
    let served = offloading();
    let folder = tempfile::tempdir().unwrap();
    experiment(folder.path(), &served.url, false);
    run(folder.path(), "run");
    let salt = |out: &str| json(&folder.path().join(out).join("plan.json"))["salt"].clone();
    let before = salt("run");
    assert!(before.is_u64(), "{before}");
    // The file beside it resolves to the same plan, whatever the endpoint reports.
    let resumed = weir(folder.path(), &["run", "e.yaml", "--resume", "run"]);
    assert!(resumed.err.contains("kept 1 finished cells, ran 0"), "{}", resumed.err);
    assert_eq!(salt("run"), before);
    run(folder.path(), "other");
    assert_ne!(salt("other"), before, "another run asks other prompts");
    experiment(folder.path(), &served.url, true);
    run(folder.path(), "same");
    assert_eq!(salt("same"), Value::Null);
}

/// A file in which each of a hundred words is a token.
pub(crate) fn tokenizer(folder: &Path) -> PathBuf {
    let words = ('a'..='j').flat_map(|one| ('a'..='j').map(move |two| format!("{one}{two}")));
    let vocabulary: serde_json::Map<String, Value> =
        words.chain(["[UNK]".to_owned()]).enumerate().map(|(id, word)| (word, id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    });
    let file = folder.join("tokenizer.json");
    fs::write(&file, tokenizer.to_string()).unwrap();
    file
}

#[test]
fn first_requests_have_the_form_of_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let file = tokenizer(folder.path());
    let served = Served::start(&["--tokenizer", file.to_str().unwrap()]);
    let gateway = gateway(&served, Flaw::NoTokenIds);
    let load = |more: &[&str]| {
        let args = ["load", &gateway, "--requests", "4", "--prompt-tokens", "64"];
        weir(folder.path(), &[&args[..], &["--output-tokens", "2"], more].concat())
    };
    let ids = load(&["--out", "ids"]);
    assert!(ids.err.contains("HTTP 400"), "{}", ids.err);
    for api in ["completions", "chat"] {
        let answer = load(&["--tokenizer", "tokenizer.json", "--api", api, "--out", api]);
        assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
        let cell = format!("{api}/cells/Qwen--Qwen3-0.6B/endpoint/as-deployed/c1/0/cell.json");
        let record = json(&folder.path().join(cell));
        assert_eq!(record["figures"]["completed"], 4, "{record}");
    }
}

/// Rows of a printed table below a title, as words.
fn rows(out: &str, title: &str) -> Vec<Vec<String>> {
    let below = out.lines().skip_while(|line| !line.contains(title)).skip(1);
    let table = below.enumerate().take_while(|(at, line)| *at == 0 || line.starts_with("  c"));
    table
        .map(|(_, line)| line)
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn a_load_says_where_tokens_came_from_and_compares_working_sets() {
    let served = offloading();
    let folder = tempfile::tempdir().unwrap();
    let args = ["load", &served.url, "--working-set", "0,0.5,3", "--prefix-tokens", "512"];
    let more = ["--prompt-tokens", "16", "--output-tokens", "2", "--users", "2"];
    let measured = || {
        let time = ["--duration", "5s", "--warmup", "2s", "--out", "run"];
        let answer = weir(folder.path(), &[&args[..], &more, &time].concat());
        assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
        answer
    };
    let mut answer = measured();
    // Engines count a hit's tier at admission, and a prompt's source when it is computed. With a
    // request between both at an edge of the window, no tier is given.
    if answer.out.contains("GPU cache  tiers") {
        fs::remove_dir_all(folder.path().join("run")).unwrap();
        answer = measured();
    }
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = "The GPU cache of one engine holds 8192 tokens. With working set 0: no prefix is \
                    shared; working set 0.5: 8 prefixes of 512 tokens; working set 3: 48 prefixes of \
                    512 tokens.";
    assert!(words.contains(sentence), "{}", answer.out);
    assert!(words.contains("`weir explain run`"), "{}", answer.out);
    weir(folder.path(), &["explain", "run"]).done();
    let planned = weir(folder.path(), &["plan", "run/experiment.yaml", "--json"]).done();
    let planned: Value = serde_json::from_str(&planned.out).unwrap();
    let recorded = json(&folder.path().join("run/plan.json"));
    assert_eq!(planned["deployments"], recorded["deployments"]);
    assert_eq!(planned["cells"], recorded["cells"]);
    let cells =
        ["c2-ws0", "c2-ws0.5", "c2-ws3"].map(|level| {
            json(&folder.path().join(format!(
                "run/cells/Qwen--Qwen3-0.6B/endpoint/as-deployed/{level}/0/cell.json"
            )))
        });
    if cells.iter().any(|cell| cell["status"] != "complete") {
        // A busy machine: the refusals are tested elsewhere.
        return;
    }
    let table = rows(&answer.out, "Where prompt tokens came from");
    let heads = table[0].join(" ");
    assert!(heads.starts_with("level tokens GPU cache host memory"), "{}", answer.out);
    let share = |row: usize, column: usize| table[row][column].parse::<f64>().unwrap();
    // No prefix is shared; all of them fit the GPU's cache; a third of them does.
    assert!(share(1, 4) > 99.0, "{table:?}");
    assert!(share(2, 2) > 80.0, "{table:?}");
    assert!(share(3, 3) > 20.0 && share(3, 2) < 60.0, "{table:?}");
    let compared = rows(&answer.out, "Working sets, against 0 times the GPU cache");
    let prefixes: Vec<&str> = compared[1..].iter().map(|row| row[1].as_str()).collect();
    assert_eq!(prefixes, ["0", "8", "48"], "{compared:?}");
    // None, and most of the eight within the window; the share of the 48 depends on time.
    let asked_before = |row: usize| compared[row][2].parse::<f64>().unwrap();
    assert!(asked_before(1) < 1.0 && asked_before(2) > 80.0, "{compared:?}");
}

#[test]
fn working_sets_that_cannot_be_are_refused() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let refused = |args: &[&str]| {
        weir(folder.path(), &[&["load", &served.url], args].concat()).refusal(2, folder.path())
    };
    let line = refused(&["--working-set", "3"]);
    assert!(line.contains("working_sets: prompts share no prefix"), "{line}");
    let line = refused(&["--working-set", "1,-1", "--prefix-tokens", "100"]);
    assert!(line.contains("working_sets: -1 is out of range"), "{line}");
    let line = refused(&["--working-set", "1,1", "--prefix-tokens", "100"]);
    assert!(line.contains("1 is given twice"), "{line}");
}
