use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use weir_field::{Agent, AgentEnd, AgentOptions, Field};
use weir_http::Url;
use weir_load::{Live, LoadShape};
use weir_model::{Nanos, Outcome, RequestRow};
use weir_workload::config::{OverContext, TimeUnit, TraceFile, TraceFormat};
use weir_workload::{Arrivals, WorkloadConfig};

use crate::bed::*;

fn users(users: u32) -> LoadShape {
    LoadShape::Users { users, ramp: Nanos::ZERO }
}

#[test]
fn four_agents_ask_what_one_process_asks_at_the_same_times() {
    let (field, endpoint) = (four_agents(), endpoint(Duration::from_millis(1)));
    let live = Arc::new(Live::new());
    for load in [
        LoadShape::Open(Arrivals::Poisson { rate: 300.0 }),
        LoadShape::Open(Arrivals::Constant { rate: 300.0 }),
    ] {
        let mut config = config(endpoint, load);
        config.max_requests = Some(150);
        let whole = alone(&config, &shared_prefix(1));
        let (rows, offered) = offer(&field, &config, &shared_prefix(1), &live).unwrap();
        assert_eq!(asked(&whole), asked(&rows));
        assert!(rows.iter().all(|row| row.outcome == Outcome::Done), "{rows:?}");
        let seen = |rows: &[RequestRow]| {
            let mut seen: Vec<_> = rows.iter().map(|row| (row.session, row.seen_tokens)).collect();
            seen.sort_unstable();
            seen
        };
        assert_eq!(seen(&whole), seen(&rows));
        for row in &rows {
            assert_eq!(row.shard.map(u64::from), Some(row.session % 4));
            assert_eq!(row.replica, Some(0));
        }
        assert_eq!((offered.report.issued, offered.report.certificate.workers), (150, 4));
        assert_eq!(offered.shards.iter().map(|shard| shard.requests).sum::<u64>(), 150);
        for shard in &offered.shards {
            // One clock, read over loopback.
            assert!(shard.clock_offset_ns.unsigned_abs() <= shard.clock_bound.0, "{shard:?}");
            assert!(shard.clock_bound < Nanos::from_millis(50), "{shard:?}");
        }
        assert_eq!(live.snapshot().done, 150);
    }
}

#[test]
fn users_with_turns_run_to_the_end_of_the_window() {
    let (field, endpoint) = (four_agents(), endpoint(Duration::from_millis(5)));
    let mut config = config(endpoint, users(6));
    config.duration = Some(Nanos::from_millis(600));
    let (rows, offered) =
        offer(&field, &config, &shared_prefix(3), &Arc::new(Live::new())).unwrap();
    assert_eq!(offered.report.window.end, Nanos::from_millis(600));
    assert_eq!(offered.report.certificate.offered, 6.0);
    // Each session is asked by one shard, turn by turn.
    for row in rows.iter().filter(|row| row.turn > 0 && row.outcome == Outcome::Done) {
        let before = rows.iter().find(|r| (r.session, r.turn) == (row.session, row.turn - 1));
        assert!(before.unwrap().end <= row.due, "{row:?}");
    }
    let mut all: Vec<_> = rows.iter().map(|row| (row.session, row.turn)).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), rows.len(), "nothing is asked twice");
}

/// The agents get the file over the network.
#[test]
fn a_trace_is_divided_by_its_requests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.jsonl");
    let mut text = String::new();
    for request in 0..61 {
        let blocks = [0, request * 3 + 1, request * 3 + 2];
        writeln!(
            text,
            "{{\"timestamp\": {}, \"input_length\": 40, \"output_length\": 3, \"hash_ids\": \
             {blocks:?}}}",
            request * 7
        )
        .unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let workload = WorkloadConfig::Trace(TraceFile {
        format: TraceFormat::Mooncake,
        path: path.display().to_string(),
        block_tokens: Some(16),
        time_unit: Some(TimeUnit::Ms),
        limit: Some(60),
        over_context: OverContext::Skip,
    });
    let (field, endpoint) = (four_agents(), endpoint(Duration::ZERO));
    let mut config = config(endpoint, LoadShape::SessionTimes);
    config.max_requests = Some(60);
    let whole = alone(&config, &workload);
    let (rows, _) = offer(&field, &config, &workload, &Arc::new(Live::new())).unwrap();
    assert_eq!((rows.len(), asked(&whole)), (60, asked(&rows)));
}

#[test]
fn agents_that_dial_get_the_shards_that_they_ask_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let agents: Vec<_> = [2, 0, 1]
        .map(|index| {
            let options = AgentOptions { index: Some(index), ..options(Some(&token())) };
            let (agent, url) = (Agent::new(options).unwrap(), url.clone());
            std::thread::spawn(move || agent.dial(&url))
        })
        .into_iter()
        .collect();
    let patience = Duration::from_secs(20);
    let field =
        Field::gather(listener, 3, Some(&token()), "a-run", patience, &|| false, None).unwrap();
    let mut config = config(endpoint(Duration::ZERO), users(3));
    config.max_requests = Some(31);
    for _ in 0..2 {
        let live = Arc::new(Live::new());
        let (rows, offered) = offer(&field, &config, &shared_prefix(1), &live).unwrap();
        assert_eq!((rows.len(), offered.shards.len()), (31, 3));
    }
    drop(field);
    for agent in agents {
        assert_eq!(agent.join().unwrap().unwrap(), AgentEnd::Dismissed);
    }
}
