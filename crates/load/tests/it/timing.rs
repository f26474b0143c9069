use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use weir_load::LoadShape;
use weir_model::{Nanos, Outcome, RequestRow};

use crate::server::*;

/// Between reading the time and the call that it stands for; clocks are read within microseconds.
const PATH_NS: u64 = 50_000;

fn day_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// When each write of an answer began and ended.
#[derive(Debug, Default, Clone)]
struct Written {
    request: String,
    spans: Vec<(u64, u64)>,
}

type Log = Arc<Mutex<Vec<Written>>>;

/// A server that sends a head, a token after 10 ms and then every 3 ms, and logs its writes. The
/// end of the answer comes with the last token, as from servers that write what is ready at once.
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

/// Whether a reported time may be that of a write, given its bound.
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
        // The bound is that of the shown times, which count from the due time: what passed until
        // the request was sent is in it. Connecting is the deployment's and is not.
        let sent_late = row.start.saturating_sub(row.due);
        let own = if row.connected.is_some() { Nanos::ZERO } else { sent_late };
        assert!(row.error_bound >= own, "sent {own} late: {}", row.error_bound);
        let bound = row.error_bound.saturating_sub(own);
        // The rest is that of its first and its last token.
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
    // Its threads write their logs to the end.
    drop(server);
    check_times(&rows, &log.lock(), report.started_unix_ns, 99);
    let certificate = &report.certificate;
    assert!(certificate.kernel_stamps, "{certificate:?}");
    assert!((80..=80 * 18).contains(&certificate.read_lag.count), "{certificate:?}");
    // 15 gaps per answer, each with a bound.
    assert_eq!(certificate.gap_bound.count, 80 * 15);
    // The head came long before the token, so that the first token came alone: its bound is the
    // width of a sample of the clocks, and the time it took to send.
    assert!(certificate.first_token_bound.p50 < Nanos::from_millis(1), "{certificate:?}");
    assert!(rows.iter().all(|row| row.events_per_read.is_some_and(|n| n >= 1.0)));
}

/// A worker that is kept from running reads several events at once: then the bound says by how
/// much the first of them may be off, and it stays true.
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
    // Its threads write their logs to the end.
    drop(server);
    // Where no processor is free, the kernel itself sends late what was written, 25 ms at times:
    // the stamp is that of the arrival, and the longest way tried at the start is shorter.
    check_times(&rows, &log.lock(), report.started_unix_ns, 90);
}
