//! Spans of the window without a token, from the whole server or one of its parts.
//!
//! A stall shows in the tails and hardly in a mean: a cell that stood still for a third of its
//! window looks slow. With one user, the prefill of a long prompt is silence too. So a span counts
//! where it is much longer than the usual wait for a token.

use std::collections::BTreeMap;
use std::ops::Range;

use weir_model::{Nanos, RequestRow, Silence, Stalled, Window};
use weir_observe::{SamplerConfig, SamplerEvent, UnixNanos};

/// Resolution.
const STEP: Nanos = Nanos::from_millis(10);
/// Bounds the memory where a clock is wrong.
const STEPS_MAX: usize = 10_000_000;
/// Shorter spans are no stall.
const SHORTEST: Nanos = Nanos::from_secs(1);
/// A stall is this many times the usual longest wait of a request.
const TIMES_USUAL: u64 = 4;
/// Missed samples in a row before a part counts as silent: one or two mean a busy machine.
const MISSED_IN_A_ROW: u64 = 3;

/// When tokens came, and when a request waited for one.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// By step.
    came: Vec<bool>,
    /// Of the requests in flight, by step.
    change: Vec<i32>,
    waits: Vec<Wait>,
}

/// The longest wait of a request for a token.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// First and last step of the request.
    steps: (usize, usize),
    /// Binary magnitude of the tokens to compute.
    work: u32,
    /// None where no token came.
    longest: Option<Nanos>,
}

impl Flow {
    pub(crate) fn add(&mut self, row: &RequestRow) {
        let first = row.first_token.map(|first| first.saturating_sub(row.start));
        let cached: u64 = row.cached_tokens.iter().map(|tokens| u64::from(tokens.0)).sum();
        let computed = u64::from(row.prompt_tokens.0).saturating_sub(cached);
        let waits = first.into_iter().chain(row.chunk_gaps.iter().copied());
        self.request(row.start, row.end, computed, waits);
    }

    /// A request between two times, with the wait before each token.
    fn request(
        &mut self,
        start: Nanos,
        end: Nanos,
        computed: u64,
        waits: impl Iterator<Item = Nanos>,
    ) {
        let last = step(end);
        if last >= STEPS_MAX {
            return;
        }
        if last + 1 >= self.change.len() {
            self.came.resize(last + 2, false);
            self.change.resize(last + 2, 0);
        }
        self.change[step(start)] += 1;
        self.change[last + 1] -= 1;
        let (mut at, mut longest) = (start, None);
        for wait in waits {
            at += wait;
            self.came[step(at).min(last)] = true;
            longest = longest.max(Some(wait));
        }
        let work = u64::BITS - computed.leading_zeros();
        self.waits.push(Wait { steps: (step(start), last), work, longest });
    }

    /// None without a stall, or without any token.
    pub(crate) fn stalled(&mut self, window: Window) -> Option<Stalled> {
        let (quiet, most) = self.quiet(step(window.start)..step(window.end));
        let usual = self.usual(2 * most + 1)?;
        let mut spans = Spans::default();
        for span in quiet {
            let in_it = |of: &&Wait| of.steps.0 < span.end && of.steps.1 >= span.start;
            let waiting = self.waits.iter().filter(in_it);
            let longest = waiting.map(|of| usual[of.work as usize]).max().unwrap_or_default();
            spans.add(STEP * span.len() as u64, SHORTEST.max(longest * TIMES_USUAL));
        }
        spans.stalled(Silence::Tokens, window.length())
    }

    /// Spans in which requests waited and none got a token, and the most requests in flight.
    fn quiet(&self, steps: Range<usize>) -> (Vec<Range<usize>>, usize) {
        let (mut spans, mut from) = (Vec::new(), None);
        let (mut in_flight, mut most) = (0, 0);
        for (at, (came, change)) in self.came.iter().zip(&self.change).enumerate() {
            in_flight += change;
            most = most.max(in_flight);
            if steps.contains(&at) && in_flight > 0 && !came {
                from.get_or_insert(at);
            } else if let Some(from) = from.take() {
                spans.push(from..at);
            }
        }
        spans.extend(from.map(|from| from..self.came.len()));
        spans.retain(|span| STEP * span.len() as u64 >= SHORTEST);
        (spans, usize::try_from(most).unwrap_or(0))
    }

    /// By magnitude of work: the median of the longest waits of requests with at least that work.
    /// At least `least` requests, those with the most work: more than one stall can touch.
    fn usual(&self, least: usize) -> Option<[Nanos; u64::BITS as usize + 1]> {
        let mut usual = [Nanos::ZERO; u64::BITS as usize + 1];
        let mut all: Vec<(u32, Nanos)> =
            self.waits.iter().filter_map(|of| Some((of.work, of.longest?))).collect();
        if all.is_empty() {
            return None;
        }
        all.sort_unstable_by_key(|(work, _)| std::cmp::Reverse(*work));
        for (work, usual) in usual.iter_mut().enumerate() {
            let as_much = all.partition_point(|(other, _)| *other as usize >= work);
            let count = as_much.max(least).min(all.len());
            let mut waits: Vec<Nanos> = all[..count].iter().map(|(_, wait)| *wait).collect();
            *usual = *waits.select_nth_unstable(count / 2).1;
        }
        Some(usual)
    }
}

fn step(time: Nanos) -> usize {
    usize::try_from(time.0 / STEP.0).unwrap_or(usize::MAX)
}

#[derive(Debug, Clone, Copy, Default)]
struct Spans {
    longest: Nanos,
    total: Nanos,
}

impl Spans {
    fn add(&mut self, span: Nanos, least: Nanos) {
        if span >= least {
            self.longest = self.longest.max(span);
            self.total += span;
        }
    }

    fn stalled(self, of: Silence, window: Nanos) -> Option<Stalled> {
        let Self { longest, total } = self;
        (total > Nanos::ZERO).then_some(Stalled { of, longest, total, window })
    }
}

/// The measured window in the samples' time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnixWindow {
    pub(crate) start: UnixNanos,
    pub(crate) end: UnixNanos,
}

impl UnixWindow {
    /// `began` is the start of the load.
    pub(crate) fn of(window: Window, began: UnixNanos) -> Self {
        Self { start: began.after(window.start), end: began.after(window.end) }
    }

    pub(crate) fn contains(&self, at: UnixNanos) -> bool {
        self.start <= at && at < self.end
    }
}

/// Parts that answered before, and then missed several samples in a row in the window.
pub(crate) fn silent_parts(
    observations: &[SamplerEvent],
    sampler: &SamplerConfig,
    UnixWindow { start, end }: UnixWindow,
    name: impl Fn(&str) -> String,
) -> Vec<Stalled> {
    let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
    for observation in observations {
        match observation {
            SamplerEvent::Sample(sample) => {
                parts.entry(sample.source()).or_default().answered = true;
            }
            SamplerEvent::Gap(gap) if gap.due >= start && gap.due < end => {
                let part = parts.entry(&gap.source).or_default();
                // A source's thread reports them in order.
                if part.next_due != Some(gap.due) {
                    part.close(sampler.interval);
                }
                part.missed += gap.missed;
                part.next_due = Some(gap.due.after(sampler.interval * gap.missed));
            }
            SamplerEvent::Gap(_) => {}
        }
    }
    let window = end.since(start).unwrap_or_default();
    parts
        .into_iter()
        .filter_map(|(source, mut part)| {
            part.close(sampler.interval);
            // Parts that never answered are reported elsewhere.
            let spans = Some(part.spans).filter(|_| part.answered)?;
            spans.stalled(Silence::Part(name(source)), window)
        })
        .collect()
}

/// Names the part that was silent for most of the time in which no token came.
pub(crate) fn with_cause(stood_still: Option<Stalled>, silent: Vec<Stalled>) -> Vec<Stalled> {
    let whole = stood_still.map(|whole| {
        let part = silent.iter().filter(|part| 2 * part.total.0 >= whole.total.0);
        match part.max_by_key(|part| part.total).map(|part| &part.of) {
            Some(Silence::Part(name)) => Stalled { of: Silence::Behind(name.clone()), ..whole },
            _ => whole,
        }
    });
    whole.into_iter().chain(silent).collect()
}

#[derive(Default)]
struct Part {
    answered: bool,
    missed: u64,
    next_due: Option<UnixNanos>,
    spans: Spans,
}

impl Part {
    fn close(&mut self, interval: Nanos) {
        self.spans.add(interval * self.missed, interval * MISSED_IN_A_ROW);
        self.missed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Start of a request and its waits for tokens, milliseconds.
    type Asked = (u64, Vec<u64>);

    fn stalled(requests: &[Asked], window: (u64, u64)) -> Option<Stalled> {
        computing(requests, |_| 40, window)
    }

    /// The same with tokens to compute, by their first wait.
    fn computing(
        requests: &[Asked],
        work: impl Fn(u64) -> u64,
        window: (u64, u64),
    ) -> Option<Stalled> {
        let mut flow = Flow::default();
        for (start, waits) in requests {
            let end = Nanos::from_millis(start + waits.iter().sum::<u64>());
            let times = waits.iter().copied().map(Nanos::from_millis);
            flow.request(Nanos::from_millis(*start), end, work(waits[0]), times);
        }
        let (start, end) = (Nanos::from_secs(window.0), Nanos::from_secs(window.1));
        flow.stalled(Window { start, end })
    }

    #[test]
    fn a_server_that_stood_still_is_told_from_a_slow_one() {
        // Two requests a second, a token every 100 ms; from 4 s to 9 s none.
        let usual = |start| (start, vec![200, 100, 100]);
        let mut rows: Vec<Asked> = (0..8).map(|at| usual(at * 500)).collect();
        rows.push((3_900, vec![5_200, 100]));
        rows.extend((19..40).map(|at| usual(at * 500)));
        let stall = stalled(&rows, (1, 20)).unwrap();
        assert!((5_000..=5_200).contains(&(stall.total.0 / 1_000_000)), "{stall}");
        assert_eq!(stall.longest, stall.total);
        assert!(stall.is_too_long(), "5 s of 19");
        // Only the window counts, and its stated share.
        assert_eq!(stalled(&rows, (10, 20)), None);
        let long = Stalled { window: Nanos(100 * SECOND), ..stall };
        assert!(!long.is_too_long());
        // No request waits: no stall.
        assert_eq!(stalled(&[usual(0), usual(15_000)], (0, 20)), None);
        // Usual waits, of one user with long prompts, are none either.
        let slow: Vec<Asked> = (0..4).map(|at| (at * 5_000, vec![4_500, 100])).collect();
        assert_eq!(stalled(&slow, (0, 20)), None);
    }

    #[test]
    fn prompts_that_are_computed_among_cached_ones_are_no_stall() {
        // One user: each sixth prompt is computed, the others are cached.
        let waits = |at: u64| if at.is_multiple_of(6) { vec![1_400, 20] } else { vec![100, 20] };
        let mut rows: Vec<Asked> = Vec::new();
        for at in 0..60 {
            let end = rows.last().map_or(0, |(start, waits)| start + waits.iter().sum::<u64>());
            rows.push((end, waits(at)));
        }
        let work = |first| if first > 1_000 { 1_040 } else { 40 };
        assert_eq!(computing(&rows, work, (0, 20)), None);
        assert!(stalled(&rows, (0, 20)).is_some(), "where all have as much to compute, it is");
        // A much longer wait is one, for any amount of work.
        let (last, _) = rows[59];
        rows[59] = (last, vec![6_000, 20]);
        let stall = computing(&rows, work, (0, 27)).unwrap();
        assert!((5_800..=6_000).contains(&(stall.total.0 / 1_000_000)), "{stall}");
    }

    #[test]
    fn a_part_that_answers_no_more_is_named_with_its_time() {
        let at = |second: u64| UnixNanos(second * SECOND);
        let gap = |source: &str, due: u64, missed: u64| {
            SamplerEvent::Gap(weir_observe::Gap {
                source: source.to_owned(),
                due: at(due),
                missed,
                cause: "timeout".to_owned(),
            })
        };
        let config = SamplerConfig::default();
        let window = UnixWindow { start: at(100), end: at(130) };
        let mut seen = vec![gap("a", 110, 1), gap("a", 111, 2), gap("a", 120, 2), gap("b", 105, 9)];
        assert_eq!(silent_parts(&seen, &config, window, str::to_owned), [], "nobody ever answered");
        let answer = weir_observe::HostProbe::open(&[]).sample(&weir_observe::UtcClock::anchored());
        let answer = weir_observe::SourceSample::Host(answer);
        let name = answer.source().to_owned();
        seen.insert(0, SamplerEvent::Sample(answer));
        seen.push(gap(&name, 110, 4));
        seen.push(gap(&name, 90, 9));
        seen.push(gap(&name, 120, 2));
        let silent = silent_parts(&seen, &config, window, str::to_owned);
        assert_eq!(silent.len(), 1);
        assert_eq!((silent[0].longest, silent[0].total), (Nanos(4 * SECOND), Nanos(4 * SECOND)));
        assert!(!silent[0].is_too_long(), "4 s are late, and no stop");
        let stopped = |seconds| {
            let span = Nanos(seconds * SECOND);
            Stalled { longest: span, total: span, ..silent[0].clone() }
        };
        assert!(!stopped(7).is_too_long() && stopped(8).is_too_long(), "of a window of 30 s");
        assert!(silent[0].to_string().starts_with(&format!("{name} did not answer for 4")));
        let whole = Stalled { of: Silence::Tokens, ..stopped(8) };
        assert_eq!(with_cause(Some(whole.clone()), silent.clone())[0].of, Silence::Behind(name));
        let longer = Stalled { total: Nanos(9 * SECOND), ..whole };
        assert_eq!(with_cause(Some(longer), silent)[0].of, Silence::Tokens, "4 s of 9");
    }
}
