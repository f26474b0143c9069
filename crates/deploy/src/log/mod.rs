//! Logs of vLLM, LMCache and pickers: start-up facts, the cause of an end, what does not stay.

mod cause;
mod known;
mod line;
mod running;
mod start_up;
mod withheld;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

pub use cause::{Cause, cause};
pub use running::running_facts;
pub use start_up::StartUp;
pub(crate) use withheld::withhold_configuration;

use line::{plain, shortened, shortened_within};

/// Text of a refused or failed batch of blocks: LMCache's server, vLLM's file tier.
const REFUSED: [(&str, &str); 2] =
    [("Store task ", " failed for keys"), ("Job ", "block I/O failed")];

pub(crate) fn refused_stores(text: &str) -> u64 {
    let refused = |line: &&str| {
        REFUSED
            .iter()
            .any(|(begin, end)| line.split_once(begin).is_some_and(|(_, rest)| rest.contains(end)))
    };
    text.lines().filter(refused).count() as u64
}

/// The last line with text, without colours, shortened.
pub(crate) fn last_line(text: &str) -> String {
    let line = text.lines().rev().map(plain).find(|line| !line.trim().is_empty());
    let said = |line: String| {
        of_record(&line).map_or_else(|| shortened(&line), |said| shortened_within(&said))
    };
    line.map_or_else(|| "(nothing)".to_owned(), said)
}

/// What a picker says in a line of JSON: its words, and the error behind them.
fn of_record(line: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    let said = record["msg"].as_str()?;
    Some(record["error"].as_str().map_or(said.to_owned(), |error| format!("{said}: {error}")))
}

/// Empty where it cannot be read.
pub(crate) fn since(log: &Path, begin: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.read_to_end(&mut bytes)
    });
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::refused_stores;

    #[test]
    fn a_record_of_json_is_its_words_and_its_error() {
        let log = r#"{"level":"info","ts":"2026-12-01","msg":"starting"}
{"level":"error","ts":"2026-12-01","msg":"Failed to parse","error":"undefined plugin 'x'"}"#;
        assert_eq!(super::last_line(log), "Failed to parse: undefined plugin 'x'");
        assert_eq!(super::last_line("{\"level\": 1}"), "{\"level\": 1}");
        let chain =
            format!(r#"{{"msg":"Failed to parse","error":"{}no socket"}}"#, "in: ".repeat(99));
        let said = super::last_line(&chain);
        assert!(said.starts_with("Failed to parse: in: ") && said.ends_with("in: no socket"));
        assert!(said.contains(" ... ") && said.len() < 320, "{said}");
    }

    #[test]
    fn batches_that_a_tier_did_not_take_are_counted_by_line() {
        let log = "[2026-11-30 04:10:02] LMCache WARNING: Store task 7 to adapter 0 failed for keys: \
                   [ObjectKey(..)] (store_controller.py:791)\n\
                   (EngineCore pid=9) ERROR 11-30 thread_pool.py:181] Job 3 block I/O failed: \
                   [Errno 28] No space left on device\n\
                   L2 store task 8 completed: adapter 0, 4 keys.\n";
        assert_eq!(refused_stores(log), 2);
        assert_eq!(refused_stores(""), 0);
    }
}
