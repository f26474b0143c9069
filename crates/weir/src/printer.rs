//! stdout carries results, stderr carries messages. The only place that writes to either.

use std::io::{self, Write};

/// Where a command's words go.
pub(crate) struct Printer {
    quiet: bool,
}

impl Printer {
    pub(crate) const fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// True when only errors are wanted on stderr.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A result. A reader that has gone (`weir list | head`) is not an error.
    pub(crate) fn result(&mut self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| {
            if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") }
        });
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| anyhow::anyhow!("cannot write to stdout: {error}")),
        }
    }

    /// A message.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.quiet {
            // Nobody to tell when stderr is gone.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// An error, on one line.
    pub(crate) fn error(&mut self, error: &anyhow::Error) {
        let _ = writeln!(io::stderr().lock(), "weir: {error:#}");
    }
}
