//! A replica that is slower than the others: it answers little, and requests wait in it.

use weir_model::{Note, RoutingNote};
use weir_observe::signals::AnsweredBy;

use crate::outcome::ReplicaSeen;

/// Times as many requests wait in it as in any other.
const TIMES_OTHERS: f64 = 2.0;

/// By the replica's number. Waiting requests alone may be those of a prefix that many ask for, and
/// few answers those of a replica that nobody needs.
pub(crate) fn note(seen: &[ReplicaSeen], answered: &AnsweredBy) -> Option<Note> {
    let of = answered.known();
    let slow = seen.iter().enumerate().find_map(|(number, replica)| {
        let waiting = replica.mean_waiting.filter(|waiting| *waiting >= 1.0)?;
        let others = seen.iter().enumerate().filter(|(other, _)| *other != number);
        let most = others.map(|(_, other)| other.mean_waiting.unwrap_or(0.0)).fold(0.0, f64::max);
        let totals = answered.replicas.get(&u16::try_from(number).ok()?);
        let requests = totals.map_or(0, |of| of.requests);
        let is_slow = waiting >= TIMES_OTHERS * most && 2 * requests * (seen.len() as u64) < of;
        is_slow.then(|| (replica.address.clone(), requests, waiting.round() as u64))
    });
    let (address, requests, waiting) = slow.filter(|_| seen.len() > 1)?;
    Some(RoutingNote::SlowReplica { address, requests, of, waiting }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_observe::signals::ReplicaTotals;

    /// Requests and mean waiting of each replica.
    fn noted(replicas: &[(u64, f64)]) -> bool {
        let seen: Vec<ReplicaSeen> = replicas
            .iter()
            .map(|(_, waiting)| ReplicaSeen {
                address: "127.0.0.2:8000".to_owned(),
                mean_waiting: Some(*waiting),
            })
            .collect();
        let totals = |(requests, _): &(u64, f64)| ReplicaTotals {
            requests: *requests,
            ..ReplicaTotals::default()
        };
        let mut answered = AnsweredBy::default();
        answered.replicas = (0..).zip(replicas.iter().map(totals)).collect();
        note(&seen, &answered).is_some()
    }

    #[test]
    fn a_slow_replica_answers_little_and_makes_wait() {
        assert!(noted(&[(158, 0.1), (21, 2.4)]));
        assert!(!noted(&[(90, 2.0), (89, 2.4)]), "both are busy");
        assert!(!noted(&[(21, 0.1), (158, 2.4)]), "many ask for what it has");
        assert!(!noted(&[(158, 0.0), (21, 0.4)]), "nobody waits");
        assert!(!noted(&[(30, 2.4)]));
    }
}
