//! Progress of long work: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::forecast::duration_words;
use crate::printer::Printer;

/// Seconds that are worth telling.
const WORTH_TELLING: f64 = 10.0;

/// Progress over cells, or other things of which there are many.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Cells between two lines where there is no terminal; 0 prints none.
    every: u64,
    total: u64,
    what: &'static str,
}

impl Progress {
    /// `lines`: cells show progress of their own, and only their ends are said here.
    pub(crate) fn new(total: usize, printer: &Printer, lines: bool) -> Self {
        Self::of("cells", total, printer, lines)
    }

    /// The same over other things, which are called so.
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
        Self { bar, every, total: total as u64, what }
    }

    /// A cell is done.
    pub(crate) fn cell_done(&self, path: &str, printer: &mut Printer) {
        self.bar.inc(1);
        self.bar.set_message(path.to_owned());
        let done = self.bar.position();
        if self.every > 0 && (done.is_multiple_of(self.every) || done == self.total) {
            let left = self.left(done).unwrap_or_default();
            printer.note(&format!("{done}/{} {}{left}", self.total, self.what));
        }
    }

    /// The time that the rest takes, at the pace until now; nothing where it is hardly any.
    fn left(&self, done: u64) -> Option<String> {
        let each = self.bar.elapsed().as_secs_f64() / done.max(1) as f64;
        let seconds = each * self.total.saturating_sub(done) as f64;
        (seconds >= WORTH_TELLING).then(|| format!(", {} left", duration_words(seconds)))
    }

    /// Says what is worked on now.
    pub(crate) fn now(&self, label: &str) {
        self.bar.set_message(label.to_owned());
    }

    /// The bar goes away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
