use proptest::prelude::*;
use weir_model::Nanos;
use weir_observe::{
    Format, Selection, Snapshot, SnapshotDifference, SnapshotError, UnixNanos, series,
};

use crate::{captured, snapshot};

fn pair(before: &str, after: &str) -> (Snapshot, Snapshot) {
    (snapshot(before, 10), snapshot(after, 20))
}

/// The growth of `x_total`, or the error's text.
fn growth(before: &str, after: &str, filter: &[(&str, &str)]) -> Result<Option<f64>, String> {
    let (before, after) = pair(before, after);
    let window = SnapshotDifference::new(&before, &after).map_err(|gap| gap.to_string())?;
    window.counter("x_total", filter).map_err(|gap| gap.to_string())
}

#[test]
fn counters_are_differences_summed_over_labels() {
    let before =
        "x_total{e=\"0\",s=\"a\"} 5\nx_total{e=\"1\",s=\"a\"} 1\nx_total{e=\"0\",s=\"b\"} 7\n";
    let after =
        "x_total{e=\"0\",s=\"a\"} 8\nx_total{s=\"a\",e=\"1\"} 2\nx_total{e=\"0\",s=\"b\"} 7\n";
    assert_eq!(growth(before, after, &[]), Ok(Some(4.0)));
    assert_eq!(growth(before, after, &[("e", "0")]), Ok(Some(3.0)));
    assert_eq!(growth(before, after, &[("s", "b")]), Ok(Some(0.0)));
    assert_eq!(growth(before, after, &[("s", "c")]), Ok(None), "no such series: not zero");
    let (before, after) = pair(before, after);
    assert_eq!(SnapshotDifference::new(&before, &after).unwrap().span(), Nanos::from_secs(10));
}

#[test]
fn what_is_absent_is_not_zero_and_what_is_declared_is() {
    assert_eq!(growth("y 1\n", "y 2\n", &[]), Ok(None));
    assert_eq!(growth("", "# TYPE x_total counter\n", &[]), Ok(Some(0.0)));
    assert_eq!(growth("", "# TYPE x counter\n", &[]), Ok(Some(0.0)), "as OpenMetrics declares it");
    assert_eq!(growth("", "# TYPE x_total gauge\n", &[]), Ok(None));
    // A new series began at zero.
    let declared = "# TYPE x_total counter\n";
    assert_eq!(growth(declared, "# TYPE x_total counter\nx_total 4\n", &[]), Ok(Some(4.0)));
    // Counters of exporters that leave `_total` out.
    assert_eq!(growth("x 1\n", "x 3\n", &[]), Ok(Some(2.0)));
}

#[test]
fn a_restart_is_a_gap_with_its_evidence() {
    let fell = growth("x_total{e=\"1\"} 500\n", "x_total{e=\"1\"} 20\n", &[]).unwrap_err();
    assert!(
        fell.starts_with("http://e: `x_total{e=\"1\"}` fell from 500 to 20: the process restarted"),
        "{fell}"
    );
    // Above the old value, but created later.
    let before = "x_total 500\nx_created 1.7e9\n";
    let after = "x_total 900\nx_created 1.8e9\n";
    let anew = growth(before, after, &[]).unwrap_err();
    assert!(anew.contains("`x_total` was created at 1800000000 s, and before that at"), "{anew}");
    // A sum can grow although one of its series went.
    let before = "x_total{e=\"0\"} 5\nx_total{e=\"1\"} 5\n";
    let gone = growth(before, "x_total{e=\"0\"} 50\n", &[]).unwrap_err();
    assert!(gone.contains("`x_total{e=\"1\"}` is gone"), "{gone}");
    assert_eq!(growth(before, "x_total{e=\"0\"} 50\n", &[("e", "0")]), Ok(Some(45.0)));
    assert!(growth(before, "# TYPE x_total counter\n", &[]).is_err());
    let before = "x_total 1\nprocess_start_time_seconds 5\n";
    let after = "x_total 9\nprocess_start_time_seconds 6.5\n";
    let started = growth(before, after, &[]).unwrap_err();
    assert!(started.contains("`process_start_time_seconds` went from 5 to 6.5"), "{started}");
}

#[test]
fn no_count_comes_of_what_is_no_number() {
    for (before, after) in [("1", "NaN"), ("NaN", "1"), ("1", "+Inf")] {
        let error = growth(&format!("x_total {before}\n"), &format!("x_total {after}\n"), &[]);
        assert!(error.unwrap_err().contains("must be a count"));
    }
}

#[test]
fn snapshots_of_two_things_are_not_compared() {
    let (before, after) = pair("", "");
    let error = SnapshotDifference::new(&after, &before).unwrap_err().to_string();
    assert!(error.contains("the second was taken before the first"), "{error}");
    let mut other = after;
    other.endpoint = "http://f".to_owned();
    let error = SnapshotDifference::new(&before, &other).unwrap_err().to_string();
    assert!(error.contains("`http://e` and `http://f`"), "{error}");
}

#[test]
fn the_same_series_twice_is_refused() {
    let text = "x{a=\"1\",b=\"2\"} 1\nx{b=\"2\",a=\"1\"} 1\n";
    let moment = (UnixNanos(0), Nanos::ZERO);
    let all = Selection::all();
    let error = Snapshot::parse("http://e", moment, text.as_bytes(), Format::Text, &all);
    let error = error.unwrap_err();
    assert!(matches!(&error, SnapshotError::Twice { series, .. } if series.contains("a=\"1\"")));
    // The grammar also holds for families that are not kept.
    let other = Selection::of(&["y"]);
    assert!(Snapshot::parse("http://e", moment, text.as_bytes(), Format::Text, &other).is_ok());
    let error = Snapshot::parse("http://e", moment, b"y 1\nz\n", Format::Text, &other);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("http://e: line 2: no number"), "{error}");
}

#[test]
fn rows_are_the_selected_samples_in_the_cells_time() {
    let text = captured("metrics-offload.txt");
    let at = UnixNanos(15_000_000_000);
    let moment = (at, Nanos::ZERO);
    let all = Selection::relevant();
    let taken = Snapshot::parse("http://e", moment, text.as_bytes(), Format::Text, &all).unwrap();
    let rows = series::rows(&taken, UnixNanos(12_000_000_000));
    let stored = rows.iter().find(|row| row.metric == "vllm:kv_offload_store_bytes_total").unwrap();
    assert_eq!(stored.time, Nanos::from_secs(3));
    assert_eq!(stored.labels, "engine=\"0\",model_name=\"tiny\"");
    assert_eq!((stored.source.as_str(), stored.value), ("http://e", 524_288.0));
    assert!(rows.len() < 150, "a few dozen families: {}", rows.len());
    for row in &rows {
        assert!(!row.metric.ends_with("_bucket") && !row.metric.ends_with("_created"), "{row:?}");
    }
    assert_eq!(series::rows(&taken, UnixNanos(16_000_000_000)), []);
}

proptest! {
    /// For any order of counters and labels.
    #[test]
    fn a_window_gives_what_was_added(
        counts in prop::collection::btree_map("[a-z]{1,3}", (0_u32..1000, 0_u32..1000), 1..8),
    ) {
        let line = |label: &String, value: u32| format!("x_total{{l=\"{label}\"}} {value}\n");
        let before: String = counts.iter().map(|(label, (old, _))| line(label, *old)).collect();
        let after: String =
            counts.iter().rev().map(|(label, (old, new))| line(label, old + new)).collect();
        let added: u32 = counts.values().map(|(_, new)| new).sum();
        prop_assert_eq!(growth(&before, &after, &[]), Ok(Some(f64::from(added))));
    }
}
