//! From measured points to a link profile, as defined by the simulator's links.
//!
//! A transfer of `d` blocks of `b` bytes on an idle link takes
//! `latency + d * per_block + d * b * lanes / rate`; all but the latency occupies a lane. Each step
//! uses the results of the step before:
//!
//! 1. From the points of the smallest number of threads, where batches do not queue,
//!    `latency`, `per_block` and the time per byte of loads and of stores by least squares of the
//!    relative errors of the mean batch times. `per_block` needs two block sizes and `latency`
//!    two batch sizes; an undetermined or negative value is zero.
//! 2. `lanes` is the largest measured load rate over the rate of one lane, rounded, at least 1.
//! 3. With one lane the rates are those of step 1: the largest measured rate contains latencies
//!    that do not occupy the link. With several, each rate is the one at which all lanes
//!    together reach the largest measured one, `per_block` included.
//! 4. A lookup of `k` keys takes `lookup_latency + k * lookup_per_key`, fitted the same way.

use serde::Serialize;
use weir_model::Nanos;
use weir_model::quantity::Span;
use weir_spec::catalogue::profile_file::{ProfileFigures, ProfileFit};

use crate::engine_work::EngineWork;
use crate::error::ProbeError;
use crate::figures::{PointResult, SidePoint};
use crate::least_squares;
use crate::statistics::Repeated;

const MOST_LANES: f64 = 1024.0;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitSample {
    pub is_read: bool,
    pub threads: u32,
    /// Average blocks per batch: fewer than the depth at the end of the working set or a lap.
    pub batch_blocks: f64,
    pub block_bytes: u64,
    /// Mean time of a batch, seconds.
    pub batch_s: f64,
    /// All threads.
    pub gb_per_s: f64,
    /// Spread of `gb_per_s` over the repeats, percent; None for one repeat.
    pub spread_percent: Option<f64>,
}

impl FitSample {
    fn bytes(&self) -> f64 {
        self.batch_blocks * self.block_bytes as f64
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookupTime {
    pub keys: u32,
    /// Median.
    pub seconds: f64,
    /// Maximum.
    pub longest_s: f64,
    pub asked: u32,
    /// Median of each turn, seconds, if two tiers alternated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<f64>,
    /// Bytes read from a device per byte of the requested blocks: not 0 if a store reads values to
    /// answer. None if not counted.
    pub device_bytes_per_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineWork>,
}

impl LookupTime {
    /// Combines turns with the same keys, each with a median from one of `places` CPUs: the median
    /// of the rounds' means. An incomplete round is left out.
    pub(crate) fn over(turns: &[&Self], places: usize) -> Option<Self> {
        let first = turns.first()?;
        let whole = turns.chunks_exact(places.max(1));
        let mean = |turn: &[&Self]| turn.iter().map(|of| of.seconds).sum::<f64>();
        let seconds: Vec<f64> = whole.map(|turn| mean(turn) / turn.len() as f64).collect();
        let asked = turns.iter().map(|turn| turn.asked).sum();
        let read = |turn: &&Self| Some(turn.device_bytes_per_byte? * f64::from(turn.asked));
        let device = turns.iter().map(read).sum::<Option<f64>>();
        Some(Self {
            keys: first.keys,
            seconds: Repeated::of(seconds.iter().copied())?.median,
            longest_s: turns.iter().map(|turn| turn.longest_s).fold(0.0, f64::max),
            asked,
            turns: seconds,
            device_bytes_per_byte: device.map(|bytes| bytes / f64::from(asked.max(1))),
            engine: EngineWork::sum(turns.iter().map(|turn| turn.engine.as_ref())),
        })
    }

    pub fn rates(&self) -> impl Iterator<Item = f64> + '_ {
        self.turns.iter().map(|seconds| f64::from(self.keys) / seconds)
    }
}

/// The sides of points that characterise a link: plain loads that hit, and plain stores.
pub fn observations(points: &[PointResult]) -> Vec<FitSample> {
    let mut found = Vec::new();
    for result in points {
        let mut push = |is_read: bool, side: &Option<SidePoint>| {
            let Some(side) = side else { return };
            let Some(batch_blocks) = result.batch_blocks(is_read) else { return };
            found.push(FitSample {
                is_read,
                threads: result.point.threads,
                batch_blocks,
                block_bytes: result.point.block.bytes.0,
                batch_s: side.batch_us.mean.median / 1e6,
                gb_per_s: side.gb_per_s.median,
                spread_percent: result.spread_percent(side),
            });
        };
        match result.point.work {
            // Batches of misses are fast and say nothing about bytes.
            crate::Work::Read if result.hit_share.is_some_and(|share| share.low > 0.99) => {
                push(true, &result.read);
            }
            crate::Work::Write if result.outcomes.full + result.outcomes.failed() == 0 => {
                push(false, &result.write);
            }
            _ => {}
        }
    }
    found.retain(|one| one.batch_s > 0.0 && one.gb_per_s > 0.0);
    found
}

pub fn fit(
    observed: &[FitSample],
    lookups: &[LookupTime],
) -> Result<(ProfileFigures, ProfileFit), ProbeError> {
    let refused = |problem: &str, remedy: &str| ProbeError::Fit {
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    };
    for (is_read, what) in [(true, "loads that hit"), (false, "stores that found room")] {
        if !observed.iter().any(|one| one.is_read == is_read) {
            let problem = format!("no point has only {what}");
            let remedy = "measure with --mix write,read and a working set that fits the tier";
            return Err(refused(&problem, remedy));
        }
    }
    let fewest = observed.iter().map(|one| one.threads).min().unwrap_or(1);
    let alone: Vec<&FitSample> = observed.iter().filter(|one| one.threads == fewest).collect();
    // Unknowns: latency, per block, seconds per byte of loads and of stores.
    let rows: Vec<([f64; 4], f64)> = alone
        .iter()
        .map(|one| {
            let (read, write) = if one.is_read { (one.bytes(), 0.0) } else { (0.0, one.bytes()) };
            ([1.0, one.batch_blocks, read, write], one.batch_s)
        })
        .collect();
    let [latency, per_block, read_s, write_s] = least_squares::fit(&rows, &[1, 0])
        .filter(|unknowns| unknowns[2] > 0.0 && unknowns[3] > 0.0)
        .ok_or_else(|| {
            refused(
                "the batch times do not grow with their bytes",
                "measure longer, or on a quieter machine",
            )
        })?;
    // An undetermined value is exactly zero.
    let free = [latency, per_block, read_s, write_s].iter().filter(|value| **value > 0.0).count();
    let best_read = best(observed, true);
    // With several threads already in step 1, these are rates per thread.
    let lanes = (best_read.gb_per_s * 1e9 * read_s).round().clamp(1.0, MOST_LANES);
    let rate = |best: &FitSample, seconds_per_byte: f64| {
        if lanes <= 1.0 {
            return 1.0 / seconds_per_byte / 1e9;
        }
        // All lanes are busy: each moves a batch in `lanes * bytes / total rate`.
        let busy = lanes * best.bytes() / (best.gb_per_s * 1e9);
        let moving = busy - best.batch_blocks * per_block;
        if moving > 0.0 { lanes * best.bytes() / moving / 1e9 } else { best.gb_per_s }
    };
    let (lookup_latency, lookup_per_key) = lookup(lookups);
    let span = |seconds: f64| Span(Nanos::from_secs_f64(seconds));
    let figures = ProfileFigures {
        read_gb_per_s: rounded(rate(best_read, read_s)),
        write_gb_per_s: rounded(rate(best(observed, false), write_s)),
        latency: span(latency),
        per_block: span(per_block),
        lanes: lanes as u32,
        lookup_latency: span(lookup_latency),
        lookup_per_key: span(lookup_per_key),
    };
    let quality = ProfileFit {
        points: observed.len() as u32,
        rms_error_percent: (alone.len() > free)
            .then(|| rounded(100.0 * rms_error(&figures, &alone))),
        spread_percent: observed
            .iter()
            .filter_map(|one| one.spread_percent)
            .max_by(f64::total_cmp)
            .map(rounded),
    };
    Ok((figures, quality))
}

fn best(observed: &[FitSample], is_read: bool) -> &FitSample {
    observed
        .iter()
        .filter(|one| one.is_read == is_read)
        .max_by(|a, b| a.gb_per_s.total_cmp(&b.gb_per_s))
        .expect("both kinds were observed")
}

/// Latency and time per key of lookups, seconds.
fn lookup(times: &[LookupTime]) -> (f64, f64) {
    let rows: Vec<([f64; 2], f64)> = times
        .iter()
        .filter(|time| time.seconds > 0.0)
        .map(|time| ([1.0, f64::from(time.keys)], time.seconds))
        .collect();
    if let Some([latency, per_key]) = least_squares::fit(&rows, &[1, 0]) {
        return (latency, per_key);
    }
    (0.0, 0.0)
}

/// Root mean square of the relative errors of batch times.
fn rms_error(figures: &ProfileFigures, alone: &[&FitSample]) -> f64 {
    let square = |one: &&FitSample| {
        let rate = if one.is_read { figures.read_gb_per_s } else { figures.write_gb_per_s };
        let moving = one.bytes() * f64::from(figures.lanes) / (rate * 1e9);
        let fixed = figures.latency.0.as_secs_f64();
        let blocks = one.batch_blocks * figures.per_block.0.as_secs_f64();
        ((fixed + blocks + moving) / one.batch_s - 1.0).powi(2)
    };
    (alone.iter().map(square).sum::<f64>() / alone.len().max(1) as f64).sqrt()
}

/// More than four decimals are noise.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that behaves exactly like the simulator's, used by threads that wait for their
    /// batches: each lane serves at most one of them.
    struct Ideal {
        latency: f64,
        per_block: f64,
        read: f64,
        write: f64,
        lanes: f64,
    }

    impl Ideal {
        fn observe(
            &self,
            is_read: bool,
            threads: u32,
            batch_blocks: f64,
            block_bytes: u64,
        ) -> FitSample {
            let rate = if is_read { self.read } else { self.write } * 1e9;
            let bytes = batch_blocks * block_bytes as f64;
            let busy = batch_blocks * self.per_block + bytes * self.lanes / rate;
            let n = f64::from(threads);
            // Either no thread waits, or the lanes are always busy.
            let batch_s = (self.latency + busy).max(busy * n / self.lanes);
            let gb_per_s = n * bytes / batch_s / 1e9;
            let spread_percent = None;
            FitSample {
                is_read,
                threads,
                batch_blocks,
                block_bytes,
                batch_s,
                gb_per_s,
                spread_percent,
            }
        }

        fn all(&self, threads: &[u32], blocks: &[u64]) -> Vec<FitSample> {
            let mut all = Vec::new();
            for &threads in threads {
                for depth in [1.0, 4.0, 16.0] {
                    for &block in blocks {
                        all.push(self.observe(true, threads, depth, block));
                        all.push(self.observe(false, threads, depth, block));
                    }
                }
            }
            all
        }
    }

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 0.01, "{value} is not {expected}");
    }

    const LOOKUPS: [LookupTime; 3] = [lookup(1, 62e-6), lookup(16, 92e-6), lookup(64, 188e-6)];

    const fn lookup(keys: u32, seconds: f64) -> LookupTime {
        let (longest_s, device_bytes_per_byte) = (seconds, None);
        LookupTime {
            keys,
            seconds,
            longest_s,
            asked: 101,
            turns: Vec::new(),
            device_bytes_per_byte,
            engine: None,
        }
    }

    #[test]
    fn turns_are_put_together_and_what_one_does_not_know_is_unknown() {
        let turn = |seconds, asked, device_bytes_per_byte| LookupTime {
            asked,
            device_bytes_per_byte,
            ..lookup(16, seconds)
        };
        let turns = [turn(4e-6, 10, Some(1.0)), turn(2e-6, 30, Some(0.0)), turn(9e-6, 10, None)];
        let both = LookupTime::over(&[&turns[0], &turns[1]], 1).unwrap();
        assert_eq!((both.seconds, both.longest_s, both.asked), (3e-6, 4e-6, 40));
        assert_eq!(both.device_bytes_per_byte, Some(0.25));
        assert_eq!(both.rates().collect::<Vec<_>>(), [16.0 / 4e-6, 16.0 / 2e-6]);
        let all = LookupTime::over(&[&turns[0], &turns[1], &turns[2]], 1).unwrap();
        assert_eq!((all.seconds, all.device_bytes_per_byte), (4e-6, None));
        assert_eq!(LookupTime::over(&[], 1), None);
        // Two places make a round, and half a round counts as none.
        let one = LookupTime::over(&[&turns[0], &turns[1], &turns[2]], 2).unwrap();
        assert_eq!((one.seconds, one.turns), (3e-6, vec![3e-6]));
        assert_eq!(LookupTime::over(&[&turns[0]], 2), None);
    }

    #[test]
    fn the_figures_of_an_ideal_link_are_found() {
        for lanes in [1.0, 4.0] {
            let ideal = Ideal { latency: 80e-6, per_block: 20e-6, read: 4.0, write: 2.0, lanes };
            let observed = ideal.all(&[1, 4, 16], &[64 << 10, 2 << 20]);
            let (figures, quality) = fit(&observed, &LOOKUPS).unwrap();
            near(figures.read_gb_per_s, 4.0);
            near(figures.write_gb_per_s, 2.0);
            near(figures.latency.0.as_secs_f64(), 80e-6);
            near(figures.per_block.0.as_secs_f64(), 20e-6);
            assert_eq!(f64::from(figures.lanes), lanes);
            near(figures.lookup_latency.0.as_secs_f64(), 60e-6);
            near(figures.lookup_per_key.0.as_secs_f64(), 2e-6);
            assert!(quality.rms_error_percent.unwrap() < 0.5, "{quality:?}");
            assert_eq!(quality.points as usize, observed.len());
        }
    }

    #[test]
    fn a_fit_through_as_many_points_as_figures_is_not_judged() {
        let ideal = Ideal { latency: 80e-6, per_block: 20e-6, read: 4.0, write: 2.0, lanes: 1.0 };
        let of = |depths: &[f64]| {
            let sides =
                |depth: &f64| [true, false].map(|load| ideal.observe(load, 1, *depth, 1 << 20));
            fit(&depths.iter().flat_map(sides).collect::<Vec<_>>(), &[]).unwrap().1
        };
        // One rate per direction; with a second depth the latency, and one point remains.
        assert_eq!(of(&[1.0]).rms_error_percent, None);
        assert!(of(&[1.0, 8.0]).rms_error_percent.is_some());
        let noisy = [(true, 1.0, 1.0), (true, 8.0, 7.0), (false, 1.0, 2.0)];
        let noisy = noisy.map(|(load, depth, times)| {
            let one = ideal.observe(load, 1, depth, 1 << 20);
            FitSample { batch_s: 1e-3 * times, ..one }
        });
        assert_eq!(fit(&noisy, &[]).unwrap().1.rms_error_percent, None);
    }

    #[test]
    fn one_size_of_blocks_leaves_their_cost_in_the_rate() {
        let ideal = Ideal { latency: 50e-6, per_block: 0.0, read: 2.0, write: 1.0, lanes: 1.0 };
        let (figures, _) = fit(&ideal.all(&[1], &[1 << 20]), &[]).unwrap();
        near(figures.read_gb_per_s, 2.0);
        near(figures.latency.0.as_secs_f64(), 50e-6);
        assert_eq!((figures.per_block.0, figures.lookup_latency.0), (Nanos::ZERO, Nanos::ZERO));
    }

    #[test]
    fn noise_moves_the_figures_little() {
        let ideal = Ideal { latency: 80e-6, per_block: 20e-6, read: 4.0, write: 2.0, lanes: 2.0 };
        let mut observed = ideal.all(&[1, 2, 8], &[64 << 10, 512 << 10, 2 << 20]);
        for (number, one) in observed.iter_mut().enumerate() {
            // Alternating +3 % and -3 %.
            let factor = if number % 2 == 0 { 1.03 } else { 0.97 };
            one.batch_s *= factor;
            one.gb_per_s /= factor;
        }
        let (figures, quality) = fit(&observed, &LOOKUPS).unwrap();
        assert!((figures.read_gb_per_s / 4.0 - 1.0).abs() < 0.08, "{figures:?}");
        assert!((figures.write_gb_per_s / 2.0 - 1.0).abs() < 0.08, "{figures:?}");
        assert_eq!(figures.lanes, 2);
        assert!(quality.rms_error_percent.unwrap() < 6.0, "{quality:?}");
    }

    #[test]
    fn loads_and_stores_are_both_needed() {
        let ideal = Ideal { latency: 0.0, per_block: 0.0, read: 1.0, write: 1.0, lanes: 1.0 };
        let mut observed = ideal.all(&[1], &[1 << 20]);
        observed.retain(|one| one.is_read);
        let refused = fit(&observed, &[]).unwrap_err().to_string();
        assert!(
            refused.contains("stores that found room") && refused.contains("--mix"),
            "{refused}"
        );
        assert!(fit(&[], &[]).is_err());
    }
}
