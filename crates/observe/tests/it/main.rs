// Helpers outside of test functions unwrap too: a failure there is a failed test.
#![allow(clippy::unwrap_used)]

mod difference;
mod exporter;
mod exposition;
mod facts;
mod held_blocks;
mod host;
/// The parser against an independent one, and on damaged input.
mod kv_events;
mod oracle;
mod sampler;
mod scrape;
mod signals;

use weir_model::Nanos;
use weir_observe::{Format, Selection, Snapshot, UnixNanos};

/// From a real vLLM 0.32.
pub(crate) fn captured(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../serve/tests/fixtures/vllm-0.32.0/");
    std::fs::read_to_string(format!("{folder}{name}")).expect("the captured scrape is in the tree")
}

/// All families of a text; time in seconds.
pub(crate) fn snapshot(text: &str, second: u64) -> Snapshot {
    let at = UnixNanos(second * 1_000_000_000);
    Snapshot::parse("http://e", (at, Nanos::ZERO), text.as_bytes(), Format::Text, &Selection::all())
        .expect("the test's own text can be read")
}
