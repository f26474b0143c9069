//! Runs from start to report: files, output, the same bytes every time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::binary::weir;
use crate::folder::{assert_same, complete_cells, files, json, metrics, planned_cells, with_small};

#[test]
fn a_run_without_a_file_writes_the_whole_folder() {
    let folder = tempfile::tempdir().unwrap();
    let answer = weir(folder.path(), &["run", "--out", "runs/first"]).done();
    assert!(answer.out.ends_with("\nReport: runs/first/report/report.html\n"), "{}", answer.out);
    assert!(answer.out.contains("\nDecision\n"), "{}", answer.out);
    assert!(answer.err.ends_with("27/27 cells\n"), "{}", answer.err);

    let run = folder.path().join("runs/first");
    let files = files(&run);
    let cells = complete_cells(&run);
    assert_eq!(cells.len(), planned_cells(&run));
    assert_eq!(cells.len(), 27);
    let mut expected: Vec<String> = [
        "lock",
        "experiment.yaml",
        "plan.json",
        "environment.json",
        "analysis/summary.json",
        "analysis/all_peak_metrics.csv",
        "analysis/performance_comparisons.csv",
        "analysis/columns.md",
        "report/report.md",
        "report/report.html",
    ]
    .map(String::from)
    .into();
    for arm in ["no-offload", "native-offload", "lmcache-local"] {
        expected.push(format!("analysis/Qwen--Qwen3-8B_{arm}_metrics.csv"));
    }
    for cell in &cells {
        for file in ["requests.parquet", "steps.parquet", "evidence.json", "cell.json"] {
            expected.push(format!("cells/{cell}/{file}"));
        }
    }
    expected.sort();
    let plots: Vec<&String> =
        files.keys().filter(|name| name.starts_with("report/plots/")).collect();
    let others: Vec<&String> =
        files.keys().filter(|name| !name.starts_with("report/plots/")).collect();
    assert_eq!(others, expected.iter().collect::<Vec<_>>());
    for (name, bytes) in &files {
        // Only a lock file may be empty.
        assert!(!bytes.is_empty() || name == "lock", "{name} is empty");
    }
    assert_plots(&plots, &files);
}

#[track_caller]
fn assert_plots(plots: &[&String], files: &BTreeMap<String, Vec<u8>>) {
    let stems: Vec<&str> = plots.iter().filter_map(|name| name.strip_suffix(".png")).collect();
    assert!(stems.len() >= 5, "{plots:?}");
    assert_eq!(stems.len() * 2, plots.len(), "each chart twice: {plots:?}");
    for stem in stems {
        assert!(files[&format!("{stem}.png")].starts_with(b"\x89PNG\r\n"), "{stem}");
        let svg = String::from_utf8_lossy(&files[&format!("{stem}.svg")]).into_owned();
        assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>"), "{stem}");
    }
}

fn without_script_bodies(html: &str) -> String {
    let mut markup = String::new();
    let mut rest = html;
    while let Some(at) = rest.find("<script") {
        let open = at + rest[at..].find('>').expect("the tag ends") + 1;
        markup += &rest[..open];
        let close = rest[open..].find("</script>").expect("the script ends");
        rest = &rest[open + close..];
    }
    markup + rest
}

#[test]
fn the_report_loads_nothing_from_the_network() {
    let folder = with_small();
    weir(folder.path(), &["run", "small.yaml", "--out", "run", "--quiet"]).done();
    let html = fs::read_to_string(folder.path().join("run/report/report.html")).unwrap();
    assert!(html.len() > 1_000_000, "the charts' script is not embedded: {} bytes", html.len());
    let markup = without_script_bodies(&html);
    assert!(markup.len() < html.len() / 2, "the scripts were not found");
    for loads in ["src=", "<link", "@import", "url(", "http:", "https:", "<iframe", "<object"] {
        let at = markup.find(loads);
        let around = at.map(|at| markup[at..].chars().take(80).collect::<String>());
        assert_eq!(around, None, "`{loads}` in the report");
    }
    for file in ["run/report/report.md", "run/analysis/columns.md"] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(!text.contains("http"), "{file}");
    }
}

fn results(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(run);
    for when_and_where in ["environment.json", "lock"] {
        files.remove(when_and_where).expect("each run has it");
    }
    files
}

#[test]
fn the_same_experiment_gives_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    // With evictions and loads: a tier's contents depend on every earlier step.
    let short = ["--quiet", "--set", "repeats=2", "--set", "load.users=[16, 32]"];
    let run = |name: &str, jobs: &str| {
        let args = [&["run", "--out", name, "--jobs", jobs][..], &short].concat();
        weir(folder.path(), &args).done();
        results(&folder.path().join(name))
    };
    let (one, four) = (run("one", "1"), run("four", "4"));
    assert_same(&one, &four);
    assert_eq!(one.keys().filter(|name| name.ends_with("requests.parquet")).count(), 12);
    // Repeats have their own seeds, so equal bytes are evidence.
    let cell = |repeat: u32| {
        &one[&format!("cells/Qwen--Qwen3-8B/2x-l40s/no-offload/c32/{repeat}/requests.parquet")]
    };
    assert_ne!(cell(0), cell(1));
}

#[test]
fn a_report_is_written_again_with_the_same_bytes() {
    let folder = with_small();
    let first = weir(folder.path(), &["run", "small.yaml", "--out", "run"]).done();
    let run = folder.path().join("run");
    let before = files(&run);
    fs::remove_dir_all(run.join("report")).unwrap();
    fs::write(run.join("analysis/summary.json"), "{").unwrap();
    let again = weir(folder.path(), &["report", "run"]).done();
    assert_eq!(again.out, first.out);
    assert_eq!(again.err, "");
    assert_same(&before, &files(&run));
}

#[test]
fn a_damaged_cell_is_left_out_of_a_report_and_run_again_by_a_resume() {
    let folder = with_small();
    weir(folder.path(), &["run", "small.yaml", "--out", "run"]).done();
    let run = folder.path().join("run");
    let before = files(&run);
    let cell = "cells/Qwen--Qwen3-8B/2x-l40s/native-offload/c2/0";
    let table = run.join(cell).join("requests.parquet");
    fs::write(&table, &fs::read(&table).unwrap()[..100]).unwrap();

    let report = weir(folder.path(), &["report", "run"]).done();
    let name = cell.strip_prefix("cells/").unwrap();
    let whole = before[&format!("{cell}/requests.parquet")].len();
    let why = format!("{name}: run/{cell}/requests.parquet: 100 bytes, {whole} were written\n");
    assert_eq!(report.err, format!("left out: {why}"));
    assert!(report.out.contains("1 of 2 cells completed, 1 valid"), "{}", report.out);

    let resumed = weir(folder.path(), &["run", "--resume", "run"]).done();
    assert!(resumed.err.contains(&format!("ran again: {why}")), "{}", resumed.err);
    assert!(resumed.err.contains("kept 1 finished cells, ran 1\n"), "{}", resumed.err);
    // The lock has another process id.
    let without_lock = |mut files: BTreeMap<String, Vec<u8>>| {
        files.remove("lock");
        files
    };
    assert_same(&without_lock(before), &without_lock(files(&run)));
}

#[test]
fn a_comparison_of_two_seeds_names_the_cells_that_changed() {
    let folder = with_small();
    let spread = "workload.shared-prefix.draw={zipf: {exponent: 1.0}}";
    for (name, seed) in [("first", "seed=1"), ("second", "seed=2")] {
        let sets = ["--set", seed, "--set", spread, "--set", "load.users=[1,2]"];
        weir(folder.path(), &[&["run", "small.yaml", "--out", name][..], &sets].concat()).done();
        assert_eq!(
            json(&folder.path().join(name).join("plan.json"))["seed"].to_string(),
            seed[5..]
        );
    }
    let compare = |args: &[&str]| weir(folder.path(), &[&["compare"], args].concat()).done();
    let same = compare(&["first", "first", "--least", "0"]);
    let other = compare(&["first", "second", "--least", "0"]);
    assert!(other.out.contains("first") && other.out.contains("second"), "{}", other.out);
    assert_ne!(same.out, other.out);

    let csv = |answer: &str| -> Vec<BTreeMap<String, String>> {
        csv::Reader::from_reader(answer.as_bytes()).deserialize().map(Result::unwrap).collect()
    };
    let unchanged = csv(&compare(&["first", "first", "--csv"]).out);
    let changed = csv(&compare(&["first", "second", "--csv"]).out);
    assert_eq!(unchanged.len(), changed.len());
    assert!(!changed.is_empty());
    let moved = |rows: &[BTreeMap<String, String>]| {
        rows.iter().filter(|row| !["", "0"].contains(&row["change_percent"].as_str())).count()
    };
    assert_eq!(moved(&unchanged), 0);
    assert!(moved(&changed) > 0, "{changed:?}");
}

#[test]
fn the_metrics_have_one_row_per_cell() {
    let folder = with_small();
    let sets = ["--set", "repeats=2", "--set", "load.users=[1,2]"];
    weir(folder.path(), &[&["run", "small.yaml", "--out", "run"][..], &sets].concat()).done();
    let run = folder.path().join("run");
    let mut rows: Vec<String> = metrics(&run)
        .iter()
        .map(|row| {
            format!("Qwen--Qwen3-8B/2x-l40s/{}/{}/{}", row["arm"], row["level"], row["repeat"])
        })
        .collect();
    rows.sort();
    assert_eq!(rows, complete_cells(&run));
    assert_eq!(rows.len(), 8);
}
