use std::io::Write;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use weir_load::{Live, LoadShape, run};
use weir_model::{Nanos, Outcome, Refusal, Window};
use weir_workload::{Arrivals, Schedule, Session};

use crate::server::*;

fn users(users: u32) -> LoadShape {
    LoadShape::Users { users, ramp: Nanos::ZERO }
}

#[test]
fn a_closed_loop_keeps_its_users_in_flight_and_not_one_more() {
    for workers in [1, 3] {
        let gauge = Arc::new(Gauge::default());
        let seen = gauge.clone();
        // Each answer waits for seven others, so fewer users in flight would block.
        let together = Arc::new(Barrier::new(8));
        let server = Server::start(move |asked, stream| {
            seen.enter();
            together.wait();
            seen.leave();
            answer(asked, stream)
        });
        let mut config = config(server.address);
        config.load = users(8);
        config.client.workers = workers;
        let (rows, report) = play(&config, single_turns(80, 4));
        assert_eq!(gauge.most(), 8);
        assert!(rows.iter().all(|row| row.outcome == Outcome::Done), "{rows:?}");
        assert_eq!(report.certificate.offered, 8.0);
        assert!((2.0..=8.0).contains(&report.certificate.delivered), "{:?}", report.certificate);
        let mut sessions: Vec<u64> = rows.iter().map(|row| row.session).collect();
        sessions.sort_unstable();
        assert_eq!(sessions, (0..80).collect::<Vec<u64>>());
        assert!(rows.windows(2).all(|pair| pair[0].request < pair[1].request));
    }
}

#[test]
fn users_start_over_the_ramp() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.load = LoadShape::Users { users: 4, ramp: Nanos::from_millis(40) };
    config.duration = Some(Nanos::from_millis(60));
    let (rows, report) = play(&config, single_turns(1_000_000, 4));
    for user in 1..4u64 {
        let due = Nanos::from_millis(user * 10);
        assert!(rows.iter().any(|row| row.due == due), "user {user} did not start at {due}");
    }
    assert_eq!(report.window, Window { start: Nanos::ZERO, end: Nanos::from_millis(60) });
}

#[test]
fn an_open_loop_keeps_its_due_times_while_the_server_is_slow() {
    let arrivals = Arrivals::Poisson { rate: 500.0 };
    for workers in [1, 2] {
        let gauge = Arc::new(Gauge::default());
        let seen = gauge.clone();
        let server = Server::start(move |asked, stream| {
            seen.enter();
            // An open loop does not wait for answers slower than its requests.
            std::thread::sleep(Duration::from_millis(100));
            seen.leave();
            answer(asked, stream)
        });
        let mut config = config(server.address);
        config.load = LoadShape::Open(arrivals);
        config.client.workers = workers;
        config.max_requests = Some(100);
        let (mut rows, _) = play(&config, single_turns(1000, 4));
        rows.sort_by_key(|row| row.due);
        let due: Vec<Nanos> = Schedule::new(arrivals, config.seed).unwrap().take(100).collect();
        assert_eq!(rows.iter().map(|row| row.due).collect::<Vec<_>>(), due);
        assert!(gauge.most() > 10, "{}", gauge.most());
        // Times to first token count from the start and contain no client queue.
        assert!(rows.iter().all(|row| row.start >= row.due && row.outcome == Outcome::Done));
    }
}

#[test]
fn sessions_start_when_the_trace_says() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.load = LoadShape::SessionTimes;
    config.client.workers = 2;
    let sessions: Vec<Session> = single_turns(6, 4)
        .0
        .enumerate()
        .map(|(at, session)| Session { start: Some(Nanos::from_millis(at as u64 * 7)), ..session })
        .collect();
    let (rows, _) = play(&config, Given(sessions.into_iter()));
    for row in &rows {
        assert_eq!(row.due, Nanos::from_millis(row.session * 7));
        assert!(row.start >= row.due);
    }
    assert_eq!(rows.len(), 6);
}

#[test]
fn turns_wait_for_those_before_them_and_think() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.load = users(2);
    let think = Nanos::from_millis(15);
    let session = |id: u64| Session {
        id,
        start: None,
        // Two turns at once, then one that depends on both.
        turns: vec![
            turn(&[piece(id, 8)], piece(100 + id, 4), &[], Nanos::ZERO),
            turn(&[piece(10 + id, 8)], piece(110 + id, 4), &[], Nanos::ZERO),
            turn(&[piece(20 + id, 8)], piece(120 + id, 4), &[0, 1], think),
        ],
    };
    let (rows, _) = play(&config, Given((0..6).map(session).collect::<Vec<_>>().into_iter()));
    assert_eq!(rows.len(), 18);
    for id in 0..6 {
        let of = |turn: u32| rows.iter().find(|row| (row.session, row.turn) == (id, turn)).unwrap();
        let before = of(0).end.max(of(1).end);
        assert!(of(2).due >= before + think, "{:?} {before:?}", of(2));
        assert!(of(2).due <= before + think + Nanos::from_secs(5));
    }
}

/// Half of an answer comes at once, the rest after 300 ms.
fn slow() -> Server {
    Server::start(|asked, stream| {
        let events = events(asked);
        let first = format!("{STREAM}{}", chunk(&events[..2].concat()));
        if stream.write_all(first.as_bytes()).is_err() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(300));
        let rest = format!("{}{LAST_CHUNK}", chunk(&events[2..].concat()));
        stream.write_all(rest.as_bytes()).is_ok()
    })
}

#[test]
fn what_was_due_in_the_window_is_followed_while_the_load_goes_on() {
    for workers in [1, 2] {
        let server = slow();
        let mut config = config(server.address);
        // Users start at 0, 100, 200 and 300 ms; the last two are in flight at the end.
        config.load = LoadShape::Users { users: 4, ramp: Nanos::from_millis(400) };
        config.client.workers = workers;
        config.warmup = Nanos::from_millis(50);
        config.duration = Some(Nanos::from_millis(350));
        let (rows, report) = play(&config, single_turns(1000, 4));
        let window = Window { start: config.warmup, end: Nanos::from_millis(350) };
        let measured: Vec<_> = rows.iter().filter(|row| window.measures(row.due)).collect();
        assert!(measured.len() >= 4, "{rows:?}");
        assert!(measured.iter().all(|row| row.outcome == Outcome::Done), "{rows:?}");
        assert_eq!(report.unfinished, 0);
        assert_eq!(report.window, window);
        // The first user's request of the warm-up ended, and its next came after the window.
        let behind: Vec<_> = rows.iter().filter(|row| row.due >= window.end).collect();
        assert!(!behind.is_empty(), "{rows:?}");
        let last_end = measured.iter().map(|row| row.end).max().unwrap();
        assert!(behind.iter().any(|row| row.due < last_end), "{last_end} {behind:?}");
        // Later requests are not waited for, and may fail.
        assert!(rows.iter().all(|row| row.end <= last_end + Nanos::from_millis(250)), "{rows:?}");
        let lags = report.certificate.send_lag.count;
        assert_eq!(lags, measured.len() as u64);
    }
}

#[test]
fn what_has_not_ended_in_time_is_unfinished() {
    let server = slow();
    let mut config = config(server.address);
    config.load = users(4);
    config.duration = Some(Nanos::from_millis(150));
    config.client.drain = Nanos::from_millis(30);
    let (rows, report) = play(&config, single_turns(1000, 4));
    assert_eq!((rows.len(), report.issued, report.unfinished), (4, 4, 4));
    for row in rows {
        assert_eq!((row.outcome, row.output_tokens.get()), (Outcome::Unfinished, 2));
    }
}

#[test]
fn a_stop_ends_an_endless_run() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.load = users(2);
    let live = Arc::new(Live::new());
    let stopper = live.clone();
    let watcher = std::thread::spawn(move || {
        let began = Instant::now();
        while stopper.snapshot().done < 50 {
            assert!(began.elapsed() < Duration::from_mins(1), "{:?}", stopper.snapshot());
            std::thread::yield_now();
        }
        stopper.abort();
    });
    let mut rows = Rows::default();
    let report = run(&config, single_turns(u64::MAX >> 40, 4), &mut rows, &live).unwrap();
    watcher.join().unwrap();
    let seen = live.snapshot();
    assert!(seen.done >= 50 && rows.0.len() as u64 == report.issued, "{seen:?}");
    // The two users' requests in flight are aborted.
    let given_up = rows.0.iter().filter(|row| row.outcome == Outcome::Unfinished).count() as u64;
    assert!(given_up <= 2, "{given_up}");
    assert_eq!((seen.failed, seen.in_flight, seen.unfinished), (0, 0, given_up));
    assert_eq!((seen.issued, seen.done + given_up), (report.issued, report.issued));
    assert_eq!((seen.output_tokens, seen.first_token.count), (seen.done * 4, seen.done));
    assert!(report.window.end < Nanos::from_secs(60));
}

#[test]
fn no_more_than_the_most_requests_are_sent() {
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.load = users(5);
    config.client.workers = 2;
    config.max_requests = Some(23);
    let (rows, report) = play(&config, single_turns(1000, 4));
    assert_eq!((rows.len(), report.issued, server.seen().len()), (23, 23, 23));
    assert!(rows.iter().all(|row| row.outcome == Outcome::Done));
}

/// If the feeder is slower than the load, the certificate must show the wait.
#[test]
fn starving_is_measured_and_refused() {
    #[derive(Debug)]
    struct Slow;
    impl weir_load::TextMaker for Slow {
        fn text(&self, _: &weir_model::Prompt) -> Result<String, weir_load::TextError> {
            std::thread::sleep(Duration::from_millis(20));
            Ok("x".to_owned())
        }
        fn token_ids(&self, prompt: &weir_model::Prompt) -> Result<Vec<u32>, weir_load::TextError> {
            Ok(prompt.token_ids(100).collect())
        }
        fn output_tokens(&self, text: &str) -> Result<u32, weir_load::TextError> {
            Ok(text.len() as u32)
        }
    }
    let server = Server::start(answer);
    let mut config = config(server.address);
    config.prompts = weir_load::PromptForm::Text(Arc::new(Slow));
    let (_, report) = play(&config, single_turns(80, 4));
    let certificate = report.certificate;
    assert!(certificate.starved >= Nanos::from_millis(100), "{certificate:?}");
    let expected = Refusal::Starved { waited: certificate.starved, token_ids: false };
    assert_eq!(certificate.refused, Some(expected));
}
