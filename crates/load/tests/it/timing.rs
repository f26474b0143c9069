use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use weir_load::LoadShape;
use weir_model::{Nanos, Outcome, RequestRow};

use crate::server::*;

/// Between a clock reading and the call it stands for.
const PATH_NS: u64 = 50_000;

fn day_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Start and end of each write of an answer.
#[derive(Debug, Default, Clone)]
struct Written {
    request: String,
    spans: Vec<(u64, u64)>,
}

type Log = Arc<Mutex<Vec<Written>>>;

/// Logs its writes: a head, a token after 10 ms, then one every 3 ms. The answer ends in the write
/// of the last token, as from servers that write all that is ready.
fn paced(log: Log) -> Server {
    Server::start(move |asked, stream| {
        let request = asked.header("x-request-id").unwrap().to_owned();
        let mut written = Written { request, spans: Vec::new() };
        let tokens = asked.max_tokens();
        let events = events(asked);
        let began = Instant::now();
        stream.write_all(STREAM.as_bytes()).unwrap();
        for n in 0..tokens {
            let at = began + Duration::from_millis(10 + 3 * n as u64);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            let mut bytes = chunk(&events[n]);
            if n == tokens - 1 {
                bytes += &chunk(&events[tokens..].concat());
                bytes += LAST_CHUNK;
            }
            let before = day_ns();
            stream.write_all(bytes.as_bytes()).unwrap();
            written.spans.push((before, day_ns()));
        }
        log.lock().push(written);
        true
    })
}

/// Whether a reported time agrees with a write, within its bound.
fn covers(reported: u64, bound: Nanos, span: (u64, u64)) -> bool {
    let slack = bound.get() + PATH_NS;
    reported + slack >= span.0 && reported <= span.1 + slack
}

fn check_times(rows: &[RequestRow], log: &[Written], started: u64, least_percent: usize) {
    let (mut right, mut all) = (0, 0);
    let mut worst = Vec::new();
    for row in rows {
        assert_eq!(row.outcome, Outcome::Done, "{:?}", row.error);
        let name = format!("weir-{}", row.request);
        let written = log.iter().find(|written| written.request == name).unwrap();
        assert_eq!(row.chunk_gaps.len() + 1, written.spans.len());
        let mut at = started + row.first_token.unwrap().get();
        let mut times = vec![at];
        for gap in &row.chunk_gaps {
            at += gap.get();
            times.push(at);
        }
        assert_eq!(at, started + row.end.get());
        // The bound is that of times from the due time, so it contains the delay of sending.
        // Connecting belongs to the deployment.
        let sent_late = row.start.saturating_sub(row.due);
        let own = if row.connected.is_some() { Nanos::ZERO } else { sent_late };
        assert!(row.error_bound >= own, "sent {own} late: {}", row.error_bound);
        let bound = row.error_bound.saturating_sub(own);
        // First and last token.
        for (time, span) in
            [(times[0], written.spans[0]), (times[times.len() - 1], written.spans[times.len() - 1])]
        {
            all += 1;
            if covers(time, bound, span) {
                right += 1;
            } else {
                worst.push((time, span, bound));
            }
        }
    }
    assert!(right * 100 >= all * least_percent, "{right} of {all}: {worst:?}");
}

#[test]
fn reported_times_are_within_their_bounds_of_the_servers_log() {
    let log = Log::default();
    let server = paced(log.clone());
    let mut config = config(server.address);
    config.load = LoadShape::Users { users: 8, ramp: Nanos::ZERO };
    let (rows, report) = play(&config, single_turns(80, 16));
    drop(server);
    check_times(&rows, &log.lock(), report.started_unix_ns, 99);
    let certificate = &report.certificate;
    assert!(certificate.kernel_stamps, "{certificate:?}");
    assert!((80..=80 * 18).contains(&certificate.read_lag.count), "{certificate:?}");
    // 15 gaps per answer, each with a bound.
    assert_eq!(certificate.gap_bound.count, 80 * 15);
    // The first token came alone, long after the head. Its bound is the width of a clock sample and
    // the time to send.
    assert!(certificate.first_token_bound.p50 < Nanos::from_millis(1), "{certificate:?}");
    assert!(rows.iter().all(|row| row.events_per_read.is_some_and(|n| n >= 1.0)));
}

/// A delayed worker reads several events at once; the bound must cover the first of them.
#[test]
fn bounds_hold_when_the_generator_is_late() {
    let log = Log::default();
    let server = paced(log.clone());
    let mut config = config(server.address);
    config.load = LoadShape::Users { users: 24, ramp: Nanos::ZERO };
    config.client.pin = Some(0);
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let spinners: Vec<_> = (0..3)
        .map(|_| {
            let over = over.clone();
            std::thread::spawn(move || {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let (rows, report) = play(&config, single_turns(96, 16));
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    for spinner in spinners {
        spinner.join().unwrap();
    }
    drop(server);
    // Without a free CPU the kernel itself sends late, by up to 25 ms. The stamp is that of the
    // arrival, so some times exceed the path measured at the start.
    check_times(&rows, &log.lock(), report.started_unix_ns, 90);
}
