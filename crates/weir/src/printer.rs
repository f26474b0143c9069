//! Results go to stdout, messages to stderr; nothing else writes to either.

use std::io::{self, Write};

/// Width for results: `COLUMNS`, else the terminal's; None for a file.
pub(crate) fn columns() -> Option<usize> {
    let set = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    set.or_else(|| Some(terminal_size::terminal_size_of(io::stdout())?.0.0.into()))
}

pub(crate) struct Printer {
    quiet: bool,
    out: io::Stdout,
    err: io::Stderr,
}

impl Printer {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, out: io::stdout(), err: io::stderr() }
    }

    /// Only errors go to stderr.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A closed reader (`weir list | head`) is no error.
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
            // A closed stderr is ignored.
            let _ = writeln!(self.err.lock(), "{text}");
        }
    }

    pub(crate) fn error(&mut self, error: &anyhow::Error) {
        let _ = writeln!(self.err.lock(), "weir: {}", one_line(error));
    }
}

/// With its causes, without those that the message already quotes.
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
