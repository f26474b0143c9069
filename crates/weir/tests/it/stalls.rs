//! A server that stalls for a part of the window: its level has no result, with the reason.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::binary::Running;
use crate::folder::json;
use crate::live::Served;

/// Of a window of some 20 s.
const STILL: Duration = Duration::from_secs(8);

#[test]
fn a_server_that_stands_still_has_no_result() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let mut args = vec!["load", &served.url, "--users", "2", "--duration", "24s", "--warmup", "2s"];
    args.extend(["--prompt-tokens", "64", "--output-tokens", "8", "--out", "run"]);
    let mut load = Running::start(folder.path(), &args);
    let err = folder.path().join("stderr");
    load.wait_until("the load", || std::fs::read_to_string(&err).unwrap().contains(" in flight"));
    served.process.signal(Signal::STOP);
    std::thread::sleep(STILL);
    served.process.signal(Signal::CONT);
    let code = load.end().code();
    let said = load.results();
    assert_eq!(code, Some(1), "{said}\n{}", load.words());
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("c2: no request got a token, and "), "{words}");
    let cell = folder.path().join("run/cells/Qwen--Qwen3-0.6B/endpoint/as-deployed/c2/0");
    let notes = json(&cell.join("trial.json"))["notes"].clone();
    let stalled = |is_it: &dyn Fn(&Value) -> bool| {
        notes.as_array().unwrap().iter().any(|note| is_it(&note["stalled"]["of"]))
    };
    // No token came, and what should send them did not answer.
    for of in ["behind", "part"] {
        let named = |of: &Value| of.as_str().is_some_and(|url| url.ends_with("/metrics"));
        assert!(stalled(&|stalled: &Value| named(&stalled[of])), "{notes}");
    }
}
