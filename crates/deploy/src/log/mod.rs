//! Logs of vLLM and LMCache: start-up facts, and the cause of an end.

mod cause;
mod known;
mod line;
mod running;
mod start_up;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

pub use cause::{Cause, cause};
pub use running::running_facts;
pub use start_up::StartUp;

use line::{plain, shortened};

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
    line.map_or_else(|| "(nothing)".to_owned(), |line| shortened(&of_record(&line).unwrap_or(line)))
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
