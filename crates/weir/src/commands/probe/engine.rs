//! Work of a store's `RocksDB`, row by row.

use weir_probe::Report;
use weir_probe::engine_work::EngineWork;
use weir_probe::session::label;
use weir_report::tables::{Table, text};

use super::summary::figure;

/// With its value where known.
type Column = (&'static str, fn(&EngineWork) -> Option<f64>);

/// Percentages of reads, and bytes per byte moved or looked up.
const COLUMNS: [Column; 9] = [
    (">memtable %", |work| work.memtable_percent),
    (">block cache %", |work| work.block_cache_percent),
    (">read", |work| work.read_per_byte),
    (">of blobs", |work| work.blob_read_per_byte),
    (">log", |work| work.log_per_byte),
    (">flushed", |work| work.flushed_per_byte),
    (">compacted", |work| work.compacted_per_byte),
    (">stalls", |work| work.stalls.map(|stalls| stalls as f64)),
    (">stalled s", |work| work.stall_s),
];

/// A row per point and lookup of a store that reports its work, without columns of zeros. `whose`
/// begins the title. Empty where no store reports.
pub(super) fn table(report: &Report, whose: &str) -> String {
    let points = report.measured.points.iter();
    let points = points.filter_map(|result| Some((label(&result.point), result.engine.as_ref()?)));
    let lookups =
        report.measured.lookups.iter().filter_map(|time| {
            Some((format!("lookup of {} keys", time.keys), time.engine.as_ref()?))
        });
    let rows: Vec<(String, &EngineWork)> = points.chain(lookups).collect();
    let happened = |column: &Column| {
        rows.iter().any(|(_, work)| (column.1)(work).is_some_and(|value| value > 0.0))
    };
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| happened(column)).collect();
    if columns.is_empty() {
        return String::new();
    }
    let title = format!(
        "{whose}What its RocksDB counted meanwhile: percent of reads; bytes per byte moved, or \
         asked for by a lookup"
    );
    let heads: Vec<&str> =
        std::iter::once("row").chain(columns.iter().map(|column| column.0)).collect();
    let mut table = Table::new(&title, &heads);
    for (name, work) in &rows {
        let cells = columns.iter().map(|column| (column.1)(work).map_or("-".to_owned(), figure));
        table.rows.push(std::iter::once(name.clone()).chain(cells).map(Into::into).collect());
    }
    format!("\n{}", text(&table))
}
