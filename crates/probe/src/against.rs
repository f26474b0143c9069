//! Two tiers alternating: each repeat of a point is measured on both, and the next repeat begins
//! with the other tier. Changes of the machine affect both alike, so results are comparable pairs.

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

/// Default repeats per side: an interval over fewer says little, and an even number lets each side
/// begin equally often.
pub const REPEATS: u32 = 6;

/// Both sides have the same number of points.
pub struct Contest<'a> {
    configs: [&'a ProbeConfig; 2],
    subjects: [&'a mut dyn Subject; 2],
    stop: &'a (dyn Fn() -> bool + Sync),
    progress: &'a mut dyn FnMut(ProbeStep<'_>),
    done: usize,
    /// Until it is reported.
    expected: Option<Duration>,
    measured: [ProbeMeasurements; 2],
}

impl std::fmt::Debug for Contest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contest").field("configs", &self.configs).finish_non_exhaustive()
    }
}

struct Turns {
    point: ProbePoint,
    runs: Vec<Run>,
}

impl<'a> Contest<'a> {
    /// Refuses configurations whose points cannot be compared.
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

    pub fn steps(config: &ProbeConfig) -> usize {
        let asked = config.blocks.iter().filter(|block| lookup_point(config, **block).is_some());
        2 * (config.points().len() * config.repeats as usize + asked.count())
    }

    /// Makes all measurements. An early error is returned; a later one, or a stop, ends it with the
    /// results so far.
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
        // Later, a store may still be freeing removed blocks.
        if let Some(others) = opened.at_stake.filter(|_| self.done == 0) {
            others.check(bench.stored())?;
        }
        Ok(bench.with_origin(opened.origin, opened.cold).with_server(opened.server))
    }

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
        // Even after a failure, no probe blocks should stay in a user's store.
        measured.and(asked).and(first.tidy().and(second.tidy()))
    }

    /// Repeat by repeat and point by point, both sides alternating. A repeat that one side did not
    /// finish is dropped.
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
        // Dropping caches before each lookup takes longer than a wake-up.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet {
    Read,
    Write,
    Lookup,
}

impl Facet {
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Lookup];

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
            // Only for plain loads is the working set surely present.
            Self::Lookup => *work == Work::Read,
        })
    }

    fn of(self, run: &Run) -> Option<f64> {
        let side = match self {
            Self::Read => run.read.as_ref(),
            Self::Write => run.write.as_ref(),
            // Lookups are not part of a point's repeats.
            Self::Lookup => None,
        };
        side.map(|side| side.gb_per_s).filter(|rate| *rate > 0.0)
    }
}

/// The figures of both sides at one point, repeat by repeat; empty without the facet.
pub fn pairs(first: &PointResult, second: &PointResult, facet: Facet) -> Vec<(f64, f64)> {
    let runs = first.repeats.iter().zip(&second.repeats);
    runs.filter_map(|(a, b)| Some((facet.of(a)?, facet.of(b)?))).collect()
}

/// The same for lookups of one key count, turn by turn.
pub fn lookup_pairs(first: &LookupTime, second: &LookupTime) -> Vec<(f64, f64)> {
    first.rates().zip(second.rates()).collect()
}

/// The same over all points: the geometric mean of each side per repeat, so that a fast point
/// weighs no more than a slow one.
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
