//! stdout carries results, stderr carries messages. The only place that writes to either.

use std::io::{self, Write};

/// Columns of the terminal that results go to: `COLUMNS` where it is set, else the terminal's own;
/// nothing where results go to a file.
pub(crate) fn columns() -> Option<usize> {
    let set = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    set.or_else(|| Some(terminal_size::terminal_size_of(io::stdout())?.0.0.into()))
}

/// Where a command's words go.
pub(crate) struct Printer {
    quiet: bool,
    out: io::Stdout,
    err: io::Stderr,
}

impl Printer {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, out: io::stdout(), err: io::stderr() }
    }

    /// True when only errors are wanted on stderr.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A result. A reader that has gone (`weir list | head`) is not an error.
    pub(crate) fn result(&mut self, text: &str) -> anyhow::Result<()> {
        let mut out = self.out.lock();
        let written = out
            .write_all(text.as_bytes())
            .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| anyhow::anyhow!("cannot write to stdout: {error}")),
        }
    }

    pub(crate) fn note(&mut self, text: &str) {
        if !self.quiet {
            // Nobody to tell when stderr is gone.
            let _ = writeln!(self.err.lock(), "{text}");
        }
    }

    pub(crate) fn error(&mut self, error: &anyhow::Error) {
        let _ = writeln!(self.err.lock(), "weir: {}", one_line(error));
    }
}

/// An error with its causes. Many messages quote their cause already: it is not said twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        let words = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if said.is_empty() {
            said = words;
        } else if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
    }
    said
}
