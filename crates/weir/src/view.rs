//! Display of a running live cell: a few lines on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use weir_lab::Phase;
use weir_load::LiveSnapshot;
use weir_model::Nanos;
use weir_spec::plan::Level;

use crate::printer::Printer;

/// Without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct View {
    bar: ProgressBar,
    lines: Option<Mutex<Lines>>,
    name: String,
    duration: Option<Nanos>,
    requests: Option<u64>,
}

struct Lines {
    printer: Printer,
    last: Instant,
}

impl View {
    pub(crate) fn new(path: &str, level: &Level, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let bar = ProgressBar::new_spinner();
        if terminal {
            let style = ProgressStyle::with_template("{prefix}  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(path.to_owned());
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let lines = (!terminal && !quiet)
            .then(|| Mutex::new(Lines { printer: Printer::new(quiet), last: Instant::now() }));
        Self {
            bar,
            lines,
            name: path.to_owned(),
            duration: level.duration,
            requests: level.max_requests,
        }
    }

    pub(crate) fn phase(&self, phase: Phase) {
        let words = match phase {
            Phase::BringUp => "bringing up",
            Phase::WarmUp => "warming up",
            Phase::Flush => "emptying caches",
            Phase::Load => "preparing prompts",
            Phase::Collect => "collecting",
            Phase::TakeDown => "taking down",
        };
        self.bar.set_message(words);
    }

    pub(crate) fn show(&self, now: &LiveSnapshot) {
        if now.elapsed == Nanos::ZERO {
            return;
        }
        let words = self.words(now);
        if let Some(lines) = &self.lines {
            let mut lines = lines.lock();
            if lines.last.elapsed() >= LINE_EVERY {
                lines.last = Instant::now();
                lines.printer.note(&format!("{}: {words}", self.name));
            }
        }
        self.bar.set_message(words);
    }

    fn words(&self, now: &LiveSnapshot) -> String {
        let seconds = now.elapsed.as_secs_f64().max(1e-9);
        let left = match (self.duration, self.requests) {
            (_, Some(most)) => format!("{} of {most} requests", now.done + now.failed),
            (Some(duration), None) if now.elapsed >= duration => {
                format!("{seconds:.0} s, waiting for the requests of the window")
            }
            (Some(duration), None) if duration < Nanos::from_secs(30 * 86_400) => {
                format!("{seconds:.0} of {:.0} s", duration.as_secs_f64())
            }
            _ => format!("{seconds:.0} s, {} requests", now.done + now.failed),
        };
        let busiest = now.busy.iter().copied().fold(0.0, f64::max);
        let failed = match (&now.last_error, now.failed) {
            (Some(error), failed) if failed > 0 => format!(", {failed} failed ({error})"),
            _ => String::new(),
        };
        format!(
            "{left}, {} in flight, {:.1} req/s, {:.0} events/s, TTFT p50 {:.1} p99 {:.1} ms, \
             ITL p50 {:.2} p99 {:.2} ms, client {:.0} %{failed}",
            now.in_flight,
            now.done as f64 / seconds,
            now.events as f64 / seconds,
            now.first_token.p50.as_millis_f64(),
            now.first_token.p99.as_millis_f64(),
            now.gap.p50.as_millis_f64(),
            now.gap.p99.as_millis_f64(),
            100.0 * busiest,
        )
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
