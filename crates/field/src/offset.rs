//! How an agent's clock stands to the field's.
//!
//! Of many exchanges, the one with the shortest round trip says most: the agent read its clock
//! somewhere inside it, so its middle is wrong by at most half of it.

use weir_model::Nanos;

use crate::message::ClockReading;

/// One exchange, by the field's clock and the agent's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockExchange {
    pub(crate) sent_ns: u64,
    pub(crate) answered_ns: u64,
    pub(crate) reading: ClockReading,
}

/// The agent's clock less the field's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) offset_ns: i64,
    pub(crate) bound: Nanos,
}

impl Offset {
    /// None without exchanges.
    pub(crate) fn of(exchanges: &[ClockExchange]) -> Option<Self> {
        let trip = |one: &&ClockExchange| one.answered_ns.saturating_sub(one.sent_ns);
        let best = exchanges.iter().min_by_key(trip)?;
        let half = trip(&best) / 2;
        let middle = best.sent_ns + half;
        Some(Self {
            offset_ns: best.reading.monotonic_ns.cast_signed() - middle.cast_signed(),
            // The division cut a nanosecond off at most.
            bound: Nanos(half + 1),
        })
    }

    /// A time of the field's clock, by the agent's.
    pub(crate) const fn there(self, here_ns: u64) -> u64 {
        here_ns.saturating_add_signed(self.offset_ns)
    }

    /// By how much the clock ran away until a later measurement.
    pub(crate) const fn drift_ns(self, later: Self) -> i64 {
        later.offset_ns - self.offset_ns
    }

    /// Holds for every moment between the two measurements, where this one was used throughout.
    pub(crate) fn bound_until(self, later: Self) -> Nanos {
        self.bound.max(Nanos(self.drift_ns(later).unsigned_abs()) + later.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(sent_ns: u64, answered_ns: u64, monotonic_ns: u64) -> ClockExchange {
        ClockExchange { sent_ns, answered_ns, reading: ClockReading { monotonic_ns } }
    }

    #[test]
    fn the_shortest_round_trip_counts() {
        // The agent is 1,000,000 ns behind; the first answer came late.
        let slow = exchange(5_000_000, 9_000_000, 4_100_000);
        let quick = exchange(10_000_000, 10_000_200, 9_000_150);
        let offset = Offset::of(&[slow, quick]).unwrap();
        assert_eq!(offset, Offset { offset_ns: -999_950, bound: Nanos(101) });
        assert!((offset.offset_ns + 1_000_000).unsigned_abs() <= offset.bound.0);
        assert_eq!(offset.there(20_000_000), 19_000_050);
        assert_eq!(Offset::of(&[]), None);
    }

    #[test]
    fn the_bound_covers_the_drift() {
        let first = Offset { offset_ns: 500, bound: Nanos(100) };
        let later = Offset { offset_ns: 900, bound: Nanos(50) };
        assert_eq!(first.drift_ns(later), 400);
        assert_eq!(first.bound_until(later), Nanos(450));
        assert_eq!(first.bound_until(first), Nanos(100));
    }
}
