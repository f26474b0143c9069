//! One command, its output line by line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::stage::StageCommand;

/// Lines of a failed command that are quoted.
const QUOTED: usize = 4;

/// How a command ended that did not succeed.
#[derive(Debug)]
pub(super) struct Failed {
    /// Exit code or signal, or why it did not start.
    pub(super) ended: String,
    pub(super) last: String,
}

/// Runs a command to its end. Its output goes to the log, and to `line` as it comes; what it prints
/// goes to the step's own file instead, where it has one.
///
/// It gets the lock's file as its input: the lock is then held until it has ended too, also when
/// this process is killed before.
pub(super) fn run(
    step: &StageCommand,
    log: &mut File,
    lock: &File,
    line: &mut dyn FnMut(&str),
) -> io::Result<Result<(), Failed>> {
    let [program, args @ ..] = step.words.as_slice() else { return Ok(Ok(())) };
    writeln!(log, "$ {}", step.shown())?;
    let (output, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::from(lock.try_clone()?));
    match &step.into {
        Some(file) => command.stdout(File::create(Path::new(file))?).stderr(writer),
        None => command.stdout(writer.try_clone()?).stderr(writer),
    };
    // A package of another project's path, or a pip told to stay out of virtual environments, would
    // change what is installed.
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env_remove("PIP_TARGET");
    command.env_remove("PIP_USER").env_remove("PIP_REQUIRE_VIRTUALENV");
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return Ok(Err(Failed { ended: error.to_string(), last: "it did not start".into() }));
        }
    };
    // Its writing ends of the pipe live on: without this, the reader never sees the end.
    drop(command);
    let last = follow(output, log, line);
    let status = child.wait()?;
    let last = last?;
    if status.success() {
        return Ok(Ok(()));
    }
    let last = last.into_iter().collect::<Vec<_>>().join(" / ");
    let last = if last.is_empty() { "it said nothing".to_owned() } else { last };
    Ok(Err(Failed { ended: status.to_string(), last }))
}

/// Copies lines to the log until the other end is closed; returns the last ones.
fn follow(
    output: impl Read,
    log: &mut File,
    line: &mut dyn FnMut(&str),
) -> io::Result<VecDeque<String>> {
    let mut output = BufReader::new(output);
    let mut last = VecDeque::new();
    let mut bytes = Vec::new();
    let mut kept = Ok(());
    while output.read_until(b'\n', &mut bytes)? > 0 {
        // A log that cannot be written must not stop the reading: the child would wait for ever.
        kept = kept.and_then(|()| log.write_all(&bytes));
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end();
        line(text);
        if !text.trim().is_empty() && !text.starts_with("[notice]") {
            last.push_back(text.trim().to_owned());
        }
        if last.len() > QUOTED {
            last.pop_front();
        }
        bytes.clear();
    }
    kept.map(|()| last)
}
