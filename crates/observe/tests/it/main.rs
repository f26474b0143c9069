//! Tests of `weir-observe`.

// Helpers outside of test functions unwrap too: a failure there is a failed test.
#![allow(clippy::unwrap_used)]

mod difference;
/// A server of changing metrics, on a port of its own.
mod exporter;
/// The grammar, line by line, with its errors.
mod exposition;
/// What a scrape says of the software.
mod facts;
/// The machine and its processes.
mod host;
/// Our parser against an independent one, and against damaged input.
mod oracle;
/// Sampling beside a cell.
mod sampler;
mod scrape;
mod signals;

use weir_model::Nanos;
use weir_observe::{Format, Selection, Snapshot, UnixNanos};

/// A captured text of a real vLLM 0.32.
pub(crate) fn captured(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../serve/tests/fixtures/vllm-0.32.0/");
    std::fs::read_to_string(format!("{folder}{name}")).expect("the captured scrape is in the tree")
}

/// A snapshot of all families of a text, taken at a second.
pub(crate) fn snapshot(text: &str, second: u64) -> Snapshot {
    let at = UnixNanos(second * 1_000_000_000);
    Snapshot::parse("http://e", (at, Nanos::ZERO), text.as_bytes(), Format::Text, &Selection::all())
        .expect("the test's own text can be read")
}
