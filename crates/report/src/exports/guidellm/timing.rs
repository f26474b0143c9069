//! `GuideLLM`'s rates and concurrencies: distributions over time, each value weighted by how long
//! it held.

use super::summary::{Summary, Weighted};

/// Closer events count as one.
const THRESHOLD_S: f64 = 1e-4;
/// The least length of the last interval.
const EPSILON_S: f64 = 1e-6;
/// 16 MiB of token times. Windows longer than this many thresholds (seven minutes) get wider cells.
const MOST_CELLS: usize = 1 << 22;

/// The rate of weighted events (Unix seconds, weight) in a window.
pub(super) fn rate(mut events: Vec<Weighted>, window: Option<(f64, f64)>) -> Summary {
    if let Some((start, end)) = window {
        events.retain(|event| (start..=end).contains(&event.0));
        events.extend([(start, 0.0), (end, 0.0)]);
    }
    events.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // A group takes all times within the threshold of its first.
    events.dedup_by(|next, kept| {
        let joins = next.0 <= kept.0 + THRESHOLD_S;
        kept.1 += if joins { next.1 } else { 0.0 };
        joins
    });
    let [first, .., last] = events.as_slice() else {
        return Summary::weighted(Vec::new(), Some(events.len() as u64));
    };
    let (first, last) = (first.0, last.0);
    let count = events.iter().map(|event| event.1).sum::<f64>().round() as u64;
    let middle = |place: usize| f64::midpoint(events[place].0, events[place + 1].0);
    let rates = (0..events.len())
        .map(|place| {
            let from = if place == 0 { first } else { middle(place - 1) };
            let length = if place + 1 == events.len() {
                (last - from).max(EPSILON_S)
            } else {
                middle(place) - from
            };
            (events[place].1 / length, length)
        })
        .collect();
    Summary::weighted(rates, Some(count))
}

/// An interval (Unix seconds) and its weight.
pub(super) type Interval = (f64, f64, f64);

/// The weight in flight, over time.
pub(super) fn concurrency(mut intervals: Vec<Interval>, window: Option<(f64, f64)>) -> Summary {
    let (from, to) = window.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    intervals.retain(|interval| interval.1 >= from && interval.0 <= to);
    let count = intervals.len() as u64;
    let mut changes: Vec<Weighted> = intervals
        .iter()
        .flat_map(|&(start, end, weight)| [(start.max(from), weight), (end.min(to), -weight)])
        .collect();
    if count > 0 && window.is_some() {
        changes.extend([(from, 0.0), (to, 0.0)]);
    }
    changes.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut level = 0.0;
    let mut levels = Vec::with_capacity(changes.len());
    for pair in changes.windows(2) {
        level += pair[0].1;
        let length = pair[1].0 - pair[0].0;
        if length > 0.0 {
            levels.push((f64::max(level, 0.0), length));
        }
    }
    Summary::weighted(levels, Some(count))
}

/// Counts of tokens on a grid over the window, to bound the memory of very many token times.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    start: f64,
    cell: f64,
    tokens: Vec<u32>,
}

impl Grid {
    pub(super) fn new((start, end): (f64, f64)) -> Self {
        let length = (end - start).max(THRESHOLD_S);
        let cells = ((length / THRESHOLD_S).ceil() as usize).clamp(1, MOST_CELLS);
        Self { start, cell: length / cells as f64, tokens: vec![0; cells] }
    }

    pub(super) fn add(&mut self, at: f64, tokens: u32) {
        let place = ((at - self.start) / self.cell) as usize;
        let last = self.tokens.len() - 1;
        let cell = &mut self.tokens[place.min(last)];
        *cell = cell.saturating_add(tokens);
    }

    pub(super) fn events(&self) -> Vec<Weighted> {
        let at = |place: usize| self.start + (place as f64 + 0.5) * self.cell;
        let cells = self.tokens.iter().enumerate().filter(|(_, tokens)| **tokens > 0);
        cells.map(|(place, &tokens)| (at(place), f64::from(tokens))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_equal_those_of_guidellm() {
        // DistributionSummary.rate_distribution_from_timings([1, 2, 2.00005, 4], 0, 10).
        let seen =
            rate(vec![(4.0, 1.0), (1.0, 1.0), (2.0, 1.0), (2.00005, 1.0)], Some((0.0, 10.0)));
        assert_eq!(seen.count, 4);
        assert!((seen.mean - 0.4).abs() < 1e-12, "{}", seen.mean);
        assert!((seen.max - 4.0 / 3.0).abs() < 1e-12, "{}", seen.max);
        assert_eq!((seen.min, seen.median), (0.0, 0.25));
        // A window without events has a rate of zero; no window and one event have none.
        assert_eq!(rate(Vec::new(), Some((0.0, 10.0))).mean, 0.0);
        assert_eq!(rate(vec![(1.0, 1.0)], None).count, 1);
    }

    #[test]
    fn concurrency_is_weighed_by_time() {
        // 0..2 one, 2..4 two, 4..6 one, 6..10 none.
        let seen = concurrency(vec![(-1.0, 4.0, 1.0), (2.0, 6.0, 1.0)], Some((0.0, 10.0)));
        assert_eq!((seen.count, seen.min, seen.max), (2, 0.0, 2.0));
        assert!((seen.mean - 0.8).abs() < 1e-12);
        assert_eq!(concurrency(Vec::new(), Some((0.0, 10.0))), Summary::default());
    }

    #[test]
    fn a_grid_keeps_the_number_of_tokens() {
        let mut grid = Grid::new((100.0, 5000.0));
        for at in 0..1000 {
            grid.add(100.0 + f64::from(at) * 4.9, 3);
        }
        grid.add(5000.0, 1);
        assert_eq!(grid.tokens.len(), MOST_CELLS);
        let total: f64 = grid.events().iter().map(|event| event.1).sum();
        assert_eq!(total, 3001.0);
    }
}
