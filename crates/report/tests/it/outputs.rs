//! What is written: snapshots, and properties of whole files.

use weir_model::{FailureCause, FailureReason, Verdict};
use weir_record::{CellFigures, CellStatus};
use weir_report::artifacts::{Artifact, analysis, plots, report};
use weir_report::charts::{Chart, deployment_charts, svg_text};
use weir_report::comparison::Comparison;
use weir_report::metric::metric;
use weir_report::tables::scope_sentence;
use weir_report::{files, page, terminal};

use crate::fixture;

fn all() -> Vec<Artifact> {
    let plan = fixture::plan();
    let results = fixture::results(&plan);
    let of = Comparison::of(&results).unwrap();
    let mut files = analysis(&results, &of).unwrap();
    files.extend(report(&of).unwrap());
    files
}

fn text(files: &[Artifact], path: &str) -> String {
    let file = files.iter().find(|file| file.path == path).unwrap();
    String::from_utf8(file.bytes.clone()).unwrap()
}

fn has_extension(path: &str, extension: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Writes everything to `$WEIR_REPORT_OUT`, for a look by hand.
#[test]
fn files_can_be_looked_at() {
    let Some(out) = std::env::var_os("WEIR_REPORT_OUT") else {
        return;
    };
    for file in all() {
        let path = std::path::Path::new(&out).join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.bytes).unwrap();
    }
}

#[test]
fn the_terminal_fits_its_width() {
    let plan = fixture::plan();
    let seen = Comparison::of(&fixture::results(&plan)).unwrap();
    let text = terminal::summary(&seen);
    assert!(text.lines().all(|line| line.chars().count() <= 112), "{text}");
    insta::assert_snapshot!(text);
}

/// Nine levels have more rows than a screen: one number per cell.
#[test]
fn long_runs_are_told_in_short() {
    let mut deployment = fixture::deployment();
    for users in [301, 302, 303, 304, 305, 306] {
        deployment.levels.push(fixture::level(users));
    }
    let plan = fixture::plan_of(deployment, 1);
    let mut results = fixture::results(&plan);
    results.cells.retain(|cell| plan.cells[cell.cell].level != 8);
    let text = terminal::summary(&Comparison::of(&results).unwrap());
    assert!(text.lines().all(|line| line.chars().count() <= 112), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn markdown_snapshot() {
    let plan = fixture::plan();
    let seen = Comparison::of(&fixture::results(&plan)).unwrap();
    let text = page::markdown(&seen);
    let before = text.split("## Definitions").next().unwrap();
    insta::assert_snapshot!(before);
}

/// A latency that the generator caused.
const NOT_THE_SERVERS: f64 = 7_654_321.0;

/// Live cells: `c1` fine, `c50` fine in two repeats and refused in one, `c300` refused throughout.
fn live(plan: &weir_spec::plan::Plan) -> weir_report::results::Results<'_> {
    let mut results = fixture::results(plan);
    for result in &mut results.cells {
        let cell = &plan.cells[result.cell];
        let mut certificate = crate::live::certificate();
        if cell.level == 2 || (cell.level == 1 && cell.repeat == 1) {
            certificate.busy_share = 0.99;
            certificate.refused =
                Some(weir_model::Refusal::Busy { share: 0.99, why: weir_model::Lateness::Busy });
            // The recorder marks the cell failed; its figures must not count.
            result.record.figures.ttft_ms.mean = NOT_THE_SERVERS;
        }
        result.record.figures.certificate = Some(certificate);
    }
    results
}

#[test]
fn live_cells_show_their_generator_and_refused_ones_are_no_result() {
    let plan = fixture::plan();
    let results = live(&plan);
    let seen = Comparison::of(&results).unwrap();
    let terminal = terminal::summary(&seen);
    let markdown = page::markdown(&seen);
    let html = page::html(&seen).unwrap();
    assert!(terminal.lines().all(|line| line.chars().count() <= 112), "{terminal}");
    for text in [&terminal, &markdown, &html] {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("20 of 45 cells are refused"), "{words}");
        assert!(words.contains("at most 0.180 ms longer"), "{words}");
        assert!(words.contains("used 99 % of a CPU"), "{words}");
    }
    assert!(terminal.contains("refused"), "{terminal}");
    let generator = terminal.split("Load generator").nth(2).unwrap();
    insta::assert_snapshot!("generator", generator.split("Warnings").next().unwrap());

    // The refused level has bounds, and no figure in a mean, a file of values or a chart.
    let group = seen.deployments[0].group("no-offload", "c300").unwrap();
    assert_eq!((group.counted, group.metrics.len(), group.certificates.len()), (0, 0, 3));
    let group = seen.deployments[0].group("no-offload", "c50").unwrap();
    assert_eq!((group.counted, group.planned), (2, 3));
    let mut files = analysis(&results, &seen).unwrap();
    files.extend(report(&seen).unwrap());
    for file in files.iter().filter(|file| file.path != "analysis/summary.json") {
        let text = String::from_utf8_lossy(&file.bytes);
        assert!(!text.contains("7654321") && !text.contains("7,654,321"), "{}", file.path);
    }
    let summary: serde_json::Value =
        serde_json::from_str(&text(&files, "analysis/summary.json")).unwrap();
    let certificates = &summary["deployments"][0]["groups"][1]["certificates"];
    assert_eq!(certificates[1]["repeat"], 1);
    assert_eq!(certificates[1]["refused"]["cause"], "busy");
    let refused = &summary["deployments"][0]["groups"][2];
    assert_eq!(refused["bounds"]["ttft_mean_ms"]["is"], "at-most");
    assert!(refused["metrics"].as_object().unwrap().is_empty());
    let csv = text(&files, "analysis/Qwen3-8B_no-offload_metrics.csv");
    assert!(csv.contains("refused,no,1,,"), "{csv}");
}

#[test]
fn csv_snapshots() {
    let files = all();
    let columns = |path: &str, most: usize| -> String {
        text(&files, path)
            .lines()
            .map(|line| line.split(',').take(most).collect::<Vec<_>>().join(","))
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!("peaks", columns("analysis/all_peak_metrics.csv", 16));
    let cells = columns("analysis/Qwen3-8B_native-offload_metrics.csv", 14);
    insta::assert_snapshot!("cells", cells);
    let changes = text(&files, "analysis/performance_comparisons.csv");
    let throughput: Vec<&str> = changes
        .lines()
        .filter(|line| line.starts_with("model") || line.contains(",output_tokens_per_s,"))
        .collect();
    insta::assert_snapshot!("changes", throughput.join("\n"));
}

#[test]
fn every_column_is_documented_and_every_row_is_as_long_as_its_header() {
    let files = all();
    let reference = text(&files, "analysis/columns.md");
    let csvs: Vec<&Artifact> =
        files.iter().filter(|file| has_extension(&file.path, "csv")).collect();
    assert_eq!(csvs.len(), 2 + 5);
    for file in csvs {
        let mut reader = csv::Reader::from_reader(file.bytes.as_slice());
        for name in reader.headers().unwrap() {
            let name = name.replace('_', "\\_");
            assert!(reference.contains(&format!("| {name} |")), "{}: {name}", file.path);
        }
        // The reader refuses rows of another length.
        let rows = reader.records().map(Result::unwrap).count();
        assert!(rows > 0, "{}", file.path);
    }
    insta::assert_snapshot!("columns", files::columns_reference());
}

#[test]
fn void_rows_are_listed_but_marked() {
    let files = all();
    let void = text(&files, "analysis/Qwen3-8B_lmcache-redis_metrics.csv");
    assert_eq!(void.lines().filter(|line| line.contains("void (no-operation),no,")).count(), 9);
    for path in ["analysis/all_peak_metrics.csv", "analysis/performance_comparisons.csv"] {
        assert!(!text(&files, path).contains("9000000000"), "{path}");
    }
    let page = text(&files, "report/report.html");
    assert!(!page.contains("9000000000") && !page.contains("9,000,000,000"));
    for file in files.iter().filter(|file| has_extension(&file.path, "svg")) {
        let drawn = String::from_utf8_lossy(&file.bytes);
        assert!(!drawn.contains(">lmcache-redis<"), "{}", file.path);
    }
}

#[test]
fn summary_json_has_its_documented_keys() {
    let summary: serde_json::Value =
        serde_json::from_str(&text(&all(), "analysis/summary.json")).unwrap();
    assert_eq!(summary["format"], 2);
    let deployment = &summary["deployments"][0];
    for key in ["decision", "deciding_metric", "noise_floor", "peaks", "groups", "deltas"] {
        assert!(!deployment[key].is_null(), "{key}");
    }
    assert_eq!(deployment["decision"]["recommended"][0]["from"], "c50");
    assert_eq!(summary["origins"]["seed"], "--set seed=889");
    assert!(summary["origins"]["engine.block_size"].is_null());
}

#[test]
fn equal_results_give_equal_bytes() {
    assert_eq!(all(), all());
}

#[test]
fn order_of_results_does_not_show() {
    let plan = fixture::plan();
    let results = fixture::results(&plan);
    let mut reversed = results.clone();
    reversed.cells.reverse();
    let of = Comparison::of(&results).unwrap();
    let other = Comparison::of(&reversed).unwrap();
    assert_eq!(analysis(&results, &of).unwrap(), analysis(&reversed, &other).unwrap());
}

/// Attributes and calls by which a page loads something from elsewhere.
const LOADS: [&str; 8] = [
    "src=\"http",
    "src=\"//",
    "src='http",
    "href=\"http",
    "href=\"//",
    "@import",
    "url(http",
    "<link",
];

#[test]
fn the_page_is_whole_and_loads_nothing() {
    let page = text(&all(), "report/report.html");
    // The library holds addresses of map services, which no chart uses; the page around it has
    // none.
    let library = weir_report::charts::script();
    assert!(library.starts_with("<script type=\"text/javascript\">") && library.len() > 1 << 20);
    assert_eq!(page.matches(&library).count(), 1);
    let own = page.replace(&library, "");
    for load in LOADS {
        assert!(!own.contains(load), "{load}");
    }
    assert!(!own.contains("http:") && !own.contains("https:"));
    for kind in ["scattergeo", "choropleth", "scattermap", "mapbox", "densitymap"] {
        assert!(!own.contains(kind), "{kind}");
    }
    assert!(own.contains("Use native-offload"));
    assert!(own.contains("c0ffee00c0ffee00"));
    assert!(own.contains("--set seed=889") && !own.contains("engine.block_size"));
    assert_eq!(own.matches("class=\"chart\"").count(), own.matches("data-for=").count());
    assert_balanced(&own);
    // Each figure is JSON with data.
    for part in own.split("<script type=\"application/json\"").skip(1) {
        let json = part.split_once('>').unwrap().1.split_once("</script>").unwrap().0;
        let figure: serde_json::Value = serde_json::from_str(json).unwrap();
        assert!(!figure["data"].as_array().unwrap().is_empty());
    }
}

fn assert_balanced(page: &str) {
    for tag in [
        "html", "body", "main", "section", "table", "tbody", "tr", "td", "figure", "div",
        "details", "script", "style", "p", "ul", "li", "dl",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        assert!(opened > 0, "{tag}");
    }
}

#[test]
fn names_cannot_become_markup() {
    let mut deployment = fixture::deployment();
    deployment.arms[2].name = "</script><img src=x onerror=alert(1)>".to_owned();
    deployment.arms[2].description = "a | b <b>".to_owned();
    let plan = fixture::plan_of(deployment, 1);
    let mut results = fixture::results(&plan);
    for result in &mut results.cells {
        result.record.figures = fixture::figures("no-offload", plan.cells[result.cell].level, 0);
        result.evidence.as_mut().unwrap().verdict = weir_model::Verdict::Effective;
    }
    let of = Comparison::of(&results).unwrap();
    assert!(!page::html(&of).unwrap().contains("<img"));
    let text = page::markdown(&of);
    assert!(!text.contains("<img") && text.contains("a \\| b &lt;b>"));
    for (name, bytes) in plots(&of).unwrap() {
        assert!(!String::from_utf8_lossy(&bytes).contains("<img"), "{name}");
    }
}

#[test]
fn pictures_have_their_formats_and_labels() {
    let plan = fixture::plan();
    let seen = Comparison::of(&fixture::results(&plan)).unwrap();
    let pictures = plots(&seen).unwrap();
    assert!(pictures.len() >= 16, "{}", pictures.len());
    for (name, bytes) in &pictures {
        if has_extension(name, "png") {
            assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{name}");
        } else {
            let drawn = String::from_utf8(bytes.clone()).unwrap();
            assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"), "{name}");
            assert!(drawn.contains("native-offload"), "{name}");
        }
    }
    let throughput = pictures.iter().find(|file| file.0.ends_with("_output_tokens_per_s.svg"));
    let drawn = String::from_utf8(throughput.unwrap().1.clone()).unwrap();
    assert!(drawn.contains("Concurrent users") && drawn.contains("Output throughput (tok/s)"));
}

#[test]
fn at_a_single_level_the_arms_stand_side_by_side() {
    let plan = fixture::plan();
    let results = fixture::results(&plan);
    let mut of = Comparison::of(&results).unwrap().deployments.remove(0);
    of.levels.truncate(1);
    let charts = deployment_charts(&of);
    let Chart::Lines(chart) = &charts[0] else { panic!("{:?}", charts[0]) };
    let names: Vec<&str> = chart.series.iter().map(|series| series.name.as_str()).collect();
    let ticks: Vec<(f64, &str)> =
        chart.ticks.iter().map(|(place, name)| (*place, name.as_str())).collect();
    // An arm that does not count has no place.
    assert!(names.len() > 2 && !names.contains(&"lmcache-redis"), "{names:?}");
    assert_eq!(ticks, (0..names.len()).map(|at| (at as f64, names[at])).collect::<Vec<_>>());
    assert!(chart.by_arm && chart.x_title == format!("Arms at level {}", of.levels[0].name));
    let svg = svg_text(&charts[0]).unwrap();
    let written = |name: &str| svg.lines().filter(|line| line.trim() == name).count();
    assert!(names.iter().all(|name| written(name) == 1), "{svg}");
}

/// Case of vllm-project/guidellm#444: 60 broken requests were shown as 1,034 tok/s that count.
#[test]
fn a_level_of_broken_requests_has_no_figures_and_its_cause_as_headline() {
    let plan = fixture::plan();
    let mut results = fixture::results(&plan);
    for result in &mut results.cells {
        let cell = &plan.cells[result.cell];
        if cell.level == 1 && plan.deployments[0].arms[cell.arm].name == "native-offload" {
            result.record.status = CellStatus::RequestsFailed { most: 0.01 };
            result.record.figures = CellFigures {
                window_s: 100.0,
                measured: 60,
                failed: 60,
                failures: vec![FailureCause { cause: "truncated stream".to_owned(), requests: 58 }],
                failed_output_tokens_per_s: Some(1034.0),
                certificate: Some(crate::live::certificate()),
                ..CellFigures::default()
            };
        }
    }
    let broken = results.cells.iter().find(|result| result.record.figures.failed == 60).unwrap();
    assert!(!broken.counts());
    let commonest = FailureCause { cause: "truncated stream".to_owned(), requests: 58 };
    let failure = FailureReason::Requests {
        failed: 60,
        measured: 60,
        most: 0.01,
        commonest: Some(commonest),
    };
    assert_eq!(broken.verdict(), Verdict::Failed(failure));
    let shown = |key: &str| (metric(key).unwrap().of)(broken);
    for key in ["output_tokens_per_s", "requests_per_s", "ttft_p50_ms", "itl_mean_ms", "e2e_p99_ms"]
    {
        assert_eq!(shown(key), None, "{key}");
    }
    assert_eq!((shown("failed"), shown("failed_output_tokens_per_s")), (Some(60.0), Some(1034.0)));

    let seen = Comparison::of(&results).unwrap();
    let group = seen.deployments[0].group("native-offload", "c50").unwrap();
    assert_eq!((group.counted, group.metrics.len(), group.certificates.len()), (0, 0, 0));
    let change = seen.deployments[0].change("native-offload", "itl_mean_ms", "c50");
    assert!(change.is_none_or(|change| change.change.is_none()));
    assert_eq!(seen.requests.failed, 3 * 60);
    let scope = scope_sentence(seen.requests);
    assert!(scope.contains("180 failed, 0 open."), "{scope}");
    let terminal = terminal::summary(&seen);
    for text in [&terminal, &page::markdown(&seen), &page::html(&seen).unwrap()] {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&scope), "{words}");
        assert!(words.contains("60 of 60 measured requests failed"), "{words}");
    }
    let csvs = files::cells_csv(&results, &seen).unwrap();
    let csv = csvs.iter().find(|(name, _)| name.contains("native-offload")).unwrap().1;
    let mut reader = csv::Reader::from_reader(csv.as_slice());
    let heads = reader.headers().unwrap().clone();
    let row = reader.records().map(Result::unwrap).find(|row| &row[3] == "c50").unwrap();
    let field = |name: &str| &row[heads.iter().position(|head| head == name).unwrap()];
    assert_eq!(
        (field("output_tokens_per_s"), field("ttft_mean_ms"), field("failed")),
        ("", "", "60")
    );
}
