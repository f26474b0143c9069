//! The certificate from the workers' counters, and the limits beyond which a level is refused
//! because of the generator itself. Comparisons judge whether an error of the times matters.

use serde::{Deserialize, Serialize};
use weir_model::{Certificate, Nanos, Refusal};

use crate::spread::SpreadTally;

/// CPU share of a worker. Above it arrivals wait and due requests are late.
const BUSY_SHARE_MAX: f64 = 0.95;
/// Share of the window in which due requests may wait for their prompts.
const STARVED_SHARE_MAX: f64 = 0.01;
/// Share of the users kept busy in a closed loop. A smaller loss counts as an error of the
/// throughput.
const USERS_SHARE_MIN: f64 = 0.9;
/// Below it, idle users mean too few requests.
const REQUESTS_PER_USER_MIN: f64 = 10.0;
/// Share of the due sessions that an open loop must begin.
const ARRIVALS_SHARE_MIN: f64 = 0.99;

#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadKind {
    /// Closed loop; else sessions arrive by themselves.
    pub(crate) closed: bool,
    pub(crate) token_ids: bool,
}

/// Of one worker in its window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerCounters {
    pub(crate) read_lag: SpreadTally,
    pub(crate) send_lag: SpreadTally,
    pub(crate) first_token_bound: SpreadTally,
    pub(crate) gap_bound: SpreadTally,
    /// Bounds of gaps outside the window.
    pub(crate) outside: SpreadTally,
    pub(crate) window: Nanos,
    /// In the window.
    pub(crate) cpu_time: Nanos,
    /// Time in the window in which the worker was runnable without a CPU. None where the kernel
    /// does not count it.
    pub(crate) cpu_wait: Option<Nanos>,
    /// Most requests due within a millisecond.
    pub(crate) due_at_once: u64,
    pub(crate) users: u32,
    /// Closed loop: time that users lost to requests due but not sent.
    pub(crate) lost: Nanos,
    /// In the window: sessions due, and begun.
    pub(crate) sessions_due: u64,
    pub(crate) sessions_begun: u64,
    pub(crate) starved: Nanos,
    /// Reads with output but without a kernel stamp.
    pub(crate) unstamped_reads: u64,
}

impl WorkerCounters {
    fn share(&self, time: Nanos) -> f64 {
        time.get() as f64 / (self.window.get() as f64).max(1.0)
    }

    fn seconds(&self) -> f64 {
        self.window.as_secs_f64().max(1e-9)
    }
}

pub(crate) fn certify(counters: &[&WorkerCounters], kind: LoadKind) -> Certificate {
    let merged = |pick: fn(&WorkerCounters) -> &SpreadTally| {
        let mut all = SpreadTally::default();
        for counters in counters {
            all.add(pick(counters));
        }
        all.spread()
    };
    let (mut offered, mut delivered) = (0.0, 0.0);
    for counters in counters {
        if kind.closed {
            let users = f64::from(counters.users);
            offered += users;
            delivered += (users - counters.lost.as_secs_f64() / counters.seconds()).max(0.0);
        } else {
            offered += counters.sessions_due as f64 / counters.seconds();
            delivered += counters.sessions_begun as f64 / counters.seconds();
        }
    }
    let read_lag = merged(|counters| &counters.read_lag);
    let unstamped: u64 = counters.iter().map(|counters| counters.unstamped_reads).sum();
    let most =
        |share: fn(&WorkerCounters) -> f64| counters.iter().copied().map(share).fold(0.0, f64::max);
    let waits = counters.iter().filter_map(|counters| Some(counters.share(counters.cpu_wait?)));
    let mut certificate = Certificate {
        read_lag,
        send_lag: merged(|counters| &counters.send_lag),
        first_token_bound: merged(|counters| &counters.first_token_bound),
        gap_bound: merged(|counters| &counters.gap_bound),
        busy_share: most(|counters| counters.share(counters.cpu_time)),
        cpu_wait_share: waits.reduce(f64::max),
        due_at_once: counters.iter().map(|counters| counters.due_at_once).max().unwrap_or_default(),
        workers: counters.len() as u32,
        // The kernel turns stamps on shortly after the first socket requests them.
        kernel_stamps: read_lag.count > 0 && unstamped * 1000 <= read_lag.count,
        offered,
        delivered,
        starved: counters.iter().map(|counters| counters.starved).max().unwrap_or_default(),
        refused: None,
    };
    let window = counters.iter().map(|counters| counters.window).max().unwrap_or_default();
    certificate.refused = refusal(&certificate, window, kind);
    certificate
}

/// Set if the generator itself was the limit.
fn refusal(certificate: &Certificate, window: Nanos, kind: LoadKind) -> Option<Refusal> {
    if certificate.send_lag.count == 0 {
        return Some(Refusal::NothingSent);
    }
    if certificate.starved.get() as f64 > window.get() as f64 * STARVED_SHARE_MAX {
        return Some(Refusal::Starved { waited: certificate.starved, token_ids: kind.token_ids });
    }
    let (requests, why) = (certificate.send_lag.count, certificate.lateness());
    if certificate.busy_share > BUSY_SHARE_MAX {
        return Some(Refusal::Busy { share: certificate.busy_share, why });
    }
    if kind.closed {
        let (busy, users) = (certificate.delivered, certificate.offered);
        let few = (requests as f64) < REQUESTS_PER_USER_MIN * users;
        return (busy < users * USERS_SHARE_MIN).then_some(if few {
            Refusal::TooFewRequests { requests, users }
        } else {
            Refusal::UsersIdle { busy, users, why }
        });
    }
    let (begun, due) = (certificate.delivered, certificate.offered);
    (begun < due * ARRIVALS_SHARE_MIN).then_some(Refusal::ArrivalsMissed { begun, due, why })
}

#[cfg(test)]
mod tests {
    use weir_model::Lateness;

    use super::*;

    /// A worker that was never late: ten seconds, 100 users.
    fn calm() -> WorkerCounters {
        let mut counters = WorkerCounters {
            window: Nanos::from_secs(10),
            cpu_time: Nanos::from_secs(1),
            users: 100,
            sessions_due: 1000,
            sessions_begun: 1000,
            ..WorkerCounters::default()
        };
        for _ in 0..1000 {
            counters.read_lag.record(Nanos::from_micros(20));
            counters.send_lag.record(Nanos::from_micros(20));
            counters.first_token_bound.record(Nanos::from_micros(1));
        }
        counters
    }

    const CLOSED: LoadKind = LoadKind { closed: true, token_ids: true };
    const OPEN: LoadKind = LoadKind { closed: false, token_ids: true };

    fn refused(counters: &WorkerCounters, kind: LoadKind) -> Option<Refusal> {
        certify(&[&calm(), counters], kind).refused
    }

    #[test]
    fn a_calm_generator_is_not_refused() {
        let closed = certify(&[&calm(), &calm()], CLOSED);
        assert_eq!((closed.refused, closed.offered, closed.delivered), (None, 200.0, 200.0));
        assert!(closed.kernel_stamps);
        assert!((closed.busy_share - 0.1).abs() < 1e-9);
        let open = certify(&[&calm(), &calm()], OPEN);
        assert_eq!((open.refused, open.offered, open.delivered), (None, 200.0, 200.0));
    }

    #[test]
    fn each_limit_refuses_with_its_cause() {
        let with = |change: fn(&mut WorkerCounters)| {
            let mut counters = calm();
            change(&mut counters);
            counters
        };
        let busy = || with(|counters| counters.cpu_time = Nanos::from_millis(9600));
        let expected = |why| Some(Refusal::Busy { share: 0.96, why });
        assert_eq!(refused(&busy(), CLOSED), expected(Lateness::Busy));
        let crowded = WorkerCounters { cpu_wait: Some(Nanos::from_secs(1)), ..busy() };
        assert_eq!(refused(&crowded, CLOSED), expected(Lateness::NoCpu));
        let lost = || with(|counters| counters.lost = Nanos::from_secs(10) * 25);
        let idle = |why| Some(Refusal::UsersIdle { busy: 175.0, users: 200.0, why });
        assert_eq!(refused(&lost(), CLOSED), idle(Lateness::Unknown));
        // 25 of 200 users were lost because 64 requests were always due at once.
        let together = WorkerCounters { due_at_once: 64, ..lost() };
        assert_eq!(refused(&together, CLOSED), idle(Lateness::AtOnce));
        let crowded = WorkerCounters { cpu_wait: Some(Nanos::from_secs(2)), ..lost() };
        assert_eq!(refused(&crowded, CLOSED), idle(Lateness::NoCpu));
        let missed = with(|counters| counters.sessions_begun = 970);
        let why = Lateness::Unknown;
        let expected = Refusal::ArrivalsMissed { begun: 197.0, due: 200.0, why };
        assert_eq!(refused(&missed, OPEN), Some(expected));
        let starved = || with(|counters| counters.starved = Nanos::from_millis(101));
        let expected =
            |token_ids| Some(Refusal::Starved { waited: Nanos::from_millis(101), token_ids });
        assert_eq!(refused(&starved(), CLOSED), expected(true));
        assert_eq!(refused(&starved(), LoadKind { token_ids: false, ..CLOSED }), expected(false));
        assert_eq!(
            certify(&[&WorkerCounters::default()], CLOSED).refused,
            Some(Refusal::NothingSent)
        );
    }

    /// Two requests of 0.2 ms per user, sent 0.05 ms late. The loss is the start of the load, so
    /// more workers or cores do not help.
    #[test]
    fn too_few_requests_are_told_from_a_slow_generator() {
        let mut counters = WorkerCounters {
            window: Nanos::from_micros(500),
            users: 1,
            lost: Nanos::from_micros(100),
            ..WorkerCounters::default()
        };
        counters.send_lag.record_many(Nanos::from_micros(50), 2);
        let few = Refusal::TooFewRequests { requests: 2, users: 1.0 };
        assert_eq!(certify(&[&counters], CLOSED).refused, Some(few));
    }

    /// Errors of times alone refuse nothing; comparisons judge them.
    #[test]
    fn late_requests_alone_refuse_nothing() {
        let mut counters = calm();
        counters.send_lag.record_many(Nanos::from_millis(40), 100);
        counters.first_token_bound.record_many(Nanos::from_millis(40), 100);
        let certificate = certify(&[&counters], CLOSED);
        assert_eq!(certificate.refused, None);
        assert!(certificate.first_token_bound.p99 >= Nanos::from_millis(40));
    }
}
