use std::sync::Arc;
use std::time::Duration;

use weir_load::{
    Live, LoadConfig, LoadReport, LoadShape, ReplicaNames, ShardReport, monotonic_ns, run_shard,
};
use weir_model::{Nanos, Outcome, RequestRow};
use weir_workload::{Arrivals, Session, SessionSource, Shard};

use crate::server::*;

const SHARDS: u32 = 4;

fn shard(config: &LoadConfig, index: u32) -> LoadConfig {
    LoadConfig { shard: Shard { index, of: SHARDS }, ..config.clone() }
}

/// All shards at once, from one agreed start.
fn play_shards<S: SessionSource + Send>(
    config: &LoadConfig,
    source: impl Fn() -> S + Sync,
) -> (Vec<RequestRow>, Vec<ShardReport>) {
    let lives: Vec<Live> = (0..SHARDS).map(|_| Live::held()).collect();
    let (mut rows, mut reports) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let shards: Vec<_> = lives
            .iter()
            .enumerate()
            .map(|(index, live)| {
                let (config, source) = (shard(config, index as u32), &source);
                scope.spawn(move || {
                    let mut rows = Rows::default();
                    let report = run_shard(&config, source(), &mut rows, live).unwrap();
                    (rows.0, report)
                })
            })
            .collect();
        until(|| lives.iter().all(Live::is_ready));
        let start = monotonic_ns() + 50_000_000;
        assert!(lives.iter().all(|live| live.begin_at(start) && live.elapsed().is_none()));
        if config.duration.is_some() {
            until(|| lives.iter().all(Live::has_measured_all));
            lives.iter().for_each(Live::let_end);
        }
        for shard in shards {
            let (own, report) = shard.join().unwrap();
            rows.extend(own);
            // On its way to the process that merges.
            let sent = serde_json::to_string(&report).unwrap();
            reports.push(serde_json::from_str(&sent).unwrap());
        }
    });
    (rows, reports)
}

fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What was asked: session, turn, prompt and due time.
fn asked(rows: &[RequestRow]) -> Vec<(u64, u32, u64, Nanos)> {
    let mut asked: Vec<_> =
        rows.iter().map(|row| (row.session, row.turn, row.prompt_id, row.due)).collect();
    asked.sort_unstable();
    asked
}

#[test]
fn shards_send_what_one_process_sends_and_report_it_as_one() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.load = LoadShape::Open(Arrivals::Poisson { rate: 400.0 });
    config.max_requests = Some(203);
    for workers in [1, 2] {
        config.client.workers = workers;
        let (whole, _) = play(&config, single_turns(1000, 4));
        let (rows, reports) = play_shards(&config, || single_turns(1000, 4));
        assert_eq!(asked(&whole), asked(&rows));
        let mut ids: Vec<u64> = rows.iter().map(|row| row.request).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 203, "requests keep one id each");
        let merged = LoadReport::of(&config, &reports);
        assert_eq!((merged.issued, merged.unfinished), (203, 0));
        assert_eq!(merged.answers.answers(), 203);
        assert_eq!(merged.certificate.workers, SHARDS * workers);
        assert_eq!(merged.certificate.send_lag.count, 203);
        let last = rows.iter().map(|row| row.end).max().unwrap();
        assert_eq!(merged.window.end, last);
        // On a busy machine threads start late, but never early.
        assert!(rows.iter().all(|row| row.start >= row.due && row.outcome == Outcome::Done));
    }
}

/// The first shard has nothing left to wait for, but keeps its load up for the last one.
#[test]
fn a_shard_goes_on_until_the_measured_requests_of_all_have_ended() {
    let server = Server::start(|asked, stream| {
        let session = asked.header("x-session-id").unwrap().to_owned();
        // Of the first sessions, that of the last shard.
        let is_slow = session == "weir-session-3";
        std::thread::sleep(Duration::from_millis(if is_slow { 400 } else { 5 }));
        answer(asked, stream)
    });
    let mut config = config(server.address);
    config.load = LoadShape::Users { users: 4, ramp: Nanos::ZERO };
    config.duration = Some(Nanos::from_millis(100));
    let (rows, reports) = play_shards(&config, || single_turns(100_000, 4));
    let slow = rows.iter().find(|row| row.session == 3).unwrap();
    assert_eq!(slow.outcome, Outcome::Done);
    for index in 0..3 {
        let own = rows.iter().filter(|row| row.session % 4 == index);
        let last = own.map(|row| row.start).max().unwrap();
        assert!(last + Nanos::from_millis(60) > slow.end, "{index}: {last} of {}", slow.end);
    }
    let merged = LoadReport::of(&config, &reports);
    assert_eq!(merged.window.end, Nanos::from_millis(100));
    assert_eq!(merged.certificate.offered, 4.0);
}

#[test]
fn one_shard_that_does_not_hold_refuses_the_level() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.load = LoadShape::Open(Arrivals::Constant { rate: 200.0 });
    config.max_requests = Some(80);
    let (_, reports) = play_shards(&config, || single_turns(1000, 4));
    // A shard that sent nothing, beside three that did.
    let silent = Arc::new(Live::held());
    silent.abort();
    let source = single_turns(1000, 4);
    let silent = run_shard(&shard(&config, 0), source, &mut Rows::default(), &silent).unwrap();
    let with = [&[silent], &reports[1..]].concat();
    let merged = LoadReport::of(&config, &with);
    assert!(merged.certificate.refused.is_some(), "{:?}", merged.certificate);
    assert_eq!(merged.certificate.workers, SHARDS);
}

#[test]
fn shards_without_a_user_are_refused() {
    let mut config = config("127.0.0.1:9".parse().unwrap());
    config.load = LoadShape::Users { users: 2, ramp: Nanos::ZERO };
    let none = Vec::<Session>::new().into_iter();
    let mut rows = Rows::default();
    let error = run_shard(&shard(&config, 2), Given(none), &mut rows, &Live::new()).unwrap_err();
    assert_eq!(error.to_string(), "2 users do not suffice for 4 shards: each needs one");
}

#[test]
fn replicas_that_processes_named_differently_get_one_number() {
    let mut names = ReplicaNames::new(&["a:1".to_owned()]);
    let of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names.renumber(&of(&["a:1", "b:1", "c:1"])), [Some(0), Some(1), Some(2)]);
    assert_eq!(names.renumber(&of(&["a:1", "c:1", "b:1"])), [Some(0), Some(2), Some(1)]);
}
