//! Figures by round: medians, ratios and bars.

use std::fmt;

use serde::Serialize;

/// Foreign load of a disturbed round, in cores. It includes the kernel's threads and interrupts,
/// so it is never near zero.
const DISTURBED_CORES: f64 = 0.3;
/// A larger value means an allocation per number of blocks; buffers that double with the batch
/// stay far below.
const ALLOCATIONS_MAX: f64 = 0.01;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    Put,
    Get,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Put, Self::Get];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Put => "put",
            Self::Get => "get",
        })
    }
}

/// One round of one contestant in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// 10^9 bytes per second.
    pub(crate) gb_per_s: f64,
    /// CPU seconds of the client per 10^9 bytes, where known.
    pub(crate) client_s_per_gb: Option<f64>,
    /// The same of the server.
    pub(crate) server_s_per_gb: Option<f64>,
    /// Cores busy with neither of them.
    pub(crate) foreign_cores: Option<f64>,
}

impl Sample {
    pub(crate) fn is_disturbed(&self) -> bool {
        self.foreign_cores.is_some_and(|cores| cores > DISTURBED_CORES)
    }
}

pub(crate) type Round = [Sample; 2];

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Demand {
    /// Least ratio of Weir's bytes per second.
    pub(crate) rate: Option<f64>,
    /// Largest ratio of Weir's CPU seconds per byte.
    pub(crate) processor: Option<f64>,
    /// The practical limit, and no other program.
    pub(crate) is_limit: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// None for Weir itself.
    pub(crate) demand: Option<Demand>,
    pub(crate) rounds: Vec<Round>,
    /// Why it has no or fewer rounds.
    pub(crate) absent: Option<String>,
}

/// Of Weir's tier after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Allocations {
    pub(crate) per_call: f64,
    /// Additional ones per block.
    pub(crate) per_block: f64,
}

impl Allocations {
    /// From calls of half a batch and of a whole one.
    pub(crate) fn of_calls(half: u64, whole: u64, half_blocks: usize) -> Self {
        let more = whole as f64 - half as f64;
        Self { per_call: whole as f64, per_block: more / half_blocks as f64 }
    }
}

/// Contestants on the same blocks and the same machine, in turns.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) notes: Vec<String>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) allocations: Option<[Allocations; 2]>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    /// None where it could not be measured.
    pub(crate) value: Option<f64>,
    pub(crate) limit: String,
    pub(crate) met: bool,
}

impl Entry {
    pub(crate) fn median(&self, way: Way, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> =
            self.rounds.iter().filter_map(|round| figure(&round[way as usize])).collect();
        median(&values)
    }

    pub(crate) fn range(&self, way: Way) -> Option<(f64, f64)> {
        let rates = self.rounds.iter().map(|round| round[way as usize].gb_per_s);
        let low = rates.clone().reduce(f64::min)?;
        Some((low, rates.reduce(f64::max)?))
    }
}

/// The median of ratios by round: the state of the machine affects both contestants.
pub(crate) fn ratio(
    over: &Entry,
    under: &Entry,
    way: Way,
    figure: impl Fn(&Sample) -> Option<f64>,
) -> Option<f64> {
    let value = |round: &Round| figure(&round[way as usize]);
    let pairs = over.rounds.iter().zip(&under.rounds);
    let ratios: Vec<f64> =
        pairs.filter_map(|(over, under)| Some(value(over)? / value(under)?)).collect();
    median(&ratios)
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}

impl Case {
    pub(crate) fn weir(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.demand.is_none())
    }

    pub(crate) fn limit(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.demand.is_some_and(|demand| demand.is_limit))
    }

    pub(crate) fn bars(&self) -> Vec<Bar> {
        let Some(weir) = self.weir() else { return Vec::new() };
        let mut bars = Vec::new();
        for way in Way::BOTH {
            for entry in &self.entries {
                let Some(demand) = entry.demand else { continue };
                let name = format!("{}, {way}", self.name);
                if let Some(least) = demand.rate {
                    let value = ratio(weir, entry, way, |sample| Some(sample.gb_per_s));
                    let what = format!("{name}: GB/s over {}", entry.name);
                    let met = value.is_some_and(|value| value >= least);
                    bars.push(Bar { what, value, limit: format!(">= {least}"), met });
                }
                if let Some(most) = demand.processor {
                    let value = ratio(weir, entry, way, |sample| sample.client_s_per_gb);
                    let what = format!("{name}: client CPU per GB over {}", entry.name);
                    let met = value.is_some_and(|value| value <= most);
                    bars.push(Bar { what, value, limit: format!("<= {most}"), met });
                }
            }
            if let Some(allocations) = self.allocations {
                let value = Some(allocations[way as usize].per_block);
                let what = format!("{}, {way}: Weir's allocations per block", self.name);
                let met = value.is_some_and(|value| value <= ALLOCATIONS_MAX);
                bars.push(Bar { what, value, limit: "<= 0".to_owned(), met });
            }
        }
        bars
    }

    pub(crate) fn disturbed(&self) -> (usize, usize) {
        let samples = self.entries.iter().flat_map(|entry| entry.rounds.iter().flatten());
        let known = samples.filter(|sample| sample.foreign_cores.is_some());
        known.fold((0, 0), |(disturbed, all), sample| {
            (disturbed + usize::from(sample.is_disturbed()), all + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Allocations, Case, Demand, Entry, Sample, Way, median, ratio};

    fn sample(gb_per_s: f64, client: f64) -> Sample {
        let client_s_per_gb = Some(client);
        Sample { gb_per_s, client_s_per_gb, server_s_per_gb: None, foreign_cores: Some(0.0) }
    }

    fn entry(demand: Option<Demand>, rates: &[f64], client: f64) -> Entry {
        let rounds = rates.iter().map(|rate| [sample(*rate, client), sample(2.0 * rate, client)]);
        Entry { name: "it".to_owned(), demand, rounds: rounds.collect(), absent: None }
    }

    #[test]
    fn the_median_is_in_the_middle_of_what_is_a_number() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, f64::NAN, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios_are_of_rounds_and_not_of_medians() {
        // The machine halves its speed after the first round; the ratio stays.
        let over = entry(None, &[4.0, 2.0, 2.0], 0.1);
        let under = entry(None, &[8.0, 4.0, 4.0], 0.2);
        let rate = |sample: &Sample| Some(sample.gb_per_s);
        assert_eq!(ratio(&over, &under, Way::Put, rate), Some(0.5));
        // A contestant that failed is compared by its complete rounds.
        let short = entry(None, &[8.0], 0.2);
        assert_eq!(ratio(&over, &short, Way::Get, rate), Some(0.5));
        assert_eq!(ratio(&over, &entry(None, &[], 0.2), Way::Get, rate), None);
    }

    #[test]
    fn bars_are_met_or_short_and_the_absent_meets_none() {
        let demand = Some(Demand { rate: Some(2.0), processor: Some(0.5), is_limit: false });
        let case = |rates: &[f64]| Case {
            name: "case".to_owned(),
            notes: Vec::new(),
            entries: vec![entry(None, &[4.0, 4.0], 0.1), entry(demand, rates, 0.4)],
            allocations: Some([Allocations::of_calls(3, 3, 8), Allocations::of_calls(3, 11, 8)]),
        };
        let met =
            |rates: &[f64]| -> Vec<bool> { case(rates).bars().iter().map(|bar| bar.met).collect() };
        // Put: rate, CPU, allocations; then get, which allocates once for each block.
        assert_eq!(met(&[1.0, 1.0]), [true, true, true, true, true, false]);
        assert_eq!(met(&[3.0, 3.0]), [false, true, true, false, true, false]);
        let bars = case(&[]).bars();
        assert_eq!((bars[0].value, bars[0].met), (None, false));
    }
}
