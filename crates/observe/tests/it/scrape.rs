use std::time::{Duration, Instant};

use weir_http::Url;
use weir_observe::{ScrapeError, Scraper, Selection, Snapshot, SnapshotDifference, UtcClock};

use crate::captured;
use crate::exporter::{Act, Exporter, text};

const BUDGET: Duration = Duration::from_secs(5);

fn scraper(exporter: &Exporter) -> Scraper {
    Scraper::new(&exporter.url(), "/metrics", Selection::relevant())
}

fn once(act: Act) -> Result<Snapshot, ScrapeError> {
    let exporter = Exporter::start(vec![act]);
    scraper(&exporter).scrape(&UtcClock::anchored(), BUDGET)
}

#[test]
fn a_real_text_becomes_a_snapshot_with_its_time() {
    let exporter = Exporter::start(vec![text(&captured("metrics.txt"))]);
    let scraper = scraper(&exporter).with_bearer("s3cret");
    let clock = UtcClock::anchored();
    let begin = clock.now();
    let taken = scraper.scrape(&clock, BUDGET).unwrap();
    assert!(begin <= taken.at && taken.at <= clock.now());
    assert!(taken.took.0 > 0);
    assert_eq!(taken.endpoint, format!("http://{}/metrics", exporter.url().authority()));
    assert_eq!(taken.gauge_sum("vllm:num_requests_running", &[]), Some(0.0));
    assert_eq!(taken.gauge_sum("python_info", &[]), None, "not selected");
    let request = exporter.requests().remove(0).to_ascii_lowercase();
    assert!(request.starts_with("get /metrics http/1.1\n"), "{request}");
    assert!(request.contains("accept: application/openmetrics-text;version=1.0.0,text/plain"));
    assert!(request.contains("authorization: bearer s3cret"), "{request}");
}

#[test]
fn the_answer_says_which_format_it_is() {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let body =
        "# TYPE vllm:prompt_tokens counter\nvllm:prompt_tokens_total 5 # {a=\"1\"} 2\n# EOF\n";
    let taken = once(Act::Answer(openmetrics, body.to_owned())).unwrap();
    assert!(taken.series("vllm:prompt_tokens_total").is_some());
    // Only OpenMetrics shows a cut.
    let cut = body.trim_end_matches("# EOF\n").to_owned();
    let error = once(Act::Answer(openmetrics, cut)).unwrap_err().to_string();
    assert!(error.contains("it was cut short"), "{error}");
    assert!(error.contains("http://127.0.0.1:"), "{error}");
}

#[test]
fn what_is_no_metrics_text_is_refused_with_the_address() {
    let error = once(Act::Answer("text/html", "<html>".to_owned())).unwrap_err();
    assert!(matches!(error, ScrapeError::NotMetrics { .. }));
    assert!(error.to_string().contains("answered with text/html"), "{error}");
    let error = once(text("not metrics at all\n")).unwrap_err().to_string();
    assert!(error.contains("line 1: no number where the value should stand"), "{error}");
    let zipped = Act::Headers("Content-Encoding: gzip\r\n", "\x1f".to_owned());
    let error = once(zipped).unwrap_err().to_string();
    assert!(error.contains("content-encoding") && error.contains("gzip"), "{error}");
    let error = once(Act::Status(404, "nothing here")).unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("/metrics"), "{error}");
}

#[test]
fn the_budget_holds_whatever_the_server_does() {
    let budget = Duration::from_millis(200);
    for act in [Act::Silence, Act::Half("x 1\n".repeat(1000))] {
        let exporter = Exporter::start(vec![act.clone()]);
        let begin = Instant::now();
        let error = scraper(&exporter).scrape(&UtcClock::anchored(), budget).unwrap_err();
        let took = begin.elapsed();
        assert!(matches!(error, ScrapeError::Fetch(_)), "{error}");
        // Far below the server's own timeout, far above a loaded machine's needs.
        assert!(budget <= took && took < Duration::from_secs(5), "{act:?}: {took:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let url = {
        let exporter = Exporter::start(vec![text("")]);
        exporter.url()
    };
    let scraper = Scraper::new(&url, "/metrics", Selection::all());
    let error = scraper.scrape(&UtcClock::anchored(), BUDGET).unwrap_err().to_string();
    assert!(error.contains(&url.address()), "{error}");
}

#[test]
fn a_body_beyond_the_limit_is_not_read() {
    let long = format!("# {}\n", "x".repeat(17 << 20));
    let error = once(text(&long)).unwrap_err().to_string();
    assert!(error.contains("16777216 bytes"), "{error}");
}

#[test]
fn two_scrapes_make_a_window_and_a_restart_between_them_a_gap() {
    let count = |tokens: u32, start: u32| {
        text(&format!("vllm:prompt_tokens_total {tokens}\nprocess_start_time_seconds {start}\n"))
    };
    let exporter = Exporter::start(vec![count(100, 1), count(250, 1), count(300, 2)]);
    let scraper = scraper(&exporter);
    let clock = UtcClock::anchored();
    let [first, second, third] = std::array::from_fn(|_| scraper.scrape(&clock, BUDGET).unwrap());
    let window = SnapshotDifference::new(&first, &second).unwrap();
    assert_eq!(window.counter("vllm:prompt_tokens_total", &[]), Ok(Some(150.0)));
    assert_eq!(window.span(), second.at.since(first.at).unwrap());
    let gap = SnapshotDifference::new(&second, &third).unwrap_err().to_string();
    assert!(gap.contains("restarted inside the window"), "{gap}");
}

#[test]
fn a_path_prefix_of_the_address_is_kept() {
    let url = Url::parse("https://host:8443/engine").unwrap();
    let scraper = Scraper::new(&url, "/metrics", Selection::all());
    assert_eq!(scraper.endpoint(), "https://host:8443/engine/metrics");
}
