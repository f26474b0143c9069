//! When sessions arrive: absolute due times of an open loop, and the ramp of a closed one.
//!
//! Due times follow from the process and the seed alone, never from the target's progress:
//! otherwise a slow target would get less load (coordinated omission). A longer run begins with the
//! due times of a shorter one.

use serde::{Deserialize, Serialize};
use weir_model::Nanos;

use crate::error::WorkloadError;
use crate::stream::RandomStream;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Arrivals {
    /// Equal gaps; the first session is due at once.
    Constant {
        /// Sessions per second.
        rate: f64,
    },
    Poisson {
        /// Sessions per second.
        rate: f64,
    },
    /// Gamma gaps: bursts above a coefficient of variation of 1, regularity below.
    Gamma {
        /// Sessions per second.
        rate: f64,
        /// Coefficient of variation of the gaps; 1 is Poisson's.
        cv: f64,
    },
}

impl Arrivals {
    pub const fn rate(&self) -> f64 {
        match *self {
            Self::Constant { rate } | Self::Poisson { rate } | Self::Gamma { rate, .. } => rate,
        }
    }

    pub fn validate(&self) -> Result<(), WorkloadError> {
        let rate = self.rate();
        if !(rate > 0.0 && rate <= 1e9) {
            return Err(WorkloadError::value(
                "load.rate",
                format!("is {rate}; it must be above 0 and at most 1e9 per second"),
            ));
        }
        match *self {
            Self::Gamma { cv, .. } if !(0.01..=100.0).contains(&cv) => Err(WorkloadError::value(
                "load.cv",
                format!("is {cv}; it must lie between 0.01 and 100 (1 is Poisson)"),
            )),
            _ => Ok(()),
        }
    }
}

/// Absolute due times, endless and in order.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrivals: Arrivals,
    stream: RandomStream,
    issued: u64,
    now: Nanos,
    /// Due times to skip before the next one, and after each.
    skip: u32,
    skip_each: u32,
}

impl Schedule {
    /// Equal seeds with different rates give the same gaps, scaled.
    pub fn new(arrivals: Arrivals, seed: u64) -> Result<Self, WorkloadError> {
        arrivals.validate()?;
        let stream = RandomStream::new(seed, "arrival gaps", 0);
        Ok(Self { arrivals, stream, issued: 0, now: Nanos::ZERO, skip: 0, skip_each: 0 })
    }

    /// Every `parts`-th due time, from the one at `part` (below `parts`) on. All parts together are
    /// the whole schedule.
    #[must_use]
    pub fn dealt(mut self, part: u32, parts: u32) -> Self {
        debug_assert!(part < parts, "part {part} of {parts} does not exist");
        self.skip = part;
        self.skip_each = parts - 1;
        self
    }

    /// In seconds.
    fn gap(&mut self, cv: f64, rate: f64) -> f64 {
        // The mean of a gamma is shape x scale, and its coefficient of variation shape^-1/2.
        let shape = 1.0 / (cv * cv);
        self.stream.gamma(shape) / shape / rate
    }
}

impl Iterator for Schedule {
    type Item = Nanos;

    /// None after 2^64 ns (584 years).
    fn next(&mut self) -> Option<Nanos> {
        for _ in 0..std::mem::replace(&mut self.skip, self.skip_each) {
            self.advance()?;
        }
        self.advance()
    }
}

impl Schedule {
    fn advance(&mut self) -> Option<Nanos> {
        let gap = match self.arrivals {
            Arrivals::Constant { rate } => {
                // Multiplied instead of added up, so that rounding does not drift.
                let due = self.issued as f64 / rate * 1e9;
                self.issued += 1;
                return (due < u64::MAX as f64).then(|| Nanos(due.round() as u64));
            }
            Arrivals::Poisson { rate } => self.stream.exponential() / rate,
            Arrivals::Gamma { rate, cv } => self.gap(cv, rate),
        };
        let gap_ns = (gap * 1e9).round() as u64;
        self.now = Nanos(self.now.get().checked_add(gap_ns)?);
        self.issued += 1;
        Some(self.now)
    }
}

/// Starts of a closed loop's users: evenly over a time, the first at once, so that they do not
/// start in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    users: u32,
    over: Nanos,
    part: u32,
    parts: u32,
}

impl Ramp {
    pub const fn new(users: u32, over: Nanos) -> Self {
        Self { users, over, part: 0, parts: 1 }
    }

    /// Every `parts`-th user from `part` on, with unchanged times.
    #[must_use]
    pub const fn dealt(self, part: u32, parts: u32) -> Self {
        Self { part, parts, ..self }
    }

    pub fn users(self) -> u32 {
        (self.part..self.users).step_by(self.parts.max(1) as usize).count() as u32
    }

    pub(crate) fn starts(self) -> impl Iterator<Item = Nanos> {
        (self.part..self.users).step_by(self.parts.max(1) as usize).map(move |user| {
            let start = u128::from(self.over.get()) * u128::from(user) / u128::from(self.users);
            Nanos(start as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(arrivals: Arrivals, seed: u64, n: usize) -> Vec<Nanos> {
        Schedule::new(arrivals, seed).unwrap().take(n).collect()
    }

    #[test]
    fn constant_gaps_do_not_drift() {
        let times = take(Arrivals::Constant { rate: 3.0 }, 0, 3_000_001);
        assert_eq!(times[..4], [0, 333_333_333, 666_666_667, 1_000_000_000].map(Nanos));
        assert_eq!(times[3_000_000], Nanos::from_secs(1_000_000));
    }

    #[test]
    fn shares_of_a_schedule_make_it_up() {
        let arrivals = Arrivals::Poisson { rate: 3.0 };
        let whole = take(arrivals, 5, 300);
        let mut parts: Vec<Nanos> = (0..3)
            .flat_map(|part| Schedule::new(arrivals, 5).unwrap().dealt(part, 3).take(100))
            .collect();
        parts.sort_unstable();
        assert_eq!(parts, whole);
    }

    #[test]
    fn users_start_evenly() {
        let starts: Vec<Nanos> = Ramp::new(4, Nanos::from_secs(2)).starts().collect();
        assert_eq!(starts, [0, 500, 1000, 1500].map(Nanos::from_millis));
        assert_eq!(Ramp::new(0, Nanos::from_secs(2)).users(), 0);
    }

    #[test]
    fn shares_of_a_ramp_start_when_they_do_among_all() {
        let whole = Ramp::new(7, Nanos::from_secs(7));
        let parts = |part| whole.dealt(part, 3);
        assert_eq!([0, 1, 2].map(|part| parts(part).users()), [3, 2, 2]);
        let second: Vec<Nanos> = parts(1).starts().collect();
        assert_eq!(second, [1, 4].map(Nanos::from_secs));
        let mut all: Vec<Nanos> = (0..3).flat_map(|part| parts(part).starts()).collect();
        all.sort_unstable();
        assert_eq!(all, whole.starts().collect::<Vec<_>>());
        assert_eq!(Ramp::new(2, Nanos::from_secs(1)).dealt(2, 3).users(), 0);
    }

    #[test]
    fn impossible_processes_are_refused() {
        let message = |arrivals| Schedule::new(arrivals, 0).unwrap_err().to_string();
        assert_eq!(
            message(Arrivals::Poisson { rate: 0.0 }),
            "`load.rate` is 0; it must be above 0 and at most 1e9 per second"
        );
        assert!(message(Arrivals::Constant { rate: f64::NAN }).starts_with("`load.rate` is NaN"));
        assert_eq!(
            message(Arrivals::Gamma { rate: 1.0, cv: 0.0 }),
            "`load.cv` is 0; it must lie between 0.01 and 100 (1 is Poisson)"
        );
    }

    #[test]
    fn gaps_have_the_variation_asked_for() {
        for (arrivals, cv) in [
            (Arrivals::Poisson { rate: 5.0 }, 1.0),
            (Arrivals::Gamma { rate: 5.0, cv: 0.3 }, 0.3),
            (Arrivals::Gamma { rate: 5.0, cv: 1.0 }, 1.0),
            (Arrivals::Gamma { rate: 5.0, cv: 3.0 }, 3.0),
        ] {
            let times = take(arrivals, 9, 100_000);
            let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            let found = variance.sqrt() / mean;
            assert!((found / cv - 1.0).abs() < 0.05, "{arrivals:?}: {found}");
        }
    }

    #[test]
    fn a_tiny_rate_ends_instead_of_overflowing() {
        let schedule = Schedule::new(Arrivals::Poisson { rate: 1e-10 }, 1).unwrap();
        assert!(schedule.take(1000).count() < 1000);
    }

    /// Pinned, so that a change across machines or versions shows.
    #[test]
    fn due_times_are_the_same_everywhere_and_for_ever() {
        let poisson = take(Arrivals::Poisson { rate: 10.0 }, 889, 1000);
        let gamma = take(Arrivals::Gamma { rate: 10.0, cv: 2.0 }, 889, 1000);
        assert_eq!((poisson[0], poisson[999]), (Nanos(128952345), Nanos(100399027692)));
        assert_eq!((gamma[0], gamma[999]), (Nanos(502344), Nanos(97863433183)));
    }

    fn process() -> impl Strategy<Value = Arrivals> {
        (0.01f64..10_000.0, 0.2f64..2.0, 0..3).prop_map(|(rate, cv, kind)| match kind {
            0 => Arrivals::Constant { rate },
            1 => Arrivals::Poisson { rate },
            _ => Arrivals::Gamma { rate, cv },
        })
    }

    proptest! {
        #[test]
        fn the_rate_is_met_in_order_and_prefixes_are_stable(
            arrivals in process(),
            seed: u64,
        ) {
            let times = take(arrivals, seed, 20_000);
            prop_assert!(times.is_sorted());
            let rate = 20_000.0 / times[19_999].as_secs_f64();
            // Six standard errors of the mean of 20,000 gaps at a variation of 2.
            prop_assert!((rate / arrivals.rate() - 1.0).abs() < 0.1, "{}", rate);
            prop_assert_eq!(&take(arrivals, seed, 100), &times[..100]);
        }
    }
}
