//! Progress of long work: a bar on a terminal, occasional lines elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::forecast::duration_words;
use crate::printer::Printer;

const WORTH_TELLING: f64 = 10.0;

/// Counts cells or other items.
pub(crate) struct Counter {
    bar: ProgressBar,
    /// Cells between two lines without a terminal; 0 prints none.
    every: u64,
    total: u64,
    what: &'static str,
    expected: Cell<Option<(Instant, Duration)>>,
}

impl Counter {
    /// `lines`: cells show their own progress; only their ends are printed here.
    pub(crate) fn new(total: usize, printer: &Printer, lines: bool) -> Self {
        Self::of("cells", total, printer, lines)
    }

    pub(crate) fn of(what: &'static str, total: usize, printer: &Printer, lines: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !lines;
        let bar = ProgressBar::new(total as u64);
        if printer.is_quiet() || !terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        } else {
            let style = ProgressStyle::with_template(&format!(
                "{{bar:30}} {{pos}}/{{len}} {what}  {{elapsed}} elapsed, {{eta}} left  {{msg}}",
            ));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        let every = match () {
            () if printer.is_quiet() || terminal => 0,
            () if lines => 1,
            () => (total as u64 / 10).max(1),
        };
        Self { bar, every, total: total as u64, what, expected: Cell::new(None) }
    }

    pub(crate) fn one_done(&self, name: &str, printer: &mut Printer) {
        self.bar.inc(1);
        self.bar.set_message(name.to_owned());
        let done = self.bar.position();
        if self.every > 0 && (done.is_multiple_of(self.every) || done == self.total) {
            let left = self.left(done).unwrap_or_default();
            printer.note(&format!("{done}/{} {}{left}", self.total, self.what));
        }
    }

    pub(crate) fn begins(&self, expected: Option<Duration>) {
        self.bar.reset_elapsed();
        self.expected.set(expected.map(|expected| (Instant::now(), expected)));
    }

    fn left(&self, done: u64) -> Option<String> {
        let announced = self.expected.get().map(|(began, expected)| (began.elapsed(), expected));
        let seconds = left(announced, self.bar.elapsed(), done, self.total);
        (seconds >= WORTH_TELLING).then(|| format!(", {} left", duration_words(seconds)))
    }

    pub(crate) fn now(&self, label: &str) {
        self.bar.set_message(label.to_owned());
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Seconds of the rest: the announced time minus the elapsed. Without it, or after it, by the pace
/// so far.
fn left(announced: Option<(Duration, Duration)>, elapsed: Duration, done: u64, total: u64) -> f64 {
    let rest = announced.map(|(passed, expected)| expected.saturating_sub(passed));
    match rest {
        Some(rest) if !rest.is_zero() && done < total => rest.as_secs_f64(),
        _ => elapsed.as_secs_f64() / done.max(1) as f64 * total.saturating_sub(done) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_counted_down_and_the_pace_stands_in_for_it() {
        let seconds = Duration::from_secs;
        // One of five steps took twelve seconds of twenty.
        assert_eq!(left(Some((seconds(12), seconds(20))), seconds(12), 1, 5), 8.0);
        assert_eq!(left(None, seconds(12), 1, 5), 48.0);
        assert_eq!(left(Some((seconds(24), seconds(20))), seconds(24), 3, 5), 16.0);
        assert_eq!(left(Some((seconds(12), seconds(20))), seconds(12), 5, 5), 0.0);
    }
}
