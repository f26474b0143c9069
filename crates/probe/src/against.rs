//! Two tiers side by side, in turns: each repeat of a point is measured on both, one right after
//! the other, and the next repeat begins with the other one. What changes on the machine meanwhile
//! then meets both alike, and what is left are pairs that can be compared.

use std::time::{Duration, Instant};

use weir_model::HeldIn;

use crate::config::{BlockSize, ProbeConfig, ProbePoint, Work};
use crate::cpu;
use crate::error::ProbeError;
use crate::expected::expected;
use crate::figures::{PointResult, Run};
use crate::fit::LookupTime;
use crate::run::Bench;
use crate::session::{ProbeMeasurements, ProbeStep, Subject, label, lookup_point};
use crate::volume::buffers;

/// Repeats of either side where nothing is said: an interval over fewer says little, and an even
/// number lets each side begin as often as the other.
pub const REPEATS: u32 = 6;

/// A comparison to be made: what is done, and on what. Both have equally many points.
pub struct Contest<'a> {
    configs: [&'a ProbeConfig; 2],
    subjects: [&'a mut dyn Subject; 2],
    stop: &'a (dyn Fn() -> bool + Sync),
    progress: &'a mut dyn FnMut(ProbeStep<'_>),
    done: usize,
    /// Until it is told.
    expected: Option<Duration>,
    measured: [ProbeMeasurements; 2],
}

impl std::fmt::Debug for Contest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contest").field("configs", &self.configs).finish_non_exhaustive()
    }
}

/// A point of one side, and its repeats so far.
struct Turns {
    point: ProbePoint,
    runs: Vec<Run>,
}

impl<'a> Contest<'a> {
    /// Refuses configurations whose points cannot be put beside each other.
    pub fn new(
        configs: [&'a ProbeConfig; 2],
        subjects: [&'a mut dyn Subject; 2],
        stop: &'a (dyn Fn() -> bool + Sync),
        progress: &'a mut dyn FnMut(ProbeStep<'_>),
    ) -> Result<Self, ProbeError> {
        let [first, second] = configs.map(|config| config.blocks.len());
        if first != second {
            return Err(ProbeError::value(
                "against",
                format!("{first} sizes of blocks stand against {second}"),
                "give both sides equally many",
            ));
        }
        let measured = [ProbeMeasurements::default(), ProbeMeasurements::default()];
        let (done, expected) = (0, None);
        Ok(Self { configs, subjects, stop, progress, done, expected, measured })
    }

    /// Measurements of both sides.
    pub fn steps(config: &ProbeConfig) -> usize {
        let asked = config.blocks.iter().filter(|block| lookup_point(config, **block).is_some());
        2 * (config.points().len() * config.repeats as usize + asked.count())
    }

    /// Makes all measurements; an error of the first ones is returned, later ones end it with what
    /// was measured, as a stop does.
    pub fn run(mut self) -> Result<[ProbeMeasurements; 2], ProbeError> {
        for place in 0..self.configs[0].blocks.len() {
            if (self.stop)() {
                break;
            }
            match self.blocks(place) {
                Ok(()) => {}
                Err(error) if self.measured[0].points.is_empty() => return Err(error),
                Err(error) => {
                    self.measured[0].failed = Some(error.to_string());
                    break;
                }
            }
        }
        let interrupted = (self.stop)();
        for side in &mut self.measured {
            side.interrupted = interrupted;
        }
        Ok(self.measured)
    }

    fn step(&mut self, next: &str) {
        let total = Self::steps(self.configs[0]);
        let expected = self.expected.take();
        (self.progress)(ProbeStep { done: self.done, total, next, expected });
        self.done += 1;
    }

    fn bench(&mut self, side: usize, block: BlockSize) -> Result<Bench<'a>, ProbeError> {
        let config = self.configs[side];
        let most = |list: &[u32]| list.iter().copied().max().unwrap_or(1);
        let (threads, depth) = (most(&config.threads), most(&config.depths));
        let slab = buffers(config, block.bytes)?;
        let opened = self.subjects[side].open(block.bytes, threads, depth, &slab)?;
        let bench = Bench::new(config, opened.tier, block, slab, self.stop)?;
        // Later, a store may still be freeing what was removed.
        if let Some(others) = opened.at_stake.filter(|_| self.done == 0) {
            others.check(bench.stored())?;
        }
        Ok(bench.with_origin(opened.origin, opened.cold).with_server(opened.server))
    }

    /// All points with the blocks at a place of the lists.
    fn blocks(&mut self, place: usize) -> Result<(), ProbeError> {
        let blocks = self.configs.map(|config| config.blocks[place]);
        let began = Instant::now();
        let mut benches = [self.bench(0, blocks[0])?, self.bench(1, blocks[1])?];
        // Of one side on average.
        let opening = began.elapsed() / 2;
        if self.done == 0 {
            let mut sum = Duration::ZERO;
            for (bench, block) in benches.iter_mut().zip(blocks) {
                sum += expected(bench, block, (opening, None))?.unwrap_or_default();
            }
            self.expected = Some(sum);
        }
        let mut lanes = [0, 1].map(|side| {
            let points = self.configs[side].points().into_iter();
            let of_block = points.filter(|point| point.block == blocks[side]);
            of_block.map(|point| Turns { point, runs: Vec::new() }).collect::<Vec<_>>()
        });
        let measured = self.turns(&mut benches, &mut lanes);
        for (side, lanes) in lanes.into_iter().enumerate() {
            let held: HeldIn = benches[side].origin().held;
            let results = lanes.into_iter().filter_map(|l| PointResult::of(l.point, l.runs, held));
            self.measured[side].points.extend(results);
        }
        let asked = if measured.is_ok() { self.lookups(&mut benches, blocks) } else { Ok(()) };
        let [first, second] = &mut benches;
        // Also after a failure nothing of ours is left in somebody's store, if it can be helped.
        measured.and(asked).and(first.tidy().and(second.tidy()))
    }

    /// Repeat by repeat and point by point, both sides in turn; a repeat that one side did not
    /// end is no pair, and goes.
    fn turns(
        &mut self,
        benches: &mut [Bench<'a>; 2],
        lanes: &mut [Vec<Turns>; 2],
    ) -> Result<(), ProbeError> {
        for repeat in 0..self.configs[0].repeats {
            for place in 0..lanes[0].len() {
                let mut pair = [None, None];
                for side in order(repeat) {
                    if (self.stop)() {
                        return Ok(());
                    }
                    let point = lanes[side][place].point;
                    self.step(&format!("{}: {}", ["A", "B"][side], label(&point)));
                    pair[side] = benches[side].measure(point, repeat)?;
                }
                if let [Some(first), Some(second)] = pair {
                    lanes[0][place].runs.push(first);
                    lanes[1][place].runs.push(second);
                }
            }
        }
        Ok(())
    }

    fn lookups(
        &mut self,
        benches: &mut [Bench<'a>; 2],
        blocks: [BlockSize; 2],
    ) -> Result<(), ProbeError> {
        for side in [0, 1] {
            let Some(point) = lookup_point(self.configs[side], blocks[side]) else { return Ok(()) };
            if (self.stop)() {
                return Ok(());
            }
            self.step(&format!("{}: lookups", ["A", "B"][side]));
            benches[side].fill(point)?;
        }
        let turns = self.configs[0].repeats;
        let mut times: [Vec<Vec<LookupTime>>; 2] = Default::default();
        // What makes a cache cold before each question takes longer than to wake.
        let places = if benches.iter().any(Bench::is_cold) { 1 } else { cpu::places() };
        for (turn, place) in (0..turns).flat_map(|turn| (0..places).map(move |place| (turn, place)))
        {
            let _there = cpu::PinnedThread::at(place);
            for side in order(turn + place) {
                if !(self.stop)() {
                    times[side].push(benches[side].lookup_turn(turns * places)?);
                }
            }
        }
        for (side, times) in times.iter().enumerate() {
            let of_count = |place: usize| {
                let turns: Vec<&LookupTime> =
                    times.iter().filter_map(|turn| turn.get(place)).collect();
                LookupTime::over(&turns, places as usize)
            };
            self.measured[side].lookups = (0..).map_while(of_count).collect();
        }
        Ok(())
    }
}

/// A B, then B A.
const fn order(turn: u32) -> [usize; 2] {
    if turn.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

/// What pairs are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet {
    /// GB/s of loads.
    Read,
    /// GB/s of stores.
    Write,
    /// Keys per second of questions whether they are there.
    Lookup,
}

impl Facet {
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Lookup];

    /// The word in claims and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Lookup => "lookup",
        }
    }

    pub fn is_measured_by(self, works: &[Work]) -> bool {
        works.iter().any(|work| match self {
            Self::Read => work.reads(),
            // An engine stores what it misses.
            Self::Write => *work != Work::Read,
            // Only the working set of plain loads is sure to be there.
            Self::Lookup => *work == Work::Read,
        })
    }

    fn of(self, run: &Run) -> Option<f64> {
        let side = match self {
            Self::Read => run.read.as_ref(),
            Self::Write => run.write.as_ref(),
            // Questions are no part of a point's repeats.
            Self::Lookup => None,
        };
        side.map(|side| side.gb_per_s).filter(|rate| *rate > 0.0)
    }
}

/// The figures of both sides at one point, repeat by repeat; nothing of a facet that it lacks.
pub fn pairs(first: &PointResult, second: &PointResult, facet: Facet) -> Vec<(f64, f64)> {
    let runs = first.repeats.iter().zip(&second.repeats);
    runs.filter_map(|(a, b)| Some((facet.of(a)?, facet.of(b)?))).collect()
}

/// The same of a question for so many keys, turn by turn.
pub fn lookup_pairs(first: &LookupTime, second: &LookupTime) -> Vec<(f64, f64)> {
    first.rates().zip(second.rates()).collect()
}

/// The same over all points: per repeat the geometric mean of either side, so that a fast point
/// counts no more than a slow one.
pub fn pairs_over_points(measured: &[&ProbeMeasurements; 2], facet: Facet) -> Vec<(f64, f64)> {
    let [first, second] = measured;
    let points = first.points.iter().zip(&second.points).map(|(a, b)| pairs(a, b, facet));
    let lookups = first.lookups.iter().zip(&second.lookups);
    let lookups = lookups.filter(|_| facet == Facet::Lookup).map(|(a, b)| lookup_pairs(a, b));
    let columns: Vec<Vec<(f64, f64)>> =
        points.chain(lookups).filter(|pairs| !pairs.is_empty()).collect();
    let repeats = columns.iter().map(Vec::len).min().unwrap_or(0);
    let mean = |repeat: usize, of: fn(&(f64, f64)) -> f64| {
        let sum: f64 = columns.iter().map(|pairs| of(&pairs[repeat]).ln()).sum();
        (sum / columns.len() as f64).exp()
    };
    (0..repeats).map(|repeat| (mean(repeat, |p| p.0), mean(repeat, |p| p.1))).collect()
}
