//! From what the workers saw of themselves to the certificate, and the rule that refuses a level.

use weir_model::{Certificate, Nanos};

use crate::spread::SpreadTally;

/// A worker that computes for more of the time than this has no reserve: what arrives while it is
/// at work waits, and it cannot send what it should.
const BUSY_SHARE_MAX: f64 = 0.95;
/// A lag below it is never held against a level: it is below what a network between machines adds.
const LAG_FLOOR: Nanos = Nanos::from_millis(1);
/// Share of the median time to first token that the 99th percentile of a lag or bound may reach.
const LAG_SHARE_MAX: f64 = 0.05;
/// Share of the window in which due requests may have waited for their prompts.
const STARVED_SHARE_MAX: f64 = 0.01;
/// Share of the users that must have been kept busy in a closed loop.
const USERS_SHARE_MIN: f64 = 0.97;
/// Share of the due sessions that an open loop must have begun.
const ARRIVALS_SHARE_MIN: f64 = 0.99;

/// What one worker saw of itself in its window.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) read_lag: SpreadTally,
    pub(crate) send_lag: SpreadTally,
    pub(crate) first_token_bound: SpreadTally,
    pub(crate) gap_bound: SpreadTally,
    pub(crate) first_token: SpreadTally,
    /// Wherever bounds of gaps outside the window go.
    pub(crate) outside: SpreadTally,
    /// Length of the window.
    pub(crate) window: Nanos,
    /// Processor time in it.
    pub(crate) processor: Nanos,
    /// Users of this worker.
    pub(crate) users: u32,
    /// Closed loop: time that users lost because their request was due and not sent.
    pub(crate) lost: Nanos,
    /// Sessions due in the window, and begun in it.
    pub(crate) sessions_due: u64,
    pub(crate) sessions_begun: u64,
    pub(crate) starved: Nanos,
    /// Reads without a stamp of the kernel that brought output.
    pub(crate) unstamped_reads: u64,
}

impl Tally {
    fn busy_share(&self) -> f64 {
        self.processor.get() as f64 / (self.window.get() as f64).max(1.0)
    }

    fn seconds(&self) -> f64 {
        self.window.as_secs_f64().max(1e-9)
    }
}

/// The certificate of a cell. `closed`: users were kept in flight; else sessions arrived.
pub(crate) fn certify(tallies: &[Tally], closed: bool) -> Certificate {
    let merged = |pick: fn(&Tally) -> &SpreadTally| {
        let mut all = SpreadTally::default();
        for tally in tallies {
            all.add(pick(tally));
        }
        all.spread()
    };
    let (mut offered, mut delivered) = (0.0, 0.0);
    for tally in tallies {
        if closed {
            let users = f64::from(tally.users);
            offered += users;
            delivered += (users - tally.lost.as_secs_f64() / tally.seconds()).max(0.0);
        } else {
            offered += tally.sessions_due as f64 / tally.seconds();
            delivered += tally.sessions_begun as f64 / tally.seconds();
        }
    }
    let read_lag = merged(|tally| &tally.read_lag);
    let unstamped: u64 = tallies.iter().map(|tally| tally.unstamped_reads).sum();
    let mut certificate = Certificate {
        read_lag,
        send_lag: merged(|tally| &tally.send_lag),
        first_token_bound: merged(|tally| &tally.first_token_bound),
        gap_bound: merged(|tally| &tally.gap_bound),
        busy_share: tallies.iter().map(Tally::busy_share).fold(0.0, f64::max),
        // The kernel turns stamps on a moment after the first socket asks for them.
        kernel_stamps: read_lag.count > 0 && unstamped * 1000 <= read_lag.count,
        offered,
        delivered,
        starved: tallies.iter().map(|tally| tally.starved).max().unwrap_or_default(),
        refused: None,
    };
    let window = tallies.iter().map(|tally| tally.window).max().unwrap_or_default();
    let median = merged(|tally| &tally.first_token).p50;
    certificate.refused = refusal(&certificate, window, median, closed);
    certificate
}

/// Why the figures of a level would be the generator's and not the server's, with the remedy.
fn refusal(seen: &Certificate, window: Nanos, first_token: Nanos, closed: bool) -> Option<String> {
    const REMEDY: &str = "use more workers, give each a core of its own, or ask with fewer streams";
    if seen.send_lag.count == 0 {
        return Some(
            "no request was sent inside the measured window: measure for longer".to_owned(),
        );
    }
    let most = LAG_FLOOR.max(Nanos((first_token.get() as f64 * LAG_SHARE_MAX) as u64));
    let busy = seen.busy_share * 100.0;
    if seen.starved.get() as f64 > window.get() as f64 * STARVED_SHARE_MAX {
        return Some(format!(
            "due requests waited {} for their prompts: use token-id prompts, shorter ones, or a \
             lower rate",
            seen.starved
        ));
    }
    if seen.busy_share > BUSY_SHARE_MAX {
        return Some(format!("the busiest worker computed for {busy:.0} % of the time: {REMEDY}"));
    }
    if seen.send_lag.p99 > most {
        return Some(format!(
            "1 % of the requests were sent more than {} late ({most} is allowed): {REMEDY}",
            seen.send_lag.p99
        ));
    }
    if seen.first_token_bound.p99 > most {
        return Some(format!(
            "1 % of the times to first token may be off by more than {} ({most} is allowed): \
             {REMEDY}",
            seen.first_token_bound.p99
        ));
    }
    let (least, what) = if closed {
        (USERS_SHARE_MIN, "users were kept busy")
    } else {
        (ARRIVALS_SHARE_MIN, "sessions per second were begun")
    };
    if seen.delivered < seen.offered * least {
        let (delivered, offered) = (seen.delivered, seen.offered);
        return Some(format!("{delivered:.2} of {offered:.2} {what}: {REMEDY}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that was never late, for ten seconds with 100 users.
    fn calm() -> Tally {
        let mut tally = Tally {
            window: Nanos::from_secs(10),
            processor: Nanos::from_secs(1),
            users: 100,
            sessions_due: 1000,
            sessions_begun: 1000,
            ..Tally::default()
        };
        for _ in 0..1000 {
            tally.read_lag.record(Nanos::from_micros(20));
            tally.send_lag.record(Nanos::from_micros(20));
            tally.first_token_bound.record(Nanos::from_micros(1));
            tally.first_token.record(Nanos::from_millis(10));
        }
        tally
    }

    fn refused(tally: Tally, closed: bool) -> String {
        certify(&[calm(), tally], closed).refused.unwrap_or_default()
    }

    #[test]
    fn a_calm_generator_is_not_refused() {
        let closed = certify(&[calm(), calm()], true);
        assert_eq!((closed.refused, closed.offered, closed.delivered), (None, 200.0, 200.0));
        assert!(closed.kernel_stamps);
        assert!((closed.busy_share - 0.1).abs() < 1e-9);
        let open = certify(&[calm(), calm()], false);
        assert_eq!((open.refused, open.offered, open.delivered), (None, 200.0, 200.0));
    }

    #[test]
    fn each_limit_refuses_and_names_the_cause() {
        let with = |change: fn(&mut Tally)| {
            let mut tally = calm();
            change(&mut tally);
            tally
        };
        let busy = with(|tally| tally.processor = Nanos::from_millis(9600));
        assert!(refused(busy, true).starts_with("the busiest worker computed for 96 %"));
        let late = with(|tally| tally.send_lag.record_many(Nanos::from_millis(2), 100));
        assert!(refused(late, true).starts_with("1 % of the requests were sent more than 2"));
        let unsure = with(|tally| tally.first_token_bound.record_many(Nanos::from_millis(3), 100));
        assert!(refused(unsure, true).starts_with("1 % of the times to first token may be off"));
        let lost = with(|tally| tally.lost = Nanos::from_secs(10) * 7);
        assert!(refused(lost, true).starts_with("193.00 of 200.00 users"));
        let missed = with(|tally| tally.sessions_begun = 970);
        assert!(refused(missed, false).starts_with("197.00 of 200.00 sessions"));
        let starved = with(|tally| tally.starved = Nanos::from_millis(101));
        assert!(refused(starved, true).starts_with("due requests waited 101ms"));
        assert!(certify(&[Tally::default()], true).refused.is_some());
    }

    #[test]
    fn long_first_tokens_allow_more() {
        let mut tally = calm();
        tally.first_token.record_many(Nanos::from_secs(1), 10_000);
        tally.send_lag.record_many(Nanos::from_millis(40), 100);
        assert_eq!(certify(&[tally], true).refused, None);
    }
}
