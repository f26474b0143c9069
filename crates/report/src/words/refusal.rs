//! What limited a level instead of the server, in words, and what to do about it.

use weir_model::{Certificate, Lateness, Refusal};

use crate::numerals;

pub(crate) fn refusal_cause(of: &Refusal) -> String {
    match of {
        Refusal::NothingSent => "no request was due in the measured window".to_owned(),
        Refusal::Starved { waited, .. } => {
            let waited = numerals::millis(waited.as_millis_f64());
            format!("due requests waited {waited} for their prompts")
        }
        Refusal::Busy { share, why } => {
            let waited = match why {
                Lateness::NoCpu => ", and waited for one beside that",
                _ => "",
            };
            format!("the busiest worker of the client used {:.0} % of a CPU{waited}", 100.0 * share)
        }
        Refusal::TooFewRequests { requests, users } => {
            let users =
                if *users == 1.0 { "one user".to_owned() } else { format!("{users:.0} users") };
            format!("{requests} requests are too few to keep {users} busy")
        }
        Refusal::UsersIdle { busy, users, why } => format!(
            "{} of {users:.0} users were kept busy{}",
            numerals::plain(*busy),
            lateness_cause(*why)
        ),
        Refusal::ArrivalsMissed { begun, due, why } => format!(
            "{} of {} sessions per second were begun{}",
            numerals::plain(*begun),
            numerals::plain(*due),
            lateness_cause(*why)
        ),
    }
}

const fn lateness_cause(why: Lateness) -> &'static str {
    match why {
        Lateness::Busy => ", because a worker of the client had no CPU time left",
        Lateness::NoCpu => ", because the client waited for a CPU",
        Lateness::AtOnce => ", because many requests were due at the same moment",
        Lateness::Unknown => "",
    }
}

/// An order without a full stop.
pub(crate) fn refusal_remedy(of: &Refusal) -> &'static str {
    match of {
        Refusal::NothingSent => "measure for longer, or shorten the warm-up",
        Refusal::Starved { token_ids: true, .. } => {
            "use shorter prompts or a lower rate, or leave the client a free CPU"
        }
        Refusal::Starved { token_ids: false, .. } => {
            "send token ids (no tokenizer), use shorter prompts or a lower rate"
        }
        Refusal::TooFewRequests { .. } => "send more requests, or measure for longer",
        Refusal::Busy { why, .. } | Refusal::UsersIdle { why, .. } => lateness_remedy(*why, true),
        Refusal::ArrivalsMissed { why, .. } => lateness_remedy(*why, false),
    }
}

const WORKERS: &str = "use more workers, each on a CPU of its own";

/// `closed`: a closed loop kept users in flight.
pub(crate) const fn lateness_remedy(why: Lateness, closed: bool) -> &'static str {
    match (why, closed) {
        (Lateness::Busy, _) | (Lateness::AtOnce, false) => WORKERS,
        (Lateness::NoCpu, _) => {
            "give the client a CPU of its own: fewer processes on its machine, a `client.pin` \
             that no other program uses, or another machine"
        }
        (Lateness::AtOnce, true) => {
            "spread the users' starts (`ramp`), or use more workers on CPUs of their own"
        }
        // It had a CPU, did not use all of it, and had little to do at once.
        (Lateness::Unknown, _) => {
            "repeat it on an idle machine: what made the client late was not seen"
        }
    }
}

/// None where the level is not refused.
pub fn refusal_words(of: &Certificate) -> Option<String> {
    let refusal = of.refused.as_ref()?;
    Some(format!("{}: {}", refusal_cause(refusal), refusal_remedy(refusal)))
}

#[cfg(test)]
mod tests {
    use weir_model::Nanos;

    use super::*;

    #[test]
    fn each_cause_has_a_remedy_that_fits_it() {
        let starved = |token_ids| Refusal::Starved { waited: Nanos::from_millis(200), token_ids };
        assert!(refusal_remedy(&starved(false)).contains("token ids"));
        assert!(!refusal_remedy(&starved(true)).contains("token ids"));
        let idle = |why| Refusal::UsersIdle { busy: 6.0, users: 8.0, why };
        assert!(refusal_remedy(&idle(Lateness::AtOnce)).contains("`ramp`"));
        // More workers help a busy generator; where CPUs are short they wait for the same ones.
        for of in [idle as fn(Lateness) -> Refusal, |why| Refusal::Busy { share: 0.97, why }] {
            let waited = refusal_remedy(&of(Lateness::NoCpu));
            assert!(waited.contains("CPU of its own") && !waited.contains("workers"), "{waited}");
            assert!(refusal_remedy(&of(Lateness::Busy)).contains("more workers"));
        }
        assert!(!refusal_remedy(&idle(Lateness::Unknown)).contains("workers"));
        // An open loop has no users whose starts could be spread.
        let missed = |why| Refusal::ArrivalsMissed { begun: 1.0, due: 2.0, why };
        assert!(!refusal_remedy(&missed(Lateness::AtOnce)).contains("users"));
        let few = Refusal::TooFewRequests { requests: 2, users: 1.0 };
        assert!(!refusal_remedy(&few).contains("workers"));
    }
}
