//! A replica that is slower than the others: its requests take several times as long.

use weir_model::{Note, RoutingNote, Window};
use weir_observe::signals::{AnsweredBy, ReplicaTotals};

use crate::outcome::ReplicaSeen;

/// Times as long as in any other. Replicas with longer prompts or answers reach two or three.
const TIMES_OTHERS: f64 = 4.0;
/// Fewer answers, or less than one request at a time, show nothing.
const LEAST_ANSWERS: u64 = 5;

/// By the client's own times: an engine's gauges leave out its front end.
pub(crate) fn note(seen: &[ReplicaSeen], answered: &AnsweredBy, window: Window) -> Option<Note> {
    let mean = |of: &ReplicaTotals| of.time.0 as f64 / of.requests.max(1) as f64;
    let all = &answered.replicas;
    let (address, requests, open) = all.iter().find_map(|(number, totals)| {
        let others = all.iter().filter(|(other, of)| *other != number && of.requests > 0);
        let slowest = others.map(|(_, of)| mean(of)).reduce(f64::max)?;
        let open = totals.time.0 as f64 / window.length().0 as f64;
        let is_slow = totals.requests >= LEAST_ANSWERS
            && open >= 1.0
            && mean(totals) >= TIMES_OTHERS * slowest;
        let address = is_slow.then(|| seen.get(usize::from(*number)))??.address.clone();
        Some((address, totals.requests, open.round() as u64))
    })?;
    Some(RoutingNote::SlowReplica { address, requests, of: answered.known(), open }.into())
}

#[cfg(test)]
mod tests {
    use weir_model::Nanos;

    use super::*;

    /// Requests, and the mean seconds of one, of each replica.
    fn noted(replicas: &[(u64, f64)]) -> bool {
        let seen = |_: &(u64, f64)| ReplicaSeen {
            address: "127.0.0.2:8000".to_owned(),
            mean_waiting: None,
        };
        let totals = |(requests, mean): &(u64, f64)| ReplicaTotals {
            requests: *requests,
            time: Nanos((*requests as f64 * mean * 1e9) as u64),
            ..ReplicaTotals::default()
        };
        let mut answered = AnsweredBy::default();
        answered.replicas = (0..).zip(replicas.iter().map(totals)).collect();
        let seen: Vec<ReplicaSeen> = replicas.iter().map(seen).collect();
        let window = Window { start: Nanos::ZERO, end: Nanos::from_secs(5) };
        note(&seen, &answered, window).is_some()
    }

    #[test]
    fn requests_take_long_in_a_slow_replica() {
        assert!(noted(&[(158, 0.03), (21, 0.6)]));
        assert!(noted(&[(22, 0.6), (39, 0.03)]), "also where its share is not small");
        assert!(!noted(&[(90, 0.2), (89, 0.24)]), "both are busy");
        assert!(!noted(&[(158, 0.03), (6, 0.6)]), "fewer than one at a time");
        assert!(!noted(&[(158, 0.03), (4, 4.0)]), "few answers");
        assert!(!noted(&[(30, 0.6)]), "there is no other");
    }
}
